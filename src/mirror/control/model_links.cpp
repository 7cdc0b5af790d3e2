// The data links of the model: connections, resync, breaks.

#include "mirror/control/test_pair.h"

#include <algorithm>
#include <memory>

namespace understudy::mirror::control::testing_pair {

using namespace std::chrono_literals;
using runtime::Task;

namespace {

std::string key_of(const SessionId& session) {
    return {reinterpret_cast<const char*>(session.data()), session.size()};
}

}  // namespace

Result<std::uint16_t> ModelLinks::expect(const VolumeId& volume, const std::string&, const SessionId& session,
                                         const SessionKey&, std::function<void(LinkResult)> done) {
    forget(volume);
    mine_ = key_of(session);
    wire_.expected[mine_] = {wire_.next++, node_, std::move(done)};
    return std::uint16_t{10000};
}

void ModelLinks::forget(const VolumeId&) {
    wire_.expected.erase(mine_);
    mine_.clear();
}

Task<LinkResult> ModelLinks::connect(runtime::Endpoint, std::string, SessionId session, SessionKey) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    const auto at = wire_.expected.find(key_of(session));
    if (at == wire_.expected.end() || wire_.parted(node_, at->second.node)) {
        LinkResult refused = fail(Code::unreachable, "nobody listens");
        co_return refused;
    }
    const Wire::Expected expected = at->second;
    wire_.expected.erase(at);
    expected.done(std::make_shared<LinkPair>(expected.number, 0));
    LinkResult made = std::make_shared<LinkPair>(expected.number, 0);
    co_return made;
}

void ModelHost::attach(const std::string& peer, int data, int, LinkTerms terms) {
    Leg& leg = legs_.at(peer);
    leg.session = data;
    Wire::Session& session = wire_.sessions[data];
    (leg.role == Role::source ? session.source : session.target) = this;
    session.kind = terms.kind;
    session.features = terms.features;
    if (!terms.resume) {
        leg.recent.reset();
        leg.resumable = false;
    }
    if (!session.source || !session.target) {
        // The other end may be gone by now, or go before it has attached: its connection closes.
        std::weak_ptr<int> mine = alive_;
        world_.tasks.after(50ms, [this, mine, peer, data] {
            if (!mine.lock() || !legs_.contains(peer) || legs_.at(peer).session != data) return;
            const auto at = wire_.sessions.find(data);
            if (at == wire_.sessions.end() || !at->second.source || !at->second.target) lose_link(peer);
        });
        return;
    }
    ModelHost* source = session.source;
    ModelHost* target = session.target;
    if (terms.resume) {
        session.in_sync = true;
        target->legs_.at(source->node_).resumable = false;
        return source->resend(target->node_, *target);
    }
    source->legs_.at(target->node_).state = target->legs_.at(source->node_).state = MirrorState::resync;
    auto& dirty = source->disk_.dirty[target->node_];
    Leg& begun = source->legs_.at(target->node_);
    const auto unused = std::exchange(begun.unused, std::nullopt);
    if (terms.kind == ResyncKind::full || unused)
        for (std::size_t block = 0; block < source->disk_.blocks.size(); ++block)
            dirty.insert(block);
    const auto& theirs = target->disk_.dirty[source->node_];
    dirty.insert(theirs.begin(), theirs.end());
    for (const BlockRange& range : unused.value_or(BlockRanges()))
        for (std::uint64_t block = range.first; block < range.first + range.count; ++block)
            if (!begun.written->contains(block)) dirty.erase(block);
    std::weak_ptr<int> weak = source->alive_;
    source->world_.tasks.after(wire_.resync_takes, [source, data, weak, name = target->node_] {
        if (weak.lock() && source->legs_.contains(name) && source->legs_.at(name).session == data)
            source->synchronise(name, data);
    });
}

void ModelHost::synchronise(const std::string& peer, int number) {
    Wire::Session& session = wire_.sessions[number];
    ModelHost* target = session.target;
    if (!target || wire_.parted(node_, peer)) return;
    auto& dirty = disk_.dirty[peer];
    for (const std::size_t block : dirty) {
        target->disk_.blocks.at(block) = disk_.blocks.at(block);
        ++wire_.blocks_sent;
    }
    dirty.clear();
    target->disk_.dirty[node_].clear();
    session.in_sync = true;
    Leg& theirs = target->legs_.at(node_);
    legs_.at(peer).state = theirs.state = MirrorState::mirroring;
    theirs.recent.emplace();
    target->events_.state_changed(node_, MirrorState::resync, MirrorState::mirroring, PauseCause::none);
    target->events_.in_sync(node_);
    events_.state_changed(peer, MirrorState::resync, MirrorState::mirroring, PauseCause::none);
    events_.in_sync(peer);
}

