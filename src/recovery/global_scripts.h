#pragma once
// Global pre and post scripts: what the core and every application want to run once before and after an
// operation, whatever resource it is about (lcdrecover). Spec: CMD-034 to CMD-038, CMD-101, CMD-118.
//
//   before("restore")   flag !restore, then prerestore of admin/core/actions and of each subsys/<app>/actions
//   before_on(peer, "remove")   the same on every peer that something is taken from, flag !remove!<peer>
//   ... the operation ...
//   after("restore")    postrestore in the same order, the flag goes
//   after_on_peers("remove")    the peers' postremove, their flags go
//
// A flag that is left over (a daemon died in between) is repaired with `lcdrecover -G`. A script that fails
// is reported when all have run; it keeps no operation from going on. Threading: loop thread only.

#include "config/command.h"
#include "config/database.h"
#include "recovery/jobs.h"
#include "recovery/scripts.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace understudy::recovery {

/// First argument of scripts that run while their caller holds the admin lock.
inline constexpr std::string_view kInsideLock = "-m";

class GlobalScripts {
  public:
    /// The references outlive it.
    GlobalScripts(runtime::World world, config::Database& database, Scripts& scripts, Jobs& jobs);
    /// Serves the peers' requests.
    void serve();

    using Release = std::function<void()>;
    /// Takes the cluster-wide admin lock; `granted` runs once, never on the caller's stack.
    using AdminLock = std::function<void(std::function<void(Result<Release>)> granted)>;
    /// The post-scripts of restore run under this lock unless their first argument is -m. Spec: CMD-037.
    void set_admin_lock(AdminLock lock) { lock_ = std::move(lock); }

    using Arguments = std::vector<std::string>;
    /// Runs the pre-scripts of "restore", "remove" or "delete". The value: whether there was any.
    runtime::Task<Result<bool>> before(std::string action, Arguments arguments);
    /// Runs the post-scripts; once for each before().
    runtime::Task<Result<>> after(std::string action, Arguments arguments);
    /// Runs the pre-scripts on a peer and remembers in a flag that its post-scripts are owed.
    runtime::Task<Result<>> before_on(NodeName peer, std::string action);
    /// Has the post-scripts run on every peer that a flag names; a flag stays when its peer cannot do it.
    runtime::Task<Result<>> after_on_peers(std::string action, Arguments arguments);
    /// The command lcdrecover with -g or -G. Codes 1, 2.
    runtime::Task<config::Reply> lcdrecover(config::Command command);

  private:
    runtime::Task<Result<bool>> run_all(std::string name, Arguments arguments);
    runtime::Task<Result<bool>> run_post(std::string action, Arguments arguments);
    /// `on_peers`: the post-scripts that peers are owed as well.
    runtime::Task<Result<>> repair(std::string action, Arguments arguments, bool on_peers);
    /// What lcdrecover does, here or asked by a peer.
    runtime::Task<config::Reply> run_command(bool pre, std::string action, Arguments arguments,
                                             bool on_peers);
    runtime::Task<config::Reply> serve_request(NodeName caller, config::Command command);
    [[nodiscard]] std::vector<NodeName> owed(const std::string& action) const;

    config::Database& database_;
    Scripts& scripts_;
    Jobs& jobs_;
    runtime::Tasks& tasks_;
    AdminLock lock_;
    std::map<std::string, int> open_;  // operations between before() and after(), by action
};

/// "!restore", and "!restore!nodeA" for a peer's. Spec: CMD-101.
FlagName global_flag(const std::string& action);
FlagName global_flag(const std::string& action, const NodeName& peer);

}  // namespace understudy::recovery
