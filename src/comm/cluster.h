#pragma once
// Communication between nodes (manual: LCM): paths, heartbeats, node states, remote calls.
//
//   node A  ==path TCP:1500 (priority 1)==  node B      heartbeats on every path, calls on the best ALIVE one
//           ==path TCP:1510 (priority 2)==
//
// Every TCP path is one TLS connection: the node whose name sorts first dials, the other listens on the
// path's port. A DISK path is two slots on a shared block device and carries heartbeats only. Liveness is
// decided by PathMonitor (a state machine without I/O); this class is its driver. Threading: loop thread
// only.

#include "base/result.h"
#include "comm/protocol.h"
#include "comm/states.h"
#include "config/model.h"
#include "runtime/shared_disk.h"
#include "runtime/task.h"
#include "runtime/world.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::comm {

struct PathStatus {
    config::Path path;
    PathState state = PathState::dead;
    int times_down = 0;
    std::string problem;                                // why it is not up, for a person; empty when ALIVE
    std::optional<runtime::TimePoint> last_heard = {};  // the last valid heartbeat on it
};

/// A peer's wall clock against ours.
struct ClockEstimate {
    runtime::Duration offset{};       // theirs minus ours
    runtime::Duration uncertainty{};  // the truth lies within offset +- this
};

/// COMM_UP: the first path to a peer came ALIVE, or the first that carries calls beside a DISK path.
/// COMM_DOWN: the last one went DEAD. Spec: CLU-078, CLU-079.
struct PeerEvent {
    enum class Kind { comm_up, comm_down, path_up, path_down } kind;
    NodeName peer;
    std::string device;             // path events
    runtime::TimePoint last_heard;  // the last valid heartbeat before it
};

class Cluster {
  public:
    struct Options {
        NodeName self;
        std::string software_version;
        std::size_t max_calls_in_flight = 256;  // per peer; more are refused with Code::failure
        runtime::SharedDisks* disks = nullptr;  // outlives this object; null: no DISK paths
        Protocol protocol = {};
    };
    Cluster(runtime::World world, Options options);
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;
    ~Cluster();

    /// Opens, keeps and closes paths so that exactly these exist. Errors (port taken) do not stop the other
    /// paths; they show in PathStatus::problem and are retried once per interval. A path that stays the same
    /// keeps its connection and state; a deleted one causes no event (Spec: CLU-061).
    void set_paths(const std::vector<config::Path>& paths);

    [[nodiscard]] PeerState peer_state(const NodeName& peer) const;
    [[nodiscard]] std::vector<NodeName> peers() const;
    [[nodiscard]] std::vector<NodeName> alive_peers() const;
    /// Whether calls can reach it: one of its TCP paths is ALIVE. A peer that only a DISK path keeps ALIVE is
    /// not dead, but nothing can be asked of it. Spec: CLU-052.
    [[nodiscard]] bool carries_calls(const NodeName& peer) const;
    [[nodiscard]] std::vector<PathStatus> paths() const;
    /// The longest interval, and the longest interval x misses, of this node's paths; zero without paths.
    struct Limits {
        runtime::Duration interval{};
        runtime::Duration patience{};
    };
    [[nodiscard]] Limits longest_limits() const;
    /// Whether every configured path has had interval x misses to come up since start or set_paths. Spec:
    /// CLU-127.
    [[nodiscard]] bool settled() const;

    using PeerHandler = std::function<void(const PeerEvent&)>;
    void on_peer_event(PeerHandler handler);  // any number of handlers

    /// Called when this process finds that it did not run for longer than a path's interval x misses
    /// (SIGSTOP, a frozen machine): its peers have probably declared it dead and may have taken over. No peer
    /// is declared dead for it; settled() is false until every path was confirmed again or had its time. A
    /// peer that had declared this node dead causes another comm_up when it hears it again.
    using AbsenceHandler = std::function<void(runtime::Duration absent)>;
    void on_absence(AbsenceHandler handler);
    /// Called when this process was late for a heartbeat by more than its interval, but not by so much that
    /// it counts as absence: the host is short of processor time or memory. Told once per occurrence. Spec:
    /// CLU-029.
    void on_late_heartbeat(AbsenceHandler handler);

    /// Calls `method` on a peer (or on this node itself) over the best ALIVE TCP path. Answers once, never on
    /// the caller's stack: the callee's result, or Code::unreachable when no path is ALIVE, the peer dies or
    /// restarts meanwhile or `deadline` passes; whether the method ran is unknown then. When a path dies the
    /// call moves to the next one and still runs at most once. Only the end of this object leaves calls
    /// unanswered. Spec: CLU-091, CLU-068.
    void call(const NodeName& peer, std::string_view method, std::string payload, runtime::Duration deadline,
              std::function<void(Result<std::string>)> done);
    runtime::Task<Result<std::string>> call(NodeName peer, std::string method, std::string payload,
                                            runtime::Duration deadline);
    /// One-way, best effort (configuration changes, notices).
    void notify(const NodeName& peer, std::string_view method, std::string payload);

    using Answer = std::function<void(Result<std::string>)>;
    /// Serves a method. `answer` may be called later; once.
    using Method = std::function<void(const NodeName& caller, std::string_view payload, Answer answer)>;
    void serve(const std::string& method, Method handler);

    /// What proves contact with a peer, over all its paths that ever were; by this node's monotonic clock.
    struct Contact {
        std::optional<runtime::TimePoint> last_heard;  // its last valid heartbeat
        /// When the newest of our heartbeats was sent that it has echoed: it heard us then or later.
        std::optional<runtime::TimePoint> confirmed;
    };
    [[nodiscard]] Contact contact(const NodeName& peer) const;

    /// The peer's wall clock minus ours, estimated from heartbeats; empty when no path has carried two yet.
    [[nodiscard]] std::optional<runtime::Duration> clock_offset(const NodeName& peer) const;
    /// The same with its uncertainty, half the round trip; after the loss of the last path, of its last
    /// heartbeats.
    [[nodiscard]] std::optional<ClockEstimate> clock_of(const NodeName& peer) const;
    /// The shortest recent round trip of a heartbeat on an ALIVE path.
    [[nodiscard]] std::optional<runtime::Duration> round_trip(const NodeName& peer) const;
    /// What was agreed on with the peer when it was last greeted; empty when never. Spec: CLU-256.
    [[nodiscard]] std::optional<Agreed> agreed_with(const NodeName& peer) const;
    [[nodiscard]] bool has_feature(const NodeName& peer, Feature feature) const;

    /// Asked for every connection, beside what the transport has proven: why the peer's certificate is not
    /// accepted (any more); empty when it is. Spec: CLU-099.
    using CertificateJudge = std::function<std::string(const runtime::PeerIdentity& peer)>;
    void judge_certificates(CertificateJudge judge);
    /// Judges the open connections again and closes those that are not accepted any more.
    void recheck_certificates();

    /// The software version that the peer told when it was last greeted; empty when never.
    [[nodiscard]] std::string software_of(const NodeName& peer) const;

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // callbacks hold it weakly: they may come after this object's end
};

}  // namespace understudy::comm
