// What a person does with one mirror, or with all of a job, on both ends at once: the source's command and
// the target's lock. Spec: EMC-309, EMC-310, REP-359, MOP-099.

#include "base/text.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using config::Command;
using config::Reply;
using control::PeerRecord;
using runtime::Task;

namespace {

constexpr runtime::Duration kFactsLimit = std::chrono::seconds(5);

/// The word of `understudy mirror` and `mirror job`, and emcmd's.
struct Action {
    std::string_view word;
    std::string_view command;
    bool locks = false;  // the target must be closed: it is overwritten
};
constexpr std::array kActions{
    Action{"pause", "PAUSEMIRROR", false},
    Action{"continue", "CONTINUEMIRROR", true},
    Action{"break", "BREAKMIRROR", false},
    Action{"resync", "RESYNCMIRROR", true},
};

const Action* action_of(std::string_view word) {
    const auto* const at = std::find_if(kActions.begin(), kActions.end(),
                                        [word](const Action& one) { return one.word == word; });
    return at == kActions.end() ? nullptr : at;
}

Error error_of(const Answer& answer) {
    return {answer.status == Status::bad_network_path ? Code::unreachable : Code::failure,
            std::string(text::trim(answer.err)), 0};
}

}  // namespace

/// On this node or another one.
Task<Answer> Service::command_at(std::string system, std::vector<std::string> words) {
    if (is_this(system)) co_return co_await answer_words(std::move(words), ".");
    co_return co_await forward(system, std::move(words), ".", system);
}

/// Whether what is there of the volume is open to its users; one that does not answer is not overwritten now.
Task<bool> Service::is_unlocked(std::string address, VolumeId volume) {
    Json request{{"do", "facts"}, {"volume", volume.str()}};
    const auto facts = co_await ask(std::move(address), std::move(request), kFactsLimit);
    co_return facts && facts->value("unlocked", false);
}

/// Closes what is open; the first that is in use ends it.
Task<Answer> Service::lock_targets(VolumeId volume, std::vector<std::string> addresses) {
    for (const std::string& address : addresses) {
        const bool open = co_await is_unlocked(address, volume);
        if (!open) continue;
        std::vector<std::string> words{".", "LOCKVOLUME", volume_letter(volume)};
        const std::string system = address;
        Answer locked = co_await command_at(system, std::move(words));
        if (locked.status != Status::success) co_return locked;
    }
    co_return Answer{};
}

Task<Answer> Service::unlock_targets(VolumeId volume, std::vector<std::string> addresses) {
    Answer first;
    for (const std::string& address : addresses) {
        std::vector<std::string> words{".", "UNLOCKVOLUME", volume_letter(volume)};
        const std::string system = address;
        Answer opened = co_await command_at(system, std::move(words));
        if (opened.status != Status::success && first.status == Status::success) first = std::move(opened);
    }
    co_return first;
}

/// "mirror pause|continue|break|resync VOL": on the source, for its target too.
Task<Reply> Service::run_on_both_ends(std::string word, Command command) {
    if (command.uid != 0)
        co_return config::failure({Code::failure, fmt::format("mirror {} needs root", word), 0});
    const VolumeId volume(command.arguments.empty() ? std::string() : command.arguments.front());
    const std::string target = command.get("target");
    const bool unlock = command.has("unlock");
    std::vector<std::string> addresses;
    if (const MirrorPtr mirror = manager_.find(volume); mirror && mirror->record().role == Role::source)
        for (const PeerRecord& peer : mirror->record().peers)
            if ((target.empty() || peer.node == target) &&
                (peer.state == MirrorState::paused || peer.state == MirrorState::broken || unlock))
                addresses.push_back(peer.address);
    if (action_of(word)->locks) {
        const Answer locked = co_await lock_targets(volume, addresses);
        if (locked.status != Status::success) co_return config::failure(error_of(locked));
    }
    Reply done = co_await commands_->on_volume(word, std::move(command));
    if (done.exit_code != 0 || !unlock) co_return done;
    const Answer opened = co_await unlock_targets(volume, std::move(addresses));
    if (opened.status == Status::success) co_return done;
    Error why = error_of(opened);
    why.text = fmt::format("volume {} is {}, but its target is not unlocked: {}", volume.str(),
                           word == "pause" ? "paused" : "broken", why.text);
    co_return config::failure(why);
}

