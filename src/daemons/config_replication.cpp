#include "daemons/config_replication.h"

#include "messages/messages.h"

namespace understudy::daemons {
namespace {

constexpr auto kCallLimit = std::chrono::seconds(5);
// Pushed changes are best effort; this finds what was lost without a path going down.
constexpr auto kCompareInterval = std::chrono::seconds(10);

}  // namespace

ConfigReplication::ConfigReplication(runtime::World world, config::Database& database, comm::Cluster& cluster)
    : world_(world), database_(database), cluster_(cluster) {}

ConfigReplication::~ConfigReplication() {
    *alive_ = false;
    if (timer_) world_.tasks.cancel(*timer_);
}

void ConfigReplication::start() {
    cluster_.serve("config.generation",
                   [this](const NodeName&, std::string_view, comm::Cluster::Answer answer) {
                       answer(std::to_string(database_.own().generation));
                   });
    cluster_.serve("config.pull", [this](const NodeName&, std::string_view, comm::Cluster::Answer answer) {
        answer(config::encode(database_.own()));
    });
    cluster_.serve("config.change",
                   [this](const NodeName& caller, std::string_view payload, comm::Cluster::Answer answer) {
                       auto change = config::decode_change(payload);
                       if (!change) return answer(fail(change.error()));
                       // A node speaks only for itself: the owner is the sole authority.
                       if (change->owner != caller)
                           return answer(fail(Code::bad_argument, "{} sent a change of {}", caller.str(),
                                              change->owner.str()));
                       if (!database_.apply_replica(*change)) pull(caller);
                       answer(std::string());
                   });
    cluster_.on_peer_event([this](const comm::PeerEvent& event) {
        if (event.kind == comm::PeerEvent::Kind::comm_up) compare(event.peer);
    });
    database_.subscribe([this](const config::Change& change) {
        if (change.owner == database_.self()) push(change);
    });
    timer_ = world_.tasks.after(kCompareInterval, [this] { compare_all(); });
}

void ConfigReplication::push(const config::Change& change) {
    const auto data = config::encode(change);
    for (const auto& peer : cluster_.alive_peers())
        cluster_.notify(peer, "config.change", data);
}

void ConfigReplication::compare_all() {
    for (const auto& peer : cluster_.alive_peers())
        compare(peer);
    timer_ = world_.tasks.after(kCompareInterval, [this] { compare_all(); });
}

void ConfigReplication::compare(const NodeName& peer) {
    cluster_.call(peer, "config.generation", {}, kCallLimit,
                  [this, peer, alive = alive_](Result<std::string> answer) {
                      if (!*alive || !answer) return;  // a later comparison tries again
                      const auto* copy = database_.of(peer);
                      if (copy == nullptr || std::to_string(copy->generation) != *answer)
                          pull(peer);
                      else
                          check_equivalencies(peer);
                  });
}

void ConfigReplication::pull(const NodeName& peer) {
    if (!pulling_.insert(peer).second) return;
    cluster_.call(
        peer, "config.pull", {}, kCallLimit, [this, peer, alive = alive_](Result<std::string> answer) {
            if (!*alive) return;
            pulling_.erase(peer);
            if (!answer) return;
            auto config = config::decode_config(*answer);
            if (!config) {
                messages::error("configuration of {} is not readable: {}", peer.str(), config.error().text);
                return;
            }
            database_.replace_replica(peer, std::move(*config));
            check_equivalencies(peer);
        });
}

// Spec: CLU-096: divergence is reported, never merged.
void ConfigReplication::check_equivalencies(const NodeName& peer) {
    const auto* theirs = database_.of(peer);
    if (theirs == nullptr) return;
    std::string found;
    for (const auto& ours : database_.own().equivalencies) {
        if (ours.other_node != peer) continue;
        const auto back = theirs->equivalents(ours.other_tag);
        const auto match = std::find_if(back.begin(), back.end(), [&](const config::Equivalency& e) {
            return e.other_node == database_.self() && e.other_tag == ours.tag;
        });
        if (match == back.end())
            found += fmt::format("{} is equivalent to {} on {} here, but not there; ", ours.tag.str(),
                                 ours.other_tag.str(), peer.str());
        else if (match->priority != ours.other_priority || match->other_priority != ours.priority)
            found += fmt::format("priorities of {} are {}/{} here and {}/{} on {}; ", ours.tag.str(),
                                 ours.priority.value, ours.other_priority.value, match->other_priority.value,
                                 match->priority.value, peer.str());
    }
    if (found == reported_[peer]) return;
    reported_[peer] = found;
    if (found.empty()) return;
    messages::warning("equivalencies with {} differ: {}compare eqv_list on both nodes and repair by hand",
                      peer.str(), found);
    database_.journal(0, "engine", peer.str(), fmt::format("equivalencies differ: {}", found));
}

}  // namespace understudy::daemons
