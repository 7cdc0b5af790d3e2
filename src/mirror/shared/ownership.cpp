#include "mirror/shared/ownership.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace understudy::mirror::shared {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(200);   // between two looks at another owner
constexpr auto kRetry = std::chrono::milliseconds(100);  // after an access that failed
constexpr int kRenewalsPerLease = 6;
/// So much of the lease is kept for stopping: writes end, the device is taken away.
constexpr int kStopShare = 4;
constexpr auto kBackOff = std::chrono::milliseconds(20);

}  // namespace

Ownership::Ownership(OwnershipOptions options) : options_(options) {
    assert(options_.slot < kMostHosts && options_.lease > Duration::zero());
    mine_.incarnation = options_.incarnation;
    mine_.host = options_.host;
    mine_.lease_ms = static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(options_.lease).count());
}

void Ownership::claim() {
    if (state_ != State::idle) return;
    state_ = State::claiming;
    doing_ = Doing::looking;
    writes_next_ = false;
    wait_until_ = {};
    living_owner_.reset();
    looks_ = 0;
    problem_.clear();
    // What was seen before may have changed and changed back to nothing: silence counts from now on.
    seen_.clear();
}

void Ownership::release() {
    switch (state_) {
        case State::idle:
        case State::releasing:
            return;
        case State::claiming:
            state_ = State::idle;
            return;
        case State::owner:
        case State::lost:
            // Also when lost: whoever waits for the end of the lease need not.
            state_ = State::releasing;
            doing_ = Doing::ending;
            wait_until_ = {};
            mine_.released = generation_;
            writes_next_ = true;
            return;
    }
}

void Ownership::forget() {
    state_ = State::idle;
}

void Ownership::lose(std::string why) {
    state_ = State::lost;
    problem_ = std::move(why);
}

TimePoint Ownership::stop_at() const {
    return lease_end_ - options_.lease / kStopShare;
}

Ownership::Step Ownership::next(TimePoint now) {
    Step step;
    if (state_ == State::owner && now >= stop_at()) lose("the lock area could not be written in time");
    if (state_ == State::releasing && now >= lease_end_) state_ = State::idle;  // it has ended by itself
    if (state_ == State::idle || state_ == State::lost) return step;
    if (doing_ == Doing::resting && now >= next_renewal_) {
        doing_ = Doing::renewing;
        writes_next_ = true;
    }
    if (asked_ || wait_until_ > now) {
        step.kind = Step::Kind::wait;
        step.until = asked_ ? TimePoint::max() : wait_until_;
        if (state_ == State::owner) step.until = std::min(step.until, stop_at());
        return step;
    }
    asked_ = true;
    asked_for_ = doing_;
    if (!writes_next_) {
        step.kind = Step::Kind::read;
        return step;
    }
    ++mine_.beat;
    asked_record_ = mine_;
    step.kind = Step::Kind::write;
    step.record = mine_;
    step.copy = 1 - good_copy_;
    return step;
}

void Ownership::failed(TimePoint ended) {
    asked_ = false;
    if (state_ == State::owner) {
        wait_until_ = ended + kRetry;
        if (doing_ == Doing::watching) {
            doing_ = Doing::renewing;
            writes_next_ = true;
        }
        return;
    }
    const bool wrote = state_ == State::claiming && writes_next_;
    if (state_ == State::claiming) look(ended);
    // What failed may still be on its way to the disk, and must not come to lie over a vote of later.
    wait_until_ = ended + (wrote ? options_.margin : Duration(kRetry));
}

void Ownership::on_written(TimePoint started, TimePoint ended) {
    asked_ = false;
    good_copy_ = 1 - good_copy_;
    on_disk_ = asked_record_;
    if (asked_for_ != doing_ || state_ == State::idle || state_ == State::lost) return;
    writes_next_ = false;
    wait_until_ = {};
    switch (doing_) {
        case Doing::ending:
            state_ = State::idle;
            return;
        case Doing::accepting:
            vote_started_ = started;
            return;
        case Doing::announcing:
        case Doing::renewing:
            if (state_ != State::owner) return look(ended);
            if (ended >= lease_end_) return lose("a write to the lock area took longer than the lease");
            lease_end_ = std::max(lease_end_, started + options_.lease);
            next_renewal_ = started + options_.lease / kRenewalsPerLease;
            doing_ = Doing::watching;
            return;
        case Doing::preparing:
            return;
        case Doing::looking:
        case Doing::watching:
        case Doing::resting:
            assert(false);  // nothing is written then
            return;
    }
}

