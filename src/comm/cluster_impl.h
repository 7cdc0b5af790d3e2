#pragma once
// The driver's parts: who owns what. Private to this folder.
//
//   peers_[name]  membership, calls both ways          cluster.cpp        public functions, events
//   paths_[id]    monitor, clock, current connection   cluster_paths.cpp  listen, dial, greet, heartbeats
//   connections_[id]  channel, greeting                cluster_disks.cpp  DISK paths: read, write, heartbeats
//   listeners_[endpoint]                               cluster_calls.cpp  calls, answers, notices
//
// Objects refer to each other by id and are looked up in each callback: any callback may find that what it
// was made for is gone. A connection is never destroyed on the stack of its own callback (retired_).

#include "comm/calls.h"
#include "comm/clock_filter.h"
#include "comm/cluster.h"
#include "comm/connection.h"
#include "comm/disk_exchange.h"
#include "comm/path_monitor.h"
#include "comm/peer_state.h"

#include <deque>
#include <map>

namespace understudy::comm {

/// Channels that have not been greeted yet; more are closed at once.
inline constexpr std::size_t kMaxGreeting = 64;
inline constexpr auto kGreetingLimit = std::chrono::seconds(5);
/// A closed channel is kept this long, so that its last frame (the reason) gets out.
inline constexpr auto kLinger = std::chrono::seconds(1);
inline constexpr std::size_t kMaxRetired = 64;
/// A connection that is silent for so many intervals is replaced while its path is still ALIVE: after a
/// disturbance TCP may wait longer to send again than the path has until it is DEAD.
inline constexpr int kSilentIntervals = 2;
inline constexpr auto kDialAtLeast = std::chrono::seconds(1);
inline constexpr auto kDialAtMost = std::chrono::seconds(5);

/// What a DISK path has in place of a connection.
struct DiskEnd {
    std::unique_ptr<runtime::SharedDisk> disk;
    DiskExchange exchange;
    std::optional<runtime::TimePoint> busy_since{};  // an access is on its way
    bool write_due = true;
    runtime::TimePoint next_read{};
    std::string trouble{};  // what was wrong with the last access; empty when nothing
};

struct PathEnd {
    std::uint64_t id = 0;
    config::Path config;
    PathMonitor monitor;
    ClockFilter clock{};
    bool usable = false;  // what the configuration says can be tried
    bool dialing = false;
    bool limits_told = false;           // that the two ends' limits differ was logged
    runtime::TimePoint next_attempt{};  // dial or listen
    std::optional<std::uint64_t> connection{};
    std::optional<runtime::TimerId> timer{};
    std::string problem{};
    std::unique_ptr<DiskEnd> disk{};  // null: a TCP path

    [[nodiscard]] runtime::Endpoint local() const {
        return {config.local_address, static_cast<std::uint16_t>(config.port())};
    }
};

struct Peer {
    explicit Peer(std::size_t most_calls) : calls(most_calls) {}
    PeerMembership membership;
    OutgoingCalls calls;
    std::uint64_t incarnation = 0;
    std::string software;
    std::optional<Agreed> agreed;
    std::optional<runtime::TimePoint> last_heard;
    std::optional<runtime::TimePoint> confirmed;  // see Cluster::Contact
};

struct Cluster::Impl : std::enable_shared_from_this<Cluster::Impl> {
    using TimePoint = runtime::TimePoint;

    Impl(runtime::World world, Options options);
    void stop();

    // cluster.cpp
    void set_paths(const std::vector<config::Path>& wanted);
    void add_path(const config::Path& path);
    void remove_path(std::uint64_t id);
    void emit(PeerEvent::Kind kind, const NodeName& peer, const std::string& device);
    void note_absence(runtime::Duration absent);
    void note_late(runtime::Duration late);
    [[nodiscard]] TimePoint now() const { return world.clock.now(); }
    /// Wraps a member call so that it is skipped when the object is gone.
    template <class Function>
    auto guarded(Function function) {
        return [weak = weak_from_this(), function = std::move(function)](auto&&... args) {
            if (const auto self = weak.lock(); self && !self->stopped)
                function(*self, std::forward<decltype(args)>(args)...);
        };
    }

