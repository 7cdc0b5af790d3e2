#include "mirror/shared/ownership_model.h"

#include <algorithm>
#include <cmath>

namespace understudy::mirror::shared::model {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Of a block; the rest is always zero.
constexpr std::size_t kHeld = 512;

struct OwnershipModel::Host {
    std::uint32_t slot = 0;
    double rate = 1;  // seconds of its clock in a true second
    Time offset{};
    std::unique_ptr<Ownership> ownership;
    bool up = false;
    Time up_again{};
    Time paused_until{};
    Time wake{};
    // the access under way
    bool busy = false;
    bool is_write = false;
    bool fails = false;
    Time started{}, ends{}, effect{};
    std::uint64_t block = 0;
    std::string bytes;
    bool effective = false;  // the write has reached the disk
    Time dies{};             // in the middle of a write
    Time late_until{};       // a write that failed may reach the disk until then
    std::uint64_t number = 0;
    // what it is about
    bool wants = false;
    Time changes_mind{};
    bool owner = false;
    Time lease_end{};  // true time

    [[nodiscard]] TimePoint clock(Time true_time) const {
        return TimePoint(offset + Time(std::llround(static_cast<double>(true_time.count()) * rate)));
    }
    [[nodiscard]] Time true_time(TimePoint local) const {
        if (local == TimePoint::max()) return Time::max();
        return Time(std::llround(static_cast<double>((local.time_since_epoch() - offset).count()) / rate));
    }
};

OwnershipModel::OwnershipModel(ModelOptions options)
    : options_(options), state_(options.seed * 0x9e3779b97f4a7c15U + 1) {
    header_.id = random();
    header_.volume = VolumeId("E");
    for (unsigned i = 0; i < options_.hosts; ++i) {
        header_.hosts.emplace_back("h" + std::to_string(i));
        auto host = std::make_unique<Host>();
        host->slot = i;
        host->number = i + 1000;
        host->rate = 0.98 + static_cast<double>(below(41)) / 1000;
        host->offset = between(seconds(1), seconds(100000));
        hosts_.push_back(std::move(host));
    }
    blocks_.resize(2 + 2 * options_.hosts);
    for (auto& block : blocks_)
        block[Time(-1'000'000'000'000)] = std::string(kHeld, '\0');
    area_.assign(bytes_of_hosts(options_.hosts), '\0');
    for (auto& host : hosts_)
        start(*host);
}

OwnershipModel::~OwnershipModel() = default;

std::uint64_t OwnershipModel::random() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
}

OwnershipModel::Time OwnershipModel::between(Time least, Time most) {
    return least +
           Time(static_cast<std::int64_t>(below(static_cast<std::uint64_t>((most - least).count()) + 1)));
}

const std::string& OwnershipModel::at(std::uint64_t block, Time time) const {
    return std::prev(blocks_[block].upper_bound(time))->second;
}

void OwnershipModel::put(std::uint64_t block, Time time, std::string bytes) {
    auto& history = blocks_[block];
    while (history.contains(time))
        time += Time(1);
    history[time] = std::move(bytes);
    // What no read can ask for any more.
    while (history.size() > 8 && std::next(history.begin())->first < now_ - seconds(200))
        history.erase(history.begin());
}

void OwnershipModel::make_ownership(Host& host) {
    OwnershipOptions options;
    options.slot = host.slot;
    options.incarnation = random();
    options.host = host.number;
    options.lease = options_.lease;
    options.margin = options_.margin;
    options.jitter = random();
    host.ownership = std::make_unique<Ownership>(options);
    host.busy = false;
}

/// VolumeLock::quiet_from() has come.
bool OwnershipModel::may_reopen(const Host& host) const {
    if (host.ownership->state() != Ownership::State::idle) return false;
    return (!host.busy || !host.is_write) && now_ >= host.late_until;
}

/// The same process with a new lock.
void OwnershipModel::reopen(Host& host) {
    ++report_.reopened;
    make_ownership(host);
    host.wake = now_;
}

