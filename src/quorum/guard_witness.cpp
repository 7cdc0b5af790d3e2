// Is a silent peer really down, and must it have stopped what it had? Every wait has a limit. Spec: sections
// 5 and 6 of the quorum chapter.

#include "base/text.h"
#include "messages/messages.h"
#include "quorum/guard_impl.h"

#include <algorithm>

namespace understudy::quorum {
namespace {

using Severity = Note::Severity;

std::int64_t ms(runtime::Duration duration) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

int number_of(Witness verdict) {
    switch (verdict) {
        case Witness::peer_up:
            return 18163;
        case Witness::peer_down:
            return 18164;
        case Witness::quorum_lost:
            return 18162;
        case Witness::no_verdict:
            return 18161;
    }
    return 0;
}

const std::string kCameBack = "it came back";

}  // namespace

std::string encode(const View& view) {
    return fmt::format("{} {}", to_string(view.opinion), ms(view.silence));
}

View decode_view(std::string_view text) {
    const auto words = text::words(text);
    View view;
    if (words.size() != 2) return view;
    const auto silence = text::to_int(words[1]);
    if (!silence || *silence < 0) return view;
    if (words[0] == to_string(Opinion::alive)) view.opinion = Opinion::alive;
    if (words[0] == to_string(Opinion::dead)) view.opinion = Opinion::dead;
    view.silence = std::chrono::milliseconds(*silence);
    return view;
}

/// A peer that was not heard of since this daemon's start is dead once it had its time. Spec: CLU-127.
View Guard::Impl::view_of(const NodeName& suspect) const {
    const auto now = world.clock.now();
    View view;
    const auto heard = cluster.contact(suspect).last_heard;
    view.silence = now - std::max(heard.value_or(started_at), started_at);
    switch (cluster.peer_state(suspect)) {
        case comm::PeerState::alive:
            view.opinion = Opinion::alive;
            break;
        case comm::PeerState::dead:
            view.opinion = Opinion::dead;
            break;
        case comm::PeerState::unknown:
            if (view.silence > patience() && database.own().systems.contains(suspect))
                view.opinion = Opinion::dead;
            break;
    }
    return view;
}

runtime::Task<std::vector<View>> Guard::Impl::ask(NodeName suspect) {
    struct Round {
        std::vector<View> views;
        std::size_t open = 0;
    };
    auto all = std::make_shared<Round>();
    const runtime::OneShot<runtime::Done> ended(world.tasks);
    std::vector<NodeName> asked;
    for (const auto& name : others())
        if (name != suspect && alive(name)) asked.push_back(name);
    all->open = asked.size();
    if (asked.empty()) co_return std::vector<View>{};
    for (const auto& name : asked)
        cluster.call(name, kViewMethod, suspect.str(), kViewLimit,
                     [all, ended](const Result<std::string>& answer) {
                         all->views.push_back(answer ? decode_view(*answer) : View{});
                         if (--all->open == 0) ended.set({});
                     });
    co_await ended;
    co_return all->views;
}

runtime::Task<Witness> Guard::Impl::remote_witness(NodeName suspect) {
    const auto interval = longest_interval();
    const auto deadline = world.clock.now() + patience() + interval;
    while (true) {
        if (check() != Quorum::have) co_return Witness::quorum_lost;
        if (alive(suspect)) co_return Witness::peer_up;
        const auto views = co_await ask(suspect);
        std::vector<Opinion> opinions;
        opinions.reserve(views.size());
        for (const auto& view : views)
            opinions.push_back(view.opinion);
        const auto verdict = remote_verdict(check(), opinions, world.clock.now() >= deadline);
        if (verdict) co_return *verdict;
        co_await runtime::sleep_for(world.tasks, interval);
    }
}

runtime::Task<Witness> Guard::Impl::storage_witness(NodeName suspect) {
    const auto start = world.clock.now();
    co_await fresh_cycle();
    if (!monitor || monitor->peer(suspect) == nullptr) co_return Witness::quorum_lost;
    const auto base = monitor->peer(suspect)->sequence;
    while (true) {
        if (alive(suspect)) co_return Witness::peer_up;
        const auto quorum = check();
        const auto* seen = monitor ? monitor->peer(suspect) : nullptr;
        if (seen == nullptr) co_return Witness::quorum_lost;
        const auto now = world.clock.now();
        StorageLook look;
        look.quorum = quorum;
        look.base = base;
        look.sequence = seen->sequence;
        look.quiet = monitor->quiet(suspect, now).value_or(runtime::Duration{});
        look.dead_after = monitor->configuration().dead_after();
        look.waited = now - start;
        if (const auto verdict = storage_verdict(look)) {
            if (*verdict == Witness::peer_down)
                note({Severity::debug, 18160,
                      fmt::format("{} is counted as down, quiet for {} ms", suspect.str(), ms(look.quiet))});
            co_return *verdict;
        }
        co_await fresh_cycle();
    }
}

/// How this node and the suspect, by its object, see each other; for people. Spec: QUO-055.
void Guard::Impl::log_views(const NodeName& suspect) {
    const auto* seen = monitor ? monitor->peer(suspect) : nullptr;
    if (seen == nullptr) return;
    const auto own = alive(suspect) ? CommStat::up : CommStat::down;
    if (seen->of_us == own)
        return note({Severity::info, 18157,
                     fmt::format("this node and {} see each other as {}", suspect.str(), to_string(own))});
    note({Severity::info, 18158, fmt::format("this node sees {} as {}", suspect.str(), to_string(own))});
    note({Severity::info, 18159,
          fmt::format("{} sees this node as {}", suspect.str(), to_string(seen->of_us))});
}

runtime::Task<std::optional<Witness>> Guard::Impl::witness(std::string event, NodeName suspect) {
    Witness verdict = Witness::no_verdict;
    switch (configuration.witness) {
        case WitnessMode::none:
            co_return std::nullopt;
        case WitnessMode::remote_verify:
            verdict = co_await remote_witness(suspect);
            break;
        case WitnessMode::storage:
            if (event == "COMM_DOWN") log_views(suspect);
            verdict = co_await storage_witness(suspect);
            break;
    }
    ++counters.verdicts.at(static_cast<std::size_t>(verdict));
    note({Severity::info, number_of(verdict),
          fmt::format("{} {}: {}", event, suspect.str(), to_string(verdict))});
    note({Severity::info, 18168,
          fmt::format("witness_verify {} {}: {}", event, suspect.str(), to_string(verdict))});
    co_return verdict;
}

// --- the wait until the lost node must have stopped

runtime::Task<std::string> Guard::Impl::wait_for_silence(NodeName suspect) {
    const auto needed = silence_needed(patience(suspect), configuration.stop_grace);
    // A node that still hears the suspect gives it up within its own patience, or it lives.
    const auto give_up = world.clock.now() + needed + patience(suspect) + longest_interval() + kViewLimit;
    while (true) {
        if (alive(suspect)) co_return kCameBack;
        if (check() != Quorum::have) co_return std::string("quorum was lost meanwhile");
        std::vector<runtime::Duration> silences{view_of(suspect).silence};
        bool heard = false;
        const auto views = co_await ask(suspect);
        for (const auto& view : views) {
            heard = heard || view.opinion == Opinion::alive;
            if (view.opinion != Opinion::unknown) silences.push_back(view.silence);
        }
        if (silent_for_majority(silences, known().size(), needed)) co_return std::string();
        if (world.clock.now() >= give_up)
            co_return heard ? fmt::format("another node still hears {}", suspect.str())
                            : fmt::format("no majority knows how long {} has been silent", suspect.str());
        const auto least = *std::min_element(silences.begin(), silences.end());
        co_await runtime::sleep_for(world.tasks, std::clamp(needed - least, kLeastTick, longest_interval()));
    }
}

runtime::Task<std::string> Guard::Impl::wait_for_quiet(NodeName suspect) {
    const auto needed = silence_needed(patience(suspect), configuration.stop_grace);
    const auto start = world.clock.now();
    std::optional<std::uint64_t> base;
    while (true) {
        if (alive(suspect)) co_return kCameBack;
        if (check() != Quorum::have) co_return std::string("quorum was lost meanwhile");
        const auto* seen = monitor->peer(suspect);
        if (seen == nullptr) co_return fmt::format("{} has no object", suspect.str());
        if (!base) base = seen->updates;
        if (seen->updates != *base) co_return fmt::format("{} writes its object", suspect.str());
        const auto& storage_settings = monitor->configuration();
        const auto quiet_needed =
            std::max(storage_settings.dead_after(),
                     silence_needed(storage_settings.stale_after(), configuration.stop_grace));
        const auto now = world.clock.now();
        const auto silent = view_of(suspect).silence;
        const auto quiet = monitor->quiet(suspect, now).value_or(runtime::Duration{});
        const auto missing = std::max(needed - silent, quiet_needed - quiet);
        if (missing <= runtime::Duration::zero()) {
            // What was read last may be a whole interval old.
            co_await fresh_cycle();
            const auto* again = monitor ? monitor->peer(suspect) : nullptr;
            if (check() != Quorum::have || again == nullptr)
                co_return std::string("quorum was lost meanwhile");
            if (alive(suspect)) co_return kCameBack;
            if (again->updates == *base) co_return std::string();
            co_return fmt::format("{} writes its object", suspect.str());
        }
        if (now - start > needed + quiet_needed + storage_settings.stale_after())
            co_return fmt::format("{} was not silent for long enough", suspect.str());
        co_await runtime::sleep_for(world.tasks, std::clamp(missing, kLeastTick, kMostTick));
    }
}

runtime::Task<std::string> Guard::Impl::wait_for_fence(NodeName suspect) {
    if (configuration.mode == Mode::none) co_return std::string();
    if (configuration.failover_delay) {
        const auto end = world.clock.now() + *configuration.failover_delay;
        while (world.clock.now() < end) {
            if (alive(suspect)) co_return kCameBack;
            co_await runtime::sleep_for(world.tasks,
                                        std::min<runtime::Duration>(end - world.clock.now(), kMostTick));
        }
        co_return check() == Quorum::have ? std::string() : std::string("quorum was lost meanwhile");
    }
    std::string why;
    if (configuration.mode == Mode::storage)
        why = co_await wait_for_quiet(suspect);
    else
        why = co_await wait_for_silence(suspect);
    co_return why;
}

runtime::Task<Guard::Verdict> Guard::Impl::witness_gate(NodeName peer) {
    refresh();
    if (!configuration.on()) co_return Verdict{};
    const auto verdict = co_await witness("COMM_DOWN", peer);
    const auto action = on_comm_down(verdict ? Quorum::have : check(), verdict, host.holds_resources());
    if (action != DownAction::take_over) {
        refused.insert(peer);
        if (action == DownAction::loss_action)
            lose(fmt::format("quorum failed while it was asked about {}", peer.str()));
        co_return Verdict{false, fmt::format("witness: {}", verdict ? to_string(*verdict) : "no quorum")};
    }
    const auto why = co_await wait_for_fence(peer);
    if (!why.empty()) {
        refused.insert(peer);
        // Quorum that went meanwhile is a loss like any other.
        if (why != kCameBack && check() == Quorum::lost) lose(why);
        co_return Verdict{false, why};
    }
    proven.insert(peer);
    refused.erase(peer);
    // Spec: QUO-049
    for (const auto& name : others())
        if (name != peer && alive(name)) cluster.notify(name, kDownNotice, peer.str());
    co_return Verdict{};
}

// --- LCM_AVAIL, COMM_UP

runtime::Task<> Guard::Impl::judge_one(std::string event, NodeName peer, std::size_t& open,
                                       runtime::OneShot<runtime::Done> all) {
    const auto verdict = co_await witness(event, peer);
    std::string why = "no quorum, or the witness does not say that it is down";
    if (counts_as_dead(verdict) && check() == Quorum::have) why = co_await wait_for_fence(peer);
    if (why.empty()) {
        proven.insert(peer);
    } else {
        proven.erase(peer);
        messages::info("{} may run what it has: {}", peer.str(), why);
    }
    if (--open == 0) all.set({});
}

runtime::Task<> Guard::Impl::judge(std::string event, std::set<NodeName> silent) {
    refresh();
    if (!configuration.on()) co_return;
    // A node that has just started reaches its peers, or the storage, a little later. Spec: QUO-065
    const auto interval = longest_interval();
    const auto limit =
        std::max(patience(), monitor ? monitor->configuration().stale_after() : runtime::Duration{});
    const auto tries = event == "LCM_AVAIL" ? limit / interval + 1 : 1;
    for (std::int64_t i = 1; i <= tries && check() != Quorum::have; ++i) {
        note({Severity::debug, 18165, fmt::format("quorum check in progress {} / {}", i, tries)});
        if (i == tries) break;
        co_await runtime::sleep_for(world.tasks, interval);
    }
    const auto quorum = check();
    note({Severity::info, 18166, fmt::format("quorum_verify {}: {}", event, to_string(quorum))});
    if (!may_start(quorum)) co_return;
    // Also those that were known to be down: while this node had no quorum others may have let them start.
    std::erase_if(silent, [&](const NodeName& name) { return alive(name); });
    if (silent.empty()) co_return;
    runtime::TaskScope judges;
    const runtime::OneShot<runtime::Done> all(world.tasks);
    std::size_t open = silent.size();
    for (const auto& name : silent)
        judges.spawn(judge_one(event, name, open, all));
    co_await all;
}

}  // namespace understudy::quorum
