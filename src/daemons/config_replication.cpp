#include "daemons/config_replication.h"

#include "base/text.h"
#include "messages/messages.h"

#include <algorithm>
#include <utility>

namespace understudy::daemons {
namespace {

constexpr auto kCallLimit = std::chrono::seconds(5);
// Pushed changes are best effort; this finds what was lost without a path going down.
constexpr auto kCompareInterval = std::chrono::seconds(10);
/// How long sync() waits for a living peer.
constexpr auto kConfirmLimit = std::chrono::seconds(3);
/// Questions of one peer that wait for our copy; older ones are answered with an error.
constexpr std::size_t kMaxWaiters = 64;

std::string summary_of(const config::NodeConfig& config) {
    return fmt::format("{} {:016x}", config.generation, config.index.digest);
}

}  // namespace

ConfigReplication::ConfigReplication(runtime::World world, config::Database& database, comm::Cluster& cluster)
    : world_(world), database_(database), cluster_(cluster) {}

ConfigReplication::~ConfigReplication() {
    *alive_ = false;
    if (timer_) world_.tasks.cancel(*timer_);
}

void ConfigReplication::start() {
    cluster_.serve("config.summary",
                   [this](const NodeName&, std::string_view, const comm::Cluster::Answer& answer) {
                       answer(summary_of(database_.own()));
                   });
    cluster_.serve("config.reached", [this](const NodeName& caller, std::string_view payload,
                                            const comm::Cluster::Answer& answer) {
        const auto generation = text::to_int(payload);
        if (!generation || *generation < 0)
            return answer(fail(Code::internal, "\"{}\" is not a generation", payload));
        wait_for_copy(caller, static_cast<std::uint64_t>(*generation), answer);
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
                       if (database_.apply_replica(*change))
                           answer_waiters(caller);
                       else
                           pull(caller);
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
    const auto compared = [this, peer, alive = alive_](const Result<std::string>& answer) {
        if (!*alive || !answer) return;  // a later comparison tries again
        const auto* copy = database_.of(peer);
        if (copy != nullptr && summary_of(*copy) == *answer) return check_equivalencies(peer);
        if (copy != nullptr && answer->starts_with(fmt::format("{} ", copy->generation)))
            messages::warning(
                "the copy of {}'s configuration differs from it at the same generation {}: it is "
                "replaced",
                peer.str(), copy->generation);
        pull(peer);
    };
    cluster_.call(peer, "config.summary", {}, kCallLimit, compared);
}

void ConfigReplication::pull(const NodeName& peer) {
    if (const auto at = pulling_.find(peer); at != pulling_.end()) {
        at->second.again = true;
        return;
    }
    pulling_[peer] = {};
    cluster_.call(peer, "config.pull", {}, kCallLimit,
                  [this, peer, alive = alive_](const Result<std::string>& answer) {
                      if (*alive) pulled(peer, answer);
                  });
}

void ConfigReplication::pulled(const NodeName& peer, const Result<std::string>& answer) {
    const bool again = pulling_.at(peer).again;
    pulling_.erase(peer);
    if (!answer) return;
    auto config = config::decode_config(*answer);
    if (!config) {
        messages::error("configuration of {} is not readable: {}", peer.str(), config.error().text);
        return;
    }
    database_.replace_replica(peer, std::move(*config));
    answer_waiters(peer);
    check_equivalencies(peer);
    if (again) compare(peer);
}

void ConfigReplication::wait_for_copy(const NodeName& owner, std::uint64_t generation,
                                      comm::Cluster::Answer answer) {
    const auto* copy = database_.of(owner);
    if (copy != nullptr && copy->generation >= generation) return answer(std::string());
    auto& waiting = waiters_[owner];
    if (waiting.size() >= kMaxWaiters) {
        waiting.front().answer(fail(Code::failure, "too many questions for one copy at once"));
        waiting.erase(waiting.begin());
    }
    waiting.push_back({generation, std::move(answer)});
    // Changes and calls may take different paths: the change is probably on its way. If it is lost, a pull
    // has it.
    pull(owner);
}

void ConfigReplication::answer_waiters(const NodeName& owner) {
    const auto at = waiters_.find(owner);
    if (at == waiters_.end()) return;
    const auto generation = database_.of(owner)->generation;
    auto waiting = std::move(at->second);
    waiters_.erase(at);
    for (auto& waiter : waiting) {
        if (waiter.generation <= generation)
            waiter.answer(std::string());
        else
            waiters_[owner].push_back(std::move(waiter));
    }
}

void ConfigReplication::sync(std::function<void(Result<>, std::vector<NodeName>)> done) {
    struct Sync {
        std::size_t waiting = 1;
        Result<> disk;
        std::vector<NodeName> unconfirmed;
        std::function<void(Result<>, std::vector<NodeName>)> done;
        void arrived() {
            if (--waiting == 0) done(disk, unconfirmed);
        }
    };
    auto sync = std::make_shared<Sync>();
    sync->done = std::move(done);
    const auto peers = cluster_.alive_peers();
    sync->waiting += peers.size();
    const auto generation = std::to_string(database_.own().generation);
    for (const auto& peer : peers)
        cluster_.call(peer, "config.reached", generation, kConfirmLimit,
                      [sync, peer](const Result<std::string>& answer) {
                          if (!answer) sync->unconfirmed.push_back(peer);
                          sync->arrived();
                      });
    database_.sync([sync](Result<> result) {
        sync->disk = std::move(result);
        sync->arrived();
    });
}

// Spec: CLU-096: divergence is reported, never merged.
void ConfigReplication::check_equivalencies(const NodeName& peer) {
    const auto* theirs = database_.of(peer);
    if (theirs == nullptr) return;
    const auto& own = database_.own();
    const std::pair seen(own.generation, theirs->generation);
    if (std::exchange(checked_[peer], seen) == seen) return;
    std::string found;
    for (const auto& pair : theirs->equivalencies) {
        if (pair.other_node != database_.self()) continue;
        const auto here = own.equivalents(pair.other_tag);
        if (std::none_of(here.begin(), here.end(), [&](const config::Equivalency& e) {
                return e.other_node == peer && e.other_tag == pair.tag;
            }))
            found += fmt::format("{} on {} is equivalent to {} there, but not here; ", pair.tag.str(),
                                 peer.str(), pair.other_tag.str());
    }
    for (const auto& ours : own.equivalencies) {
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
