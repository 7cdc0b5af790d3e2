#pragma once
// The simulated network: hosts with addresses, listeners, connections, cuts.
//
//   program A --send--> [queue towards B: frames with arrival times, in order] --pump--> program B's handler
//
// A connection has two ends that judge for themselves. While either way between them is blocked (a cut, a
// host without power, a frozen host) each end has a timer of its own after which it gives up; frames that are
// due wait, as TCP would retransmit them, and arrive when the way is free again before that. An end whose
// peer has gone learns it by a reset once the way is free.

#include "runtime/network.h"
#include "runtime/simulated/incarnation.h"
#include "runtime/simulated/random_stream.h"

#include <array>
#include <cassert>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace understudy::runtime::simulated {

/// A host as the network sees it.
struct NetworkHost {
    std::string name;
    std::vector<std::string> addresses;
    bool powered = false;
    bool frozen = false;  // the whole host is paused: its kernel answers nothing
    std::string ca_fingerprint = "simulated-ca";
    std::shared_ptr<Incarnation> program;
    std::uint16_t next_port = 32768;

    [[nodiscard]] bool answers() const { return powered && !frozen; }
    [[nodiscard]] bool owns(const std::string& address) const;
};

struct Connection;

class NetworkCore {
  public:
    using Trace = std::function<void(std::string_view who, const std::string& what)>;
    /// `trace` may be empty; it is asked for before a line is made.
    NetworkCore(EventQueue& queue, RandomStream& random) : queue_(queue), random_(random) {}

    void set_trace(Trace trace) { trace_ = std::move(trace); }
    void add_host(NetworkHost& host) { hosts_.push_back(&host); }

    Result<std::unique_ptr<Listener>> listen(const std::shared_ptr<Incarnation>& program, const Endpoint& at,
                                             Security security, Network::AcceptHandler on_accept);
    void connect(const std::shared_ptr<Incarnation>& program, const ConnectOptions& options,
                 Network::ConnectHandler on_done);
    [[nodiscard]] NetworkHost& host_of(const Incarnation& program);

    void cut(const std::string& from, const std::string& to);
    void heal(const std::string& from, const std::string& to);
    void heal_all();
    [[nodiscard]] bool is_cut(const std::string& from, const std::string& to) const {
        return !cuts_.empty() && cuts_.contains({from, to});
    }
    void set_delay(Duration least, Duration most);
    void set_loss(double probability) { loss_ = probability; }
    void break_connections(const NetworkHost& a, const NetworkHost& b);
    /// How many connections of the two were lost by chance (set_loss) between these; of the last kLossesKept.
    [[nodiscard]] int losses(const NetworkHost& a, const NetworkHost& b, TimePoint from, TimePoint to) const;

    /// A host got or lost power, froze or thawed.
    void reachability_changed() { reassess(); }
    /// The program died: its listeners and ends go. With the host still up the peers are told.
    void program_died(const Incarnation& program, bool host_is_up);

  private:
    friend class SimulatedChannel;
    friend class SimulatedListener;
    struct ListenPoint {
        std::uint64_t id = 0;
        std::shared_ptr<Incarnation> program;
        Security security = Security::plain;
        std::shared_ptr<Network::AcceptHandler> on_accept;
    };
    struct Attempt;
    using ListenKey = std::pair<std::string, Endpoint>;  // host name, where

    Duration delay(bool local);
    NetworkHost* host_at(const std::string& address, NetworkHost& from);
    void try_connect(const std::shared_ptr<Attempt>& attempt);
    void finish(const std::shared_ptr<Attempt>& attempt, Error why);
    void retry(const std::shared_ptr<Attempt>& attempt);
    ListenPoint* listener_at(const NetworkHost& host, const Endpoint& at);
    void establish(const std::shared_ptr<Attempt>& attempt, NetworkHost& server, ListenPoint& listener);

    bool send(Connection& connection, int from, std::span<const std::byte> bytes);
    void close_end(Connection& connection, int side, std::string_view what_peer_sees);
    void schedule_pump(Connection& connection, int to);
    void pump(const std::shared_ptr<Connection>& connection, int to);
    void give_up(const std::shared_ptr<Connection>& connection, int side);
    void break_now(Connection& connection);
    void reassess();
    void reassess(Connection& connection);
    void forget(const Connection& connection);

    EventQueue& queue_;
    RandomStream& random_;
    Trace trace_;
    std::vector<NetworkHost*> hosts_;
    std::map<ListenKey, ListenPoint> listeners_;
    std::vector<std::shared_ptr<Connection>> connections_;  // in order of creation
    std::set<std::pair<std::string, std::string>> cuts_;
    Duration least_delay_ = std::chrono::microseconds(100);
    Duration most_delay_ = std::chrono::milliseconds(1);
    double loss_ = 0;
    struct Loss {
        TimePoint at;
        const NetworkHost* one;
        const NetworkHost* other;
    };
    static constexpr std::size_t kLossesKept = 256;
    std::deque<Loss> losses_;
    std::uint64_t next_id_ = 1;
};

struct Frame {
    TimePoint at;
    std::vector<std::byte> bytes;
    bool last = false;  // the connection's end instead of bytes; `why` says it
    std::string why;
};

struct ChannelHandlers {
    Channel::FrameHandler on_frame;
    Channel::CloseHandler on_close;
};

struct End {
    NetworkHost* host = nullptr;
    std::shared_ptr<Incarnation> program;
    Endpoint local;
    Endpoint remote;
    PeerIdentity peer;
    std::shared_ptr<ChannelHandlers> handlers;  // null before start and after the end
    bool open = true;
    // Towards this end:
    std::deque<Frame> queue;
    std::size_t queued_bytes = 0;
    bool blocked = false;
    EventId pump_event = 0;
    EventId give_up_event = 0;
};

struct Connection : std::enable_shared_from_this<Connection> {
    std::uint64_t id = 0;
    bool local = false;  // both ends on one host: nothing can be cut
    bool trouble = false;
    std::array<End, 2> ends;  // client, server
};

}  // namespace understudy::runtime::simulated
