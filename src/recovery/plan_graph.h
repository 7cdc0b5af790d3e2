#pragma once
// Inside the planner: the dependency graph of one node.

#include "config/model.h"

#include <unordered_map>
#include <utility>
#include <vector>

namespace understudy::recovery {

/// The dependency graph of one node, in dependency creation order.
class Graph {
  public:
    explicit Graph(const config::NodeConfig& config);
    [[nodiscard]] const std::vector<Tag>& children(const Tag& parent) const;
    [[nodiscard]] const std::vector<Tag>& parents(const Tag& child) const;
    /// Everything connected with `tag`, in creation order of the instances.
    [[nodiscard]] std::vector<Tag> connected(const Tag& tag) const;
    /// `tag` and everything above it; every resource before all it depends on. Spec: CMD-120.
    [[nodiscard]] std::vector<Tag> upward(const Tag& tag) const;
    /// All hierarchies: connected sets in creation order of their first member.
    [[nodiscard]] std::vector<std::vector<Tag>> hierarchies() const;
    /// Members in creation order that nothing depends on.
    [[nodiscard]] std::vector<Tag> roots_of(const std::vector<Tag>& hierarchy) const;
    /// `hierarchy` with every resource after all it depends on.
    [[nodiscard]] std::vector<Tag> children_first(const std::vector<Tag>& hierarchy) const;

  private:
    struct Member {
        std::uint64_t order = 0;
        std::vector<Tag> children;
        std::vector<Tag> parents;
    };
    [[nodiscard]] const Member* find(const Tag& tag) const;
    std::unordered_map<Tag, Member> members_;
};

}  // namespace understudy::recovery
