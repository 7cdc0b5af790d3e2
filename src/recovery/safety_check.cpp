#include "recovery/safety_check.h"

#include "messages/messages.h"

#include <algorithm>
#include <set>

namespace understudy::recovery {
namespace {

constexpr runtime::Duration kLook = std::chrono::milliseconds(100);

}  // namespace

SafetyCheck::SafetyCheck(runtime::World world, const config::Database& database, comm::Cluster& cluster,
                         Options options, Probe probe)
    : world_(world), database_(database), cluster_(cluster), options_(options), probe_(std::move(probe)) {
    cluster_.on_peer_event([this, life = std::weak_ptr<bool>(life_)](const comm::PeerEvent& event) {
        if (life.expired() || event.kind != comm::PeerEvent::Kind::comm_up) return;
        ++returns_[event.peer];
        const auto at = findings_.find(event.peer);
        if (at == findings_.end()) return;
        // The loss has ended; the next one is checked anew. Spec: CLU-074, CLU-076.
        if (at->second == Finding::present || at->second == Finding::checking) {
            messages::info("SAFETY CHECK ABORTED:ABORTING COMM_DOWN");
            messages::info("The remote node ({}) is up.", event.peer.str());
        }
        findings_.erase(at);
    });
}

SafetyCheck::~SafetyCheck() {
    scope_.clear();
}

bool SafetyCheck::alive(const NodeName& peer) const {
    return cluster_.peer_state(peer) == comm::PeerState::alive;
}

std::vector<SafetyCheck::Target> SafetyCheck::targets_of(const NodeName& peer,
                                                         const std::vector<std::string>& named) const {
    // An address that moves may answer from another host. Spec: CLU-040, CLU-072.
    std::set<std::string> others;
    for (const auto& [tag, instance] : database_.own().instances)
        others.insert(instance.id.str());
    std::set<std::string> fixed;
    std::set<Target> targets;
    for (const auto& path : database_.own().paths) {
        others.insert(path.local_address);
        if (path.remote != peer) others.insert(path.remote_address);
        if (path.remote != peer || path.remote_address.empty() || others.contains(path.remote_address))
            continue;
        fixed.insert(path.remote_address);
        targets.insert({path.remote_address, path.local_address});
    }
    // A name may lead to this host itself, as in the /etc/hosts of Debian, or to one that answers for all.
    for (const std::string& address : named)
        if (!fixed.contains(address) && !others.contains(address) && !address.starts_with("127.") &&
            address != "::1")
            targets.insert({address, ""});
    return {targets.begin(), targets.end()};
}

runtime::Task<> SafetyCheck::probe_one(Target target, std::shared_ptr<std::size_t> open,
                                       std::shared_ptr<bool> any, runtime::OneShot<runtime::Done> all) {
    const bool answered = co_await probe_(std::move(target));
    *any = *any || answered;
    if (--*open == 0) all.set({});
}

runtime::Task<bool> SafetyCheck::answers(std::vector<Target> targets) {
    if (targets.empty()) co_return false;
    const auto open = std::make_shared<std::size_t>(targets.size());
    const auto any = std::make_shared<bool>(false);
    const runtime::OneShot<runtime::Done> all(world_.tasks);
    runtime::TaskScope probes;
    for (auto& target : targets)
        probes.spawn(probe_one(std::move(target), open, any, all));
    co_await all;
    co_return *any;
}

void SafetyCheck::pause(const NodeName& peer) {
    if (std::exchange(findings_[peer], Finding::present) == Finding::present) return;
    messages::warning("SAFETY CHECK DETECTED MACHINE \"{}\":PAUSING COMM_DOWN", peer.str());
    messages::warning("The remote node ({}) appears to be reachable. Waiting for confirmation.", peer.str());
}

runtime::Task<TakeoverGate::Verdict> SafetyCheck::find_out(NodeName peer) {
    const Verdict came_back{false, "it came back"};
    const Verdict down{true, "nothing answers at its addresses"};
    const Verdict present{false, fmt::format("{} answers although every path to it is DEAD", peer.str())};
    const auto known = findings_.find(peer);
    if (known != findings_.end() && known->second == Finding::down) co_return down;
    if (known != findings_.end() && known->second == Finding::present && !options_.recheck) co_return present;
    findings_[peer] = Finding::checking;
    const auto loss = returns_[peer];
    const auto is_back = [this, &peer, loss] { return alive(peer) || returns_[peer] != loss; };
    auto give_up = world_.clock.now() + options_.timeout;
    std::vector<std::string> named;
    if (options_.resolve) named = co_await options_.resolve(peer);
    while (true) {
        const auto began = world_.clock.now();
        const bool answered = co_await answers(targets_of(peer, named));
        if (is_back()) co_return came_back;
        if (answered) {
            pause(peer);
            if (!options_.recheck) co_return present;
            give_up = world_.clock.now() + options_.timeout;
        }
        while (world_.clock.now() < std::min(began + kProbePeriod, give_up)) {
            co_await runtime::sleep_for(world_.tasks, kLook);
            if (is_back()) co_return came_back;
        }
        if (world_.clock.now() < give_up) continue;
        messages::warning("SAFETY CHECK for \"{}\" timed out: assuming \"{}\" is down", peer.str(),
                          peer.str());
        findings_[peer] = Finding::down;
        co_return down;
    }
}

runtime::Task<> SafetyCheck::inform(NodeName peer) {
    (void)co_await find_out(std::move(peer));
}

runtime::Task<TakeoverGate::Verdict> SafetyCheck::check(NodeName peer) {
    if (!options_.informs_only) {
        auto verdict = co_await find_out(std::move(peer));
        co_return verdict;
    }
    scope_.spawn(inform(std::move(peer)));
    const Verdict verdict{true, "its finding is only logged: a witness decides"};
    co_return verdict;
}

}  // namespace understudy::recovery
