#pragma once
// What exports that are block devices (ublk; FUSE with a loop device) have in common: the gate that requests
// pass, system calls in helper processes, one end of setting up, and the order in which everything ends.
//
//   stop() or release() -> close_all() -> end_session() -> gate closed, helpers gone, nothing busy() -> done
//
// Threading: the reactor's thread.

#include "mirror/export/export.h"
#include "mirror/export/request_gate.h"

#include <chrono>
#include <cstdint>
#include <functional>

namespace understudy::mirror {

class DeviceExport : public Export {
  public:
    [[nodiscard]] bool resumed() const override { return resumed_; }
    [[nodiscard]] ExportStatistics statistics() const override;
    Result<> serve(BlockBackend& backend) override;
    void suspend(std::chrono::milliseconds limit) override { gate_.suspend(limit); }
    void resume() override { gate_.resume(); }
    void refuse(int error) override { gate_.refuse(error); }
    void when_quiet(std::function<void()> done) override { gate_.when_quiet(std::move(done)); }

  protected:
    using Number = Result<std::int64_t>;
    using Work = std::function<Number()>;

    /// `lost`: the device has ended without stop().
    DeviceExport(Reactor& reactor, std::function<void()> lost)
        : reactor_(reactor), gate_(reactor), lost_callback_(std::move(lost)) {}

    /// What the device looks like to its users.
    [[nodiscard]] virtual std::uint32_t sector_size() const = 0;
    [[nodiscard]] virtual std::uint64_t device_size() const = 0;
    /// The backend has this size; a device that is being set up gets it at the end of that.
    virtual void resized_in_setup(std::uint64_t size) = 0;
    /// Of the session, when there is one.
    [[nodiscard]] virtual const ExportStatistics* counted() const = 0;
    /// Stops taking requests, then `done`.
    virtual void end_session(std::function<void()> done) { done(); }
    /// The kernel still has operations of this export; finish_closing() is called when it may be at their
    /// end.
    [[nodiscard]] virtual bool busy() const { return false; }

    /// As run_in_child(); this export stays until `then` was called.
    void in_helper(std::chrono::milliseconds limit, Work work, std::function<void(Number)> then);
    /// A step of setting up: `then` on success, the end of setting up otherwise.
    void step(std::chrono::milliseconds limit, Work work, std::function<void(std::int64_t)> then);
    /// For resize(): `work` gives the device its size.
    void resize_in_helper(std::chrono::milliseconds limit, Work work, std::function<void(Result<>)> done);

    /// Calls what create() or take_over() was given, once.
    virtual void setup_done(Result<> result);
    /// The device is gone, or the kernel gives nothing more of it.
    void device_lost(const Error& why);
    /// Whether the end goes on after the attempt to take the device away; if not, nothing has changed.
    bool goes_on_after(const Number& taken_away, StopMode mode);
    void close_all(std::function<void()> done);
    void finish_closing();

    Reactor& reactor_;
    RequestGate gate_;
    std::function<void(Result<>)> setup_;  // while it is being set up
    bool resumed_ = false;
    bool stopping_ = false;
    bool closing_ = false;

  private:
    std::function<void()> lost_callback_;
    bool lost_ = false;
    bool io_closed_ = false;
    unsigned helpers_ = 0;  // whose result is to come
    std::function<void()> closed_;
};

/// Error: not a name that a device node and the kernel's lists can have.
Result<> check_volume_name(const VolumeId& volume);

}  // namespace understudy::mirror