void Ownership::on_read(TimePoint started, TimePoint ended, const std::vector<Slot>& slots) {
    asked_ = false;
    if (asked_for_ != doing_ || (state_ != State::claiming && state_ != State::owner)) return;
    assert(options_.slot < slots.size());
    observe(ended, slots);
    switch (doing_) {
        case Doing::looking:
            return on_look(started, ended, slots);
        case Doing::preparing:
            return on_prepared(ended, slots);
        case Doing::accepting:
            return on_accepted(ended, slots);
        case Doing::watching:
            return on_watched(slots);
        case Doing::announcing:
        case Doing::renewing:
        case Doing::resting:
        case Doing::ending:
            assert(false);  // nothing is read then
            return;
    }
}

void Ownership::look(TimePoint ended) {
    doing_ = Doing::looking;
    writes_next_ = false;
    wait_until_ = ended + kPoll;
}

void Ownership::observe(TimePoint ended, const std::vector<Slot>& slots) {
    seen_.resize(slots.size());
    for (std::size_t i = 0; i < slots.size(); ++i) {
        Seen& seen = seen_[i];
        if (seen.known && seen.record == slots[i].record) continue;
        seen = {slots[i].record, ended, true};
    }
}

Duration Ownership::lease_of(std::uint32_t slot) const {
    const auto& record = seen_[slot].record;
    return std::chrono::milliseconds(record ? record->lease_ms : 0);
}

bool Ownership::silent(std::uint32_t slot, TimePoint started) const {
    return started - seen_[slot].since >= lease_of(slot) + options_.margin;
}

void Ownership::on_look(TimePoint started, TimePoint ended, const std::vector<Slot>& slots) {
    problem_.clear();
    for (std::size_t i = 0; i < slots.size(); ++i)
        if (slots[i].damaged) {
            problem_ = fmt::format("slot {} of the lock area is damaged", i);
            return look(ended);
        }
    const auto& own = slots[options_.slot].record;
    // Written where the newest record stands, the next one would take its place before it is whole itself.
    const bool gone_back = on_disk_ && (!own || (own->host == options_.host && own->beat < on_disk_->beat));
    if (gone_back && !silent(options_.slot, started)) {
        problem_ = "the lock area shows what was there before this host wrote to it";
        return look(ended);
    }
    bool own_life = true;
    if (own) {
        if (own->host != options_.host) {
            own_life = false;
            if (!silent(options_.slot, started)) {
                problem_ =
                    "this slot is another host's still: one with the same name, or one that was removed";
                return look(ended);
            }
        }
        // What an earlier life has accepted counts; it is ours to keep.
        if (!read_own_ || own->incarnation != options_.incarnation || own->beat > mine_.beat) {
            const OwnerRecord before = mine_;
            mine_ = *own;
            mine_.incarnation = before.incarnation;
            mine_.host = before.host;
            mine_.lease_ms = before.lease_ms;
        }
        on_disk_ = own;
        good_copy_ = slots[options_.slot].copy;
    }
    read_own_ = true;

    std::uint64_t decided = 0;
    std::uint32_t owner = 0;
    for (const Slot& slot : slots)
        if (slot.record && slot.record->decided > decided) {
            decided = slot.record->decided;
            owner = slot.record->owner;
        }
    if (owner >= slots.size()) {
        problem_ = fmt::format("the lock area names owner {}, whose slot it does not have", owner);
        return look(ended);
    }
    known_owner_.reset();
    freed_by_silence_.reset();
    freed_owner_ = owner;
    const auto& last = slots[owner].record;
    const bool given_up = decided == 0 || (last && last->released >= decided);
    const bool ours = decided != 0 && owner == options_.slot && own && own_life;
    if (decided != 0) known_owner_ = owner;
    if (!given_up && !ours) {
        if (looks_++ > 0 && seen_[owner].since == ended) living_owner_ = owner;
        if (!silent(owner, started)) return look(ended);
        if (!last) {
            // It was voted for and has never written: its slot must stay empty.
            problem_ = fmt::format("slot {} of the lock area is empty, but its host was the owner", owner);
            return look(ended);
        }
        freed_by_silence_ = last;
    }
    generation_ = decided + 1;
    std::uint64_t highest = 0;
    for (const Slot& slot : slots)
        if (slot.record && slot.record->voted == generation_)
            highest = std::max(highest, slot.record->ballot);
    if (mine_.voted != generation_) {
        mine_.voted = generation_;
        mine_.accepted_ballot = 0;
        mine_.accepted = 0;
    }
    mine_.ballot = (highest / kMostHosts + 1) * kMostHosts + options_.slot;
    mine_.decided = decided;
    mine_.owner = owner;
    doing_ = Doing::preparing;
    writes_next_ = true;
}

