// A resource that fails while its node lives: local recovery, then resource failover. Spec: CLU-118, CLU-141,
// CLU-166, CLU-167, CLU-173, CLU-176 to CLU-180, CMD-130.
//
//   failed check, event, check that took too long
//        │  reserved RECOVER, event 130
//        ├── recover exits 0 ──> stays ISP, event 132
//        └── else ──> OSF, event 131 ──> the hierarchy is taken out of service here ──> the next node by
//                     priority is asked to bring it in service (recovery.failed), then the one after it ...
//
// The flag !recover!<tag> lies in the database from the beginning to the end: a daemon that died in between
// takes up what it finds at its next start.

#include "base/text.h"
#include "config/maintenance.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

constexpr std::string_view kRecoveringPrefix = "!recover!";
constexpr std::string_view kMonitor = "LK:resmon";
constexpr std::string_view kRebootScript = "reboot-host";
constexpr runtime::Duration kLookAgain = std::chrono::seconds(2);

FlagName recovering_flag(const Tag& tag) {
    return FlagName(std::string(kRecoveringPrefix) + tag.str());
}

std::vector<std::string> names(const std::vector<Tag>& tags) {
    std::vector<std::string> result;
    for (const auto& tag : tags)
        result.push_back(tag.str());
    return result;
}

/// The uppermost of what ran here, under the names that it has on `node`.
std::vector<Tag> wanted_on(const config::NodeConfig& own, const std::set<Tag>& ran, const NodeName& node) {
    const auto there = [&](const Tag& tag) -> Tag {
        if (!ran.contains(tag)) return {};
        for (const auto& pair : own.equivalents(tag))
            if (pair.other_node == node) return pair.other_tag;
        return {};
    };
    std::vector<Tag> wanted;
    for (const auto& tag : ran) {
        const auto name = there(tag);
        if (name.empty()) continue;
        const auto parents = own.parents(tag);
        if (std::none_of(parents.begin(), parents.end(), [&](const Tag& p) { return !there(p).empty(); }))
            wanted.push_back(name);
    }
    return wanted;
}

}  // namespace

/// What a resource goes through from its failure to its end; one at a time in a hierarchy.
class Engine::Impl::Episode {
  public:
    Episode(Impl& impl, Tag tag) : impl_(impl), tag_(std::move(tag)) {
        impl_.episodes[tag_] = number_ = ++impl_.last_episode;
    }
    Episode(const Episode&) = delete;
    Episode& operator=(const Episode&) = delete;
    ~Episode() { impl_.episodes.erase(tag_); }
    [[nodiscard]] std::uint64_t number() const { return number_; }

  private:
    Impl& impl_;
    Tag tag_;
    std::uint64_t number_ = 0;
};

const config::Settings& Engine::Impl::settings_now() const {
    return options.settings_now ? options.settings_now() : settings_at_start;
}

std::string Engine::Impl::hindered(const Tag& tag) const {
    if (!ready) return "the engine is starting";
    if (stopping) return "the engine is stopping";
    if (looking_again) return "this node stood still and looks at the cluster again";
    if (reservations.held_by_other(tag, {})) return "its hierarchy is reserved";
    if (executor.works_near(tag)) return "a script of its hierarchy runs";
    if (!episodes.empty())
        for (const auto& member : hierarchy_of(database.own(), tag))
            if (episodes.contains(member)) return fmt::format("{} is being recovered", member.str());
    return {};
}

void Engine::Impl::check_failed(const CheckFinding& finding) {
    const auto* instance = database.own().find(finding.tag);
    if (instance == nullptr) return;
    messages::error("{}: {}", finding.tag.str(), finding.why);
    EventReport report{instance->type.str(), std::string(to_string(finding.kind)) + "_failed",
                       std::string(kMonitor), finding.tag.str()};
    report.text = finding.why;
    events.raise(std::move(report), instance->state == config::State::isp);
    scope.spawn(recover(
        {finding.tag, finding.why, true, finding.kind == CheckKind::deep ? "deep" : "quick", "failed"}));
}

