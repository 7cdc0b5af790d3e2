#include "mirror/volume_set.h"

#include "mirror/core/limits.h"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

namespace understudy::mirror {

struct VolumeSet::Leg final : FanOutLeg {
    explicit Leg(FanOut& front) : device(front) {}
    void submit_part(BlockRequest& request) override { volume->submit(request); }
    [[nodiscard]] std::optional<Progress> progress() const override { return volume->progress(); }
    void everywhere(std::uint64_t through) override { volume->everywhere(through); }

    FanOut::Member device;
    std::unique_ptr<Volume> volume;
    bool source = false;
};

VolumeSet::VolumeSet(Reactor& reactor, VolumeId id, std::string path, LocalDevice device)
    : reactor_(reactor),
      id_(std::move(id)),
      path_(std::move(path)),
      device_(std::move(device)),
      front_(*device_.backend) {
    timer_.owner = this;
    timer_.done = [](IoOperation& op, int result) {
        auto& self = *static_cast<VolumeSet*>(op.owner);
        if (result != 0 || self.closing_) return;
        self.front_.tick();
        self.arm_timer();
    };
    look_timer_.owner = this;
    look_timer_.done = [](IoOperation& op, int result) {
        if (result == 0) static_cast<VolumeSet*>(op.owner)->look_again();
    };
}

VolumeSet::~VolumeSet() = default;

Result<std::unique_ptr<VolumeSet>> VolumeSet::open(Reactor& reactor, VolumeId id, const std::string& device,
                                                   std::uint32_t busy_wait_ms) {
    UNDERSTUDY_TRY(LocalDevice opened, open_device(reactor, device, std::chrono::milliseconds(busy_wait_ms)));
    return std::unique_ptr<VolumeSet>(new VolumeSet(reactor, std::move(id), device, std::move(opened)));
}

/// Only several targets have anything to be told.
void VolumeSet::arm_timer() {
    if (sources_ > 1 && !timer_.in_flight && !closing_) reactor_.timeout(timer_, kTick);
}

Result<> VolumeSet::add(const std::string& peer, VolumeOptions options, VolumeEvents& events) {
    if (legs_.contains(peer))
        return fail(Code::exists, "volume {} has {} as a target already", id_.str(), peer);
    if (legs_.size() == kMaxTargets)
        return fail(Code::failure, "volume {} has {} targets; more are not supported", id_.str(),
                    kMaxTargets);
    options.id = id_;
    options.device = path_;
    auto leg = std::make_unique<Leg>(front_);
    options.shared_device = &leg->device;
    UNDERSTUDY_TRY(leg->volume, Volume::open(reactor_, std::move(options), events));
    legs_[peer] = std::move(leg);
    return {};
}

void VolumeSet::leave(Leg& leg) {
    if (!std::exchange(leg.source, false)) return;
    front_.leave(leg.device);
    --sources_;
}

void VolumeSet::remove(const std::string& peer, std::function<void()> done) {
    const auto at = legs_.find(peer);
    if (at == legs_.end()) return done();
    // What it still has under way in the front needs its device until the end.
    std::shared_ptr<Leg> leg(std::move(at->second));
    legs_.erase(at);
    leave(*leg);
    leg->volume->detach();
    leg->volume->shutdown([this, leg, done = std::move(done)]() mutable {
        // Not on the stack of its own callback.
        reactor_.post([leg = std::move(leg), done = std::move(done)]() mutable {
            leg.reset();
            done();
        });
    });
}

Volume* VolumeSet::find(const std::string& peer) const {
    const auto at = legs_.find(peer);
    return at == legs_.end() ? nullptr : at->second->volume.get();
}

void VolumeSet::become_source(const std::string& peer, MirrorState state, PauseCause cause,
                              bool mark_all_dirty) {
    Leg& leg = *legs_.at(peer);
    alone_ = false;
    if (!std::exchange(leg.source, true)) {
        front_.join(leg.device, leg);
        ++sources_;
        arm_timer();
    }
    leg.volume->become_source(state, cause, mark_all_dirty);
}

void VolumeSet::become_target(const std::string& peer) {
    Leg& leg = *legs_.at(peer);
    alone_ = false;
    leave(leg);
    leg.volume->become_target();
}

void VolumeSet::replace_dirty(const std::string& peer, const BlockRanges& ranges,
                              std::function<void(Result<>)> done) {
    Leg& leg = *legs_.at(peer);
    leave(leg);
    leg.volume->replace_dirty(ranges, std::move(done));
}

bool VolumeSet::all_written() const {
    if (sources_ == 0) return device_.backend->idle();
    return front_.all_written() && std::all_of(legs_.begin(), legs_.end(), [](const auto& leg) {
               return !leg.second->source || leg.second->volume->all_written();
           });
}

void VolumeSet::when_idle(std::function<void()> done) {
    looked_for_ = [this, done = std::move(done)] {
        if (!device_.backend->idle()) return false;
        done();
        return true;
    };
    look_again();
}

void VolumeSet::when_written(std::chrono::milliseconds limit, std::function<void(bool)> done) {
    looked_for_ = [this, until = std::chrono::steady_clock::now() + limit, done = std::move(done)] {
        const bool all = all_written();
        if (!all && std::chrono::steady_clock::now() < until) return false;
        done(all);
        return true;
    };
    look_again();
}

void VolumeSet::look_again() {
    constexpr auto kAgain = std::chrono::milliseconds(2);
    auto reached = std::exchange(looked_for_, {});
    if (!reached || reached()) return;
    looked_for_ = std::move(reached);
    reactor_.timeout(look_timer_, kAgain);
}

void VolumeSet::submit(BlockRequest& request) {
    if (alone_ && sources_ == 0) return device_.backend->submit(request);
    if (sources_ > 0 && request.op != BlockOp::read) return front_.submit(request);
    for (auto& [peer, leg] : legs_)
        if (sources_ == 0 || leg->source) return leg->volume->submit(request);
    request.result = -EACCES;
    request.done(request);
}

void VolumeSet::quiesce(std::function<void(Result<>)> done) {
    struct Waiting {
        std::size_t left = 1;  // this function
        Result<> result;
        std::function<void(Result<>)> done;
        void one(Result<> ended) {
            if (!ended && result) result = std::move(ended);
            if (--left == 0) done(std::move(result));
        }
    };
    auto waiting = std::make_shared<Waiting>();
    waiting->done = std::move(done);
    if (sources_ == 0 && std::exchange(alone_, false)) return when_idle([waiting] { waiting->one({}); });
    if (sources_ == 0) return waiting->one(fail(Code::failure, "volume {} is not a source", id_.str()));
    for (auto& [peer, leg] : legs_) {
        if (!leg->source) continue;
        ++waiting->left;
        leg->volume->quiesce([waiting](Result<> ended) { waiting->one(std::move(ended)); });
    }
    waiting->one({});
}

void VolumeSet::shutdown(std::function<void()> done) {
    closing_ = true;
    if (timer_.in_flight) reactor_.cancel(timer_);
    auto left = std::make_shared<std::size_t>(1);
    auto ended = [left, done = std::move(done)] {
        if (--*left == 0) done();
    };
    for (auto& [peer, leg] : legs_) {
        ++*left;
        leg->volume->shutdown(ended);
    }
    ended();
}

}  // namespace understudy::mirror
