#pragma once
// What a node keeps for emcmd: settings of its volumes, and its copies of the jobs. One JSON file each,
// replaced as a whole. Spec: EMC-012, EMC-048, EMC-061, EMC-119, EMC-126, EMC-129, MOP-032. Threading: the
// control loop's thread.

#include "config/layout.h"
#include "mirror/emcmd/job.h"
#include "runtime/files.h"

#include <map>
#include <string>
#include <vector>

namespace understudy::mirror::emcmd {

/// Of one volume on this node; a volume is known here when it has them or is mirrored.
struct VolumeSettings {
    std::string device;       // what CREATEMIRROR mirrors; empty: only a name so far
    std::string mount_point;  // for people
    unsigned attributes = 0;  // Attribute of report.h
    bool block_target = false;
    std::string snapshot_location;
    std::string area;     // of a shared volume: the device of its lock area; empty: none
    bool locked = false;  // LOCKVOLUME of a volume that is not mirrored; holds across boots. Spec: EMC-084
    friend bool operator==(const VolumeSettings&, const VolumeSettings&) = default;
};

std::string encode(const VolumeSettings& settings);
Result<VolumeSettings> decode_settings(std::string_view text);

class VolumeSettingsStore {
  public:
    VolumeSettingsStore(runtime::Files& files, const config::Layout& layout)
        : files_(files), directory_(layout.state() + "/volumes"), flags_(layout.run() + "/switchover") {}

    /// Defaults for a volume that has none.
    [[nodiscard]] Result<VolumeSettings> get(const VolumeId& volume) const;
    /// Durable when it returns success.
    Result<> put(const VolumeId& volume, const VolumeSettings& settings);
    Result<> remove(const VolumeId& volume);
    [[nodiscard]] std::vector<VolumeId> all() const;

    /// This node's half of a mirror was removed alone: no new mirror may make it target. A boot forgets it.
    [[nodiscard]] bool switchover_flag(const VolumeId& volume) const;
    Result<> set_switchover_flag(const VolumeId& volume, bool set);

  private:
    [[nodiscard]] std::string path(const VolumeId& volume) const;
    runtime::Files& files_;
    std::string directory_, flags_;
    mutable std::map<VolumeId, VolumeSettings> read_;  // what queries ask for again and again
};

class JobStore {
  public:
    JobStore(runtime::Files& files, const config::Layout& layout)
        : files_(files), directory_(layout.state() + "/jobs") {}

    /// Sorted by name. Copies that cannot be read are left as they are, and named in `damaged`.
    [[nodiscard]] std::vector<Job> all(std::vector<std::string>* damaged = nullptr) const;
    [[nodiscard]] Result<Job> get(const std::string& id) const;
    /// Error besides: this node has a newer copy of the job, or has buried it.
    Result<> put(const Job& job);
    /// No error when there is none.
    Result<> remove(const std::string& id);
    /// The same, while a system that cannot be asked may have a copy: what comes back with it is refused for
    /// good. Spec: MOP-160.
    Result<> bury(const std::string& id);

  private:
    [[nodiscard]] std::string path(const std::string& id) const;
    [[nodiscard]] std::string grave(const std::string& id) const;
    runtime::Files& files_;
    std::string directory_;
};

}  // namespace understudy::mirror::emcmd
