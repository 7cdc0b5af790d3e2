#include "mirror/volume.h"

#include "mirror/volume_impl.h"

#include <cassert>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace understudy::mirror {
namespace {

constexpr unsigned kBatchesBehindAnswer = 2;
constexpr std::uint64_t kTrimTicks = 20;  // ticks between two looks for memory to give back

}  // namespace

Result<std::unique_ptr<Volume>> Volume::open(Reactor& reactor, VolumeOptions options, VolumeEvents& events) {
    auto volume = std::make_unique<VolumeDriver>(reactor, std::move(options), events);
    UNDERSTUDY_CHECK(volume->start());
    return volume;
}

VolumeDriver::VolumeDriver(Reactor& reactor, VolumeOptions options, VolumeEvents& events)
    : reactor_(reactor),
      options_(std::move(options)),
      events_(events),
      alive_(std::make_shared<VolumeDriver*>(this)) {}

VolumeDriver::~VolumeDriver() {
    assert(device_ == nullptr || closing_ == Closing::done || !timer_.in_flight);
}

Result<> VolumeDriver::start() {
    if (options_.shared_device != nullptr) {
        device_ = options_.shared_device;
        punches_ = device_->punches();
    } else {
        UNDERSTUDY_TRY(LocalDevice device, open_device(reactor_, options_.device,
                                                       std::chrono::milliseconds(options_.busy_wait_ms)));
        own_device_ = std::move(device.backend);
        device_ = own_device_.get();
        punches_ = device.punches;
    }
    const std::uint64_t bytes = options_.size == 0 ? device_->size() : options_.size;
    if (bytes > device_->size())
        return fail(Code::bad_argument, "{} has {} bytes, the volume {} needs {}", options_.device,
                    device_->size(), options_.id.str(), bytes);
    if (bytes % device_->sector_size() != 0)
        return fail(Code::bad_argument, "{} bytes are not a multiple of the sectors of {}, {} bytes", bytes,
                    options_.device, device_->sector_size());
    slice_ = std::make_unique<DeviceSlice>(*device_, bytes);
    if (options_.has_target) {
        try {
            log_ = std::make_unique<IntentLog>(bytes, options_.parameters.bitmap_bytes_per_block);
            const auto open = options_.log_in_memory ? LogFile::in_memory : LogFile::open;
            UNDERSTUDY_TRY(log_file_, open(reactor_, options_.log_path, options_.uuid, bytes, *log_));
        } catch (const std::bad_alloc&) {
            return fail(Code::failure, "no memory for the bitmaps of volume {}, of {} bytes (event 176)",
                        options_.id.str(), bytes);
        }
        log_file_->finished = [this](int error) { log_finished(error); };
    }
    timer_.owner = this;
    timer_.done = [](IoOperation& op, int result) {
        auto& self = *static_cast<VolumeDriver*>(op.owner);
        if (result == 0 && self.closing_ != Closing::timer) return self.tick();
        self.closing_ = Closing::done;
        if (self.closed_) std::exchange(self.closed_, nullptr)();  // may destroy this object
    };
    reactor_.after_batch([weak = std::weak_ptr(alive_)] {
        if (const auto self = weak.lock()) (*self)->after_batch();
    });
    arm_timer();
    return {};
}

// --- requests

void VolumeDriver::submit(BlockRequest& request) {
    const auto refuse = [&request](int error) {
        request.result = error;
        request.done(request);
    };
    if (role_ != Role::source) return refuse(-EACCES);  // Spec: REP-090
    if (refuses_) return refuse(-EROFS);
    if (request.op != BlockOp::flush) {
        const std::uint32_t sector = device_->sector_size();
        const bool data = request.op == BlockOp::read || request.op == BlockOp::write;
        if (request.offset > slice_->size() || request.length > slice_->size() - request.offset ||
            request.offset % sector != 0 || request.length % sector != 0 ||
            (data && request.length > kMaxRequestBytes))
            return refuse(-EINVAL);
        if (request.length == 0) return refuse(0);
    }
    switch (request.op) {
        case BlockOp::read:
            ++reads_;
            read_bytes_ += request.length;
            return device_->submit(request);  // Spec: REP-008, REP-090
        case BlockOp::discard:
            if (!punches_) return refuse(0);  // advice that the device cannot take
            [[fallthrough]];
        case BlockOp::write:
        case BlockOp::write_zeroes:
            ++writes_;
            write_bytes_ += request.length;
            break;
        case BlockOp::flush:
            break;
    }
    if (!options_.has_target) return device_->submit(request);
    source_->tell_time(reactor_.now());
    source_->submit(request);
}