/// Whether nothing of what was read speaks against our ballot.
bool Ownership::vote_goes_on(TimePoint ended, const std::vector<Slot>& slots) {
    bool beaten = false;
    for (std::size_t i = 0; i < slots.size(); ++i) {
        if (slots[i].damaged) beaten = true;
        if (i == options_.slot || !slots[i].record) continue;
        const OwnerRecord& other = *slots[i].record;
        if (other.decided >= generation_ || other.voted > generation_) beaten = true;
        if (other.voted == generation_ && other.ballot > mine_.ballot) beaten = true;
    }
    if (freed_by_silence_ && freed_owner_ != options_.slot &&
        slots[freed_owner_].record != freed_by_silence_) {
        living_owner_ = freed_owner_;
        beaten = true;
    }
    // Somebody else writes to our slot.
    if (slots[options_.slot].record != on_disk_) beaten = true;
    if (!beaten) return true;
    look(ended);
    // Two that always meet would never end.
    wait_until_ = ended + kBackOff * static_cast<int>(1 + (options_.jitter + ++collisions_ * 7) % 16);
    return false;
}

void Ownership::on_prepared(TimePoint ended, const std::vector<Slot>& slots) {
    if (!vote_goes_on(ended, slots)) return;
    std::uint64_t highest = 0;
    std::uint32_t value = options_.slot;
    for (const Slot& slot : slots)
        if (slot.record && slot.record->voted == generation_ && slot.record->accepted_ballot > highest) {
            highest = slot.record->accepted_ballot;
            value = slot.record->accepted;
        }
    mine_.accepted_ballot = mine_.ballot;
    mine_.accepted = value;
    doing_ = Doing::accepting;
    writes_next_ = true;
}

void Ownership::on_accepted(TimePoint ended, const std::vector<Slot>& slots) {
    if (!vote_goes_on(ended, slots)) return;
    mine_.decided = generation_;
    mine_.owner = mine_.accepted;
    doing_ = Doing::announcing;
    writes_next_ = true;
    // Another host has won without knowing: now it is watched like any owner. Or this one had won before and
    // given it up before anybody else knew: then others may follow, and only the next generation can be ours.
    if (mine_.accepted != options_.slot || mine_.released >= generation_) return;
    lease_end_ = vote_started_ + options_.lease;
    if (ended >= lease_end_)
        return;  // ours, but too late to use it: the next look finds our own earlier life
    state_ = State::owner;
    known_owner_ = options_.slot;
}

void Ownership::on_watched(const std::vector<Slot>& slots) {
    doing_ = Doing::resting;
    wait_until_ = next_renewal_;
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const auto& record = slots[i].record;
        if (!record) continue;
        if (record->decided > generation_ ||
            (record->decided == generation_ && record->owner != options_.slot)) {
            known_owner_ = record->owner;
            return lose("another host has become the owner");
        }
    }
    if (slots[options_.slot].record != on_disk_) lose("somebody else writes to this host's slot");
}

}  // namespace understudy::mirror::shared