void Engine::Impl::check_timed_out(const CheckFinding& finding) {
    const auto* instance = database.own().find(finding.tag);
    if (instance == nullptr) return;
    journal(Event::none, "resource", finding.tag.str(), finding.why);
    const auto& settings = settings_now();
    const auto countdown = settings.integer("ResMon_RebootWaitInSec");
    const bool fails = settings.boolean("ResMon_ResFail");
    EventReport report{instance->type.str(), "check_timeout", std::string(kMonitor), finding.tag.str()};
    report.text = finding.why;
    events.raise(std::move(report), fails);
    if (countdown > 0) reboot(countdown, fmt::format("{} of {}", finding.why, finding.tag.str()));
    // Nobody knows what a hung application does with a recover script: it moves. Spec: CLU-173
    if (fails)
        scope.spawn(recover({finding.tag, finding.why, false,
                             finding.kind == CheckKind::deep ? "deep" : "quick", "timed_out"}));
}

bool Engine::Impl::recovers_because_of(const EventReport& report) {
    if (report.severity == EventSeverity::cleared) return false;
    if (report.event != "quickchk_failed" && report.event != "deepchk_failed") return false;
    for (const auto& [tag, instance] : database.own().instances) {
        if (!text::iequals(instance.type.str(), report.group)) continue;
        if (tag.str() != report.name && instance.id.str() != report.name) continue;
        if (instance.state != config::State::isp ||
            config::in_maintenance(database.own(), database.self(), tag) || !hindered(tag).empty())
            return false;
        scope.spawn(recover({tag, fmt::format("{} reports {}", report.monitor, report.event), true}));
        return true;
    }
    return false;
}

void Engine::Impl::reboot(std::int64_t countdown, const std::string& why) {
    if (std::exchange(rebooting, true)) return;
    const auto path = scripts.core(std::string(kRebootScript));
    messages::error("this node is rebooted in {} s: {}", countdown, why);
    journal(Event::none, "engine", database.self().str(),
            fmt::format("rebooted in {} s: {}", countdown, why));
    if (path.empty()) {
        messages::error("admin/core/actions has no {}; this node is not rebooted", kRebootScript);
        rebooting = false;
        return;
    }
    scope.spawn(run_reboot(path, countdown, why));
}

runtime::Task<> Engine::Impl::run_reboot(std::string path, std::int64_t countdown, std::string why) {
    std::vector<std::string> arguments{"-w", std::to_string(countdown), "-r", why};
    const auto ran =
        co_await scripts.run(Tag("node"), std::string(kRebootScript), path, std::move(arguments));
    if (ran && ran->exit_code == 0) co_return;  // it goes down by itself
    messages::error("{} failed: {}", path, ran ? ran->last_lines : ran.error().text);
    rebooting = false;
}

/// Spec: CLU-173
runtime::Task<> Engine::Impl::watch_failover(Tag tag, std::uint64_t episode, std::chrono::minutes most) {
    co_await runtime::sleep_for(world.tasks, most);
    const auto at = episodes.find(tag);
    if (at != episodes.end() && at->second == episode)
        reboot(0, fmt::format("the failover of {} has not ended within {} minutes", tag.str(), most.count()));
}

