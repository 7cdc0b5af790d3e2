#pragma once
// Serves one ublk device: fetches requests, gives them to the gate, commits the answers. Making, starting and
// deleting the device are ublk_export's.
//
// One copy per write: the kernel copies the request's pages into a slot's buffer before it delivers it, so
// what is written here and what is sent are the same bytes (design 6.1). Copying by ourselves
// (UBLK_F_USER_COPY) is the same copy and a system call more; the kernel's zero copy would hand on pages that
// an application can still change.
//
// Taking over. The kernel keeps each request until its answer is committed. When the server dies it takes
// back what was not answered and gives it to the next server. Why doing a write twice is harmless is said in
// fuse_session.h; it is the same here.

#include "base/result.h"
#include "mirror/export/descriptor.h"
#include "mirror/export/export.h"
#include "mirror/export/request_gate.h"
#include "mirror/export/ublk_device.h"
#include "mirror/io/reactor.h"

#include <functional>
#include <memory>

namespace understudy::mirror::ublk {

class Session {
  public:
    static constexpr std::uint32_t kMinDepth = 8;
    static constexpr std::uint32_t kMaxSlots = 1024;  // of all queues

    /// Takes the server's side of a device. Errors: bad_argument, no memory.
    static Result<std::unique_ptr<Session>> create(Reactor& reactor, RequestGate& gate,
                                                   Descriptor server_side, const Geometry& geometry);
    /// Whatever the kernel still has of it then is left alone until the reactor is gone.
    virtual ~Session() = default;

    /// Starts fetching. `lost` is called once when the device has ended or the kernel refuses; the error says
    /// why.
    virtual void start(std::function<void(Error)> lost) = 0;
    /// Takes no more requests and answers those the backend has, then `done`. What comes or waits after that
    /// is the next server's, which can have it once this reactor is gone.
    virtual void release(std::function<void()> done) = 0;
    /// Of a device that is being deleted: `done` when the kernel has nothing of it any more.
    virtual void await_end(std::function<void()> done) = 0;

    /// `waiting` and `in_backend` are the gate's.
    [[nodiscard]] virtual const ExportStatistics& statistics() const = 0;
};

}  // namespace understudy::mirror::ublk
