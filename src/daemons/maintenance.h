#pragma once
// `understudy maintenance on|off|list`: the flags of config/maintenance.h on every node that they concern, on
// all or on none, with an end by itself when one was asked for.
//
//   every node concerned answers "ready" --> each writes --> one fails: those that wrote take it back
//
// A node that dies in between keeps what it has; `list` shows on which nodes it is, and the command can be
// given again. Spec: CLU-171.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "config/maintenance.h"
#include "runtime/task.h"

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>

namespace understudy::daemons {

class MaintenanceService {
  public:
    using Done = std::function<void(config::Reply)>;
    MaintenanceService(runtime::World world, config::Database& database, comm::Cluster& cluster);
    MaintenanceService(const MaintenanceService&) = delete;
    MaintenanceService& operator=(const MaintenanceService&) = delete;
    ~MaintenanceService();
    /// Serves the other nodes, and ends what is over.
    void start();
    /// False when the command is not this one.
    bool run(const config::Command& command, const Done& done);

  private:
    struct Wanted {
        bool on = false;
        config::Maintenance maintenance;
        std::map<NodeName, std::vector<Tag>> tags;  // by node that it concerns; none for a node's
    };
    Result<Wanted> parse(const config::Command& command) const;
    runtime::Task<> answer(Wanted wanted, bool force, Done done);
    runtime::Task<Result<>> everywhere(std::vector<NodeName> nodes, Wanted wanted);
    /// One phase of one node's part; `flags` for putting back.
    runtime::Task<Result<std::string>> ask(NodeName node, std::string phase, Wanted wanted,
                                           std::vector<std::string> flags);
    struct Request {
        std::string phase;
        bool on = false;
        config::Maintenance maintenance;
        std::vector<Tag> tags;
        std::vector<FlagName> flags;  // to put back
    };
    static Result<Request> parse_request(std::string_view payload);
    Result<std::string> serve_here(const Request& request);
    void end_what_is_over();

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
    runtime::TaskScope scope_;
};

/// "web.0 since 2026-11-28 12:00:00 by root@left until ...: why", for status and list.
std::string describe(const config::Maintenance& maintenance);

/// What is in maintenance, as a node's database and its copies of the peers' have it. Each entry: subject,
/// node (true: it is one), since, until (seconds since 1970, 0: open), who, why, on (nodes), text.
nlohmann::json known_maintenance(const config::Database& database);

}  // namespace understudy::daemons
