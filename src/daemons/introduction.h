#pragma once
// A communication path between every pair of nodes: for cascading failover each must reach each (Spec:
// CLU-045).
//
//   new ---"introduce me"---> member ---"accept new"---> every other living member P
//                                    <--P's ends of the paths--
//       <--P's ends, for each P----
//   new makes its own ends
//
// The member proposes the networks on which it reaches both. A port that is free at both ends is chosen by P,
// which knows its own and is told the other's. Asking again makes only what is missing. Threading: loop
// thread only.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "daemons/node.h"

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace understudy::daemons {

inline constexpr std::size_t kMaxPathsAtOnce = 8;  // that a node makes for one other

/// Ends at `member` of the paths that two peers of one node can have with each other, as far as that node can
/// tell: one for each network on which it reaches both (the same address of its own), best first; when there
/// is none, one over the best addresses. Heartbeats are those of the newcomer's path. Without ports. Pure.
std::vector<config::Path> paths_between(const std::vector<config::Path>& to_newcomer,
                                        const std::vector<config::Path>& to_member);

/// Creates one end of a path by the rules of net_create.
Result<> create_path(config::Database& database, const config::Settings& settings, const config::Path& path);

/// Makes this node's ends of the proposed paths, all or none. A port that is taken here or among `avoid` is
/// moved to the next free one; what exists already with the same addresses is kept and answered as it is.
/// Spec: DEP-216, CLU-100: a system entry comes with its first path.
Result<std::vector<config::Path>> accept_paths(config::Database& database, const config::Settings& settings,
                                               const NodeName& newcomer, std::vector<config::Path> proposed,
                                               const std::set<int>& avoid);

class Introduction {
  public:
    using Done = std::function<void(config::Reply)>;
    struct Outcome {
        std::vector<NodeName> connected;    // members to which this node has made paths
        std::vector<std::string> problems;  // members to which it could not, and why
    };

    Introduction(runtime::World world, config::Database& database, comm::Cluster& cluster,
                 const NodeOptions& options);
    void start();
    /// `understudy connect`. False when the command is another one.
    bool run(const config::Command& command, const Done& done);
    /// Waits until a member is ALIVE and has it introduce this node to the others.
    runtime::Task<Outcome> introduce();

  private:
    runtime::Task<> connect(Done done);
    runtime::Task<> present(NodeName newcomer, std::string payload, comm::Cluster::Answer answer);
    [[nodiscard]] Result<std::string> accept(const NodeName& caller, std::string_view payload);
    [[nodiscard]] std::string request() const;
    Result<> take(std::string_view answer, Outcome& outcome);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    const NodeOptions& options_;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::daemons
