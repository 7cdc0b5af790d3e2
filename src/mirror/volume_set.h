#pragma once
// A replicated volume with any number of targets: one device, one Volume per target (each with its own intent
// log, links, state and throttle), and the front that gives them the requests (core/fan_out.h). With one
// target requests are handed through. Lives on its reactor's thread, as the volumes do.
//
//   export -> VolumeSet --+-> Volume of peer B -> its log, its links
//                         +-> Volume of peer C -> ...          all on one device

#include "mirror/core/fan_out.h"
#include "mirror/io/local_device.h"
#include "mirror/volume.h"

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace understudy::mirror {

class VolumeSet : public BlockBackend {
  public:
    /// Opens the device exclusively; errors as Volume::open.
    static Result<std::unique_ptr<VolumeSet>> open(Reactor& reactor, VolumeId id, const std::string& device,
                                                   std::uint32_t busy_wait_ms = 2000);
    /// Only after shutdown(), or when the reactor does not run any more.
    ~VolumeSet() override;
    VolumeSet(const VolumeSet&) = delete;
    VolumeSet& operator=(const VolumeSet&) = delete;

    /// `options.device` and `shared_device` are this set's. Errors: as Volume::open; more than kMaxTargets.
    Result<> add(const std::string& peer, VolumeOptions options, VolumeEvents& events);
    /// Ends one target's volume; the others go on. `done` when nothing of it is under way any more.
    void remove(const std::string& peer, std::function<void()> done);
    /// nullptr: no such target.
    [[nodiscard]] Volume* find(const std::string& peer) const;

    /// The device's size, read anew. Volumes keep the size they were added with.
    Result<std::uint64_t> measure() { return device_.backend->measure(); }

    void become_source(const std::string& peer, MirrorState state, PauseCause cause, bool mark_all_dirty);
    void become_target(const std::string& peer);
    /// See Volume::replace_dirty; the peer's volume has no role until it gets one.
    void replace_dirty(const std::string& peer, const BlockRanges& ranges,
                       std::function<void(Result<>)> done);
    /// Refuses new requests and waits until all have been completed, here and on every mirroring target.
    void quiesce(std::function<void(Result<>)> done);
    void shutdown(std::function<void()> done);
    /// Requests go to the device, which nobody mirrors, while no target takes part: from now on, or when the
    /// last one has been removed. Ends with become_source(), become_target() and quiesce().
    void serve_alone() { alone_ = true; }
    /// `done` when nothing is in the device any more. Of this and when_written() one at a time.
    void when_idle(std::function<void()> done);
    /// Calls `done` with true when every write that was submitted has come to its end in the device: from
    /// then on a copy of the device has them all. With false when that is not so after `limit`.
    void when_written(std::chrono::milliseconds limit, std::function<void(bool)> done);

    [[nodiscard]] std::uint64_t size() const override { return device_.backend->size(); }
    [[nodiscard]] std::uint32_t sector_size() const override { return device_.backend->sector_size(); }
    [[nodiscard]] bool punches() const override { return device_.punches; }
    [[nodiscard]] BlockExtent extent_at(std::uint64_t offset, std::uint64_t length) const override {
        return device_.backend->extent_at(offset, length);
    }
    void submit(BlockRequest& request) override;

  private:
    struct Leg;
    VolumeSet(Reactor& reactor, VolumeId id, std::string path, LocalDevice device);
    void arm_timer();
    void look_again();
    [[nodiscard]] bool all_written() const;
    void leave(Leg& leg);

    Reactor& reactor_;
    VolumeId id_;
    std::string path_;
    LocalDevice device_;
    FanOut front_;
    std::map<std::string, std::unique_ptr<Leg>> legs_;
    std::size_t sources_ = 0;  // legs that take part in front_
    IoOperation timer_;
    IoOperation look_timer_;
    std::function<bool()> looked_for_;  // whether it is time to go on
    bool alone_ = false;
    bool closing_ = false;
};

}  // namespace understudy::mirror
