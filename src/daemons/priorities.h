#pragma once
// hry_setpri and `understudy priorities`: a transaction over all nodes of a hierarchy (transaction.h).
//
//   every member answers -> temporary values everywhere -> wanted values everywhere
//   or code 9, nothing      |  error or crash:             |  error: taken back
//   changed                 v  taken back                  v  crash: completed
//
// What cannot be reached is tried again when its node is back; until then the temporary values are visible
// and eqv_list shows them. Spec: CLU-097, CLU-110.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "config/priorities.h"
#include "daemons/transaction.h"
#include "runtime/task.h"

#include <functional>

namespace understudy::daemons {

class PriorityService {
  public:
    using Done = std::function<void(config::Reply)>;
    PriorityService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                    TransactionService& transactions);
    PriorityService(const PriorityService&) = delete;
    PriorityService& operator=(const PriorityService&) = delete;
    ~PriorityService();

    /// Serves the other nodes.
    void start();
    /// False when the command is neither.
    bool run(const config::Command& command, const Done& done);

  private:
    struct Request {
        Tag tag;
        std::map<NodeName, Priority> wanted;
    };
    [[nodiscard]] Result<Request> parse(const config::Command& command) const;

    runtime::Task<void> answer(Request request, Done done);
    runtime::Task<Result<Transaction>> prepare(Request request);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    TransactionService& transactions_;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::daemons
