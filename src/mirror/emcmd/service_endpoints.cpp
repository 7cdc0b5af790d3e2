// New addresses for the mirror of two systems: in the mirror, on both ends, and in the job, on all its
// systems. Where hosts share a disk its owner does it, whichever of them was asked. Spec: EMC-094 to EMC-109,
// MOP-117.

#include "base/text.h"
#include "config/address.h"
#include "messages/messages.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace understudy::mirror::emcmd {

using config::Command;
using config::Reply;
using control::EndpointPair;
using control::MirrorRecord;
using control::PeerRecord;
using runtime::Task;

namespace {

/// CHANGEMIRRORENDPOINTS knows volumes of at most so many systems. Spec: EMC-098, MOP-242.
constexpr std::size_t kMostSystemsOfEndpoints = 3;
/// The owner tells the other end, and all systems of the job.
constexpr runtime::Duration kOwnerLimit = std::chrono::seconds(60);

/// Which mirror of the volume is meant, and which host of its other end.
struct Meant {
    std::string peer, there;
};
std::optional<Meant> meant_by(const MirrorRecord& record, const Service::NewEndpoints& wanted) {
    // Those that have the new addresses already, in a second attempt.
    for (const bool again : {false, true}) {
        for (const PeerRecord& peer : record.peers) {
            const auto fits = [&](const std::string& host, const std::string& here,
                                  const std::string& there) {
                if (again) return here == wanted.source && there == wanted.target;
                return text::iequals(there, wanted.original) || same_system(host, wanted.original);
            };
            if (peer.pairs.empty() && fits(peer.node, peer.local_address, peer.address))
                return Meant{peer.node, peer.node};
            for (const EndpointPair& pair : peer.pairs)
                if (pair.here == wanted.host && fits(pair.there, pair.local_address, pair.address))
                    return Meant{peer.node, pair.there};
        }
    }
    return std::nullopt;
}

/// This end's hosts and those of the others.
std::size_t hosts_of(const MirrorRecord& record, const std::string& self) {
    std::set<std::string> hosts{self};
    for (const PeerRecord& peer : record.peers) {
        if (peer.pairs.empty()) hosts.insert(peer.node);
        for (const EndpointPair& pair : peer.pairs) {
            hosts.insert(pair.here);
            hosts.insert(pair.there);
        }
    }
    return hosts.size();
}

const JobPair* mirror_pair(const Job& job, const std::string& one, const std::string& other,
                           const VolumeId& volume) {
    const JobPair* const found = find_pair(job, one, other, volume);
    return found == nullptr || found->type == 'D' ? nullptr : found;
}

}  // namespace

/// The pair's new addresses in a job of this node; nothing is stored. Error: the job would not be legal.
Result<std::optional<Job>> Service::job_with_endpoints(const NewEndpoints& wanted) const {
    std::optional<Job> changed;
    const JobPair* found = nullptr;
    for (const Job& job : jobs_.all()) {
        if (mirror_pair(job, wanted.host, wanted.original, wanted.volume) == nullptr &&
            mirror_pair(job, wanted.host, wanted.target, wanted.volume) == nullptr)
            continue;
        changed = job;
        found = mirror_pair(*changed, wanted.host, wanted.original, wanted.volume);
        if (found != nullptr) break;
    }
    if (!changed) return changed;
    if (!wanted.any_number && systems_of(*changed).size() > kMostSystemsOfEndpoints)
        return fail(Code::failure, "job {} has more than {} systems: delete the mirrors and create them anew",
                    changed->name, kMostSystemsOfEndpoints);
    // In a second attempt it has them, and is stored again wherever it is not.
    if (found == nullptr) found = mirror_pair(*changed, wanted.host, wanted.target, wanted.volume);
    for (JobPair& pair : changed->pairs) {
        if (&pair != found) continue;
        const bool first_is_source = same_system(pair.first.system, wanted.host);
        (first_is_source ? pair.first : pair.second).address = wanted.source;
        (first_is_source ? pair.second : pair.first).address = wanted.target;
    }
    return changed;
}

Task<Answer> Service::change_endpoints(Call call) {
    NewEndpoints wanted{call.volume, options_.node, call.argument(1), call.argument(2), call.argument(3)};
    if (config::is_v6(wanted.original) != config::is_v6(wanted.target))  // Spec: EMC-105
        co_return refused(Status::invalid_parameter, "the addresses are of different families");
    co_return co_await readdress(std::move(wanted));
}

Task<Answer> Service::readdress(NewEndpoints wanted) {
    if (config::is_v6(wanted.source) != config::is_v6(wanted.target))  // Spec: EMC-105
        co_return refused(Status::invalid_parameter, "the addresses are of different families");
    if (!manager_.find(wanted.volume) && is_shared(wanted.volume) && !shared_->is_open(wanted.volume))
        co_return co_await readdress_at_owner(std::move(wanted));
    co_return co_await readdress_here(std::move(wanted));
}

