#include "mirror/shared/volume_lock.h"

#include "messages/messages.h"

#include <algorithm>
#include <utility>

namespace understudy::mirror::shared {

using runtime::OneShot;
using runtime::SharedDisk;
using runtime::Task;

namespace {

/// For an access that is not an owner's: after this a disk counts as one that does not answer.
constexpr auto kAccessLimit = std::chrono::seconds(20);

using Bytes = Result<std::string>;

/// At most one access at a time: whoever gets "did not answer" drops the disk.
Task<Bytes> read_all(runtime::World world, SharedDisk& area) {
    OneShot<Bytes> answer(world.tasks);
    area.read(0, kAreaBytes, [answer](Bytes bytes) { answer.set(std::move(bytes)); });
    const auto timer = world.tasks.after(kAccessLimit, [answer] {
        const Bytes silent =
            fail(Code::failure, "the lock area did not answer within {} s", kAccessLimit.count());
        answer.set(silent);
    });
    Bytes bytes = co_await answer;
    world.tasks.cancel(timer);
    co_return bytes;
}

Task<Result<>> write_block(runtime::World world, SharedDisk& area, std::uint64_t offset, std::string block) {
    OneShot<Result<>> answer(world.tasks);
    area.write(offset, std::move(block), [answer](Result<> done) { answer.set(std::move(done)); });
    const auto timer = world.tasks.after(kAccessLimit, [answer] {
        const Result<> silent =
            fail(Code::failure, "the lock area did not answer within {} s", kAccessLimit.count());
        answer.set(silent);
    });
    Result<> done = co_await answer;
    world.tasks.cancel(timer);
    co_return done;
}

}  // namespace

VolumeLock::VolumeLock(runtime::World world, std::unique_ptr<SharedDisk> area, std::unique_ptr<Fence> fence,
                       LockOptions options, std::function<void(std::string)> lost)
    : world_(world),
      area_(std::move(area)),
      fence_(std::move(fence)),
      options_(std::move(options)),
      lost_(std::move(lost)) {}

VolumeLock::~VolumeLock() {
    if (timer_) world_.tasks.cancel(*timer_);
}

bool VolumeLock::owns() const {
    return ownership_ && ownership_->owns(world_.clock.now());
}

bool VolumeLock::area_answers(Duration within) const {
    return !waiting_since_ || world_.clock.now() - *waiting_since_ <= within;
}

ReservationPlace VolumeLock::place() const {
    return {header_->id, slot_, static_cast<std::uint32_t>(header_->hosts.size()), generation()};
}

Task<Result<>> VolumeLock::claim(Duration patience) {
    if (owns()) co_return Result<>{};
    if (!ownership_) {
        const Bytes bytes = co_await read_all(world_, *area_);
        if (!bytes) co_return with_context(bytes.error(), "the lock area of volume " + options_.volume.str());
        auto header = decode_header(*bytes);
        if (!header)
            co_return with_context(header.error(), "the lock area of volume " + options_.volume.str());
        if (header->volume != options_.volume)
            co_return fail(Code::bad_argument, "this is the lock area of volume {}, not of {}",
                           header->volume.str(), options_.volume.str());
        const auto slot = header->slot_of(options_.node);
        if (!slot)
            co_return fail(Code::not_found,
                           "{} is not among the hosts of volume {} in its lock area: name them all with "
                           "understudy volume share {} --hosts",
                           options_.node.str(), options_.volume.str(), options_.volume.str());
        OwnershipOptions options;
        options.slot = *slot;
        options.host = options_.host;
        options.incarnation = world_.random.next();
        options.jitter = world_.random.next();
        options.lease = options_.lease;
        options.margin = options_.margin;
        slot_ = *slot;
        header_ = std::move(*header);
        ownership_.emplace(options);
    }
    if (waiter_)
        co_return fail(Code::failure, "volume {} is being claimed or released", options_.volume.str());
    told_ = false;
    waiter_.emplace(world_.tasks);
    const OneShot<Result<>> done = *waiter_;
    ownership_->claim();
    const auto timer = world_.tasks.after(patience, [this, done] {
        if (done.ready()) return;
        std::string why = ownership_->problem().empty() ? trouble_ : ownership_->problem();
        if (why.empty() && ownership_->known_owner())
            why = fmt::format("its owner {} was not silent for long enough",
                              header_->hosts[*ownership_->known_owner()].str());
        ownership_->release();
        settle(fail(Code::failure, "volume {} cannot be claimed: {}", options_.volume.str(), why));
    });
    pump();
    Result<> result = co_await done;
    world_.tasks.cancel(timer);
    co_return result;
}

Task<Result<>> VolumeLock::release() {
    // Nothing writes any more: from here on it may take as long as it likes.
    fence_->disarm();
    armed_until_ = {};
    if (!ownership_ || ownership_->state() == Ownership::State::idle) co_return Result<>{};
    if (waiter_)
        co_return fail(Code::failure, "volume {} is being claimed or released", options_.volume.str());
    waiter_.emplace(world_.tasks);
    const OneShot<Result<>> done = *waiter_;
    ownership_->release();
    pump();
    Result<> result = co_await done;
    co_return result;
}

void VolumeLock::settle(Result<> result) {
    if (!waiter_) return;
    const OneShot<Result<>> waiter = *waiter_;
    waiter_.reset();
    waiter.set(std::move(result));
}

/// What follows from the state that the last answer has led to.
void VolumeLock::look_at_state() {
    switch (ownership_->state()) {
        case Ownership::State::owner:
            if (ownership_->lease_end() != armed_until_) {
                armed_until_ = ownership_->lease_end();
                if (auto armed = fence_->arm(armed_until_); !armed) {
                    // Without it nothing would stop this process: it must not own anything.
                    fence_->disarm();
                    const Error why = armed.error();
                    ownership_->release();
                    if (waiter_) return settle(fail(why));
                    if (!std::exchange(told_, true)) lost_(why.text);
                    return;
                }
            }
            return settle({});
        case Ownership::State::claiming:
            if (const auto living = ownership_->living_owner()) {
                ownership_->release();
                settle(fail(Code::exists, "volume {} is owned by {}, which is alive", options_.volume.str(),
                            header_->hosts[*living].str()));
            }
            return;
        case Ownership::State::lost:
            if (!std::exchange(told_, true)) lost_(ownership_->problem());
            return;
        case Ownership::State::idle:
            return settle({});
        case Ownership::State::releasing:
            return;
    }
}

void VolumeLock::pump() {
    if (timer_) world_.tasks.cancel(*timer_);
    timer_.reset();
    const auto step = ownership_->next(world_.clock.now());
    look_at_state();
    switch (step.kind) {
        case Ownership::Step::Kind::nothing:
            return;
        case Ownership::Step::Kind::wait: {
            // An answer that never comes is not waited for with a timer of its own, but the lease's end is.
            TimePoint until = step.until;
            if (ownership_->state() == Ownership::State::releasing)
                until = std::min(until, ownership_->lease_end());
            if (until == TimePoint::max()) return;
            timer_ = world_.tasks.after(std::max(until - world_.clock.now(), Duration(0)), [this] {
                timer_.reset();
                pump();
            });
            return;
        }
        case Ownership::Step::Kind::read:
            return read();
        case Ownership::Step::Kind::write:
            return write(step);
    }
}

void VolumeLock::read() {
    const TimePoint started = world_.clock.now();
    waiting_since_ = started;
    area_->read(0, kAreaBytes, [this, started](const Bytes& bytes) {
        waiting_since_.reset();
        const TimePoint ended = world_.clock.now();
        auto header =
            bytes ? decode_header(*bytes) : Result<AreaHeader>(tl::unexpected<Error>(bytes.error()));
        if (header && (header->id != header_->id || header->hosts.size() < header_->hosts.size()))
            header = fail(Code::failure, "it has been replaced by another one");
        if (header && header->slot_of(options_.node) != slot_)
            header =
                fail(Code::failure, "{} has been removed from the hosts of the volume", options_.node.str());
        if (!header) {
            trouble_ = header.error().text;
            ownership_->failed(ended);
        } else {
            trouble_.clear();
            header_ = std::move(*header);  // hosts may have been added
            ownership_->on_read(started, ended, decode_slots(*bytes, *header_));
        }
        pump();
    });
    pump_deadline();
}

void VolumeLock::write(const Ownership::Step& step) {
    const TimePoint started = world_.clock.now();
    waiting_since_ = started;
    writing_ = true;
    area_->write(offset_of_copy(slot_, step.copy), encode(step.record, header_->id),
                 [this, started](const Result<>& done) {
                     waiting_since_.reset();
                     writing_ = false;
                     const TimePoint ended = world_.clock.now();
                     if (!done) quiet_from_ = ended + options_.margin;
                     if (done) {
                         ownership_->on_written(started, ended);
                     } else {
                         trouble_ = done.error().text;
                         ownership_->failed(ended);
                     }
                     pump();
                 });
    pump_deadline();
}

/// While an access is under way the lease runs all the same.
void VolumeLock::pump_deadline() {
    const auto state = ownership_->state();
    if (state == Ownership::State::owner || state == Ownership::State::releasing) pump();
}

// --- the area

namespace {

/// One copy after the other: a power cut between leaves one of them whole.
Task<Result<>> write_header(runtime::World world, SharedDisk& area, AreaHeader header) {
    for (const std::uint64_t copy : {header.serial % 2, (header.serial + 1) % 2}) {
        const std::uint64_t offset = copy * kAreaBlock;
        std::string block = encode(header);
        auto written = co_await write_block(world, area, offset, std::move(block));
        if (!written) co_return written;
    }
    co_return Result<>{};
}

}  // namespace

Task<Result<>> make_area(runtime::World world, SharedDisk& area, VolumeId volume, std::vector<NodeName> hosts,
                         std::size_t most) {
    if (std::any_of(hosts.begin(), hosts.end(), [](const NodeName& host) { return host.empty(); }))
        co_return fail(Code::bad_argument, "a host without a name is listed");
    AreaHeader wanted;
    wanted.volume = volume;
    wanted.hosts = hosts;
    if (auto fits = check_header(wanted); !fits) co_return fits;
    const Bytes bytes = co_await read_all(world, area);
    if (!bytes) co_return fail(bytes.error());
    const auto known = decode_header(*bytes);
    if (known) {
        if (known->volume != volume)
            co_return fail(Code::bad_argument, "this is the lock area of volume {}", known->volume.str());
        const std::vector<NodeName> members = known->members();
        // In whatever order: that of their slots says nothing to people.
        if (std::is_permutation(members.begin(), members.end(), hosts.begin(), hosts.end()))
            co_return Result<>{};
        const bool longer =
            hosts.size() > members.size() && std::equal(members.begin(), members.end(), hosts.begin());
        if (!longer) {
            std::string names;
            for (const NodeName& host : members)
                names += (names.empty() ? "" : ",") + host.str();
            co_return fail(Code::bad_argument,
                           "the lock area names {}; hosts can be added behind these, in this order", names);
        }
        wanted.hosts = known->hosts;
        const std::vector<Slot> slots = decode_slots(*bytes, *known);
        for (std::size_t i = members.size(); i < hosts.size(); ++i) {
            const auto slot = free_slot(wanted, slots, most);
            if (!slot)
                co_return fail(Code::bad_argument,
                               "no room for {} in the lock area: it has had {} hosts, and of those that were "
                               "removed none can be replaced now",
                               hosts[i].str(), wanted.hosts.size());
            if (*slot == wanted.hosts.size())
                wanted.hosts.push_back(hosts[i]);
            else
                wanted.hosts[*slot] = hosts[i];
        }
        if (auto fits = check_header(wanted); !fits) co_return fits;
        wanted.id = known->id;
        wanted.serial = known->serial + 1;
    } else {
        const bool blank = std::all_of(bytes->begin(), bytes->end(), [](char byte) { return byte == '\0'; });
        if (!blank)
            co_return fail(
                Code::bad_argument,
                "the lock area is not empty: it needs a partition or volume of its own; if nothing on it "
                "is needed, erase its beginning ({} bytes)",
                kAreaBytes);
        wanted.id = world.random.next();
    }
    Result<> written = co_await write_header(world, area, wanted);
    co_return written;
}

Task<Result<>> remove_host(runtime::World world, SharedDisk& area, NodeName host) {
    const Bytes bytes = co_await read_all(world, area);
    if (!bytes) co_return fail(bytes.error());
    auto header = decode_header(*bytes);
    if (!header) co_return fail(header.error());
    const auto slot = header->slot_of(host);
    if (!slot) co_return Result<>{};
    header->hosts[*slot] = NodeName();
    ++header->serial;
    if (auto fits = check_header(*header); !fits) co_return fits;
    Result<> written = co_await write_header(world, area, *header);
    co_return written;
}

Task<Result<AreaView>> view_area(runtime::World world, SharedDisk& area) {
    const Bytes bytes = co_await read_all(world, area);
    if (!bytes) co_return fail(bytes.error());
    auto header = decode_header(*bytes);
    if (!header) co_return fail(header.error());
    AreaView view;
    view.slots = decode_slots(*bytes, *header);
    view.header = std::move(*header);
    std::uint32_t owner = 0;
    for (const Slot& slot : view.slots)
        if (slot.record && slot.record->decided > view.generation) {
            view.generation = slot.record->decided;
            owner = slot.record->owner;
        }
    if (view.generation != 0 && owner < view.slots.size()) {
        const auto& record = view.slots[owner].record;
        if (!record || record->released < view.generation) view.owner = view.header.hosts[owner];
    }
    co_return view;
}

}  // namespace understudy::mirror::shared
