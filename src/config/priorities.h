#pragma once
// Changing nodes' priorities for a whole hierarchy on all its nodes (manual: hry_setpri and the dialog of
// several servers). Pure: what has to be written where; the daemon (daemons/priorities.h) writes it.
//
// A priority stands in every record of a pair on both nodes. A change of several nodes would make two of them
// equal on the way, so each node's value is first set to a temporary one above 999, then to the wanted one.
// Spec: CLU-108, CLU-109, CLU-110.

#include "base/result.h"
#include "config/database.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace understudy::config {

/// The first temporary value; the n-th node of a change gets this plus n.
inline constexpr int kFirstTemporaryPriority = Priority::kMaxForPeople + 1;

/// As many nodes as there are temporary values.
inline constexpr std::size_t kMaxChangedPriorities = Priority::kMax - kFirstTemporaryPriority + 1;

/// Equivalent resources: each node's tag.
using EquivalentTags = std::map<NodeName, Tag>;
/// What a node's records say: by its own tag, the priority of each node.
using PriorityView = std::map<Tag, std::map<NodeName, Priority>>;

/// Sets a node's priority in the records that one node has of one resource.
struct PriorityWrite {
    Tag tag;        // on the node that writes
    NodeName node;  // whose priority
    Priority value;
    /// The write is skipped where the value is none of these; empty: any. Somebody else has repaired it then.
    std::vector<Priority> only_if;
    friend bool operator==(const PriorityWrite&, const PriorityWrite&) = default;
};
using PriorityWrites = std::map<NodeName, std::vector<PriorityWrite>>;  // by the node that writes

/// Everything that dependencies connect with `tag`, with what is equivalent to it; what is not extended is
/// left out. Code::not_found when there is no such resource.
Result<std::vector<EquivalentTags>> equivalent_hierarchy(const NodeConfig& own, const NodeName& self,
                                                         const Tag& tag);
/// What `own` says about these of its tags.
PriorityView view_priorities(const NodeConfig& own, const NodeName& self, const std::vector<Tag>& tags);

struct PriorityChange {
    std::vector<EquivalentTags> resources;
    std::map<NodeName, Priority> wanted;
    std::map<NodeName, PriorityView> before;  // by the node whose records they are

    [[nodiscard]] std::set<NodeName> members() const;
    /// Whether the change may be made: values 1 to 999 (message 133), no two nodes equal afterwards (message
    /// 134), every wanted node is a member.
    [[nodiscard]] Result<> check() const;
    /// One step: a wanted node's temporary value, everywhere.
    [[nodiscard]] PriorityWrites temporary(const NodeName& node) const;
    /// Its wanted value, where the temporary one is.
    [[nodiscard]] PriorityWrites final(const NodeName& node) const;
    /// Puts back what was there before, where it is still what this change has written.
    [[nodiscard]] PriorityWrites roll_back() const;

  private:
    [[nodiscard]] Priority temporary_of(const NodeName& node) const;
    [[nodiscard]] PriorityWrites everywhere(const NodeName& node, Priority value,
                                            const std::vector<Priority>& only_if) const;
};

/// The edits of one node's part. Code::not_found when it has no such resource.
Result<std::vector<Edit>> priority_edits(const NodeConfig& own, const NodeName& self,
                                         const std::vector<PriorityWrite>& writes);

}  // namespace understudy::config