// --- batches and time

void VolumeDriver::after_batch() {
    if (closing_ == Closing::done) return;
    if (target_) target_->flush_acknowledgements();
    if (!snapshots_closed_.empty()) forget_dropped_snapshots();
    if (pending_attach_) try_attach();
    // Every write of this batch that needs the log shares one commit. Spec: REP-052
    if (commit_wanted_ && log_file_) {
        commit_wanted_ = false;
        if (log_->wants_commit()) {
            log_file_->commit();
        } else if (!log_->committing()) {
            log_finished(0);
        }
    }
    if (data_link_) data_link_->resume_reading();
    if (resync_link_) resync_link_->resume_reading();
    flush_data_link();
    if (resync_link_) resync_link_->flush();
    if (direct_quiesced_ && device_idle()) {
        auto done = std::exchange(direct_quiesced_, nullptr);
        flush_device([done = std::move(done)](int error) {
            done(error == 0 ? Result<>()
                            : Result<>(fail(Code::failure, "flush failed: {}", std::strerror(-error))));
        });
    }
    if (closing_ != Closing::no) advance_closing();
}

/// An asynchronous write is answered when it is done here, so its frame goes to the network behind the
/// answer, not in front of it nor together with it: the kernel's part of the answer comes when the call that
/// gave it ends. A few batches later, and no later than that, however long the device takes.
void VolumeDriver::flush_data_link() {
    if (!data_link_) return;
    const bool fresh = std::exchange(fresh_frames_, false);
    const bool waits = (fresh || waited_batches_ > 0) && waited_batches_ < kBatchesBehindAnswer;
    if (waits && source_ && source_->type() == MirrorType::async && data_link_->due()) {
        ++waited_batches_;
        reactor_.again();
        return;
    }
    waited_batches_ = 0;
    data_link_->flush();
}

void VolumeDriver::arm_timer() {
    reactor_.timeout(timer_, kTick);
}

void VolumeDriver::tick() {
    const Instant now = reactor_.now();
    if (source_) source_->tick(now);
    if (target_) target_->tick(now);
    std::erase_if(closing_links_, [](const auto& link) { return link->idle(); });
    std::erase_if(former_sources_, [](const auto& source) { return source->idle(); });
    std::erase_if(former_targets_, [](const auto& target) { return target->idle(); });
    forget_dropped_snapshots();
    if (++ticks_ % kTrimTicks == 0) {
        if (data_pool_.out() == 0) data_pool_.trim();
        if (resync_pool_.out() == 0) resync_pool_.trim();
        if (source_ && source_->queue_requests() == 0) source_->trim_memory();
    }
    arm_timer();
}

void VolumeDriver::flush_device(std::function<void(int)> done) {
    auto* wait = new FlushWait{{}, std::move(done)};  // deleted by its completion
    ++flushes_;
    wait->request.op = BlockOp::flush;
    wait->request.owner = new std::pair<VolumeDriver*, FlushWait*>(this, wait);
    wait->request.done = [](BlockRequest& request) {
        const std::unique_ptr<std::pair<VolumeDriver*, FlushWait*>> both(
            static_cast<std::pair<VolumeDriver*, FlushWait*>*>(request.owner));
        const std::unique_ptr<FlushWait> owned(both->second);
        --both->first->flushes_;
        owned->done(request.result);
    };
    device_->submit(wait->request);
}

// --- log

void VolumeDriver::log_finished(int error) {
    if (error != 0 && !log_failure_told_) {
        log_failure_told_ = true;
        // The next start must not trust these bits. Spec: REP-064
        log_file_->update_header([](LogHeader& header) { header.valid = false; }, nullptr);
        events_.log_failed(fmt::format("cannot write the intent log {}: {}; it is not used any more",
                                       log_file_->path(), std::strerror(-error)));
    }
    if (source_) source_->log_committed();
    if (log_->wants_commit()) {
        commit_wanted_ = true;
        return;
    }
    for (auto& next : std::exchange(after_commit_, {}))
        next();
}

void VolumeDriver::log_without_memory() {
    log_->fail();
    if (std::exchange(log_failure_told_, true)) return;
    log_file_->update_header([](LogHeader& header) { header.valid = false; }, nullptr);
    events_.log_failed("there is no memory for its bits (event 208)");
}

