#pragma once
// In which directory a host keeps its intent logs: one file for each mirror. Pure. Spec: REP-056, REP-057,
// REP-059.

#include "base/types.h"
#include "config/settings.h"
#include "runtime/tasks.h"

#include <string>

namespace understudy::mirror::control {

struct LogPlace {
    std::string directory;
    /// False: BitmapBaseDir is set and empty. Logs then serve the running program only: after any end of it
    /// that was not a clean one everything is sent again.
    bool outlives_crash = true;
};

LogPlace log_place(const config::Settings& settings, const std::string& default_directory);
/// Of the volume's mirror with `peer`.
std::string log_file(const std::string& directory, const VolumeId& volume, const std::string& peer);
/// How long a start waits for the directory. Spec: REP-062.
runtime::Duration log_directory_wait(const config::Settings& settings);

}  // namespace understudy::mirror::control
