#pragma once
// Serves one file, `volume`, over one /dev/fuse descriptor: the kernel's protocol, nothing else. Mounting,
// the loop device and the keeper are fuse_export's.
//
// Taking over (Spec: design 6.6). The kernel keeps each request until it is answered. When the server dies
// and another process holds the descriptor, the connection lives; the next server sends FUSE_NOTIFY_RESEND
// and gets every unanswered request again. Why doing a write twice is harmless:
//  - a re-sent write has not been answered, so no later write or read that depends on it has been issued:
//  file
//    systems do not overwrite a block whose write is in flight, and who does so all the same has no order to
//    rely on. Whatever was answered was answered after it was applied and is not sent again.
//  - the dead server's own copy of the write may still be on its way to the disk. It must not arrive after a
//  later
//    write of the new server. Therefore the backing device is opened exclusively (flock, O_EXCL): the kernel
//    lets go of that only when the last I/O of the dead process has finished, and until then the new server
//    has no backend and requests wait in the gate.
//  - a mirrored volume gives the write a new sequence number and sends it to the target again: the same
//  bytes, and
//    again before anything that depends on it.
// A request must never be lost half-copied: the kernel copies to and from pages it finds without sleeping,
// because all buffers are resident, locked and not shared by fork; otherwise a kill in that moment would fail
// the request.

#include "base/result.h"
#include "mirror/export/export.h"
#include "mirror/export/request_gate.h"
#include "mirror/io/reactor.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace understudy::mirror {

/// What the file looks like. Only its size may change while the connection lives, by resize().
struct FuseVolume {
    std::uint64_t size = 0;
    std::uint32_t sector_size = 512;
    bool read_only = false;
};

/// What INIT settled. A server that takes over gets it from the keeper, INIT is not repeated.
struct FuseNegotiated {
    std::uint32_t minor = 0;
    std::uint32_t max_request = 0;
    bool resend = false;  // the kernel can deliver unanswered requests again
    friend bool operator==(const FuseNegotiated&, const FuseNegotiated&) = default;
};

struct FuseSessionOptions {
    FuseVolume volume;
    std::uint32_t slots = 64;
    std::uint32_t max_request = 1 << 17;
};

class FuseSession {
  public:
    static constexpr std::uint32_t kMinRequest = 1 << 12;
    static constexpr std::uint32_t kMaxRequest = 1 << 20;
    static constexpr std::uint32_t kMaxSlots = 256;

    /// Takes `fd` (O_NONBLOCK is set on it), which is mounted or about to be. Errors: bad_argument, no
    /// memory.
    static Result<std::unique_ptr<FuseSession>> create(Reactor& reactor, RequestGate& gate, int fd,
                                                       FuseSessionOptions options);
    virtual ~FuseSession() = default;

    /// Starts serving. `ready` is called once INIT is settled; `lost` when the connection has ended
    /// (unmounted or aborted).
    virtual void start(std::function<void(FuseNegotiated)> ready, std::function<void()> lost) = 0;
    /// Starts serving a connection that another process served before. Error: the kernel cannot re-send.
    virtual Result<> take_over(FuseNegotiated negotiated, std::function<void()> lost) = 0;
    /// Takes no more requests, answers those the backend has, then `done`. Requests waiting in the gate are
    /// left for the next server. The descriptor is closed with the session.
    virtual void close(std::function<void()> done) = 0;

    /// The file has `size` bytes from here on; the kernel learns it when it asks for attributes.
    virtual void resize(std::uint64_t size) = 0;

    [[nodiscard]] virtual int descriptor() const = 0;
    /// `waiting` and `in_backend` are the gate's.
    [[nodiscard]] virtual const ExportStatistics& statistics() const = 0;
};

}  // namespace understudy::mirror
