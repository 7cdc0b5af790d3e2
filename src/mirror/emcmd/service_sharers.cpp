// Hosts that share a volume, added and dropped while the volume is open and mirrored: the lock area, the
// mirror's record on every end, and the job. Run on the owner of the disk, at either end. Spec: MOP-161 to
// MOP-164.

#include "messages/messages.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace understudy::mirror::emcmd {

using config::Reply;
using control::EndpointPair;
using control::MirrorRecord;
using control::PeerRecord;
using runtime::Task;

namespace {

constexpr runtime::Duration kBesideLimit = std::chrono::seconds(5);

/// The hosts of the peer's end, with the address by which `self` reaches each.
std::vector<std::pair<std::string, std::string>> ends_of(const PeerRecord& peer, const std::string& self) {
    std::vector<std::pair<std::string, std::string>> out;
    for (const EndpointPair& pair : peer.pairs)
        if (pair.here == self) out.emplace_back(pair.there, pair.address);
    return out;
}

JobPair job_pair(const VolumeId& volume, const EndpointPair& pair, MirrorType type) {
    JobPair out;
    out.first = {pair.here, volume, pair.local_address};
    out.second = {pair.there, volume, pair.address};
    out.type = type == MirrorType::async ? 'A' : 'S';
    return out;
}

bool is_end(const JobEnd& end, const std::string& host, const VolumeId& volume) {
    return same_system(end.system, host) && end.volume == volume;
}

}  // namespace

/// This host's addresses in the networks of others.
Service::Json Service::beside(const Json& remotes) const {
    Json found = Json::object();
    if (remotes.is_array())
        for (const Json& remote : remotes)
            if (remote.is_string())
                found[remote.get<std::string>()] = host_.addresses_beside(remote.get<std::string>());
    return {{"node", options_.node}, {"beside", std::move(found)}};
}

/// The pairs of every peer with those of the new host: as a job has them, else from the addresses that the
/// host says it has in the mirror's networks. Spec: MOP-061, MOP-162, MOP-163.
Task<Result<Service::PairsOf>> Service::pairs_with(MirrorRecord record, std::string host,
                                                   std::string address) {
    const VolumeId volume = record.volume;
    PairsOf out;
    Json remotes = Json::array();
    std::size_t total = 0;
    for (const PeerRecord& peer : record.peers) {
        std::vector<EndpointPair>& pairs = out[peer.node];
        pairs = peer.pairs;
        for (const auto& [there, reached] : ends_of(peer, options_.node)) {
            if (there == host)
                co_return fail(Code::bad_argument, "{} is a host of the other end of volume {}", host,
                               volume.str());
            if (std::any_of(pairs.begin(), pairs.end(), [&, &name = there](const EndpointPair& pair) {
                    return pair.here == host && pair.there == name;
                }))
                continue;  // a second attempt
            EndpointPair pair{host, there, {}, reached, options_.dispatch_port};
            for (const Job& job : jobs_.all()) {
                const JobPair* known = find_pair(job, host, there, volume);
                if (known == nullptr || known->type == 'D' || !pair.local_address.empty()) continue;
                const bool first = same_system(known->first.system, host);
                pair.local_address = (first ? known->first : known->second).address;
                pair.address = (first ? known->second : known->first).address;
            }
            if (pair.local_address.empty()) remotes.push_back(reached);
            pairs.push_back(std::move(pair));
        }
        total += pairs.size();
    }
    if (total > shared::kMostMirrorHosts)
        co_return fail(Code::bad_argument,
                       "with {} the mirror of volume {} has {} pairs of hosts, more than {}", host,
                       volume.str(), total, shared::kMostMirrorHosts);
    if (remotes.empty()) co_return out;
    Json request{{"do", "beside"}, {"remotes", remotes}};
    const std::string where = address.empty() ? host : address;
    auto asked = co_await ask(where, std::move(request), kBesideLimit);
    if (!asked)
        co_return fail(asked.error().code, "{} cannot be asked for its addresses: {}", host,
                       asked.error().text);
    if (asked->value("node", "") != host)
        co_return fail(Code::bad_argument, "{} is an address of {}, not of {}", where,
                       asked->value("node", ""), host);
    const Json found = asked->value("beside", Json::object());
    for (auto& [peer, pairs] : out) {
        for (EndpointPair& pair : pairs) {
            if (!pair.local_address.empty()) continue;
            auto addresses = found.value(pair.address, std::vector<std::string>());
            if (!address.empty() && std::find(addresses.begin(), addresses.end(), address) != addresses.end())
                addresses = {address};
            if (addresses.empty())
                co_return fail(
                    Code::bad_argument,
                    "{} has no address in the network of {} ({}): give it one, or put the endpoints "
                    "between {} and {} into the job first",
                    host, pair.there, pair.address, host, pair.there);
            if (addresses.size() > 1)
                co_return fail(Code::bad_argument,
                               "{} has {} addresses in the network of {}: say which with --address", host,
                               addresses.size(), pair.address);
            pair.local_address = addresses.front();
        }
    }
    co_return out;
}