void ModelHost::break_links() {
    std::vector<std::string> peers;
    for (const auto& [peer, leg] : legs_)
        peers.push_back(peer);
    for (const std::string& peer : peers)
        break_links(peer);
}

void ModelHost::break_links(const std::string& peer) {
    if (!legs_.contains(peer)) return;
    Leg& leg = legs_.at(peer);
    const int number = std::exchange(leg.session, 0);
    if (number == 0) return;
    const Wire::Session session = wire_.sessions[number];
    const bool resends = session.in_sync && (session.features & mirror::wire::kFeatureResend) != 0;
    if (leg.role == Role::target) {
        leg.resumable = leg.resumable || resends;
        return events_.link_lost(peer, "reset");
    }
    if (!resends) {
        leg.session = number;
        return lose_link(peer);
    }
    leg.suspended = true;
    events_.link_interrupted(peer, "reset");
    std::weak_ptr<int> weak = alive_;
    world_.tasks.after(30s, [this, weak, peer, which = ++leg.suspensions] {
        if (weak.lock() && legs_.contains(peer) && legs_.at(peer).suspensions == which)
            give_up_links(peer, "no answer for 30 s");
    });
}

void ModelHost::give_up_links(const std::string& peer, std::string) {
    if (!legs_.contains(peer) || !legs_.at(peer).suspended) return;
    legs_.at(peer).session = -1;
    lose_link(peer);
}

void ModelHost::restart_links(const std::string& peer, std::string) {
    const auto leg = legs_.find(peer);
    if (leg == legs_.end() || leg->second.session == 0) return;
    const auto session = wire_.sessions.find(leg->second.session);
    ModelHost* const other = session == wire_.sessions.end() ? nullptr : session->second.target;
    if (other != nullptr) other->break_links(node_);
    break_links(peer);
}

/// What the target has not answered is sent again.
void ModelHost::resend(const std::string& peer, ModelHost& target) {
    legs_.at(peer).suspended = false;
    std::erase_if(stalled_, [&](Stalled& one) {
        if (one.peers.erase(peer) == 0) return false;
        target.disk_.blocks[one.write.block] = one.write.value;
        disk_.dirty[peer].erase(one.write.block);
        if (!one.peers.empty()) return false;
        *one.write.acknowledged = !one.failed;
        return true;
    });
}

void ModelHost::detach(const std::string& peer) {
    if (!legs_.contains(peer)) return;
    Leg& leg = legs_.at(peer);
    leg.suspended = false;
    const int number = std::exchange(leg.session, 0);
    const MirrorState from = leg.state;
    if (leg.state == MirrorState::mirroring || leg.state == MirrorState::resync)
        leg.state = MirrorState::paused;
    if (leg.role == Role::source && from == MirrorState::mirroring && !quiesced_) {
        events_.state_changed(peer, from, leg.state, PauseCause::link_lost);
        degrade(peer);
    }
    const auto at = wire_.sessions.find(number);
    if (at == wire_.sessions.end()) return;
    ModelHost* other = at->second.source == this ? at->second.target : at->second.source;
    wire_.sessions.erase(at);
    if (!other) return;
    std::weak_ptr<int> weak = other->alive_;
    other->world_.tasks.after(1ms, [other, weak, number, name = node_] {
        if (weak.lock() && other->legs_.contains(name) && other->legs_.at(name).session == number)
            other->lose_link(name);
    });
}

void ModelHost::lose_link() {
    std::vector<std::string> peers;
    for (const auto& [peer, leg] : legs_)
        peers.push_back(peer);
    for (const std::string& peer : peers)
        lose_link(peer);
}

void ModelHost::lose_link(const std::string& peer) {
    if (!legs_.contains(peer)) return;
    Leg& leg = legs_.at(peer);
    const int number = std::exchange(leg.session, 0);
    if (number == 0) return;
    wire_.sessions.erase(number);
    leg.suspended = false;
    const MirrorState from = leg.state;
    if (leg.role == Role::target) return events_.link_lost(peer, "cut");
    leg.state = MirrorState::paused;
    if (gate_ == GateMode::open) gate_ = GateMode::hold_writes;
    events_.state_changed(peer, from, leg.state, PauseCause::link_lost);
    if (from == MirrorState::mirroring && !quiesced_) degrade(peer);
    events_.link_lost(peer, "cut");
}

/// Writes that wait for this target alone are completed when the controller says so.
void ModelHost::degrade(const std::string& peer) {
    std::weak_ptr<int> weak = alive_;
    events_.degraded(peer, [this, weak, peer](bool recorded) {
        if (!weak.lock()) return;
        std::erase_if(stalled_, [&](Stalled& write) {
            if (write.peers.erase(peer) > 0 && !recorded) write.failed = true;
            if (!write.peers.empty()) return false;
            *write.write.acknowledged = !write.failed;
            return true;
        });
    });
}

}  // namespace understudy::mirror::control::testing_pair