void VolumeDriver::mark_consistent(bool consistent, std::uint64_t serial) {
    if (consistent) log_->collect(0);
    commit_wanted_ = true;
    after_commit_.push_back([this, consistent, serial] {
        if (log_->failed()) {
            if (target_) target_->marked(serial, false);
            return;
        }
        log_file_->update_header(
            [consistent](LogHeader& header) {
                header.inconsistent = !consistent;
                if (consistent) header.fresh = false;
            },
            [this, serial](int error) {
                if (target_) target_->marked(serial, error == 0);
            });
    });
}

// --- roles

void VolumeDriver::retire_roles() {
    pending_attach_.reset();
    if (source_) {
        source_->detach();
        former_sources_.push_back(std::move(source_));
    }
    if (target_) {
        target_->detach();
        former_targets_.push_back(std::move(target_));
    }
    if (log_) {
        log_->forget_epochs();
        log_->left_out().forget();
    }
    unused_.reset();
}

void VolumeDriver::become_source(MirrorState state, PauseCause cause, bool mark_all_dirty) {
    retire_snapshot();
    retire_roles();
    role_ = Role::source;
    refuses_ = false;
    draining_ = false;
    if (!options_.has_target) return;
    if (mark_all_dirty) {
        // What is not marked must not be trusted: then the next session is a full one, as without a log.
        if (!log_->set_all_dirty()) log_without_memory();
        log_->persist();
    }
    source_ =
        std::make_unique<Source>(*slice_, *log_, *this, options_.type, options_.parameters, reactor_.now());
    source_->begin(state, cause);
    const LogHeader& header = log_file_->header();
    if (header.fresh || header.inconsistent) {
        // Only when the bits of this decision are durable may the log count as known.
        after_commit_.push_back([this] {
            if (!log_->failed())
                log_file_->update_header(
                    [](LogHeader& changed) { changed.fresh = changed.inconsistent = false; }, nullptr);
        });
    }
    commit_wanted_ = true;
}

void VolumeDriver::become_target() {
    retire_roles();
    role_ = Role::target;
    draining_ = false;
    if (!options_.has_target) return;
    const bool bits_known = (bits_given_ || !log_file_->header().fresh) && !log_->failed();
    target_ = std::make_unique<Target>(target_device(), *log_, *this, options_.parameters, bits_known,
                                       punches_, reactor_.now());
    target_->begin(MirrorState::pending);
}

void VolumeDriver::quiesce(std::function<void(Result<>)> done) {
    if (role_ != Role::source)
        return done(fail(Code::failure, "volume {} is not a source", options_.id.str()));
    if (source_) {
        source_->quiesce([this, done = std::move(done)](Result<> result) {
            if (!result) return done(std::move(result));
            // Bits were cleared as far as the target has everything; this covers the rest.
            flush_device([done](int error) {
                done(error == 0 ? Result<>()
                                : Result<>(fail(Code::failure, "flush failed: {}", std::strerror(-error))));
            });
        });
        return;
    }
    if (direct_quiesced_) return done(fail(Code::failure, "the volume is being quiesced already"));
    refuses_ = true;
    direct_quiesced_ = std::move(done);
    reactor_.post([] {});  // a batch follows, and with it the look whether all is done
}

void VolumeDriver::drain(std::function<void(Result<>)> done) {
    if (!target_) return done(fail(Code::failure, "volume {} is not a target", options_.id.str()));
    pending_attach_.reset();
    draining_ = true;
    target_->drain(std::move(done));
    if (resync_link_) resync_link_->finish_reading();
    if (data_link_) data_link_->finish_reading();
}

void VolumeDriver::pause(std::function<void(Result<>)> done) {
    if (!source_)
        return done(fail(Code::failure, "volume {} is not the source of a mirror", options_.id.str()));
    source_->pause(std::move(done));
}

void VolumeDriver::resume() {
    if (source_) source_->resume();
}

void VolumeDriver::break_mirror() {
    if (source_) source_->break_mirror();
}

void VolumeDriver::compare(const CompareOptions& options, std::function<void(Result<CompareReport>)> done) {
    if (!source_)
        return done(fail(Code::failure, "volume {} is not the source of a mirror", options_.id.str()));
    source_->compare(options, std::move(done));
}

void VolumeDriver::set_type(MirrorType type) {
    options_.type = type;
    if (source_) source_->set_type(type);
}

