#pragma once
// Runs the quick and deep checks of what is in service on this node. Spec: CLU-147, CLU-162 to CLU-165,
// CLU-170 to CLU-174, CMD-073.
//
//   database commits ──> CheckSchedule ──due──> quickchk | deepchk of the kit ──non-zero──> Findings::failed
//                                          └─overdue──> recorded, ended ────────────────> Findings::timed_out
//
// A result counts only when nothing happened to the hierarchy meanwhile: it was not reserved, changed no
// state, and is not under maintenance. Threading: loop thread only.

#include "config/database.h"
#include "config/settings.h"
#include "recovery/check_schedule.h"
#include "recovery/scripts.h"
#include "runtime/task.h"

#include <functional>
#include <map>
#include <optional>
#include <string>

namespace understudy::recovery {

/// What a check found out about a resource that is ISP or ISU here.
struct CheckFinding {
    Tag tag;
    CheckKind kind = CheckKind::quick;
    std::string why;  // "quickchk failed with exit code 1: ..."
};

class Checks {
  public:
    struct Owner {
        /// The settings as they are now.
        std::function<const config::Settings&()> settings;
        /// Why nothing about `tag` may be checked or concluded at this moment; empty: it may.
        std::function<std::string(const Tag& tag)> hindered;
        std::function<void(CheckFinding)> failed;
        /// Told once a check has been ended for taking too long.
        std::function<void(CheckFinding)> timed_out;
    };
    /// The references outlive it. `log_directory` gets ResMonTimeout.log.
    Checks(runtime::World world, config::Database& database, Scripts& scripts, std::string log_directory,
           Owner owner);
    Checks(const Checks&) = delete;
    Checks& operator=(const Checks&) = delete;
    ~Checks();

    /// Checks what is in service from now on.
    void start();
    /// Nothing is started or concluded any more; what runs is ended.
    void stop();
    /// A commit of this node.
    void changed(const config::Change& change);
    /// The process stood still: what fell due meanwhile is left out, what ran concludes nothing.
    void stood_still();
    /// Checks it at the next opportunity: what was found has been overtaken by something else.
    void soon(const Tag& tag);

    [[nodiscard]] std::size_t watched() const { return schedule_.watched(); }
    [[nodiscard]] std::size_t running() const { return running_.size(); }

  private:
    struct Running {
        CheckKind kind = CheckKind::quick;
        bool concludes = true;  // nothing has happened to its hierarchy since it began
        bool overdue = false;
        std::optional<runtime::ProcessHandle> process;
    };
    struct Seen {
        config::State state = config::State::osu;
        config::Reservation reservation = config::Reservation::none;
    };
    void look_at(const config::Instance& instance);
    void forget(const Tag& tag);
    [[nodiscard]] bool in_maintenance(const Tag& tag) const;
    /// Checks that run for its hierarchy conclude nothing.
    void disturb(const Tag& tag);
    void wake();
    void arm();
    [[nodiscard]] std::optional<runtime::Duration> limit() const;
    runtime::Task<> check(Tag tag, CheckKind kind);
    /// The scripts of one slot, up to the first that fails. nullopt: healthy, or there is no script.
    runtime::Task<std::optional<std::string>> run_scripts(config::Instance instance, CheckKind kind);
    runtime::Task<> end_overdue(Tag tag, CheckKind kind);
    runtime::Task<> record(Tag tag, CheckKind kind);

    runtime::World world_;
    config::Database& database_;
    Scripts& scripts_;
    std::string log_;
    Owner owner_;
    CheckSchedule schedule_;
    std::map<Tag, Seen> seen_;
    std::map<Tag, Running> running_;
    bool active_ = false;
    std::optional<runtime::TimerId> timer_;
    runtime::TimePoint armed_for_;
    runtime::TaskScope scope_;  // last: its coroutines use everything above
};

}  // namespace understudy::recovery
