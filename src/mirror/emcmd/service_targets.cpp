// What acts on one of a volume's mirrors, or on all of them: pause, continue, break, resync, removal. Spec:
// EMC-013, EMC-014.

#include "base/text.h"
#include "messages/messages.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using control::MirrorRecord;
using control::PeerRecord;
using runtime::Task;

namespace {

constexpr runtime::Duration kFactsLimit = std::chrono::seconds(5);

/// Whether the other end has this node as a host of its volume.
bool names(const nlohmann::json& facts, const std::string& node) {
    const auto peers = facts.find("peers");
    return peers != facts.end() && peers->is_array() &&
           std::find(peers->begin(), peers->end(), node) != peers->end();
}

/// Whose blocks may be of different times.
bool is_half_copied(MirrorState state) {
    return state == MirrorState::resync || state == MirrorState::pending;
}

}  // namespace

const PeerRecord* Service::peer_with(const MirrorRecord& record, const std::string& address) {
    const auto is_meant = [&](const PeerRecord& peer) {
        // Any of the hosts that share its disk stands for all.
        return text::iequals(peer.address, address) ||
               std::any_of(peer.pairs.begin(), peer.pairs.end(), [&](const control::EndpointPair& pair) {
                   return text::iequals(pair.address, address);
               });
    };
    const auto at = std::find_if(record.peers.begin(), record.peers.end(), is_meant);
    return at == record.peers.end() ? nullptr : &*at;
}

/// What the service of a volume's other host says; null when it says nothing.
Task<Service::Json> Service::peer_facts(MirrorPtr mirror, std::string peer) {
    const PeerRecord* one = mirror->record().peer(peer);
    if (one == nullptr) co_return Json();
    Json request{{"do", "facts"}, {"volume", mirror->id().str()}};
    auto reply = co_await ask(one->address, std::move(request), kFactsLimit);
    if (!reply) co_return Json();
    co_return *reply;
}

/// The hosts that a command means: the one with the address, or all targets; on a target, its source.
Result<std::vector<std::string>> Service::meant(const Call& call, const MirrorRecord& record) const {
    const std::string address = call.argument(1);
    std::vector<std::string> out;
    if (record.role != Role::source) {
        if (address.empty() || text::iequals(record.main().address, address))
            out.push_back(record.main().node);
    } else if (address.empty()) {
        for (const PeerRecord& peer : record.peers)
            out.push_back(peer.node);
    } else if (const PeerRecord* peer = peer_with(record, address)) {
        out.push_back(peer->node);
    }
    if (out.empty())
        return fail(Code::not_found, "{} is no target of volume {} on {}", address,
                    volume_letter(call.volume), options_.node);
    return out;
}

/// The first failure is the answer, and the other mirrors are tried all the same.
Task<Answer> Service::on_targets(Call call, MirrorPtr mirror) {
    const auto which = meant(call, mirror->record());
    if (!which) co_return refused(Status::file_not_found, which.error().text);
    Answer first;
    for (const std::string& peer : *which) {
        if (mirror->record().peer(peer) == nullptr) continue;  // gone meanwhile
        Answer done;
        switch (call.spec->verb) {
            case Verb::pause_mirror:
                done = co_await pause(mirror, peer);
                break;
            case Verb::continue_mirror:
                done = co_await resume(mirror, peer);
                break;
            case Verb::break_mirror:
                done = co_await break_one(mirror, peer);
                break;
            case Verb::resync_mirror:
                done = co_await resync(mirror, peer);
                break;
            default:
                co_return refused(Status::not_supported, fmt::format("{} is not there", call.spec->name));
        }
        if (done.status == Status::success) continue;
        if (first.status == Status::success)
            first = std::move(done);
        else
            first.err += "\n" + done.err;
    }
    co_return first;
}

/// A command for the source that a target got. Spec: EMC-089.
Answer Service::on_source_only(const MirrorRecord& record, std::string_view verb) const {
    return refused(Status::invalid_function,
                   fmt::format("{} is target of volume {}: {} it on its source {}", options_.node,
                               volume_letter(record.volume), verb, record.main().node));
}

Task<Answer> Service::pause(MirrorPtr mirror, std::string peer) {
    // On a target the command has no effect, and that is no error. Spec: EMC-221
    if (mirror->record().role != Role::source) co_return Answer{};
    const PeerRecord one = *mirror->record().peer(peer);
    if (one.state == MirrorState::broken)
        co_return refused(Status::invalid_function,
                          fmt::format("the mirror of volume {} to {} is broken, there is nothing to pause",
                                      volume_letter(mirror->id()), one.address));
    if (one.state == MirrorState::paused && one.user_requested) co_return Answer{};
    messages::info("emcmd: pausing the mirror of volume {} to {} (message 48)", mirror->id().str(),
                   one.address);
    const Result<> done = co_await mirror->pause(peer);
    co_return answer_of(done);
}

