// The cycles of the shared storage, and the commands that begin and end them. Spec: section 7 of the quorum
// chapter.

#include "base/text.h"
#include "messages/messages.h"
#include "quorum/guard_impl.h"

#include <fmt/chrono.h>

namespace understudy::quorum {
namespace {

constexpr int kAbsentNumber = 18149;

std::string utc(runtime::WallTime now) {
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                       fmt::gmtime(std::chrono::system_clock::to_time_t(
                           std::chrono::time_point_cast<std::chrono::system_clock::duration>(now))));
}

config::Reply exit_with(QwkExit code, std::string text) {
    config::Reply reply;
    reply.exit_code = static_cast<int>(code);
    reply.err = std::move(text);
    return reply;
}

}  // namespace

void Guard::Impl::load_captured() {
    const auto text = world.files.read(options.captured_path);
    if (!text) return;  // qwk_storage_init was never run, or its exit was
    auto captured = decode_storage(*text);
    if (captured && captured->self != options.self)
        captured =
            fail(Error{Code::bad_argument, fmt::format("it is of node {}", captured->self.str()), 18121});
    if (!captured) {
        captured_problem = captured.error().text;
        return note({Note::Severity::error, 18106,
                     fmt::format("{}: {} (No. {})", options.captured_path, captured.error().text,
                                 captured.error().number)});
    }
    use(std::make_unique<StorageMonitor>(std::move(*captured)));
}

void Guard::Impl::use(std::unique_ptr<StorageMonitor> with) {
    monitor = std::move(with);
    captured_problem.clear();
    ++round;
    scope.spawn(run_cycles(round));
}

runtime::Task<bool> Guard::Impl::cycle(StorageMonitor& on, bool only_read) {
    const auto mine = &on;
    const auto began = world.clock.now();
    if (storage == nullptr || storage_busy) {
        // One that hangs may still write: a second one must not overtake it.
        note(on.cycle_failed(began, began, "the cycle before has not ended yet"));
        co_return false;
    }
    storage_busy = true;
    const auto number = ++cycles_begun;
    Storage::Request request;
    request.configuration = on.configuration();
    std::map<NodeName, CommStat> seen;
    for (const auto& name : others())
        seen[name] = alive(name) ? CommStat::up : CommStat::down;
    if (!only_read) request.own = encode(on.next_object(utc(world.clock.wall()), seen));
    const runtime::OneShot<std::optional<CycleOutcome>> ended(world.tasks);
    storage->cycle(request, [weak = weak_from_this(), ended](CycleOutcome outcome) {
        if (const auto self = weak.lock()) self->storage_busy = false;
        ended.set(std::move(outcome));
    });
    const auto limit = world.tasks.after(on.configuration().interval(), [ended] { ended.set(std::nullopt); });
    const auto outcome = co_await ended;
    world.tasks.cancel(limit);
    newest_ended = std::max(newest_ended, number);
    if (monitor.get() != mine && !initialising) co_return false;  // it was exited meanwhile
    const auto now = world.clock.now();
    if (!outcome) {
        if (on.cycles() == 0)
            note({Note::Severity::warning, 18218,
                  fmt::format("the first storage check was not finished after {} ms, 0 completed",
                              std::chrono::duration_cast<std::chrono::milliseconds>(now - began).count())});
        note(on.cycle_failed(began, now,
                             fmt::format("no answer within {} s", on.configuration().hbeattime_s)));
        co_return false;
    }
    if (only_read) {
        const auto found = outcome->objects.find(options.self);
        const Result<std::string> own =
            found == outcome->objects.end() ? fail(Code::failure, "no answer") : found->second;
        // Only a storage that was reached can say that there is none: to begin anew over an object that could
        // not be read would look like a node that does not write any more.
        const bool absent =
            !own && (own.error().code == Code::not_found || own.error().number == kAbsentNumber);
        if (own || absent)
            note(on.start(own));
        else
            note(on.cycle_failed(began, now, own.error().text));
        co_return own.has_value() || absent;
    }
    note(on.cycle_ended(*outcome, began, now));
    co_return outcome->write.has_value();
}

runtime::Task<> Guard::Impl::run_cycles(std::uint64_t mine) {
    // Goes on from the sequence that an earlier life has written. Spec: QUO-087
    while (round == mine && monitor->sequence() == 0) {
        const bool read = co_await cycle(*monitor, true);
        if (read) break;
        co_await runtime::sleep_for(world.tasks, kInitCycle);
    }
    while (round == mine && !stopped) {
        const auto began = world.clock.now();
        hurry = false;
        (void)co_await cycle(*monitor, false);
        while (round == mine && !hurry && world.clock.now() - began < monitor->configuration().interval())
            co_await runtime::sleep_for(world.tasks, kLeastTick);
    }
}