runtime::Task<> Engine::Impl::recover(Failure failure) {
    const Tag tag = failure.tag;
    const auto* found = database.own().find(tag);
    if (found == nullptr || !is_in_service(found->state) || !hindered(tag).empty()) co_return;
    if (runs_elsewhere(view(), tag)) {  // Spec: CLU-222
        messages::error("{} is in service on another node too: nothing is done about its failure", tag.str());
        co_return;
    }
    const Episode episode(*this, tag);
    const auto incident = incidents.begin(IncidentKind::resource_failure, tag.str(), {}, failure.why, 0);
    incidents.add(incident, fact::check, tag.str(),
                  {{"check", failure.check}, {"result", failure.result}, {"why", failure.why}});
    if (found->state == config::State::isu) {  // Spec: CLU-118
        database.set_state(tag, config::State::osf,
                           fmt::format("{} (ISU: it is not recovered)", kCheckFailed));
        journal(Event::recovery_failed, "resource", tag.str(), "it was ISU and is not recovered");
        incidents.add(incident, fact::end, tag.str(), {{"failed", tag.str()}});
        co_return;
    }
    if (const auto most = settings_now().integer("ResMon_ResFailMaxWaitInMin"); most > 0)
        scope.spawn(watch_failover(tag, episode.number(), std::chrono::minutes(most)));
    std::set<Tag> ran;
    for (const auto& member : hierarchy_of(database.own(), tag))
        if (const auto* instance = database.own().find(member);
            instance != nullptr && is_in_service(instance->state))
            ran.insert(member);
    const auto ended = co_await recover_locally(tag, failure, incident);
    if (ended == LocalRecovery::overtaken) checks.soon(tag);
    if (ended != LocalRecovery::failed) co_return;
    co_await after_failure(tag, std::move(ran), incident);
}

runtime::Task<Engine::Impl::LocalRecovery> Engine::Impl::recover_locally(Tag tag, Failure failure,
                                                                         std::string incident) {
    const config::Instance instance = *database.own().find(tag);
    const auto path = scripts.find(instance.app, instance.type, "recover");
    if (!failure.local || !instance.local_recovery || path.empty()) {
        const auto why = !failure.local             ? "it takes too long"
                         : !instance.local_recovery ? "local recovery is off"
                                                    : "its kit has no recover script";
        journal(Event::recovery_initiated, "resource", tag.str(), failure.why);
        mark_failed(tag, fmt::format("not repaired here: {}", why));
        co_return LocalRecovery::failed;
    }
    const auto id = jobs.new_id();
    const auto reserved = co_await reserve_for_recovery(id, tag);
    if (reserved != Waited::no) {  // somebody else worked on it: what the check saw is the past
        reservations.release(id);
        co_return LocalRecovery::overtaken;
    }
    journal(Event::recovery_initiated, "resource", tag.str(), failure.why);
    std::vector<Tag> tags{tag};
    reservations.mark(id, tags, config::Reservation::recover);
    database.set_flag(recovering_flag(tag), true);
    const auto before = absences;
    const auto began = world.clock.now();
    const auto began_us = incidents.now_us();
    reservations.begin_use(id);
    std::vector<std::string> arguments{"-t", tag.str(), "-i", instance.id.str()};
    const auto ran = co_await scripts.run(tag, "recover", path, std::move(arguments));
    reservations.end_use(id);
    look_for_absence();
    const auto* now = database.own().find(tag);
    if (absences != before || !reservations.holds(id) || now == nullptr || now->state != config::State::isp) {
        database.set_flag(recovering_flag(tag), false);
        reservations.release(id);
        co_return LocalRecovery::overtaken;
    }
    const bool repaired = ran && ran->exit_code == 0;
    const auto took =
        std::chrono::duration_cast<std::chrono::microseconds>(world.clock.now() - began).count();
    incidents.add(incident, fact::step, tag.str(),
                  {{"node", database.self().str()},
                   {"action", "recover"},
                   {"began_us", std::to_string(began_us)},
                   {"took_us", std::to_string(took)},
                   {"result", repaired ? "ok" : "failed"}});
    if (repaired) {
        messages::info("recovery of {} is complete", tag.str());
        database.set_state(tag, config::State::isp, std::string(kRecoverSucceeded));
        database.set_flag(recovering_flag(tag), false);
        incidents.add(incident, fact::end, tag.str(), {{"recovered", tag.str()}}, "repaired here",
                      static_cast<int>(Event::recovery_complete));
    } else {
        mark_failed(tag, ran ? fmt::format("recover failed with exit code {}{}{}", ran->exit_code,
                                           ran->last_lines.empty() ? "" : ": ", ran->last_lines)
                             : ran.error().text);
    }
    reservations.release(id);
    co_return repaired ? LocalRecovery::succeeded : LocalRecovery::failed;
}

