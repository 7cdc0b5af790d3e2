#pragma once
// `understudy incident`: one page on each takeover, failover and move, joined from all reachable nodes'
// journals. Asks this host's mirrord when an incident begins and when the daemon starts, and lets the peers
// know how far asynchronous targets are behind: a dead source cannot tell any more.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "daemons/node.h"
#include "recovery/incident_report.h"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

namespace understudy::daemons {

class IncidentService {
  public:
    using Done = std::function<void(config::Reply)>;
    /// Asks this host's mirrord for the status of its mirrors (StatusService).
    using AskMirrors = std::function<void(std::function<void(Result<std::string>)>)>;
    IncidentService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                    AskMirrors ask_mirrors);
    IncidentService(const IncidentService&) = delete;
    IncidentService& operator=(const IncidentService&) = delete;
    ~IncidentService();
    void start();
    /// False when the command is not this one.
    bool run(const config::Command& command, const Done& done);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::daemons
