#pragma once
// Rules of this host's firewall follow its communication paths and the ports that load balancers ask, or a
// person is told what is closed; the rules themselves are `understudy firewall`, a program of its own. Spec:
// DEP-104. Threading: loop thread only.

#include "config/database.h"
#include "config/settings_file.h"
#include "daemons/node.h"
#include "runtime/task.h"

#include <set>
#include <string>

namespace understudy::daemons {

class FirewallFollower {
  public:
    FirewallFollower(runtime::World world, config::Database& database, const NodeOptions& options,
                     config::SettingsFile& settings)
        : world_(world), database_(database), options_(options), settings_(settings) {}
    FirewallFollower(const FirewallFollower&) = delete;
    FirewallFollower& operator=(const FirewallFollower&) = delete;
    ~FirewallFollower() = default;

    /// From here on, with FIREWALL=apply, rules follow when one of these is created or deleted.
    void start();
    /// With FIREWALL=warn: what this host's firewall drops that should come in, as a sentence; else empty.
    runtime::Task<std::string> warning();

  private:
    /// What of the configuration decides on ports and sources, in words.
    using Needs = std::set<std::string>;
    [[nodiscard]] Needs needs() const;
    runtime::Task<> follow();
    runtime::Task<Result<runtime::ProcessResult>> run(std::string action, std::string option);

    runtime::World world_;
    config::Database& database_;
    const NodeOptions& options_;
    config::SettingsFile& settings_;
    Needs known_;
    bool following_ = false;
    bool again_ = false;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::daemons
