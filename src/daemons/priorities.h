#pragma once
// hry_setpri and `understudy priorities`: a transaction over all nodes of a hierarchy.
//
//   lock -> every member answers -> journal -> temporary values everywhere -> journal: final -> wanted values
//           or code 9, nothing                  |  error: put back                   |  error: put back
//           changed                             v                                    v
//
// The journal is a file of the node that makes the change. A node that died before "final" puts back what was
// there when it returns, one that died after it completes the change. What cannot be reached stays in the
// journal and is tried again when its node is back; until then the temporary values are visible and eqv_list
// shows them. Spec: CLU-097, CLU-110.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "config/priorities.h"
#include "daemons/locks.h"
#include "runtime/task.h"

#include <functional>
#include <memory>
#include <optional>

namespace understudy::daemons {

class PriorityService {
  public:
    using Done = std::function<void(config::Reply)>;
    /// `journal_file` must outlive the host's boot; its directory must exist.
    PriorityService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                    LockService& locks, std::string journal_file);
    PriorityService(const PriorityService&) = delete;
    PriorityService& operator=(const PriorityService&) = delete;
    ~PriorityService();

    /// Serves the other nodes and finishes what an earlier life has left.
    void start();
    /// False when the command is neither.
    bool run(const config::Command& command, const Done& done);
    /// Whether a change waits to be put back or completed.
    [[nodiscard]] bool unfinished() const { return journal_.has_value(); }

  private:
    enum class Phase { temporary, final, roll_back };
    struct Journal {
        Phase phase = Phase::temporary;
        config::PriorityChange change;
    };
    struct Request {
        Tag tag;
        std::map<NodeName, Priority> wanted;
    };
    [[nodiscard]] Result<Request> parse(const config::Command& command) const;
    void serve();
    Result<> load_journal();
    Result<> keep(Phase phase);
    Result<> forget_journal();

    runtime::Task<void> answer(Request request, Done done);
    runtime::Task<Result<>> change(Request request);
    runtime::Task<Result<>> prepare(Request request);
    runtime::Task<Result<>> carry_out();
    runtime::Task<Result<>> write_all(config::PriorityWrites writes);
    runtime::Task<Result<>> write_step(Phase phase);
    /// Brings the journal's change to its end, whichever that is now.
    runtime::Task<Result<>> finish();
    runtime::Task<void> resume();
    runtime::Task<Result<config::LockId>> lock(runtime::Duration wait);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    LockService& locks_;
    std::string journal_file_;
    std::optional<Journal> journal_;
    bool busy_ = false;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::daemons