void OwnershipModel::start(Host& host) {
    // Another host in the slot of one that was removed, or was replaced under the same name.
    if (!calm_ && host.ownership && chance(200)) {
        ++report_.replaced;
        host.number = random();
    }
    make_ownership(host);
    host.up = true;
    host.late_until = now_;
    host.dies = Time::max();
    host.wants = false;
    host.owner = false;
    host.paused_until = now_;
    host.wake = now_;
    host.changes_mind = now_ + between(Time(0), seconds(4));
}

/// Power off or a killed process: the write that is on its way arrives, arrives late, is torn, or never
/// arrives.
void OwnershipModel::crash(Host& host) {
    ++report_.crashes;
    if (host.busy && host.is_write && !host.effective) switch (below(4)) {
            case 0:
                put(host.block, now_ + between(Time(0), milliseconds(800)), host.bytes);
                break;
            case 1: {
                std::string torn = at(host.block, now_);
                std::copy_n(host.bytes.begin(), 1 + below(kHeld - 1), torn.begin());
                put(host.block, now_, torn);
                ++report_.torn;
                break;
            }
            case 2:
                put(host.block, now_, std::string(kHeld, 'x'));
                ++report_.torn;
                break;
            default:
                break;
        }
    host.up = false;
    host.owner = false;
    host.up_again = now_ + between(seconds(1), seconds(20));
}

/// What people and the cluster want of this host.
void OwnershipModel::decide(Host& host) {
    if (now_ < host.changes_mind) return;
    host.changes_mind = now_ + between(milliseconds(500), seconds(20));
    if (calm_) return;
    host.wants = !host.wants;
    if (host.wants && may_reopen(host) && chance(500)) reopen(host);
    if (host.wants)
        host.ownership->claim();
    else
        host.ownership->release();
}

void OwnershipModel::note_owner(Host& host) {
    ++report_.owners;
    if (last_owner_ == &host)
        ++report_.of_own_earlier_life;
    else if (last_owner_ != nullptr && last_released_)
        ++report_.by_release;
    else if (last_owner_ != nullptr)
        ++report_.by_silence;
    last_owner_ = &host;
    last_released_ = false;
}

void OwnershipModel::check(Host& host) {
    const bool owner = host.ownership->owns(host.clock(now_));
    if (owner && !host.owner) note_owner(host);
    if (host.owner && !owner && host.ownership->state() == Ownership::State::lost) ++report_.lost;
    if (&host == last_owner_ && host.ownership->state() == Ownership::State::releasing) last_released_ = true;
    host.owner = owner;
    host.lease_end = owner ? host.true_time(host.ownership->lease_end()) : Time{};
    if (!owner) return;
    for (const auto& other : hosts_)
        if (other.get() != &host && other->up && other->owner && other->lease_end > now_)
            report_.violation = fmt::format("seed {}: {} and {} own the volume at {} ms", options_.seed,
                                            host.slot, other->slot, now_.count() / 1'000'000);
}

void OwnershipModel::finish(Host& host) {
    host.busy = false;
    const TimePoint started = host.clock(host.started), ended = host.clock(now_);
    if (host.fails) {
        ++report_.failed;
        return host.ownership->failed(ended);
    }
    if (host.is_write) return host.ownership->on_written(started, ended);
    // A storage system that gives back what was there before, as one picture.
    Time lag{};
    if (!calm_ && chance(options_.faults)) {
        ++report_.stale;
        lag = between(Time(0), 2 * (options_.lease + options_.margin));
    }
    for (std::uint64_t block = 2; block < blocks_.size(); ++block) {
        const Time when = (lag == Time{} ? between(host.started, host.ends) : host.started) - lag;
        area_.replace(block * kAreaBlock, kHeld, at(block, when));
    }
    host.ownership->on_read(started, ended, decode_slots(area_, header_));
}

