#include "quorum/storage_monitor.h"

#include <algorithm>
#include <cassert>

namespace understudy::quorum {
namespace {

using Severity = Note::Severity;

std::int64_t ms(runtime::Duration duration) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

}  // namespace

std::string_view to_string(Access access) {
    switch (access) {
        case Access::unknown:
            return "UNKNOWN";
        case Access::success:
            return "SUCCESS";
        case Access::failure:
            return "FAILURE";
    }
    return "?";
}

StorageMonitor::StorageMonitor(StorageConfiguration configuration)
    : configuration_(std::move(configuration)) {
    for (const auto& [name, paths] : configuration_.objects)
        if (name != configuration_.self) peers_[name];
}

std::vector<Note> StorageMonitor::start(const Result<std::string>& own) {
    if (!own) return {{Severity::error, 18149, "the own QWK object is not there yet; it is created"}};
    const auto object = decode_object(*own, configuration_.self);
    if (!object)
        return {{Severity::info, 18148,
                 fmt::format("the own QWK object is damaged ({}); it starts at sequence 0",
                             object.error().text)}};
    sequence_ = std::max(sequence_, object->sequence);
    return {{Severity::info, 18147,
             fmt::format("the own QWK object is valid and goes on from sequence {}", sequence_)}};
}

Object StorageMonitor::next_object(std::string time, const std::map<NodeName, CommStat>& peers) {
    Object object;
    object.owner = configuration_.self;
    object.time = std::move(time);
    object.sequence = ++sequence_;
    for (const auto& [name, peer] : peers_) {
        const auto at = peers.find(name);
        object.peers.emplace_back(name, at == peers.end() ? CommStat::unknown : at->second);
    }
    return object;
}

void StorageMonitor::take(const NodeName& name, const Result<std::string>& bytes, TimePoint now,
                          std::vector<Note>& notes) {
    auto& peer = peers_.at(name);
    const auto missed = [&] { ++peer.missed; };
    if (!bytes) {
        notes.push_back({Severity::error, bytes.error().number != 0 ? bytes.error().number : 18151,
                         fmt::format("object of {}: {}", name.str(), bytes.error().text)});
        return missed();
    }
    const auto object = decode_object(*bytes, name);
    if (!object) {
        notes.push_back({Severity::error, object.error().number,
                         fmt::format("object of {}: {}", name.str(), object.error().text)});
        return missed();
    }
    for (const auto& [node, stat] : object->peers)
        if (node == configuration_.self) peer.of_us = stat;
    const auto sees = [&] {
        const bool first = !peer.sequence.has_value();
        peer.sequence = object->sequence;
        peer.changed = now;
        peer.missed = 0;
        peer.backwards = 0;
        if (!first) ++peer.updates;
    };
    if (!peer.sequence || object->sequence > *peer.sequence) return sees();
    if (object->sequence == *peer.sequence) {
        peer.backwards = 0;
        return missed();
    }
    // Lower: an old copy, or a peer that was initialised anew. Only one that grows is taken for the latter.
    if (peer.backwards == 0)
        notes.push_back({Severity::warning, 18154,
                         fmt::format("the sequence of {} went backwards from {} to {}", name.str(),
                                     *peer.sequence, object->sequence)});
    if (peer.backwards == 0 || object->sequence > peer.lower) {
        peer.lower = object->sequence;
        ++peer.backwards;
    }
    if (peer.backwards >= configuration_.numhbeats) return sees();
    missed();
}

std::vector<Note> StorageMonitor::cycle_ended(const CycleOutcome& outcome, TimePoint began, TimePoint now) {
    auto notes = outcome.notes;
    if (!started_) {
        started_ = true;
        for (auto& [name, peer] : peers_)
            peer.changed = now;
    }
    bool any_read = false;
    for (const auto& [name, bytes] : outcome.objects) {
        any_read = any_read || bytes.has_value();
        if (name != configuration_.self && peers_.contains(name)) take(name, bytes, now, notes);
    }
    // Spec: QUO-041: a peer's bad object is a fact about that peer; that nothing can be read is one about us.
    failed_ = !outcome.write || !any_read;
    if (!outcome.write)
        notes.push_back({Severity::error,
                         outcome.write.error().number != 0 ? outcome.write.error().number : 18131,
                         fmt::format("own object: {}", outcome.write.error().text)});
    if (!failed_) {
        ++cycles_;
        last_success_ = now;
        last_write_ = began;
        told_stale_ = false;
    }
    const auto changes = look(now);
    notes.insert(notes.end(), changes.begin(), changes.end());
    return notes;
}

std::vector<Note> StorageMonitor::cycle_failed(TimePoint began, TimePoint now, const std::string& why) {
    CycleOutcome outcome;
    outcome.write = fail(Error{Code::failure, why, 18132});
    if (!started_) {
        failed_ = true;
        started_ = true;
        for (auto& [name, peer] : peers_)
            peer.changed = now;
    }
    return cycle_ended(outcome, began, now);
}

Access StorageMonitor::state(TimePoint now) const {
    if (!started_) return Access::unknown;
    if (failed_ || !last_success_) return Access::failure;
    return now - *last_success_ > configuration_.stale_after() ? Access::failure : Access::success;
}

std::vector<Note> StorageMonitor::look(TimePoint now) {
    std::vector<Note> notes;
    if (last_success_ && now - *last_success_ > configuration_.stale_after() &&
        !std::exchange(told_stale_, true))
        notes.push_back({Severity::error, 18102,
                         fmt::format("no storage check was completed for {} ms (limit {} ms)",
                                     ms(now - *last_success_), ms(configuration_.stale_after()))});
    const auto is = state(now);
    if (is != Access::unknown && std::exchange(told_, is) != is)
        notes.push_back({Severity::info, is == Access::success ? 18212 : 18213,
                         fmt::format("quorum state changed to {}", to_string(is))});
    return notes;
}

const StorageMonitor::Peer* StorageMonitor::peer(const NodeName& name) const {
    const auto at = peers_.find(name);
    return at == peers_.end() ? nullptr : &at->second;
}

std::optional<runtime::Duration> StorageMonitor::quiet(const NodeName& name, TimePoint now) const {
    const auto* found = peer(name);
    if (found == nullptr || !started_) return std::nullopt;
    return now - found->changed;
}

}  // namespace understudy::quorum