/// Into every job of the volume: the new host with each host of the other ends, and with those that share the
/// disk. Spec: MOP-162, MOP-165.
Task<Answer> Service::store_sharer(VolumeId volume, std::string host, MirrorRecord record, PairsOf pairs) {
    Answer first;
    for (Job& job : jobs_.all()) {
        if (!contains(job, options_.node, volume)) continue;
        const Job before = job;
        for (const PeerRecord& peer : record.peers)
            for (const EndpointPair& pair : pairs[peer.node])
                if (pair.here == host && find_pair(job, host, pair.there, volume) == nullptr)
                    put_pair(job, job_pair(volume, pair, peer.type));
        for (const NodeName& member : shared_->hosts(volume)) {
            if (member == NodeName(host) || find_pair(job, host, member.str(), volume) != nullptr) continue;
            const std::string none(kNoAddress);
            JobPair disk;
            disk.first = {member.str(), volume, none};
            disk.second = {host, volume, none};
            disk.type = 'D';
            put_pair(job, disk);
        }
        if (job == before) continue;
        Answer stored = co_await store_everywhere(std::move(job));
        if (first.status == Status::success) first = std::move(stored);
    }
    co_return first;
}

Task<Reply> Service::add_sharer(VolumeId volume, std::string host, std::string address) {
    const auto wrong = [](const Error& error) { return config::failure(error); };
    if (!shared_->is_open(volume))
        co_return wrong(
            {Code::failure,
             fmt::format("volume {} is not open here: add hosts on the one that owns it", volume.str()), 0});
    const MirrorPtr mirror = manager_.find(volume);
    if (shared_->is_mirrored(volume) && !mirror)
        co_return wrong(
            {Code::failure, fmt::format("the mirror of volume {} is being changed", volume.str()), 0});
    MirrorRecord record;
    record.volume = volume;
    if (mirror) record = mirror->record();
    auto pairs = co_await pairs_with(record, host, address);
    if (!pairs) co_return wrong(pairs.error());
    // First what may refuse. A host that is in the area and in no mirror yet cannot have the volume.
    const Result<> added = co_await shared_->add_host(volume, NodeName(host));
    if (!added) co_return wrong(added.error());
    if (mirror) {
        PairsOf wanted = *pairs;
        const Result<> told = co_await mirror->set_pairs(std::move(wanted), true);
        if (!told) co_return wrong(told.error());
    }
    const Answer stored = co_await store_sharer(volume, host, record, *pairs);
    Reply reply = config::success();
    if (stored.status != Status::success) reply.err = stored.err + "\n";
    co_return reply;
}

/// Out of every job of the volume. Whoever is named by none of its pairs any more forgets the job.
Task<Answer> Service::forget_sharer(VolumeId volume, std::string host) {
    Answer first;
    for (const Job& before : jobs_.all()) {
        if (!contains(before, options_.node, volume)) continue;
        Job job = before;
        std::erase_if(job.pairs, [&](const JobPair& pair) {
            return is_end(pair.first, host, volume) || is_end(pair.second, host, volume);
        });
        if (job == before) continue;
        Answer stored = co_await store_or_remove(before, std::move(job), "");
        if (first.status == Status::success) first = std::move(stored);
    }
    co_return first;
}

Task<Reply> Service::drop_sharer(VolumeId volume, std::string host, bool confirmed) {
    const auto wrong = [](const Error& error) { return config::failure(error); };
    if (!shared_->is_open(volume))
        co_return wrong(
            {Code::failure,
             fmt::format("volume {} is not open here: drop hosts on the one that owns it", volume.str()), 0});
    const auto hosts = shared_->hosts(volume);
    if (!confirmed)  // Spec: MOP-164
        co_return wrong(
            {Code::bad_argument,
             fmt::format("once {} does not share volume {} any more, nothing but its own lock keeps "
                         "it from the disk: two hosts that write to it destroy it. {} keeps it locked "
                         "until \"understudy volume share {} --off\" is run there. Disconnect {} "
                         "from the storage first, or never run that; then repeat this with --yes",
                         host, volume.str(), host, volume.str(), host),
             0});
    const MirrorPtr mirror = manager_.find(volume);
    if (shared_->is_mirrored(volume) && !mirror)
        co_return wrong(
            {Code::failure, fmt::format("the mirror of volume {} is being changed", volume.str()), 0});
    // First the lock area: from here on it cannot have the volume.
    const Result<> removed = co_await shared_->remove_host(volume, NodeName(host));
    if (!removed) co_return wrong(removed.error());
    if (mirror) {
        PairsOf pairs;
        for (const PeerRecord& peer : mirror->record().peers) {
            std::vector<EndpointPair>& left = pairs[peer.node];
            for (const EndpointPair& pair : peer.pairs)
                if (pair.here != host) left.push_back(pair);
        }
        const Result<> told = co_await mirror->set_pairs(std::move(pairs), false);
        if (!told) co_return wrong(told.error());
    }
    const Answer stored = co_await forget_sharer(volume, host);
    Reply reply = config::success();
    if (std::find(hosts.begin(), hosts.end(), NodeName(host)) == hosts.end())
        reply.err = fmt::format("{} did not share volume {}\n", host, volume.str());
    if (stored.status != Status::success) reply.err += stored.err + "\n";
    co_return reply;
}

}  // namespace understudy::mirror::emcmd