    // cluster_paths.cpp
    [[nodiscard]] bool dials(const PathEnd& path) const { return options.self < path.config.remote; }
    void tick(PathEnd& path);
    void schedule(PathEnd& path);
    void attempt(PathEnd& path);
    void dial(PathEnd& path);
    void listen(PathEnd& path);
    void drop_unused_listeners();
    void accepted(const runtime::Endpoint& at, std::unique_ptr<runtime::Channel> channel);
    void greet(PathEnd& path, std::unique_ptr<runtime::Channel> channel);
    void on_frame(std::uint64_t connection, std::span<const std::byte> bytes);
    void on_closed(std::uint64_t connection, const Error& why);
    void on_hello(Connection& connection, const wire::Hello& hello);
    void on_heartbeat(PathEnd& path, const wire::Heartbeat& heartbeat);
    [[nodiscard]] std::string judged(const runtime::PeerIdentity& peer) const {
        return judge ? judge(peer) : std::string();
    }
    [[nodiscard]] std::string objection(const PathEnd& path, const Connection& connection,
                                        const wire::Hello& hello) const;
    void attach(PathEnd& path, Connection& connection);
    void send_heartbeat(PathEnd& path);
    void apply(PathEnd& path, const PathMonitor::Outcome& outcome);
    void set_problem(PathEnd& path, std::string problem);
    /// Tells the other side why, and closes.
    void refuse(std::uint64_t connection, const std::string& reason);
    void retire(std::uint64_t connection);
    void retire_channel(std::unique_ptr<runtime::Channel> channel);
    [[nodiscard]] PathEnd* path_of(std::uint64_t id);
    [[nodiscard]] Connection* connection_of(const PathEnd& path);

    // cluster_disks.cpp
    void exchange(PathEnd& path);
    void on_region(PathEnd& path, const Result<std::string>& region);
    void on_disk_heartbeat(PathEnd& path, const disk::Record& record);
    void write_slot(PathEnd& path);

    // cluster_calls.cpp
    /// Whether an ALIVE path carries more than heartbeats. Spec: CLU-052.
    [[nodiscard]] bool carries_calls(const NodeName& peer) const;
    /// Whether no other path to the same peer carries calls.
    [[nodiscard]] bool is_only_carrier(const PathEnd& path) const;
    void call(const NodeName& peer, std::string_view method, std::string payload, runtime::Duration deadline,
              std::function<void(Result<std::string>)> done);
    void call_self(std::string method, std::string payload, runtime::Duration deadline,
                   std::function<void(Result<std::string>)> done);
    void notify(const NodeName& peer, std::string_view method, std::string payload);
    void pump(const NodeName& peer);
    void finish(OutgoingCalls::Finished finished, Result<std::string> result);
    void finish_all(std::vector<OutgoingCalls::Finished> finished, const Error& why);
    void on_call(const NodeName& caller, std::uint64_t incarnation, std::uint64_t connection,
                 wire::Call call);
    void on_answer(const NodeName& callee, wire::Answer answer);
    void on_notice(const NodeName& caller, wire::Notice notice);
    void answered(const NodeName& caller, std::uint64_t incarnation, std::uint64_t id,
                  Result<std::string> result);
    [[nodiscard]] Connection* best_connection(const NodeName& peer);

    runtime::World world;
    Options options;
    bool stopped = false;
    std::uint64_t incarnation = 0;
    std::uint64_t next_id = 1;
    std::map<std::uint64_t, PathEnd> paths;
    std::map<std::uint64_t, Connection> connections;
    std::map<NodeName, Peer> peers;
    // Apart from the peers: a caller whose paths are deleted and made again may still repeat a call.
    std::map<NodeName, ServedCalls> served;
    std::uint64_t next_call = 1;
    std::map<runtime::Endpoint, std::unique_ptr<runtime::Listener>> listeners;
    std::deque<std::pair<TimePoint, std::unique_ptr<runtime::Channel>>> retired;
    std::map<std::string, Method> methods;
    std::vector<PeerHandler> peer_handlers;
    std::vector<AbsenceHandler> absence_handlers;
    std::vector<AbsenceHandler> late_handlers;
    CertificateJudge judge;
    std::deque<PeerEvent> events;
    std::optional<TimePoint> present_since;  // end of the last absence or lateness that was reported
};

}  // namespace understudy::comm
