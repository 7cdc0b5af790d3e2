#pragma once
// The settings as they are in the file now, for keys that take effect while the daemon runs. Spec: CLU-173,
// CLU-276. Threading: loop thread only.

#include "config/settings.h"
#include "runtime/world.h"

#include <string>

namespace understudy::config {

/// The file is looked at again after this long, at the next use.
inline constexpr runtime::Duration kSettingsAge = std::chrono::seconds(1);

class SettingsFile {
  public:
    /// `at_start` is what the daemon read when it started; it holds while the file cannot be read.
    SettingsFile(runtime::World world, std::string path, Settings at_start);
    /// What the file says, at most kSettingsAge old. A line that is wrong has its default and is logged once.
    const Settings& now();

  private:
    runtime::World world_;
    std::string path_;
    Settings settings_;
    std::string content_;
    bool read_ = false;
    runtime::TimePoint looked_;
};

}  // namespace understudy::config
