#pragma once
// A change of several nodes as one: all of it is done or none.
//
//   lock -> prepare: every check -> journal -> step -> step -> step ... -> journal away
//           error: nothing                     |                  |
//           was changed                        | error or crash   | from `final_from` on: completed, at the
//                                              v                  v next start or when the node is back
//                                   taken back, last step first
//
// The journal is a file of the node that makes the change, written before each step. What cannot be reached
// stays in it and is tried again until it is done or its node is no member any more. Used by the changes of
// priorities and by the operations on hierarchies; one at a time in the cluster, by the admin lock.
//
// Threading: loop thread only.

#include "comm/cluster.h"
#include "config/database.h"
#include "daemons/locks.h"
#include "runtime/task.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace understudy::daemons {

/// What a node serves (comm::Cluster::serve). Both directions of a step must bear being done twice.
struct StepCall {
    std::string method;  // empty: nothing is done
    std::string payload;
};

struct TransactionStep {
    NodeName node;
    std::string text;  // what is done and why, for the preview, the log and errors
    StepCall call;
    StepCall back;  // takes it back
    /// An error that the node answers, but for Code::internal, means that it has changed nothing.
    bool atomic = true;
    /// It has no time limit; the end of the node or of its daemon ends the wait. Spec: CLU-142.
    bool runs_script = false;
};

struct Transaction {
    std::string what;  // "the extension of web.0 to right"
    std::vector<TransactionStep> steps;
    /// From this step on a crash does not take it back any more: it is completed.
    std::size_t final_from = 0;
    /// Whether an error from there on does not take it back either, unless it is the refusal of that first
    /// step.
    bool insists = true;
};

class TransactionService {
  public:
    using Prepare = std::function<runtime::Task<Result<Transaction>>()>;
    using Progress = std::function<void(std::string)>;

    /// `journal_file` must outlive the host's boot; its directory must exist.
    TransactionService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                       LockService& locks, std::string journal_file);
    TransactionService(const TransactionService&) = delete;
    TransactionService& operator=(const TransactionService&) = delete;
    ~TransactionService();

    /// Finishes what an earlier life has left.
    void start();
    /// Takes the admin lock under `identifier`, prepares, does the steps; `progress` gets each step's line
    /// before it is done. The error says what was taken back or will be completed. No steps: nothing to do.
    runtime::Task<Result<>> run(std::string identifier, Prepare prepare, Progress progress);
    /// Whether a change waits to be taken back or completed.
    [[nodiscard]] bool unfinished() const { return journal_.has_value(); }

  private:
    struct Journal {
        Transaction transaction;
        bool back = false;
        std::size_t next = 0;              // the step that may have begun; those before it are done
        std::vector<std::size_t> pending;  // with `back`: what is still to be taken back, last step first
    };
    Result<> load_journal();
    Result<> keep();
    Result<> forget();

    runtime::Task<Result<config::LockId>> lock(std::string identifier);
    runtime::Task<Result<>> carry_out(Progress progress);
    runtime::Task<Result<>> forward(Progress progress);
    runtime::Task<Result<>> end_after(Error error);
    void turn_back(std::size_t last);
    runtime::Task<Result<>> take_back();
    /// Brings the journal's change to its end, whichever that is now.
    runtime::Task<Result<>> finish();
    runtime::Task<void> resume();
    runtime::Task<Result<>> call(TransactionStep step, StepCall what);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    LockService& locks_;
    std::string journal_file_;
    std::optional<Journal> journal_;
    bool refused_ = false;  // the last error was an answer of the node
    bool running_ = false;
    std::string waits_for_;  // told already
    runtime::TaskScope tasks_;
};

/// "right: put web.0 ...", as progress and preview show a step.
std::string step_line(const TransactionStep& step);

}  // namespace understudy::daemons