/// Anything but Waited::no: something happened meanwhile, or nothing is reserved.
runtime::Task<Waited> Engine::Impl::reserve_for_recovery(std::string id, Tag tag) {
    const auto give_up = world.clock.now() + std::chrono::seconds(settings_now().integer("RESRVRECTIMEOUT"));
    Needed needed;
    needed[database.self()].tags.push_back(tag);
    bool waited = false;
    while (true) {
        Operation operation{fmt::format("recovery of {}", tag.str()), StopRequest{tag}};
        const auto reserved = co_await reserve(id, needed, std::move(operation), give_up);
        if (!reserved) co_return Waited::in_vain;
        if (*reserved != Waited::in_vain) co_return waited ? Waited::yes : *reserved;
        waited = true;
        if (world.clock.now() >= give_up) co_return Waited::in_vain;
    }
}

void Engine::Impl::mark_failed(const Tag& tag, const std::string& why) {
    const auto* found = database.own().find(tag);
    if (found == nullptr) return;
    auto instance = *found;
    instance.state = config::State::osf;
    instance.reason = kCheckFailed;
    std::vector<config::Edit> edits;
    edits.emplace_back(config::PutInstance{std::move(instance)});
    edits.emplace_back(config::PutFlag{recovering_flag(tag)});
    database.commit(std::move(edits));
    messages::error("{}: {}", tag.str(), why);
    journal(Event::recovery_failed, "resource", tag.str(), why);
}

/// The end of an episode whose resource is not in service here.
void Engine::Impl::end_episode(const Tag& tag, const std::string& outcome, const std::string& incident,
                               bool elsewhere) {
    std::vector<config::Edit> edits;
    edits.emplace_back(config::DropFlag{recovering_flag(tag)});
    if (const auto* found = database.own().find(tag);
        found != nullptr && found->state == config::State::osf && found->reason.starts_with(kCheckFailed)) {
        auto instance = *found;
        instance.reason += "; " + outcome;
        edits.emplace_back(config::PutInstance{std::move(instance)});
    }
    database.commit(std::move(edits));
    if (incident.empty())
        journal(Event::none, "resource", tag.str(), outcome);
    else
        incidents.add(incident, fact::end, tag.str(), elsewhere ? Details{} : Details{{"failed", tag.str()}},
                      outcome);
}

runtime::Task<> Engine::Impl::after_failure(Tag tag, std::set<Tag> ran, std::string incident) {
    const auto& settings = settings_now();
    const auto wish = settings.text("ON_RECOVERY_FAILURE");
    // Spec: CLU-180
    if (wish == "notify" || settings.boolean("SSP_NOTIFICATION_ONLY")) {
        end_episode(tag, "left as it is: only a notification is wanted", incident);
        co_return;
    }
    if (wish == "reboot") {
        end_episode(tag, "this node is rebooted", incident);
        reboot(0, fmt::format("{} could not be recovered", tag.str()));
        co_return;
    }
    co_await fail_over(tag, std::move(ran), incident);
}

