#include "mirror/emcmd/alerts.h"

#include "base/text.h"
#include "messages/messages.h"
#include "mirror/control/cluster_notes.h"
#include "mirror/emcmd/report.h"

namespace understudy::mirror::emcmd {

using control::MirrorRecord;
using control::PeerRecord;

namespace {

/// A mirror that flaps while nobody answers is not remembered for ever.
constexpr std::size_t kMostWaiting = 256;
constexpr runtime::Duration kSendLimit = std::chrono::seconds(5);

/// Severities of the events (CMD-127): a mirror that mirrors ends what its other states began. Spec: CMD-152
int severity_of(MirrorState state) {
    switch (state) {
        case MirrorState::mirroring:
            return 0;
        case MirrorState::none:
            return 1;
        case MirrorState::resync:
        case MirrorState::paused:
        case MirrorState::pending:
            return 2;
        case MirrorState::broken:
            return 4;
        case MirrorState::invalid:
            return 5;
    }
    return 5;
}

Alert alert(std::string event, const MirrorRecord& record, const PeerRecord& peer, const std::string& object,
            int severity) {
    Alert out;
    out.mirror = fmt::format("{} {} {}", event, record.volume.str(), peer.node);
    out.event = std::move(event);
    out.object = object.substr(0, kMostObject);
    out.severity = severity;
    return out;
}

}  // namespace

std::vector<Alert> alerts_of(const MirrorRecord& before, const MirrorRecord& now) {
    std::vector<Alert> out;
    if (now.role != Role::source) return out;
    const std::string& volume = now.volume.str();
    for (const PeerRecord& peer : now.peers) {
        const PeerRecord* const old = before.peer(peer.node);
        const bool known = old != nullptr && before.role == Role::source;
        if (!known || old->state != peer.state)
            out.push_back(alert("mirror_state", now, peer,
                                fmt::format("{},{},{}", volume, static_cast<int>(peer.state), peer.address),
                                severity_of(peer.state)));
        // Once for each detection. Spec: CMD-153
        if (peer.split_brain && (old == nullptr || !old->split_brain))
            out.push_back(alert("split_brain", now, peer, fmt::format("{},{}", volume, peer.address), 5));
    }
    if (before.role == Role::source)
        for (const PeerRecord& peer : before.peers)
            if (now.peer(peer.node) == nullptr)
                out.push_back(alert("mirror_state", now, peer, fmt::format("{},0,{}", volume, peer.address),
                                    severity_of(MirrorState::none)));
    return out;
}

std::vector<Alert> net_alerts_of(const MirrorRecord& before, const MirrorRecord& now, unsigned attributes) {
    std::vector<Alert> out;
    if (now.role != Role::source || now.peers.empty()) return out;
    const auto raise = [&](unsigned bit, const char* event, const PeerRecord& peer, std::string object) {
        if ((attributes & (bit | all_net_alert)) != 0) out.push_back(alert(event, now, peer, object, 1));
    };
    const std::string& volume = now.volume.str();
    if (before.role == Role::target) raise(failover_alert, "net_failover", now.peers.front(), volume);
    if (before.role != Role::source) return out;
    for (const PeerRecord& peer : now.peers) {
        const PeerRecord* const old = before.peer(peer.node);
        if (old == nullptr || old->state == peer.state) continue;
        const std::string object = fmt::format("{},{}", volume, peer.address);
        if (peer.state == MirrorState::broken) raise(broken_alert, "net_broken", peer, object);
        if (peer.state == MirrorState::mirroring) raise(resync_done_alert, "net_resync_done", peer, object);
        if (peer.state == MirrorState::paused && peer.cause == PauseCause::link_lost)
            raise(net_failure_alert, "net_failure", peer, object);
    }
    return out;
}

void AlertSender::send(std::vector<Alert> alerts) {
    if (alerts.empty() || !world_.files.exists(layout_.database())) return;
    for (Alert& one : alerts)
        if (waiting_.size() < kMostWaiting) waiting_.push_back(std::move(one));
    if (!working_) tasks_.spawn(work());
}

runtime::Task<> AlertSender::work() {
    working_ = true;
    while (!waiting_.empty()) {
        const Alert one = std::move(waiting_.front());
        waiting_.pop_front();
        config::Command command;
        command.name = "sendevent";
        command.options = {{"C", "volume"}, {"E", one.event}, {"m", "LK:mirror"}, {"n", one.object}};
        const auto begun = ids_.find(one.mirror);
        const bool ends = one.severity == 0 && begun != ids_.end();
        command.options["s"] = std::to_string(one.severity == 0 && !ends ? 1 : one.severity);
        if (begun != ids_.end()) command.options["i"] = begun->second;
        const auto reply = co_await control::ask_engine(world_, layout_, std::move(command), kSendLimit);
        if (!reply || reply->exit_code != 0) {
            messages::info("the event {} of {} was not raised: {}", one.event, one.object,
                           reply ? reply->err : reply.error().text);
            continue;
        }
        if (one.severity > 1)
            ids_[one.mirror] = std::string(text::trim(reply->out));
        else
            ids_.erase(one.mirror);
    }
    working_ = false;
}

}  // namespace understudy::mirror::emcmd