runtime::Task<> Guard::Impl::fresh_cycle() {
    const auto wanted = cycles_begun + 1;
    const auto give_up =
        world.clock.now() + (monitor ? monitor->configuration().stale_after() : runtime::Duration{});
    hurry = true;
    while (newest_ended < wanted && world.clock.now() < give_up)
        co_await runtime::sleep_for(world.tasks, kLeastTick);
}

/// The first thing about the paths that is not as qwk_storage_init needs it. Spec: QUO-100.
std::string Guard::Impl::unready_path() const {
    std::set<NodeName> reached;
    for (const auto& path : cluster.paths()) {
        if (path.state != comm::PathState::alive)
            return fmt::format("path {} to {} is DEAD: {}", path.path.device, path.path.remote.str(),
                               path.problem);
        reached.insert(path.path.remote);
    }
    for (const auto& name : others())
        if (!reached.contains(name)) return fmt::format("there is no path to {}", name.str());
    return {};
}

runtime::Task<> Guard::Impl::storage_init(config::Command command, std::function<void(std::string)> progress,
                                          std::function<void(config::Reply)> done) {
    const auto limit = text::to_int(command.get("t", "0"));
    if (!limit || *limit < 0) co_return done(exit_with(QwkExit::usage, "-t takes a number of seconds"));
    if (initialising)
        co_return done(exit_with(QwkExit::configuration, "another qwk_storage_init is waiting"));
    if (monitor)
        co_return done(exit_with(QwkExit::configuration,
                                 "storage quorum is initialised already; run qwk_storage_exit first"));
    refresh();
    if (configuration.mode != Mode::storage || !configuration.error.empty())
        co_return done(exit_with(QwkExit::configuration, configuration.error.empty()
                                                             ? "QUORUM_MODE and WITNESS_MODE are not storage"
                                                             : configuration.error));
    auto captured = capture(settings, options.self, known());
    if (!captured) co_return done(exit_with(QwkExit::configuration, captured.error().text));
    for (const auto& warning : warnings_about(*captured, patience()))
        progress("*WARNING* " + warning + "\n");
    if (const auto why = unready_path(); !why.empty()) co_return done(exit_with(QwkExit::precondition, why));

    initialising = true;
    auto fresh = std::make_unique<StorageMonitor>(std::move(*captured));
    const auto began = world.clock.now();
    const auto expired = [&] {
        return *limit > 0 && world.clock.now() - began > std::chrono::seconds(*limit);
    };
    const bool read = co_await cycle(*fresh, true);
    if (!read) {
        initialising = false;
        co_return done(exit_with(QwkExit::storage,
                                 fmt::format("the object {} cannot be read; see the log",
                                             fresh->configuration().objects.at(options.self).front())));
    }
    std::string waiting;
    while (true) {
        const bool written = co_await cycle(*fresh, false);
        if (!written) {
            initialising = false;
            co_return done(exit_with(QwkExit::storage,
                                     fmt::format("the object {} cannot be written; see the log",
                                                 fresh->configuration().objects.at(options.self).front())));
        }
        std::vector<std::string> missing;
        for (const auto& [name, peer] : fresh->peers())
            if (peer.updates == 0) missing.push_back(name.str());
        if (missing.empty()) break;
        if (const auto text = text::join(missing, ", "); std::exchange(waiting, text) != text)
            progress(fmt::format("waiting for qwk_storage_init on {}\n", text));
        if (expired()) {
            initialising = false;
            co_return done(
                exit_with(QwkExit::interrupted,
                          fmt::format("no objects are written by {} within {} s", waiting, *limit)));
        }
        co_await runtime::sleep_for(world.tasks, kInitCycle);
    }
    const auto kept = world.files.write_atomic(options.captured_path, encode(fresh->configuration()));
    initialising = false;
    if (!kept) co_return done(exit_with(QwkExit::configuration, kept.error().text));
    use(std::move(fresh));
    host.journal("storage quorum is initialised");
    config::Reply reply;
    reply.out = "storage quorum is active\n";
    done(reply);
}

config::Reply Guard::Impl::storage_exit() {
    if (initialising) return exit_with(QwkExit::configuration, "qwk_storage_init is still waiting");
    const bool was = monitor != nullptr || !captured_problem.empty();
    if (const auto removed = world.files.remove(options.captured_path); !removed)
        return exit_with(QwkExit::storage, removed.error().text);
    ++round;
    // Its cycle may be under way: the coroutine notices that it is not the one any more.
    if (monitor) {
        auto old = std::shared_ptr<StorageMonitor>(std::move(monitor));
        world.tasks.after(2 * old->configuration().interval(), [old] {});
    }
    captured_problem.clear();
    if (was) host.journal("storage quorum was left");
    config::Reply reply;
    reply.out = was ? "storage quorum is not active any more\n" : "storage quorum was not active\n";
    return reply;
}

}  // namespace understudy::quorum
