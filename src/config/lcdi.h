#pragma once
// The LCDI commands that need nothing but this node's database: app_*, typ_*, ins_*, dep_*, eqv_list,
// sys_list, flg_*, net_list. Pure apart from Database::commit. Each checks everything before it changes
// anything. eqv_create touches two nodes and sys_getst/net_list show live states; those take what they need
// as arguments.

#include "config/command.h"
#include "config/database.h"

#include <functional>
#include <optional>

namespace understudy::config {

/// Live facts that commands show and the database does not hold.
struct LiveView {
    std::function<std::string(const NodeName&)> node_state;  // "ALIVE", "DEAD", "UNKNOWN"
    /// state ("ALIVE"/"DEAD") and number of times the path went down, by device
    std::function<std::pair<std::string, int>(const std::string& device)> path_state;
    std::function<bool(const Tag&, const NodeName&)> in_service_elsewhere;  // equivalents, for CMD-077
    std::function<bool(const AppName&, const TypeName&, const std::string& action)>
        has_action;  // script exists
    std::int64_t now_s = 0;
    bool allow_fast_heartbeats = false;
};

/// nullopt when the command is not one of this group.
std::optional<Reply> run_lcdi(Database& database, const LiveView& live, const Command& command);

/// The half of eqv_create that one node does: checks or commits its own record. Spec: CMD-082, CMD-083.
Result<> check_equivalency(const NodeConfig& own, const Equivalency& equivalency);

}  // namespace understudy::config
