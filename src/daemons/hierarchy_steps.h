#pragma once
// What every node does for an operation on a hierarchy: says what it has, changes its own records, runs the
// scripts of its kits. Both directions of a step bear being done twice. Threading: loop thread only.

#include "comm/cluster.h"
#include "config/database.h"
#include "config/hierarchy.h"
#include "daemons/transaction.h"
#include "recovery/engine.h"
#include "recovery/scripts.h"
#include "runtime/task.h"

#include <map>
#include <string>

namespace understudy::daemons {

inline constexpr std::string_view kHierarchyFacts = "hierarchy.facts";
inline constexpr std::string_view kHierarchyRecords = "hierarchy.records";
inline constexpr std::string_view kHierarchyScript = "hierarchy.script";

/// Who asked, for the history of the nodes.
struct AskedBy {
    std::string user;
    std::string command;
};

class HierarchySteps {
  public:
    using Answer = std::function<void(Result<std::string>)>;
    HierarchySteps(runtime::World world, config::Database& database, comm::Cluster& cluster,
                   recovery::Engine& engine, recovery::Scripts scripts);
    HierarchySteps(const HierarchySteps&) = delete;
    HierarchySteps& operator=(const HierarchySteps&) = delete;

    void start();
    /// This node's facts, as peers get them.
    [[nodiscard]] std::string facts() const;

  private:
    void change_records(const NodeName& caller, std::string_view payload, const Answer& answer);
    runtime::Task<> run_script(config::Command command, Answer answer);
    runtime::Task<Result<>> kit_action(config::Command command);
    runtime::Task<Result<>> engine_action(config::Command command);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    recovery::Engine& engine_;
    recovery::Scripts scripts_;
    std::map<Tag, std::string> running_;  // its action: what is taken back waits for what still runs
    runtime::TaskScope tasks_;
};

/// Code::internal on malformed input.
Result<config::NodeFacts> decode_facts(std::string_view data);
/// The step as the transaction does it.
TransactionStep to_transaction(const config::HierarchyStep& step, const AskedBy& asked);

}  // namespace understudy::daemons