void VolumeDriver::set_parameters(const MirrorParameters& parameters) {
    options_.parameters = parameters;
    if (source_) source_->set_parameters(parameters);
    if (target_) target_->set_parameters(parameters);
    set_throttle();
    for (Link* link : {data_link_.get(), resync_link_.get()})
        if (link != nullptr) link->throttle_changed();
}

// --- events

void VolumeDriver::state_changed(MirrorState from, MirrorState to, PauseCause cause) {
    events_.state_changed(from, to, cause);
}
void VolumeDriver::link_lost(std::string why) {
    events_.link_lost(std::move(why));
}
void VolumeDriver::link_interrupted(std::string why) {
    events_.link_interrupted(std::move(why));
}
void VolumeDriver::degraded(DegradeAnswer release) {
    events_.degraded(std::move(release));
}
void VolumeDriver::in_sync() {
    events_.in_sync();
}

// --- several targets

std::optional<FanOutLeg::Progress> VolumeDriver::progress() const {
    return source_ ? source_->progress() : std::nullopt;
}

void VolumeDriver::everywhere(std::uint64_t through) {
    if (source_) source_->everywhere(through);
}

std::optional<BlockRanges> VolumeDriver::recent_writes() const {
    if (!target_ || !target_->recent().known()) return std::nullopt;
    BlockMap blocks(log_->blocks());
    target_->recent().for_each([&blocks](std::uint64_t first, std::uint64_t last) {
        for (std::uint64_t block = first; block <= last; ++block)
            blocks.set(block);
    });
    return ranges_of(blocks);
}

BlockRanges VolumeDriver::dirty_ranges() const {
    return log_ ? ranges_of(log_->may_differ()) : BlockRanges();
}

void VolumeDriver::replace_dirty(const BlockRanges& ranges, std::function<void(Result<>)> done) {
    retire_roles();
    role_ = Role::none;
    log_->clear_dirty();
    for (const BlockRange& range : ranges) {
        if (range.first >= log_->blocks() || range.count > log_->blocks() - range.first)
            return done(fail(Code::internal, "blocks beyond the end of volume {}", options_.id.str()));
        if (range.count > 0) log_->set_dirty(range.first * kBlockBytes, range.count * kBlockBytes);
    }
    log_->collect(0);
    log_->persist();
    bits_given_ = true;
    commit_wanted_ = true;
    after_commit_.push_back([this, done = std::move(done)] {
        const auto unusable = [this] {
            return fail(Code::failure, "the intent log {} cannot be written", log_file_->path());
        };
        if (log_->failed()) return done(unusable());
        log_file_->update_header(
            [](LogHeader& header) { header.fresh = header.inconsistent = false; },
            [done, unusable](int error) { done(error == 0 ? Result<>() : Result<>(unusable())); });
    });
    reactor_.post([] {});  // a batch follows, and with it the commit
}

// --- status

VolumeStatus VolumeDriver::status() const {
    VolumeStatus status;
    status.role = role_;
    status.size = slice_->size();
    status.sector_size = device_->sector_size();
    status.writes = writes_;
    status.write_bytes = write_bytes_;
    status.reads = reads_;
    status.read_bytes = read_bytes_;
    status.reconnects = reconnects_;
    if (!options_.has_target) return status;
    status.type = options_.type;
    status.log_valid = log_file_->found().valid && !log_->failed();
    status.log_created = log_file_->header().fresh;
    status.log_was_clean = log_file_->found().clean;
    status.consistent = !log_file_->header().inconsistent;
    status.log_commits = log_->commits();
    if (source_) {
        status.state = source_->state();
        status.cause = source_->cause();
        status.linked = source_->linked();
        status.dirty_blocks = source_->dirty_blocks();
        status.resync_bytes_sent = source_->resync_bytes_sent();
        status.resync_pass = source_->resync_pass();
        status.queue_requests = source_->queue_requests();
        status.queue_bytes = source_->queue_bytes();
        status.comparison = source_->comparison();
        status.left_out_known = log_->left_out().known();
        status.left_out_blocks = log_->left_out().count();
        status.suspended = source_->suspended();
        status.counters = source_->counters(reactor_.now());
    } else if (target_) {
        status.recent_known = target_->recent().known();
        status.state = target_->state();
        status.cause = target_->cause();
        status.linked = target_->linked();
        status.dirty_blocks = log_->dirty().count();
        status.writes = target_->writes();
        status.write_bytes = target_->write_bytes();
        status.resumable = target_->resumable();
        add_snapshot_status(status);
    }
    return status;
}

}  // namespace understudy::mirror
