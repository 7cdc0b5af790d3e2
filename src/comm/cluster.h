#pragma once
// Communication between nodes (manual: LCM): paths, heartbeats, node states, remote calls.
//
//   node A  ==path TCP:1500 (priority 1)==  node B      heartbeats on every path, calls on the best ALIVE one
//           ==path TCP:1510 (priority 2)==
//
// Every path is one TLS connection: the node whose name sorts first dials, the other listens on the path's
// port. Liveness is decided by PathMonitor (a state machine without I/O); this class is its driver.
// Threading: loop thread only.

#include "base/result.h"
#include "config/model.h"
#include "runtime/task.h"
#include "runtime/world.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::comm {

enum class PathState { dead, alive };
enum class PeerState { unknown, alive, dead };  // unknown: never seen since start
std::string_view to_string(PathState state);    // "ALIVE" ...
std::string_view to_string(PeerState state);

struct PathStatus {
    config::Path path;
    PathState state = PathState::dead;
    int times_down = 0;
    std::string problem;  // why it is not up, for a person; empty when ALIVE
};

/// COMM_UP: the first path to a peer came ALIVE. COMM_DOWN: the last one went DEAD. Spec: CLU-078, CLU-079.
struct PeerEvent {
    enum class Kind { comm_up, comm_down, path_up, path_down } kind;
    NodeName peer;
    std::string device;             // path events
    runtime::TimePoint last_heard;  // the last valid heartbeat before it
};

inline constexpr int kProtocolMajor =
    1;  // peers of another major version are refused (spec: cluster-core, row 23)
inline constexpr int kProtocolMinor = 0;

class Cluster {
  public:
    struct Options {
        NodeName self;
        std::string software_version;
        std::size_t max_calls_in_flight = 256;  // per peer; more are refused with Code::failure
    };
    Cluster(runtime::World world, Options options);
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;
    ~Cluster();

    /// Opens, keeps and closes paths so that exactly these exist. Errors (port taken) do not stop the other
    /// paths; they show in PathStatus::problem and are retried once per interval.
    void set_paths(const std::vector<config::Path>& paths);

    [[nodiscard]] PeerState peer_state(const NodeName& peer) const;
    [[nodiscard]] std::vector<NodeName> peers() const;
    [[nodiscard]] std::vector<NodeName> alive_peers() const;
    [[nodiscard]] std::vector<PathStatus> paths() const;
    /// Whether every configured path has had interval x misses to come up since start or set_paths. Spec:
    /// CLU-127.
    [[nodiscard]] bool settled() const;

    using PeerHandler = std::function<void(const PeerEvent&)>;
    void on_peer_event(PeerHandler handler);  // any number of handlers

    /// Calls `method` on a peer over the best ALIVE TCP path. Always answers: the callee's result, or
    /// Code::unreachable when no path is ALIVE, the peer dies meanwhile or `deadline` passes. Spec: CLU-091.
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

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::comm