runtime::Task<> Engine::Impl::fail_over(Tag tag, std::set<Tag> ran, std::string incident) {
    const auto self = database.self();
    const ClusterView seen = co_await ask_everyone(NodeName());
    const auto first = plan(seen, ResourceFailoverRequest{self, tag});
    if (first) incidents.decision(incident, seen, *first);
    if (!first || first->does_nothing()) {  // Spec: CLU-178
        const auto why = first ? first->steps.front().why : first.error().text;
        messages::error("{} is not moved: {}", tag.str(), why);
        end_episode(tag, "not moved: " + why, incident);
        co_return;
    }
    GlobalScripts::Arguments waits_for_no_lock;  // Spec: CLU-214
    waits_for_no_lock.emplace_back(kInsideLock);
    (void)co_await globals.before("remove", waits_for_no_lock);
    Operation operation{fmt::format("failover of {}", tag.str()), ResourceFailoverRequest{self, tag}};
    operation.incident = incident;
    const auto stopped = co_await operate(std::move(operation));
    (void)co_await globals.after("remove", waits_for_no_lock);
    if (!stopped.outcome.result) {  // what may still run here must not be started elsewhere. Spec: CLU-142
        end_episode(tag,
                    "not moved: it could not be taken out of service: " + stopped.outcome.result.error().text,
                    incident);
        co_return;
    }
    const auto taken = co_await offer(tag, std::move(ran), incident);
    if (taken)
        end_episode(tag, fmt::format("taken over by {}", taken->str()), incident, true);
    else
        end_episode(tag, taken.error().text, incident);
}

/// Asks one node after the other. Who has it; or why nobody, for a person.
runtime::Task<Result<NodeName>> Engine::Impl::offer(Tag tag, std::set<Tag> ran, std::string incident) {
    std::set<NodeName> tried;
    const auto give_up = world.clock.now() + reservation_limit();
    auto noted = co_await outlive_kill("what was stopped");
    while (!noted && !stopping && world.clock.now() < give_up)
        noted = co_await outlive_kill("what was stopped");
    if (!noted) co_return fail(noted.error());
    while (true) {
        const ClusterView seen = co_await ask_everyone(NodeName());
        const auto next = next_backup(seen, database.self(), tag, tried);
        if (!next) break;
        const auto to = next->other_node;
        messages::info("{} is asked to take {} over", to.str(), tag.str());
        incidents.add(incident, fact::asked, tag.str(), {{"node", to.str()}});
        config::Command command;
        command.name = kRecoverMethod;
        command.options = {{"tag", next->other_tag.str()},
                           {"incident", incident},
                           {"wanted", text::join(names(wanted_on(database.own(), ran, to)), " ")}};
        for (const auto& node : tried)
            command.arguments.push_back(node.str());
        const auto answer = co_await jobs.run(to, std::string(kRecoverMethod), std::move(command));
        if (answer) co_return to;
        messages::error("{} could not take {} over: {}", to.str(), tag.str(), answer.error().text);
        tried.insert(to);
    }
    messages::error("{} stays out of service: no node is left that may take it over", tag.str());
    co_return fail(
        Code::failure, "{}",
        tried.empty() ? "no other node that may take it over is alive" : "no node could take it over");
}

runtime::Task<config::Reply> Engine::Impl::serve_recover(NodeName caller, config::Command command) {
    ResourceFailoverRequest request{caller, Tag(command.get("tag"))};
    for (auto& word : text::words(command.get("wanted")))
        request.wanted.emplace_back(std::move(word));
    for (const auto& node : command.arguments)
        request.tried.insert(NodeName(node));
    const auto tag = request.tag;
    const auto can = co_await wait_ready(reservation_limit());
    if (!can || stopping)
        co_return config::failure(
            {Code::failure, fmt::format("{} is {}", database.self().str(), can ? "stopping" : "starting"),
             0});
    messages::info("{} failed on {}; it is wanted here", tag.str(), caller.str());
    journal(Event::recovery_initiated, "resource", tag.str(), fmt::format("it failed on {}", caller.str()));
    GlobalScripts::Arguments waits_for_no_lock;
    waits_for_no_lock.emplace_back(kInsideLock);
    (void)co_await globals.before("restore", waits_for_no_lock);
    Operation operation{fmt::format("failover of {} from {}", tag.str(), caller.str()), request};
    operation.incident = command.get("incident");
    auto result = co_await operate(std::move(operation));
    (void)co_await globals.after("restore", waits_for_no_lock);
    if (result.start.give_back) {
        if (result.outcome.result) result.outcome.result = fail(Code::failure, "{}", result.start.cancelled);
        co_await give_back(tag, result.start.cancelled);
    }
    if (result.outcome.result && result.plan.does_nothing() && in_service_on(view(), tag).empty())
        result.outcome.result = fail(
            Code::failure, "{}", result.plan.steps.empty() ? "nothing to do" : result.plan.steps.front().why);
    incidents.add(command.get("incident"), fact::end, tag.str(),
                  {{"recovered", text::join(result.restored(database.self()), ", ")},
                   {"failed", text::join(result.not_restored(database.self()), ", ")}});
    if (!result.outcome.result) {
        journal(Event::recovery_failed, "resource", tag.str(),
                "recovery here failed: " + result.outcome.result.error().text);
        co_return config::failure(result.outcome.result.error());
    }
    journal(Event::recovery_complete, "resource", tag.str(),
            fmt::format("in service here after it failed on {}", caller.str()));
    co_return config::success();
}

