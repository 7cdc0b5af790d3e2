#pragma once
// Runs a plan: this node's steps run scripts here, a peer's steps are jobs that its engine runs on its own
// resources. A step starts when all it needs have succeeded; steps that need nothing of each other run at the
// same time. Spec: CLU-133 to CLU-142, CLU-191, CMD-116 to CMD-120. Threading: loop thread only.

#include "config/database.h"
#include "recovery/jobs.h"
#include "recovery/plan.h"
#include "recovery/reservations.h"
#include "recovery/scripts.h"

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace understudy::recovery {

/// Steps of one plan that run at the same time, at most.
inline constexpr std::size_t kMaxParallelSteps = 8;

struct StepOutcome {
    enum class Kind { not_reached, succeeded, failed, skipped } kind = Kind::not_reached;
    Error error;           // of failed and skipped
    bool stopped = false;  // skipped because the run was not to go on, not because of what it needs
};

struct Outcome {
    std::vector<StepOutcome> steps;  // as in the plan
    Result<> result;                 // the first failure in time, or success
};

class Executor {
  public:
    Executor(runtime::World world, config::Database& database, Scripts& scripts, Jobs& jobs,
             Reservations& reservations);

    struct Run {
        std::string operation;               // its reservations, see Reservations
        bool reserved = true;                // false: perform_action -n
        std::vector<std::string> arguments;  // of the caller, handed to every script unchanged
        /// Asked before every step; an error ends the run before it. May be empty.
        std::function<Result<>()> may_go_on;
        /// The caller plans again what was stopped by may_go_on: its recorded state stays as it is.
        bool comes_again = false;
        std::string incident = {};  // of which the steps are facts; may be empty
        NodeName taken_for = {};    // whose operation takes out of service what is in service here
    };
    runtime::Task<Outcome> execute(Plan plan, Run run);

    /// Called for every step of execute() that ended, failed, or was not tried; `took` is its own time.
    using Observer = std::function<void(const Run& run, const Step& step, runtime::Duration took,
                                        const StepOutcome& outcome)>;
    void on_step(Observer observer) { observer_ = std::move(observer); }

    /// One step on this node's own resources. The state and reason are stored here and nowhere else.
    runtime::Task<Result<>> local(Step step, Run run);
    /// Whether a script of `tag`, or of what is above or below it, runs here now, reserved or not.
    [[nodiscard]] bool works_near(const Tag& tag) const;

  private:
    struct Progress;
    runtime::Task<> take(Progress& progress, std::size_t index);
    void start_ready(Progress& progress);
    void ended(Progress& progress, std::size_t index, runtime::Duration took, Result<> result);
    void skipped(Progress& progress, std::size_t index, const Error& why, bool stopped);
    runtime::Task<Result<>> remote(Step step, Run run);
    runtime::Task<Result<>> script(Step step, config::Instance instance, Run run);

    runtime::World world_;
    config::Database& database_;
    Scripts& scripts_;
    Jobs& jobs_;
    Reservations& reservations_;
    Observer observer_;
    std::multiset<Tag> working_;  // tags whose scripts run
};

/// The command of a remote step, and back. Errors: malformed.
config::Command to_command(const Step& step, const Executor::Run& run);
Result<std::pair<Step, Executor::Run>> step_of(const NodeName& self, const config::Command& command);
inline constexpr std::string_view kStepMethod = "recovery.step";

}  // namespace understudy::recovery
