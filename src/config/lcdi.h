#pragma once
// The LCDI commands that need nothing but this node's database: app_*, typ_*, ins_*, dep_*, eqv_list, sys_*,
// net_*, flg_*. Pure apart from Database::commit. Each checks everything before it changes anything.
//
// What concerns two nodes or runs scripts is done by the daemon with the helpers below: eqv_create and
// eqv_remove (parse, check each side, commit each side's record), ins_remove (the set and its order here,
// delete scripts there). lcdsync is Database::sync. `-d` is resolved by the daemon before it comes here.

#include "config/command.h"
#include "config/database.h"

#include <functional>
#include <optional>

namespace understudy::config {

/// Live facts that commands show and the database does not hold. Every function may be left empty; then nodes
/// other than this one are UNKNOWN, paths DEAD, equivalents looked up in the cached copies, and no action
/// exists.
struct LiveView {
    std::function<std::string(const NodeName&)> node_state;  // "ALIVE", "DEAD", "UNKNOWN"
    /// state ("ALIVE"/"DEAD") and number of times the path went down, by device
    std::function<std::pair<std::string, int>(const std::string& device)> path_state;
    /// Whether the instance with this tag on that other node is ISP or ISU, for CMD-077. Called with the tag
    /// it has there, for each equivalent.
    std::function<bool(const Tag&, const NodeName&)> in_service_elsewhere;
    std::function<bool(const AppName&, const TypeName&, const std::string& action)>
        has_action;  // script exists
    std::int64_t now_s = 0;
    bool allow_fast_heartbeats = false;
    /// What is wrong with the paths to the node, for sys_getds; empty when nothing is.
    std::function<std::string(const NodeName&)> node_reason = {};
    /// Whether the instance is a replicated volume (CMD-071). Empty: every filesys/volume is.
    std::function<bool(const Instance&)> is_replicated = {};
    /// Makes a directory below $LKROOT ("subsys/gen/actions"), for app_create and typ_create. Empty: none are
    /// made.
    std::function<Result<>(const std::string& below_lkroot)> make_directories = {};
};

/// nullopt when the command is not one of this group.
std::optional<Reply> run_lcdi(Database& database, const LiveView& live, const Command& command);

/// The path that net_create would define, checked against everything but the device itself: a DISK path's
/// device is looked at by the daemon, before it runs the command. Codes 2, 4, 5.
Result<Path> new_path(Database& database, const LiveView& live, const Command& command);

/// Whether `path` is the only one to its system, which shares resources with this one: without it neither can
/// take over from the other. Spec: CLU-061.
[[nodiscard]] bool is_last_path(const NodeConfig& own, const Path& path);

/// Two instances on two systems that are the same thing, as eqv_create and eqv_remove name them.
struct EquivalencyPair {
    NodeName system;
    Tag tag;
    Priority priority;
    NodeName other_system;
    Tag other_tag;
    Priority other_priority;
    [[nodiscard]] bool includes(const NodeName& node) const { return node == system || node == other_system; }
    /// The record that `node`, one of the two, keeps: itself in field 1. Spec: CMD-085.
    [[nodiscard]] Equivalency record_on(const NodeName& node) const;
};

/// The pair with its defaults (-s, -S: `self`; -p 1; -r 10). Spec: CMD-082, CMD-083. Codes 2, 5, 6.
Result<EquivalencyPair> parse_eqv_create(const Command& command, const NodeName& self);
/// The same for eqv_remove: -o defaults to the same tag; priorities have no meaning. Spec: CMD-086. Codes
/// 2, 5.
Result<EquivalencyPair> parse_eqv_remove(const Command& command, const NodeName& self);

/// The half of eqv_create that one node does: whether `own` may take its record of the pair. Both sides are
/// checked before either commits PutEquivalency{record}. Spec: CMD-082, CMD-083. Codes 4, 5, 6, 7.
Result<> check_equivalency(const NodeConfig& own, const Equivalency& equivalency);
/// The half of eqv_remove: code 7 when `own` has no such record; then commit the edit.
Result<DropEquivalency> equivalency_removal(const NodeConfig& own, const Equivalency& equivalency);

/// What ins_remove removes from this node, in order: dependents before what they need. Spec: CMD-066,
/// CMD-068. Codes 2, 7, 8.
Result<std::vector<Tag>> removal_set(const NodeConfig& own, const Command& command);
/// Drops an instance with its dependencies and this node's records of its equivalencies.
std::vector<Edit> removal_edits(const NodeConfig& own, const Tag& tag);

}  // namespace understudy::config
