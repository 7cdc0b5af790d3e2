#pragma once
// One NBD client: negotiation, then requests in flight up to a bound, answered in the order they finish.
// Threading: the reactor's thread.

#include "mirror/export/export.h"
#include "mirror/export/nbd_protocol.h"
#include "mirror/export/request_gate.h"
#include "mirror/io/reactor.h"

#include <cstdint>
#include <functional>
#include <memory>

namespace understudy::mirror {

class NbdConnection {
  public:
    /// Takes the socket. `gone` is called once, when nothing of the connection is in flight any more; the
    /// connection may be destroyed after it, not inside it.
    static std::unique_ptr<NbdConnection> start(Reactor& reactor, RequestGate& gate, int socket,
                                                nbd::ExportInfo info, std::uint32_t slots,
                                                ExportStatistics& statistics, std::function<void()> gone);
    virtual ~NbdConnection() = default;
    /// Ends it: what the backend has is still answered, nothing new is read.
    virtual void close() = 0;
};

}  // namespace understudy::mirror
