#pragma once
// Maintenance: checks and everything automatic are suspended for a resource, a hierarchy or a node, by flags
// of the database. Pure. Spec: CLU-170, CLU-171, CLU-220.
//
//   Maintenance_TAG               the resource TAG, on the node whose database it is in
//   !maintenance!node!NODE        the node NODE, in the database of every node
//   !maintenance!why!...          who, when, why and until when: for people, and for the end by itself
//
// A flag Maintenance_TAG that somebody made with flg_create counts as well; nobody is named for it then.

#include "base/types.h"
#include "config/edit.h"
#include "config/model.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace understudy::config {

struct Maintenance {
    bool node = false;  // subject is a node, otherwise a tag
    std::string subject;
    std::int64_t since_s = 0;  // seconds since 1970; 0: unknown
    std::int64_t until_s = 0;  // 0: until somebody ends it
    std::string who;           // "root@left"; empty: unknown
    std::string why;
    friend bool operator==(const Maintenance&, const Maintenance&) = default;
};

/// Longer reasons are cut: all of it is a flag's name.
inline constexpr std::size_t kMaxMaintenanceReason = 60;

FlagName maintenance_flag(const Tag& tag);
FlagName node_maintenance_flag(const NodeName& node);
/// The flag for people, and back; nullopt for any other flag.
FlagName reason_flag(const Maintenance& maintenance);
std::optional<Maintenance> maintenance_of(const FlagName& flag);

/// Whether checks and recovery of `tag` are suspended on the node that owns `config`: no check runs, no event
/// of it is acted upon.
bool in_maintenance(const NodeConfig& config, const NodeName& owner, const Tag& tag);
/// Whether nothing automatic happens on `node` or because of its loss, as `config` (of any node) has it.
bool node_in_maintenance(const NodeConfig& config, const NodeName& node);
/// Whether the hierarchy with these roots is not to be moved automatically: one of them is in maintenance.
bool hierarchy_in_maintenance(const NodeConfig& config, const std::vector<Tag>& roots);

/// All of it in one database, by subject.
std::vector<Maintenance> maintenances(const NodeConfig& config);
/// What begins it in one database; for a tag with everything that `tags` names. A former reason goes.
std::vector<Edit> begin_maintenance(const NodeConfig& config, const Maintenance& maintenance,
                                    const std::vector<Tag>& tags);
/// What ends it; nothing when there is none.
std::vector<Edit> end_maintenance(const NodeConfig& config, bool node, const std::string& subject,
                                  const std::vector<Tag>& tags);

}  // namespace understudy::config
