// Hosts that share a target's disk and do not own it: when the owner dies one of them becomes the target by
// itself, so that the source has somebody to mirror to. Who that is the vote in the lock area decides
// (mirror/shared/ownership.h). A source is nobody by itself: that is the cluster's business. Spec: MOP-019,
// MOP-067.

#include "messages/messages.h"
#include "mirror/emcmd/service.h"

#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using runtime::Task;

namespace {

constexpr runtime::Duration kLook = std::chrono::seconds(3);
/// An owner that has not written for its lease and this counts as one that may be dead. The claim waits for
/// its silence again, by the lock's own rules.
constexpr runtime::Duration kSilence = std::chrono::seconds(3);
/// Storage that does not answer is left alone for so long: each look may hold a thread until it does.
constexpr runtime::Duration kTroubled = std::chrono::minutes(5);

}  // namespace

Task<> Service::watch_shared() {
    for (;;) {
        co_await runtime::sleep_for(world_.tasks, kLook);
        if (stopped_) continue;
        for (const VolumeId& volume : settings_.all()) {
            if (manager_.find(volume)) continue;
            const auto settings = settings_.get(volume);
            const bool standby = settings && (settings->attributes & shared_volume) != 0 &&
                                 !settings->area.empty() && !settings->device.empty() &&
                                 !settings->block_target && !shared_->is_open(volume) &&
                                 !shared_->was_open(volume);
            if (!standby) {
                standby_.erase(volume);
                continue;
            }
            shared::SharedPlace place{volume, settings->device, settings->area};
            co_await look_at_owner(std::move(place));
        }
    }
}

Task<> Service::look_at_owner(shared::SharedPlace place) {
    if (const auto seen = standby_.find(place.volume);
        seen != standby_.end() && world_.clock.now() < seen->second.not_before)
        co_return;
    const auto view = co_await shared_->view(place.area);
    if (!view) {
        standby_[place.volume] = {0, 0, {}, world_.clock.now() + kTroubled};
        co_return;
    }
    // Whoever gave it up did so on purpose.
    const auto slot = view->owner ? view->header.slot_of(*view->owner) : std::nullopt;
    if (!slot || !view->slots[*slot].record || !view->header.slot_of(NodeName(options_.node))) {
        standby_.erase(place.volume);
        co_return;
    }
    const shared::OwnerRecord& record = *view->slots[*slot].record;
    Standby& seen = standby_[place.volume];
    const runtime::TimePoint now = world_.clock.now();
    if (seen.generation != view->generation || seen.beat != record.beat) {
        seen = {view->generation, record.beat, now, {}};
        co_return;
    }
    if (now - seen.since < std::chrono::milliseconds(record.lease_ms) + kSilence) co_return;
    const auto role = co_await shared_->role(place);
    if (!role || *role != Role::target || shared_->is_open(place.volume)) co_return;
    standby_.erase(place.volume);
    messages::info("volume {}: {}, the target, is silent: this host claims its disk", place.volume.str(),
                   view->owner->str());
    host_.release(place.volume);
    const VolumeId volume = place.volume;
    const auto opened = co_await shared_->open(std::move(place));
    if (opened && opened->empty()) {
        messages::info("volume {}: this host is its target now", volume.str());
        co_return;
    }
    if (opened) {
        // It had become source before it died.
        const auto closed = co_await shared_->close(volume);
        if (!closed) messages::error("{}", closed.error().text);
    } else {
        messages::info("volume {}: {}", volume.str(), opened.error().text);
    }
    if (!shared_->is_open(volume)) hold_again(volume);
}

}  // namespace understudy::mirror::emcmd
