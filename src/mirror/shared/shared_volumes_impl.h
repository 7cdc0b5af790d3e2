#pragma once
// One shared volume of this host; for shared_volumes.cpp and shared_mirrors.cpp.

#include "mirror/shared/shared_volumes.h"

namespace understudy::mirror::shared {

/// An operation waits so long for the one before it.
inline constexpr auto kOperationWait = std::chrono::seconds(120);

/// How often a lock of before is looked at.
inline constexpr auto kQuietLook = std::chrono::milliseconds(50);

/// Nothing of a volume without a mirror happens by itself.
class NoEvents final : public control::HostEvents {
  public:
    void state_changed(const std::string&, MirrorState, MirrorState, PauseCause) override {}
    void link_lost(const std::string&, std::string) override {}
    void link_interrupted(const std::string&, std::string) override {}
    void degraded(const std::string&, DegradeAnswer release) override { release(true); }
    void in_sync(const std::string&) override {}
    void log_failed(const std::string&, std::string) override {}
    void first_write() override {}
    void target_silent(const std::string&) override {}
};

struct SharedVolumes::Volume {
    explicit Volume(runtime::Tasks& tasks) : operations(tasks) {}

    SharedPlace place;
    control::OperationLock operations;
    NoEvents events;
    std::unique_ptr<VolumeLock> lock;    // outlives the host: its fence stands until nothing is written
    std::unique_ptr<VolumeLock> former;  // given up, and may still have a write on its way to the area
    std::unique_ptr<control::VolumeHost> host;  // while it is open and not mirrored
    std::string path;                           // of the device that is offered
    bool reserved = false;                      // the disk itself refuses other hosts
    bool mirrored = false;  // open, and its device is the mirror's; the record lies in the area
    bool unsure = false;    // a record that was refused may lie in the area
    bool settling = false;  // write_state_again() runs

    // The area as it was read last.
    AreaHeader header;
    std::uint32_t slot = 0;  // this host's
    States states;
    /// The text of the record that counts; empty: not mirrored.
    [[nodiscard]] std::string_view record() const {
        return states.newest ? std::string_view(states.slots[*states.newest].record->text)
                             : std::string_view();
    }
};

}  // namespace understudy::mirror::shared
