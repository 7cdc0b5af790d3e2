#pragma once
// What snapshots of targets need of the operating system: their file on the target, and a quiet moment of the
// file systems on the source. The real ones are in posix/; tests bring their own.
// Threading: called, and answered, on the control loop's thread.

#include "base/result.h"
#include "base/types.h"
#include "runtime/task.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace understudy::mirror::control {

/// Applications' writes stand still. Destroying it lets them go on as well, without saying whether they did
/// stand still all the time.
class Quiet {
  public:
    virtual ~Quiet() = default;
    /// Lets them go on. Error: they had gone on by themselves before (kFreezeLimit).
    virtual runtime::Task<Result<>> end() = 0;
};

/// A volume that is to be quiet.
struct QuietVolume {
    VolumeId volume;
    std::string device;  // of its export; empty: not offered, nothing can be mounted
};

class SnapshotTools {
  public:
    virtual ~SnapshotTools() = default;
    /// Whether `directory` may hold snapshots' files. `devices`: of this host's mirrored volumes, on none of
    /// which it may lie. Errors: bad_argument (not absolute, on such a volume, not local), not_found, failure
    /// (not writable). Spec: REP-320.
    [[nodiscard]] virtual Result<> check_location(const std::string& directory,
                                                  const std::vector<std::string>& devices) const = 0;
    /// A file of holes in the place of whatever was there, for the owner alone. Error: no space worth it.
    virtual runtime::Task<Result<>> create(std::string file, std::uint64_t bytes) = 0;
    virtual runtime::Task<> remove(std::string file) = 0;
    /// Runs the administrator's hooks and freezes the file systems that are mounted on the volumes. Spec:
    /// REP-326.
    virtual runtime::Task<Result<std::shared_ptr<Quiet>>> quiesce(std::vector<QuietVolume> volumes) = 0;
};

/// Longer than this no file system stays frozen, whatever happens to mirrord. Spec: REP-326.
inline constexpr auto kFreezeLimit = std::chrono::seconds(10);

}  // namespace understudy::mirror::control