/// All mirrors of a job, at their sources; the first failure is the answer, and the others are tried all the
/// same. Nothing is overwritten unless all targets could be closed.
Task<Reply> Service::act_on_job(std::string word, Job job, bool unlock) {
    const Action* const action = action_of(word);
    const Json summary = co_await summary_of(job);
    const auto is_silent = [&summary](const Json& one) {
        const Json& silent = summary["silent"];
        return std::find(silent.begin(), silent.end(), one["target"]) != silent.end();
    };
    if (action->locks) {
        for (const Json& one : summary["mirrors"]) {
            if (is_silent(one)) continue;
            const VolumeId volume = volume_of(one.value("target_volume", "")).value_or(VolumeId(""));
            std::vector<std::string> address{one.value("target_address", "")};
            const Answer locked = co_await lock_targets(volume, std::move(address));
            if (locked.status != Status::success) co_return config::failure(error_of(locked));
        }
    }
    Answer first;
    const auto keep = [&first](Answer answer) {
        if (answer.status != Status::success && first.status == Status::success) first = std::move(answer);
    };
    for (const Json& one : summary["mirrors"]) {
        const std::string source = one.value("source", "");
        const std::string target = one.value("target_address", "");
        std::vector<std::string> words{".", std::string(action->command), one.value("volume", ""), target};
        Answer done = co_await command_at(source, std::move(words));
        const bool reached = done.status == Status::success;
        keep(std::move(done));
        if (!reached || !unlock) continue;
        const VolumeId volume = volume_of(one.value("target_volume", "")).value_or(VolumeId(""));
        std::vector<std::string> address{target};
        Answer opened = co_await unlock_targets(volume, std::move(address));
        keep(std::move(opened));
    }
    // Who does not answer is source of what has no other one, if of anything.
    for (const VolumeId& volume : volumes_of(job)) {
        const auto of_volume = [&](const Json& one) {
            return one.value("volume", "") == volume_letter(volume);
        };
        if (std::any_of(summary["mirrors"].begin(), summary["mirrors"].end(), of_volume)) continue;
        for (const Json& silent : summary["silent"]) {
            const std::string system = silent.get<std::string>();
            if (!contains(job, system, volume)) continue;
            keep(refused(Status::bad_network_path,
                         fmt::format("volume {}: {} may be its source, and does not answer",
                                     volume_letter(volume), system)));
        }
    }
    if (first.status != Status::success) co_return config::failure(error_of(first));
    co_return config::success();
}

/// This node becomes the source of all volumes of the job that it has. Not of what the cluster switches.
/// Spec: MOP-078, MOP-099
Task<Reply> Service::switch_job_here(Job job) {
    if (const std::string why = co_await protection_of(job); !why.empty())
        co_return config::failure(
            {Code::failure, fmt::format("{}: switch its resource over instead (understudy switchover)", why),
             0});
    const auto volumes = volumes_of(job);
    Answer first;
    bool any = false;
    for (const VolumeId& volume : volumes) {
        const MirrorPtr mirror = manager_.find(volume);
        if (!contains(job, options_.node, volume) || !mirror) continue;
        any = true;
        if (mirror->record().role == Role::source && !mirror->record().demoted) continue;
        std::vector<std::string> words{".", "SWITCHOVERVOLUME", volume_letter(volume)};
        Answer done = co_await answer_words(std::move(words), ".");
        if (done.status != Status::success && first.status == Status::success) first = std::move(done);
    }
    if (!any)
        co_return config::failure(
            {Code::not_found, fmt::format("{} has no mirror of job {}", options_.node, job.name), 0});
    if (first.status != Status::success) co_return config::failure(error_of(first));
    co_return config::success();
}

}  // namespace understudy::mirror::emcmd