/// What a daemon that ended in the middle of a recovery has left behind.
void Engine::Impl::resume_recoveries() {
    std::vector<Tag> tags;
    for (const auto& flag : database.own().flags)
        if (flag.str().starts_with(kRecoveringPrefix))
            tags.emplace_back(flag.str().substr(kRecoveringPrefix.size()));
    // What was in service and could not be affirmed has failed while nobody looked.
    for (const auto& tag : kept_running) {
        const auto* instance = database.own().find(tag);
        if (instance != nullptr && instance->state == config::State::osf &&
            instance->reason.starts_with(kRestoreFailed))
            tags.push_back(tag);
    }
    for (const auto& tag : tags) {
        if (database.own().find(tag) == nullptr) {
            database.set_flag(recovering_flag(tag), false);
            continue;
        }
        const auto members = hierarchy_of(database.own(), tag);  // one at a time in a hierarchy
        if (std::none_of(members.begin(), members.end(),
                         [this](const Tag& t) { return episodes.contains(t); }))
            scope.spawn(
                resume_recovery(tag, std::set<Tag>(members.begin(), members.end()),
                                "its recovery was interrupted by the end of the daemon, and goes on"));
    }
}

runtime::Task<> Engine::Impl::resume_recovery(Tag tag, std::set<Tag> ran, std::string why) {
    const Episode episode(*this, tag);
    database.set_flag(recovering_flag(tag), true);
    const auto give_up = world.clock.now() + reservation_limit();
    while (true) {  // a peer that has been asked goes on without us
        const ClusterView seen = co_await ask_everyone(NodeName());
        const auto* instance = database.own().find(tag);
        if (instance == nullptr || is_in_service(instance->state) || runs_elsewhere(seen, tag)) {
            end_episode(tag, instance == nullptr || !is_in_service(instance->state)
                                 ? "its recovery was interrupted; it is not in service here now"
                                 : "its recovery was interrupted; it is in service here now");
            co_return;
        }
        const auto planned = plan(seen, ResourceFailoverRequest{database.self(), tag});
        const bool being_restored = planned && planned->does_nothing();
        if (!being_restored || world.clock.now() >= give_up) break;
        co_await runtime::sleep_for(world.tasks, kLookAgain);
    }
    auto incident = incidents.begin(IncidentKind::resource_failure, tag.str(), {}, why, 0);
    co_await after_failure(tag, std::move(ran), std::move(incident));
}

runtime::Task<> Engine::Impl::look_again() {
    looking_again = true;
    const auto number = absences;
    const auto give_up = world.clock.now() + longest_detection() + kDetectionMargin;
    co_await runtime::sleep_for(world.tasks, 2 * kPoll);  // communication learns of it a tick later
    while (!peers->settled() && world.clock.now() < give_up)
        co_await runtime::sleep_for(world.tasks, kPoll);
    if (absences == number) looking_again = false;
}

}  // namespace understudy::recovery