void OwnershipModel::act(Host& host) {
    const auto state = host.ownership->state();
    if (state == Ownership::State::lost) {
        // Its data path stops, then it gives up or tries again.
        if (chance(500))
            host.ownership->release();
        else
            host.ownership->forget();
        host.wants = false;
    }
    const auto step = host.ownership->next(host.clock(now_));
    switch (step.kind) {
        case Ownership::Step::Kind::nothing:
            host.wake = std::min(host.changes_mind, now_ + milliseconds(100));
            return;
        case Ownership::Step::Kind::wait:
            host.wake = std::min(std::max(now_ + Time(1), host.true_time(step.until)), host.changes_mind);
            return;
        case Ownership::Step::Kind::read:
        case Ownership::Step::Kind::write:
            break;
    }
    host.busy = true;
    host.is_write = step.kind == Ownership::Step::Kind::write;
    host.started = now_;
    host.ends = now_ + between(milliseconds(1), milliseconds(calm_ || !chance(50) ? 20 : 7000));
    host.fails = !calm_ && chance(options_.faults);
    host.effective = false;
    host.wake = host.ends;
    if (!host.is_write) return;
    host.block = 2 + 2 * host.slot + step.copy;
    host.bytes = encode(step.record, header_.id).substr(0, kHeld);
    host.effect = between(host.started, host.ends);
    if (!calm_ && chance(options_.faults / 2)) host.dies = between(host.started, host.effect);
}

ModelReport OwnershipModel::run(Duration length) {
    const Time calm_from = length - seconds(120);
    while (now_ < length && report_.violation.empty()) {
        if (!calm_ && now_ >= calm_from) {
            calm_ = true;  // everything works from here on, and one host wants the volume
            for (auto& host : hosts_) {
                if (!host->up) start(*host);
                host->wants = host->slot == 0;
                host->changes_mind = Time::max();
                host->wake = host->busy ? host->ends : now_;
                if (host->slot != 0) host->ownership->release();
            }
        }
        Time next = length;
        for (auto& host : hosts_) {
            if (!host->up)
                next = std::min(next, host->up_again);
            else {
                if (host->busy && host->is_write && !host->effective && !host->fails)
                    next = std::min(next, host->effect);
                next = std::min(next, std::max(host->wake, host->paused_until));
                next = std::min(next, host->dies);
            }
        }
        now_ = std::max(now_, next);
        for (auto& one : hosts_) {
            Host& host = *one;
            if (!host.up) {
                if (now_ >= host.up_again) start(host);
                continue;
            }
            if (now_ >= host.dies) {
                crash(host);
                continue;
            }
            // The disk does not wait for a host that is paused.
            if (host.busy && host.is_write && !host.effective && !host.fails && now_ >= host.effect) {
                if (chance(300)) {  // seen half written
                    std::string half = host.bytes;
                    std::fill(half.begin() + 256, half.end(), '?');
                    put(host.block, now_, std::move(half));
                }
                put(host.block, now_ + Time(1), host.bytes);
                host.effective = true;
            }
            if (now_ < host.paused_until || now_ < host.wake) continue;
            if (!calm_ && chance(options_.faults)) {
                ++report_.pauses;
                host.paused_until = now_ + between(milliseconds(10), seconds(15));
                continue;
            }
            if (!calm_ && chance(options_.faults / 2)) {
                crash(host);
                continue;
            }
            if (host.busy) {
                if (now_ < host.ends) continue;
                // A write that failed may still be on its way.
                if (host.fails && host.is_write) {
                    const Time most = std::max(Time(1), options_.margin * 8 / 10);
                    host.late_until = now_ + options_.margin;
                    if (chance(500)) put(host.block, now_ + between(Time(0), most), host.bytes);
                }
                finish(host);
                check(host);
            }
            if (calm_ && host.slot == 0 && host.ownership->state() == Ownership::State::idle)
                host.ownership->claim();
            decide(host);
            act(host);
            check(host);
        }
    }
    report_.settled = hosts_[0]->owner;
    return report_;
}

}  // namespace understudy::mirror::shared::model