Task<Answer> Service::resume(MirrorPtr mirror, std::string peer) {
    const MirrorRecord before = mirror->record();
    const std::string name = volume_letter(mirror->id());
    if (before.role != Role::source) co_return on_source_only(before, "continue");
    const PeerRecord one = *before.peer(peer);
    const bool stopped =
        one.user_requested || one.state == MirrorState::paused || one.state == MirrorState::broken;
    if (!stopped) co_return Answer{};  // Spec: EMC-067
    const Json facts = co_await peer_facts(mirror, peer);
    if (facts.is_object()) {
        // It does not lock the target: that is to be done first. Spec: EMC-131
        if (facts.value("unlocked", false))
            co_return refused(Status::lock_violation,
                              fmt::format("volume {} is unlocked on {}: lock it there first", name, peer));
        if (facts.value("role", 0) == static_cast<int>(Role::source) && names(facts, options_.node))
            co_return refused(Status::invalid_function,
                              fmt::format("{} and {} are both source of volume {}: choose whose changes go, "
                                          "and run PREPARETOBECOMETARGET there first",
                                          options_.node, peer, name));
        // Spec: EMC-134
        const std::string followed = facts.value("follows", "");
        if (!followed.empty() && followed != options_.node && !facts.value("yielded", false))
            co_return refused(Status::invalid_function,
                              fmt::format("{} is target of {} for volume {}: delete that mirror first", peer,
                                          followed, name));
    }
    // The source alone has the mirror: the other side is made again. Spec: MOP-118
    if (facts.is_object() && facts.value("role", -1) == static_cast<int>(Role::none)) {
        Status refusal{};
        const auto target = co_await future_target(mirror->id(), one.address, &refusal);
        if (!target) co_return refused(refusal, target.error().text);
        const std::string device = target->value("device", "");
        messages::info("emcmd: {} has lost its side of volume {}; it is made again", peer,
                       mirror->id().str());
        const Result<> made = co_await manager_.remake_target(mirror->id(), peer, device);
        if (!made) co_return answer_of(made);
    }
    messages::info("emcmd: continuing the mirror of volume {} to {} (message 50)", mirror->id().str(),
                   one.address);
    const Result<> done = co_await mirror->resume(peer);
    co_return answer_of(done);
}

Task<Answer> Service::break_one(MirrorPtr mirror, std::string peer) {
    if (mirror->record().role != Role::source) co_return on_source_only(mirror->record(), "break");
    const Result<> done = co_await mirror->break_mirror(peer);
    co_return answer_of(done);
}

Task<Answer> Service::resync(MirrorPtr mirror, std::string peer) {
    if (mirror->record().role != Role::source) co_return on_source_only(mirror->record(), "resync");
    const PeerRecord one = *mirror->record().peer(peer);
    // It overwrites all of the target, and so locks it. Spec: EMC-236
    const Json facts = co_await peer_facts(mirror, peer);
    if (facts.is_object() && facts.value("unlocked", false)) {
        std::vector<std::string> words{".", "LOCKVOLUME", volume_letter(mirror->id())};
        Answer locked = co_await forward(one.address, std::move(words), ".", peer);
        if (locked.status != Status::success) co_return locked;
    }
    const Result<> done = co_await mirror->resync(peer);
    co_return answer_of(done);
}

// --- removal

Task<Answer> Service::remove(Call call, MirrorPtr mirror) {
    const MirrorRecord before = mirror->record();
    const VolumeId volume = mirror->id();
    const auto which = meant(call, before);
    if (!which) co_return refused(Status::file_not_found, which.error().text);
    remember_device(volume);
    for (const std::string& peer : *which) {
        const Json facts = co_await peer_facts(mirror, peer);  // the other end remembers its device too
        const PeerRecord* one = before.peer(peer);
        const bool mixed = facts.is_object() && !facts.value("consistent", true);
        if (before.role == Role::source && (mixed || is_half_copied(one->state)))  // Spec: MOP-114
            messages::warning("volume {}: deleted in the middle of a resync; {} may hold a mixture of blocks",
                              volume.str(), peer);
    }
    const bool one_of_several = before.role == Role::source && which->size() < before.peers.size();
    const std::string only = one_of_several ? which->front() : std::string();
    Result<> done = co_await remove_mirrors(volume, only, false);
    if (!done && done.error().code == Code::unreachable && before.role == Role::source) {
        // What cannot be reached is left over, and that is no failure. Spec: EMC-166
        messages::warning("volume {}: {}; its half is left over there", volume.str(), done.error().text);
        done = co_await remove_mirrors(volume, only, true);
    }
    co_return answer_of(done);
}

/// All mirrors of the volume, or the one with `only`.
Task<Result<>> Service::remove_mirrors(VolumeId volume, std::string only, bool force) {
    if (only.empty()) co_return co_await manager_.remove(volume, force);
    co_return co_await manager_.remove_target(volume, only, force);
}

Task<Answer> Service::remove_local(Call call, MirrorPtr mirror) {
    const MirrorRecord before = mirror->record();
    const VolumeId volume = mirror->id();
    const auto which = meant(call, before);
    if (!which) co_return refused(Status::file_not_found, which.error().text);
    remember_device(volume);
    if (before.role == Role::source && which->size() < before.peers.size()) {
        const std::string peer = which->front();
        const Result<> dropped = co_await mirror->drop_peer(peer);
        co_return answer_of(dropped);
    }
    const Result<> done = co_await manager_.remove_local(volume);
    if (done && before.role == Role::target)
        co_return answer_of(settings_.set_switchover_flag(volume, true));  // Spec: EMC-162
    co_return answer_of(done);
}

}  // namespace understudy::mirror::emcmd
