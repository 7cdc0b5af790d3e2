#pragma once
// lcdremexec and lcdrcp: a command, or a file, for another node, over the communication paths. Kits use them
// for every step that concerns another node. Spec: CMD-031 to CMD-033, CMD-041 to CMD-044.
//
//   client --> this node --"remote.exec"/"remote.copy"--> the other: sh -c in $LKROOT / atomic write
//
// Only members of the cluster are served: what they ask for runs as root. Threading: loop thread only.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "daemons/node.h"

#include <functional>
#include <map>
#include <memory>

namespace understudy::daemons {

/// Commands of other nodes, and of this one's callers, that run here at one time, at most.
inline constexpr std::size_t kMaxRemoteCommands = 64;
/// Of each of standard output and standard error; more is left out, and the caller is told.
inline constexpr std::size_t kMaxRemoteOutput = 4UL << 20;

class RemoteCommands {
  public:
    using Done = std::function<void(config::Reply)>;
    /// `environment` is what every command gets; everything outlives it.
    RemoteCommands(runtime::World world, config::Database& database, comm::Cluster& cluster,
                   const NodeOptions& options, std::map<std::string, std::string> environment);
    RemoteCommands(const RemoteCommands&) = delete;
    RemoteCommands& operator=(const RemoteCommands&) = delete;
    ~RemoteCommands();

    void start();
    /// False when the command is not one of these.
    bool run(const config::Command& command, const Done& done);

  private:
    void serve(const std::string& method, void (RemoteCommands::*here)(const config::Command&, const Done&));
    void send(const NodeName& to, const std::string& method, const config::Command& command,
              runtime::Duration limit, const Done& done);
    void execute_here(const config::Command& command, const Done& done);
    void copy_here(const config::Command& command, const Done& done);
    [[nodiscard]] runtime::Duration limit() const;  // REMOTETIMEOUT

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    const NodeOptions& options_;
    std::map<std::string, std::string> environment_;
    std::size_t running_ = 0;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy::daemons