/// The mirror of a disk that is shared exists on its owner alone. Spec: EMC-094, EMC-102, EMC-103.
Task<Answer> Service::readdress_at_owner(NewEndpoints wanted) {
    const auto settings = settings_.get(wanted.volume);
    if (!settings) co_return answer_of(fail(settings.error()));
    if (settings->area.empty()) co_return co_await readdress_here(std::move(wanted));
    shared::SharedPlace place{wanted.volume, settings->device, settings->area};
    const auto role = co_await shared_->role(std::move(place));
    if (!role) co_return answer_of(fail(role.error()));
    if (*role == Role::none) co_return co_await readdress_here(std::move(wanted));
    const auto view = co_await shared_->view(settings->area);
    if (!view) co_return answer_of(fail(view.error()));
    if (!view->owner || view->owner->str() == options_.node)
        co_return refused(
            Status::invalid_function,
            fmt::format("no host has volume {}, which is shared: its owner changes the addresses "
                        "of its mirror; unlock it first",
                        volume_letter(wanted.volume)));
    const std::string owner = view->owner->str();
    Json request{{"do", kEndpoints},
                 {"volume", wanted.volume.str()},
                 {"host", wanted.host},
                 {"original", wanted.original},
                 {"source", wanted.source},
                 {"target", wanted.target},
                 {"any_number", wanted.any_number}};
    auto reply = co_await ask(owner, std::move(request), kOwnerLimit);
    if (!reply)
        co_return refused(status_of(reply.error()),
                          fmt::format("{}, which owns volume {}, cannot be asked: {}", owner,
                                      volume_letter(wanted.volume), reply.error().text));
    Answer out;
    out.status = static_cast<Status>(reply->value("status", number(Status::no_data)));
    out.err = reply->value("err", "");
    if (out.err == kUnknownRequest)
        out = refused(
            Status::not_supported,
            fmt::format("{}, which owns volume {}, runs a release that cannot change the addresses of "
                        "hosts that share a disk: install the same on all of them",
                        owner, volume_letter(wanted.volume)));
    co_return out;
}

/// As another host of the disk was asked.
Task<Answer> Service::readdress_as_owner(NewEndpoints wanted) {
    auto& lock = locks_[wanted.volume];
    if (!lock) lock = std::make_unique<control::OperationLock>(world_.tasks);
    auto held = co_await lock->acquire(kVolumeWait);
    if (!held)
        co_return refused(Status::timeout, fmt::format("another command for volume {} still runs",
                                                       volume_letter(wanted.volume)));
    if (!manager_.find(wanted.volume))
        co_return refused(Status::invalid_function,
                          fmt::format("{} does not own volume {} any more: try again", options_.node,
                                      volume_letter(wanted.volume)));
    co_return co_await readdress_here(std::move(wanted));
}

/// First what may refuse, then the mirror on both ends, then the job on all its systems. Spec: EMC-095 to
/// EMC-109.
Task<Answer> Service::readdress_here(NewEndpoints wanted) {
    auto job = job_with_endpoints(wanted);
    if (!job) co_return refused(Status::not_supported, job.error().text);
    const MirrorPtr mirror = manager_.find(wanted.volume);
    std::optional<Meant> meant;
    if (mirror) meant = meant_by(mirror->record(), wanted);
    if (!meant && !*job)
        co_return refused(Status::file_not_found,
                          fmt::format("no mirror and no job of {} joins volume {} with {}", wanted.host,
                                      volume_letter(wanted.volume), wanted.original));
    if (*job)
        if (const std::string problem = problem_of(**job); !problem.empty())
            co_return refused(Status::invalid_parameter, problem);
    Answer first;
    if (meant) {
        const MirrorRecord record = mirror->record();
        if (!wanted.any_number && hosts_of(record, options_.node) > kMostSystemsOfEndpoints)  // Spec: EMC-098
            co_return refused(Status::not_supported,
                              fmt::format("volume {} has more than {} systems: delete the mirrors and create "
                                          "them anew",
                                          volume_letter(wanted.volume), kMostSystemsOfEndpoints));
        const Result<> done =
            co_await mirror->change_endpoints(meant->there, wanted.source, wanted.target, wanted.host);
        // A target is told when it is back; on its source the change stays. Spec: EMC-109
        const bool stays = !done && done.error().code == Code::unreachable &&
                           (record.role == Role::source || record.peer(meant->peer)->pairs.empty());
        if (!done && !stays) co_return answer_of(done);
        first = answer_of(done);
    }
    if (*job) {
        Answer stored = co_await store_everywhere(std::move(**job));
        if (first.status == Status::success) first = std::move(stored);
    }
    co_return first;
}

/// Whether hosts share the volume's disk at either end.
bool Service::has_sharers(const VolumeId& volume) const {
    const MirrorPtr mirror = manager_.find(volume);
    if (!mirror) return is_shared(volume);
    const auto& peers = mirror->record().peers;
    return std::any_of(peers.begin(), peers.end(),
                       [](const PeerRecord& peer) { return !peer.pairs.empty(); });
}

/// By its name of today, of volumes with any number of systems.
Task<Reply> Service::readdress_sharers(Command command) {
    if (command.arguments.size() != 1) co_return config::failure({Code::syntax, "a volume is missing", 0});
    NewEndpoints wanted{
        VolumeId(command.arguments.front()), command.get("source", options_.node), command.get("target"),
        command.get("source-address"),       command.get("target-address"),        true};
    if (wanted.original.empty() || wanted.source.empty() || wanted.target.empty())
        co_return config::failure(
            {Code::syntax, "mirror endpoints needs --target, --source-address and --target-address", 0});
    const Answer done = co_await readdress(std::move(wanted));
    if (done.status == Status::success) co_return config::success();
    const Code code = done.status == Status::file_not_found      ? Code::not_found
                      : done.status == Status::invalid_parameter ? Code::bad_argument
                                                                 : Code::failure;
    co_return config::failure({code, std::string(text::trim(done.err)), 0});
}

}  // namespace understudy::mirror::emcmd
