#pragma once
// ins_remove: instances with everything that depends on them, their delete scripts, and the records of them
// on their paired nodes. app_remove and typ_remove: those records too. Spec: CMD-058, CMD-066 to CMD-069,
// CMD-090, CLU-093. Threading: loop thread only.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "daemons/equivalency.h"
#include "recovery/engine.h"

#include <functional>
#include <set>

namespace understudy::daemons {

class RemovalService {
  public:
    using Done = std::function<void(config::Reply)>;
    RemovalService(runtime::World world, config::Database& database, recovery::Engine& engine,
                   EquivalencyService& equivalencies);
    RemovalService(const RemovalService&) = delete;
    RemovalService& operator=(const RemovalService&) = delete;
    /// False when the command is none of these.
    bool run(const config::Command& command, const Done& done);

  private:
    runtime::Task<> remove(config::Command command, Done done);
    runtime::Task<> remove_types(config::Command command, Done done);
    runtime::Task<std::string> drop_on_peers(std::vector<config::Equivalency> pairs);
    runtime::Task<config::Reply> remove_all(config::Command command, std::vector<Tag> tags);
    runtime::Task<config::Reply> remove_one(Tag tag);
    runtime::Task<config::Reply> global(std::string option);
    runtime::Task<config::Reply> run_delete(Tag tag);

    runtime::World world_;
    config::Database& database_;
    recovery::Engine& engine_;
    EquivalencyService& equivalencies_;
    /// Marks of removals that run: their delete scripts may call ins_remove -N. A mark lives no longer than
    /// the call that set it, so there is nothing to initialise for -I.
    std::set<Tag> being_removed_;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::daemons
