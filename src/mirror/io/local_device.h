#pragma once
// The local device under a volume: opened exclusively, its holders named when it is in use.

#include "base/result.h"
#include "mirror/io/raw_backend.h"

#include <chrono>
#include <memory>
#include <string>

namespace understudy::mirror {

struct LocalDevice {
    std::unique_ptr<RawBackend> backend;
    bool punches = false;  // discards give space back and read as zeroes
};

/// Spec: REP-026, REP-092.
Result<LocalDevice> open_device(Reactor& reactor, const std::string& path,
                                std::chrono::milliseconds busy_wait);

/// Who holds a file or block device: "postgres (pid 812), mounted on /data". Empty when nobody is found.
std::string holders_of(const std::string& path);

}  // namespace understudy::mirror
