#pragma once
// One NBD client: negotiation, then requests in flight up to a bound, answered in the order they finish.
// Threading: the reactor's thread.

#include "mirror/export/export.h"
#include "mirror/export/nbd_protocol.h"
#include "mirror/export/request_gate.h"
#include "mirror/io/reactor.h"
#include "runtime/posix/tls_server.h"

#include <cstdint>
#include <functional>
#include <memory>

namespace understudy::mirror {

/// What a client gets, by the way in which it came.
struct NbdTerms {
    nbd::Negotiation::Tls tls = nbd::Negotiation::Tls::none;
    NbdTls begin_tls = {};                     // unless `tls` is none
    std::function<void(std::string)> refused;  // why; may be empty
    std::uint32_t slots = 32;
};

class NbdConnection {
  public:
    /// Takes the socket. `gone` is called once, when nothing of the connection is in flight any more; the
    /// connection may be destroyed after it, not inside it.
    static std::unique_ptr<NbdConnection> start(Reactor& reactor, RequestGate& gate, int socket,
                                                nbd::ExportInfo info, NbdTerms terms,
                                                ExportStatistics& statistics, std::function<void()> gone);
    virtual ~NbdConnection() = default;
    /// Ends it: what the backend has is still answered, nothing new is read.
    virtual void close() = 0;
};

}  // namespace understudy::mirror
