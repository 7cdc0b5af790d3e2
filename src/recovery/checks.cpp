#include "recovery/checks.h"

#include "config/maintenance.h"
#include "messages/messages.h"
#include "recovery/plan.h"

#include <fmt/chrono.h>

#include <algorithm>

namespace understudy::recovery {
namespace {

constexpr std::string_view kMemoryReport = "memory-report";
constexpr runtime::Duration kReportLimit = std::chrono::seconds(10);
constexpr std::size_t kMaxLogBytes = 4UL << 20;

CheckSchedule::Intervals intervals_of(const config::Instance& instance) {
    return {std::chrono::seconds(instance.quick_interval_s), std::chrono::seconds(instance.deep_interval_s)};
}

}  // namespace

Checks::Checks(runtime::World world, config::Database& database, Scripts& scripts, std::string log_directory,
               Owner owner)
    : world_(world),
      database_(database),
      scripts_(scripts),
      log_(std::move(log_directory) + "/ResMonTimeout.log"),
      owner_(std::move(owner)) {}

Checks::~Checks() {
    if (timer_) world_.tasks.cancel(*timer_);
}

void Checks::start() {
    active_ = true;
    for (const auto& [tag, instance] : database_.own().instances)
        look_at(instance);
    arm();
}

void Checks::stop() {
    active_ = false;
    if (timer_) world_.tasks.cancel(*timer_);
    timer_.reset();
    for (auto& [tag, running] : running_) {
        running.concludes = false;
        if (running.process) world_.processes.kill(*running.process);
    }
}

void Checks::changed(const config::Change& change) {
    if (!active_ || change.owner != database_.self()) return;
    for (const auto& edit : change.edits) {
        if (const auto* put = std::get_if<config::PutInstance>(&edit))
            // The record as it is now: a later commit may have changed it already.
            if (const auto* instance = database_.own().find(put->instance.tag)) look_at(*instance);
        if (const auto* drop = std::get_if<config::DropInstance>(&edit)) forget(drop->tag);
    }
    arm();
}

void Checks::look_at(const config::Instance& instance) {
    const Seen now{instance.state, instance.reservation};
    const auto [at, added] = seen_.try_emplace(instance.tag, now);
    if (!added && (at->second.state != now.state || at->second.reservation != now.reservation))
        disturb(instance.tag);
    at->second = now;
    if (is_in_service(instance.state))
        schedule_.watch(instance.tag, intervals_of(instance), world_.clock.now());
    else
        schedule_.forget(instance.tag);
}

/// Spec: CLU-170, CLU-171
bool Checks::in_maintenance(const Tag& tag) const {
    return config::in_maintenance(database_.own(), database_.self(), tag);
}

void Checks::forget(const Tag& tag) {
    seen_.erase(tag);
    schedule_.forget(tag);
    disturb(tag);
}

void Checks::disturb(const Tag& tag) {
    const auto& own = database_.own();
    for (auto& [running_tag, running] : running_)
        if (running_tag == tag || own.reaches(tag, running_tag) || own.reaches(running_tag, tag))
            running.concludes = false;
}

void Checks::stood_still() {
    if (!active_) return;
    for (auto& [tag, running] : running_)
        running.concludes = false;
    schedule_.skip_missed(world_.clock.now());
    arm();
}

void Checks::soon(const Tag& tag) {
    if (!active_) return;
    schedule_.soon(tag, world_.clock.now());
    arm();
}

std::optional<runtime::Duration> Checks::limit() const {
    const auto seconds = owner_.settings().integer("RESMON_CHECK_TIMEOUT");
    if (seconds == config::Settings::kAutomatic) return std::nullopt;
    return std::chrono::seconds(seconds);
}

void Checks::arm() {
    const auto next = schedule_.next();
    if (timer_ && next && *next >= armed_for_) return;  // it wakes early enough, and arms anew
    if (timer_) world_.tasks.cancel(*timer_);
    timer_.reset();
    if (!active_ || !next) return;
    armed_for_ = *next;
    timer_ = world_.tasks.after(std::max(*next - world_.clock.now(), runtime::Duration{}), [this] {
        timer_.reset();
        wake();
    });
}

void Checks::wake() {
    const auto now = world_.clock.now();
    for (const auto& check : schedule_.overdue(now))
        scope_.spawn(end_overdue(check.tag, check.kind));
    for (auto& check : schedule_.due(now, limit()))
        scope_.spawn(this->check(std::move(check.tag), check.kind));
    arm();
}

runtime::Task<> Checks::check(Tag tag, CheckKind kind) {
    std::optional<std::string> failure;
    Running outcome{kind, false, false, std::nullopt};
    const auto* instance = database_.own().find(tag);
    if (instance != nullptr && is_in_service(instance->state) && !in_maintenance(tag) &&
        owner_.hindered(tag).empty()) {
        running_[tag] = Running{kind, true, false, std::nullopt};
        failure = co_await run_scripts(*instance, kind);
        outcome = running_.at(tag);
        running_.erase(tag);
    }
    schedule_.ended(tag, world_.clock.now());
    if (!active_) co_return;
    arm();
    if (outcome.overdue) {
        if (outcome.concludes)
            owner_.timed_out({tag, kind, fmt::format("{} took too long", to_string(kind))});
        co_return;
    }
    if (!failure) co_return;
    instance = database_.own().find(tag);
    if (instance == nullptr || !is_in_service(instance->state)) co_return;
    auto hindrance = owner_.hindered(tag);
    if (!outcome.concludes) hindrance = "its hierarchy changed meanwhile";
    if (in_maintenance(tag)) hindrance = "it is under maintenance";
    if (!hindrance.empty()) {
        messages::info("{}: {}, which is ignored: {}", tag.str(), *failure, hindrance);
        co_return;
    }
    owner_.failed({tag, kind, std::move(*failure)});
}

runtime::Task<std::optional<std::string>> Checks::run_scripts(config::Instance instance, CheckKind kind) {
    std::vector<CheckKind> kinds{kind};
    // The quick check may have been left out in this slot for a deep one that the kit does not have.
    if (kind == CheckKind::deep && instance.quick_interval_s > 0 &&
        (scripts_.deep_needs_quick(instance.app, instance.type) ||
         scripts_.find(instance.app, instance.type, "deepchk").empty()))
        kinds.insert(kinds.begin(), CheckKind::quick);
    for (const auto one : kinds) {
        const std::string action(to_string(one));
        const auto path = scripts_.find(instance.app, instance.type, action);
        if (path.empty()) continue;
        std::vector<std::string> arguments{"-t", instance.tag.str(), "-i", instance.id.str()};
        const Scripts::Started started = [this, tag = instance.tag](runtime::ProcessHandle process) {
            if (const auto at = running_.find(tag); at != running_.end()) at->second.process = process;
        };
        const auto ran = co_await scripts_.run(instance.tag, action, path, std::move(arguments), started);
        auto& running = running_.at(instance.tag);
        running.process.reset();
        if (!ran) {
            // That it cannot be found out says nothing about the resource. Spec: CLU-160
            messages::warning("{} is not checked: {}", instance.tag.str(), ran.error().text);
            co_return std::nullopt;
        }
        if (ran->exit_code != 0)
            co_return fmt::format("{} failed with exit code {}{}{}", action, ran->exit_code,
                                  ran->last_lines.empty() ? "" : ": ", ran->last_lines);
        if (running.overdue) break;
    }
    co_return std::nullopt;
}

runtime::Task<> Checks::end_overdue(Tag tag, CheckKind kind) {
    const auto before = running_.find(tag);
    if (before == running_.end()) co_return;
    before->second.overdue = true;
    messages::warning("{} of {} takes too long and is ended", to_string(kind), tag.str());
    if (owner_.settings().boolean("ResMon_RecordTimeout")) co_await record(tag, kind);
    // Looked up again: it may have ended while its time-out was recorded.
    const auto at = running_.find(tag);
    if (at != running_.end() && at->second.overdue && at->second.process)
        world_.processes.kill(*at->second.process);
}

runtime::Task<> Checks::record(Tag tag, CheckKind kind) {
    const auto time = std::chrono::floor<std::chrono::seconds>(world_.clock.wall());
    auto entry =
        fmt::format("{:%Y-%m-%d %H:%M:%S} {} of {} took too long\n",
                    fmt::gmtime(std::chrono::system_clock::to_time_t(time)), to_string(kind), tag.str());
    if (const auto report = scripts_.core(std::string(kMemoryReport));
        !report.empty() && owner_.settings().boolean("ResMon_RecordMemory")) {
        runtime::ProcessSpec spec;
        spec.path = report;
        spec.environment = scripts_.environment();
        spec.limit = kReportLimit;
        const runtime::OneShot<Result<runtime::ProcessResult>> ended(world_.tasks);
        world_.processes.start(
            spec, {}, [ended](Result<runtime::ProcessResult> result) { ended.set(std::move(result)); });
        const auto memory = co_await ended;
        if (memory) entry += memory->output;
    }
    if (const auto logged = world_.files.append(log_, entry, kMaxLogBytes); !logged)
        messages::warning("{}", logged.error().text);
}

}  // namespace understudy::recovery
