#pragma once
// One open connection as a Channel: frames in, frames out, over a Transport. Private to runtime/posix.
//
//   send() -> queued_ --swap--> sending_ -> Transport::write      every frame queued meanwhile goes out
//   together Transport::read -> buffer_ -> whole frames -> on_frame
//
// The user's Channel object holds the Connection and so do its pending waits: a channel destroyed inside its
// own handler, or with data still to send, ends in order.

#include "runtime/network.h"
#include "runtime/posix/event_loop.h"
#include "runtime/posix/transport.h"

#include <memory>
#include <vector>

namespace understudy::runtime {

/// How long a closed channel may take to send what is queued and to see the peer's end.
inline constexpr Duration kCloseLinger = std::chrono::seconds(5);
/// Bytes moved per direction before other work of the loop gets its turn.
inline constexpr std::size_t kBytesPerTurn = 1UL << 20;
inline constexpr std::size_t kFrameHeaderBytes = 4;

/// A transport that is connected, handshaken and knows its peer.
struct Established {
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Watch> watch;
    PeerIdentity peer;
    Endpoint local;
    Endpoint remote;
};

std::unique_ptr<Channel> make_channel(EventLoop& loop, Established established);

}  // namespace understudy::runtime
