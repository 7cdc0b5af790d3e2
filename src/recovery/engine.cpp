#include "recovery/engine.h"

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

namespace understudy::recovery {
namespace {

constexpr std::int64_t kDefaultReservationSeconds = 150;  // Spec: CMD-114
constexpr std::int64_t kDefaultParallelHierarchies = 8;
constexpr std::int64_t kDefaultSwitchoverSeconds = 600;  // Spec: CLU-206

config::Settings parsed(const std::map<std::string, std::string>& values) {
    std::string text;
    for (const auto& [key, value] : values)
        text += fmt::format("{}={}\n", key, value);
    std::vector<std::string> problems;  // whoever read the file has told them
    return config::Settings::parse_leniently(text, problems);
}

}  // namespace

Engine::Impl::Impl(runtime::World w, config::Database& d, std::unique_ptr<Peers> p, Options o)
    : world(w),
      database(d),
      peers(std::move(p)),
      options(std::move(o)),
      scripts(world, options.lkroot, options.settings, options.environment),
      reservations(world, database),
      jobs(world, *peers, database.self()),
      globals(world, database, scripts, jobs),
      executor(world, database, scripts, jobs, reservations),
      incidents(world, database, *peers),
      settings_at_start(parsed(options.settings)),
      events(world, scripts, database.self(), options.lkroot, options.log_directory),
      checks(world, database, scripts, options.log_directory,
             {.settings = [this]() -> const config::Settings& { return settings_now(); },
              .hindered = [this](const Tag& tag) { return hindered(tag); },
              .failed = [this](const CheckFinding& finding) { check_failed(finding); },
              .timed_out = [this](const CheckFinding& finding) { check_timed_out(finding); }}) {
    reservations.on_interrupted(
        [this](const OperationOwner& owner, const std::set<Tag>& taken) { interrupted(owner, taken); });
    events.on_report([this](const EventReport& report) { return recovers_because_of(report); });
    executor.on_step([this](const Executor::Run& run, const Step& step, runtime::Duration took,
                            const StepOutcome& outcome) {
        if (step.action == Action::leave) return;
        const bool skipped = outcome.kind == StepOutcome::Kind::skipped;
        const bool succeeded = outcome.kind == StepOutcome::Kind::succeeded;
        incidents.step(run.incident, step, took,
                       skipped     ? "skipped"
                       : succeeded ? "ok"
                                   : "failed",
                       succeeded ? std::string() : outcome.error.text);
    });
}

void Engine::Impl::journal(Event event, std::string kind, std::string subject, std::string text) {
    database.journal(static_cast<int>(event), std::move(kind), std::move(subject), std::move(text));
}

runtime::Duration Engine::Impl::reservation_limit() const {
    return std::chrono::seconds(setting("RESRVTIMEOUT", kDefaultReservationSeconds));
}

std::size_t Engine::Impl::parallel_hierarchies() const {
    return static_cast<std::size_t>(setting("PARALLEL_HIERARCHIES", kDefaultParallelHierarchies));
}

runtime::Duration Engine::Impl::shutdown_limit() const {
    return std::chrono::seconds(setting("SHUTDOWN_SWITCHOVER_TIMEOUT", kDefaultSwitchoverSeconds));
}

std::int64_t Engine::Impl::setting(const std::string& key, std::int64_t fallback) const {
    const auto number = text::to_int(settings_now().text(key));
    return number && *number > 0 ? *number : fallback;
}

Engine::Engine(runtime::World world, config::Database& database, std::unique_ptr<Peers> peers,
               Options options)
    : impl_(std::make_shared<Impl>(world, database, std::move(peers), std::move(options))) {
    impl_->serve();
}

Engine::~Engine() {
    impl_->scope.clear();
}

void Engine::add_gate(TakeoverGate& gate) {
    impl_->gates.push_back(&gate);
}

void Engine::set_start_guard(StartGuard& guard) {
    impl_->guard = &guard;
}

bool Engine::holds_resources() const {
    return impl_->holds_resources();
}

void Engine::quorum_lost(const std::string& why, std::function<void()> done) {
    impl_->scope.spawn(impl_->quorum_lost(why, std::move(done)));
}

void Engine::quorum_returned() {
    if (!impl_->stopping) impl_->scope.spawn(impl_->rejoin());
}

void Engine::lost_again(const NodeName& peer) {
    if (!impl_->stopping && !impl_->deciding.contains(peer)) impl_->scope.spawn(impl_->node_lost(peer));
}

void Engine::start() {
    impl_->start();
}

bool Engine::ready() const {
    return impl_->ready;
}

ClusterView Engine::view() const {
    return impl_->view();
}

void Engine::perform_action(const config::Command& command, std::function<void(config::Reply)> done) {
    impl_->scope.spawn(impl_->reply_with(impl_->perform(command), std::move(done)));
}

void Engine::lcdrecover(const config::Command& command, std::function<void(config::Reply)> done) {
    impl_->scope.spawn(impl_->reply_with(impl_->globals.lcdrecover(command), std::move(done)));
}

void Engine::sendevent(const config::Command& command, std::function<void(config::Reply)> done) {
    impl_->scope.spawn(impl_->reply_with(impl_->events.sendevent(command), std::move(done)));
}

void Engine::set_admin_lock(GlobalScripts::AdminLock lock) {
    impl_->globals.set_admin_lock(std::move(lock));
}

void Engine::switchover(const Tag& tag, const NodeName& to, std::function<void(config::Reply)> done) {
    impl_->scope.spawn(impl_->reply_with(impl_->switchover(tag, to, Scope::moving), std::move(done)));
}

void Engine::stop(StopMode mode, std::function<void(std::string)> progress,
                  std::function<void(Result<>)> done) {
    impl_->scope.spawn(impl_->stop(mode, std::move(progress), std::move(done)));
}

std::string Engine::action_path(const AppName& app, const TypeName& type, const std::string& action) const {
    return impl_->scripts.find(app, type, action);
}

}  // namespace understudy::recovery
