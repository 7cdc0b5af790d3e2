#pragma once
// `understudy init`, `token`, `join`: how a host becomes a node, and how a node lets another in. Spec:
// DEP-216.

#include "comm/enrolment.h"
#include "config/command.h"
#include "config/database.h"
#include "daemons/credentials.h"
#include "daemons/introduction.h"
#include "daemons/node.h"

#include <functional>
#include <memory>

namespace understudy::daemons {

class Membership {
  public:
    using Done = std::function<void(config::Reply)>;
    Membership(runtime::World world, config::Database& database, Introduction& introduction,
               const Credentials& credentials, const NodeOptions& options);
    Membership(const Membership&) = delete;
    Membership& operator=(const Membership&) = delete;
    /// Serves enrolment when this node belongs to a cluster.
    void start();
    /// False when the command is not one of these.
    bool run(const config::Command& command, const Done& done);

  private:
    config::Reply init(const config::Command& command);
    config::Reply token(const config::Command& command);
    runtime::Task<void> join(config::Command command, Done done);
    Result<> listen();
    Result<std::vector<config::Path>> wanted_paths(const config::Command& command) const;

    runtime::World world_;
    config::Database& database_;
    Introduction& introduction_;
    const NodeOptions& options_;
    comm::EnrolmentService enrolment_;
    runtime::TaskScope tasks_;
    bool listening_ = false;
};

}  // namespace understudy::daemons
