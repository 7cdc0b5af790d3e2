#include "mirror/core/target.h"

#include "base/checksum.h"
#include "mirror/core/limits.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

namespace understudy::mirror {

using std::chrono::milliseconds;

static_assert(kMaxUnapplied == 8192);

struct Target::Operation {
    Target* target = nullptr;
    wire::Header header;
    std::byte* payload = nullptr;
    std::byte* unpacked = nullptr;  // its content, when it came compressed
    BlockRequest local;
    std::size_t range_index = 0;
    std::uint64_t generation = 0;
    bool resync = false;
    bool refused = false;  // the snapshot that was to begin here
    Operation* next = nullptr;
};

struct Target::Reply {
    Target* target = nullptr;
    Outgoing out;
    std::vector<std::byte> payload;
    bool bits = false;
    Reply* next = nullptr;
};

Target::Target(BlockBackend& device, IntentLog& log, TargetDriver& driver, const MirrorParameters& parameters,
               bool bits_known, bool punches, Instant now)
    : device_(&device),
      log_(log),
      driver_(driver),
      parameters_(parameters),
      bits_known_(bits_known),
      punches_(punches),
      size_(device.size()),
      compare_buffers_(kMostComparisons * kCompareBytes),
      unpacked_(kMaxReceiveBytes),
      last_heard_(now),
      last_tick_(now),
      last_ping_(now) {}

Target::~Target() = default;

void Target::set_state(MirrorState state, PauseCause cause) {
    if (state == state_ && cause == cause_) return;
    const MirrorState from = std::exchange(state_, state);
    cause_ = cause;
    driver_.state_changed(from, state, cause);
}

void Target::attach(const LinkTerms& terms, Instant now) {
    if (linked_) lose_links("replaced by a new link", false, false);
    last_heard_ = last_tick_ = last_ping_ = now;
    if (terms.resume && resumable()) return reattach();
    assert(applied());
    resumable_ = resuming_ = false;
    linked_ = true;
    features_ = terms.features;
    ++link_generation_;
    ++copy_generation_;
    window_.reset();
    stopped_ = false;
    recent_.restart();
    // The number of the last mirroring link means nothing on this one: the source says what comes next.
}

void Target::detach() {
    lose_links("", false, false);
}
void Target::link_broken(std::string why) {
    lose_links(std::move(why), true, false);
}

void Target::protocol_error(const std::string& what) {
    lose_links(fmt::format("the source broke the protocol: {}", what), true, true);
}

// --- resumption; the argument is in source_resend.cpp

void Target::reattach() {
    linked_ = resuming_ = true;
    ++copy_generation_;
    drop_waiting_copies();
}

/// Copies that have not begun: their blocks may be written live before, and the source takes them anew.
void Target::drop_waiting_copies() {
    while (!resync_.empty())
        finished(resync_.pop(), -ECANCELED);
}

void Target::resume(const wire::Header& header) {
    if (!resuming_) return protocol_error("resume of a session that was not interrupted");
    if (stopped_ || header.sequence > window_.first())
        return protocol_error(stopped_ ? "resume after a write error" : "resume behind what is applied");
    resuming_ = false;
    wire::Header answer;
    answer.type = wire::Type::resume_ack;
    answer.sequence = window_.end();
    answer.argument = window_.first();
    send_reply(answer, false);
    for (std::uint64_t number = window_.first(); number < window_.end(); ++number)
        if (window_.at(number) == nullptr) acknowledge(number, false);
    flush_acknowledgements();
}

/// The state stays what it was: the target does not know what the source does meanwhile. Spec: REP-152.
void Target::lose_links(std::string why, bool tell, bool say) {
    if (!linked_) return;
    linked_ = false;
    ++copy_generation_;
    resumable_ = (features_ & wire::kFeatureResend) != 0 && state_ == MirrorState::mirroring &&
                 marking_ == Marking::none && !ending_;
    if (!resumable_) ++link_generation_;
    ack_count_ = 0;
    bits_page_ = BlockMap::kNone;
    driver_.close_links(say ? why : std::string());
    pump();  // copies that wait for what will not come any more
    if (tell) driver_.link_lost(std::move(why));
    check_drained();
}

// --- messages

void Target::on_data(const wire::Header& header, std::byte* payload, Instant now) {
    last_heard_ = now;
    if (resuming_ && header.type != wire::Type::resume && header.type != wire::Type::ping &&
        header.type != wire::Type::pong && header.type != wire::Type::bye &&
        header.type != wire::Type::error) {
        if (payload != nullptr) driver_.release_data(payload, header.length);
        return protocol_error(fmt::format("{} before resume", wire::to_string(header.type)));
    }
    switch (header.type) {
        case wire::Type::write:
        case wire::Type::write_zeroes:
        case wire::Type::discard:
        case wire::Type::flush:
        case wire::Type::resync_end:
            return enqueue(header, payload, false);
        case wire::Type::ping: {
            if (header.depends > 0) recent_.everywhere(header.depends - 1);
            wire::Header answer;
            answer.type = wire::Type::pong;
            answer.argument = header.argument;
            return send_reply(answer, false);
        }
        case wire::Type::pong:
            return;
        case wire::Type::bitmap_request:
            return send_bits();
        case wire::Type::resume:
            return resume(header);
        case wire::Type::resync_begin:
            // Before the first block of a resync changes anything it must be on record that the content is a
            // mixture until the last has come. Spec: REP-118
            stopped_ = false;
            marking_ = Marking::begin;
            set_state(MirrorState::resync, PauseCause::none);
            driver_.mark_consistent(false, ++mark_serial_);
            return;
        case wire::Type::error:
        case wire::Type::bye: {
            std::string why = fmt::format("the source closed the link: {}",
                                          std::string_view(reinterpret_cast<const char*>(payload),
                                                           payload != nullptr ? header.length : 0));
            if (payload != nullptr) driver_.release_data(payload, header.length);
            return lose_links(std::move(why), true, false);
        }
        case wire::Type::bitmap_data:
        case wire::Type::write_ack:
        case wire::Type::flush_ack:
        case wire::Type::resync_ready:
        case wire::Type::resync_block:
        case wire::Type::resync_zeroes:
        case wire::Type::resync_ack:
        case wire::Type::in_sync:
        case wire::Type::compare_block:
        case wire::Type::resume_ack:
            if (payload != nullptr) driver_.release_data(payload, header.length);
            return protocol_error(fmt::format("{} on the data link", wire::to_string(header.type)));
    }
}

void Target::on_resync(const wire::Header& header, std::byte* payload, Instant now) {
    last_heard_ = now;
    if (header.type == wire::Type::resync_block || header.type == wire::Type::resync_zeroes ||
        header.type == wire::Type::compare_block)
        return enqueue(header, payload, true);
    if (payload != nullptr) driver_.release_resync(payload, header.length);
    protocol_error(fmt::format("{} on the resync link", wire::to_string(header.type)));
}

void Target::enqueue(const wire::Header& header, std::byte* payload, bool resync) {
    const auto refuse = [&](const std::string& what) {
        if (payload != nullptr)
            resync ? driver_.release_resync(payload, header.length)
                   : driver_.release_data(payload, header.length);
        protocol_error(what);
    };
    if (header.extent > size_ || header.offset > size_ - header.extent)
        return refuse(fmt::format("{} beyond the end of the volume", wire::to_string(header.type)));
    if (header.offset % device_->sector_size() != 0 || header.extent % device_->sector_size() != 0)
        return refuse(fmt::format("{} not aligned to sectors", wire::to_string(header.type)));
    if (!resync && header.sequence != window_.end())
        return refuse(fmt::format("message {} where {} was due", header.sequence, window_.end()));
    if ((header.flags & wire::kCompressed) != 0 && (features_ & wire::kFeatureZstd) == 0)
        return refuse("a compressed payload, which was not agreed on");
    if (!resync && header.depends >= header.sequence) return refuse("a message that depends on itself");
    if (resync && header.type != wire::Type::compare_block && state_ != MirrorState::resync &&
        state_ != MirrorState::mirroring)
        return refuse("a resync block outside of a resync");
    if (header.type == wire::Type::compare_block &&
        (header.extent > kCompareBytes || comparing_ == kMostComparisons))
        return refuse("more to compare than was agreed");

    Operation& operation = operations_.take();
    operation = {};
    operation.target = this;
    operation.header = header;
    operation.payload = payload;
    operation.resync = resync;
    operation.generation = resync ? copy_generation_ : link_generation_;
    ++unapplied_;
    if (header.type == wire::Type::compare_block) {
        ++comparing_;
    } else if (header.extent > 0) {
        // A copy counts as the newest write that it may contain.
        recent_.add(resync ? std::max(header.depends, window_.end() - 1) : header.sequence, header.offset,
                    header.extent);
    }
    if (resync) {
        resync_.push(operation);
    } else {
        window_.push(&operation);
        data_.push(operation);
    }
    pump();
}

// --- applying

void Target::pump() {
    if (pumping_) return;
    pumping_ = true;
    bool snapshot_due = false;
    while (!data_.empty() && applying_.size() < kMaxApplying) {
        const wire::Header& header = data_.front()->header;
        const bool barrier = header.type == wire::Type::flush || header.type == wire::Type::resync_end;
        const std::uint64_t needed = barrier ? header.sequence - 1 : header.depends;
        if (window_.first() <= needed) break;
        if (!barrier && applying_.overlaps(header.offset, header.offset + header.extent)) break;
        if (!has_room(*data_.front())) break;
        // Copies of a resync may be under way, which know no order: the snapshot is not to see half of one.
        snapshot_due = (header.flags & wire::kSnapshot) != 0 && !applying_.empty();
        if (snapshot_due) break;
        start(data_.pop());
    }
    // Copies wait for the live writes that were sent before they were read. A copy of an old link that waits
    // for numbers which never came is superseded by the next resync.
    while (!snapshot_due && !resync_.empty() && applying_.size() < kMaxApplying) {
        Operation& operation = *resync_.front();
        const wire::Header& header = operation.header;
        const bool never =
            !linked_ && data_.empty() && applying_.empty() && window_.first() <= header.depends;
        if (never) {
            finished(resync_.pop(), -ECANCELED);
            continue;
        }
        if (window_.first() <= header.depends) break;
        if (applying_.overlaps(header.offset, header.offset + header.extent)) break;
        if (!has_room(operation)) break;
        start(resync_.pop());
    }
    pumping_ = false;
}

/// For the content of a compressed payload: others give theirs back when they are applied.
bool Target::has_room(Operation& operation) {
    if ((operation.header.flags & wire::kCompressed) == 0) return true;
    operation.unpacked = unpacked_.take(operation.header.extent);
    return operation.unpacked != nullptr || applying_.empty();  // alone, it fails for want of memory
}

void Target::start(Operation& operation) {
    const wire::Header& header = operation.header;
    if (stopped_) return finished(operation, -EIO);  // Spec: REP-199
    BlockRequest& local = operation.local;
    local.offset = header.offset;
    local.length = header.extent;
    local.data = operation.payload;
    local.fua = (header.flags & wire::kFua) != 0;
    switch (header.type) {
        case wire::Type::write:
        case wire::Type::resync_block:
            local.op = BlockOp::write;
            if ((header.flags & wire::kCompressed) == 0) break;
            if (operation.unpacked == nullptr ||
                !decompressor_.decompress({operation.payload, header.length},
                                          {operation.unpacked, header.extent}))
                return finished(operation, -EIO);
            local.data = operation.unpacked;
            break;
        case wire::Type::write_zeroes:
        case wire::Type::discard:
        case wire::Type::resync_zeroes:
            // Both ends must read the same afterwards: zeroes. A hole is as good, and keeps a thin target
            // thin.
            local.op = BlockOp::write_zeroes;
            local.punch = punches_;
            break;
        case wire::Type::compare_block:
            operation.payload = compare_buffers_.take(header.extent);
            if (operation.payload == nullptr) return finished(operation, -ENOMEM);
            local.op = BlockOp::read;
            local.data = operation.payload;
            break;
        case wire::Type::flush:
        case wire::Type::resync_end:
            local.op = BlockOp::flush;
            local.offset = 0;
            local.length = 0;
            if ((header.flags & wire::kSnapshot) != 0)
                operation.refused = !driver_.snapshot_begins(header.argument);
            break;
        default:
            assert(false);
            break;
    }
    applying_.add(header.offset, header.offset + header.extent, operation);
    local.owner = &operation;
    local.done = [](BlockRequest& request) {
        Operation& done = *static_cast<Operation*>(request.owner);
        done.target->applying_.remove(done);
        done.target->finished(done, request.result);
    };
    device_->submit(local);
}

void Target::finished(Operation& operation, int result) {
    const wire::Header& header = operation.header;
    const bool comparison = header.type == wire::Type::compare_block;
    if (result == 0 && operation.local.op != BlockOp::flush && !comparison) {
        ++writes_;
        write_bytes_ += header.extent;
        if (operation.resync) resync_bytes_ += header.extent;
    }
    if (result < 0 && result != -ECANCELED && !stopped_ && !comparison) {
        stopped_ = true;
        drain_failed_ = true;
        if (operation.generation == (operation.resync ? copy_generation_ : link_generation_))
            set_state(MirrorState::paused, PauseCause::target_error);
    }
    if (header.type == wire::Type::resync_end && result == 0 && operation.generation == link_generation_)
        return end_of_resync(operation);
    const bool current = linked_ && !resuming_ &&
                         operation.generation == (operation.resync ? copy_generation_ : link_generation_);
    if (current) {
        wire::Header answer;
        answer.sequence = header.sequence;
        answer.flags = result < 0 ? wire::kFailed : std::uint16_t{0};
        switch (header.type) {
            case wire::Type::flush:
            case wire::Type::resync_end:
                flush_acknowledgements();
                answer.type = header.type == wire::Type::flush ? wire::Type::flush_ack : wire::Type::in_sync;
                if (operation.refused) answer.flags |= wire::kFailed;
                send_reply(answer, false);
                break;
            case wire::Type::resync_block:
            case wire::Type::resync_zeroes:
                answer.type = wire::Type::resync_ack;
                send_reply(answer, true);
                break;
            case wire::Type::compare_block:
                answer.type = wire::Type::resync_ack;
                if (result == 0 && xxh3({operation.payload, header.extent}) != header.argument)
                    answer.flags = wire::kDiffers;
                send_reply(answer, true);
                break;
            default:
                acknowledge(header.sequence, result < 0);
                break;
        }
    }
    done_with(operation);
}

/// Everything up to here is durable: this end is equal to the source, and its own old bits mean nothing now.
void Target::end_of_resync(Operation& operation) {
    ending_ = &operation;
    marking_ = Marking::end;
    log_.forget_epochs();
    log_.clear_dirty();
    bits_known_ = true;
    drain_failed_ = false;
    driver_.mark_consistent(true, ++mark_serial_);
}

void Target::marked(std::uint64_t serial, bool ok) {
    if (serial != mark_serial_) return;
    const Marking what = std::exchange(marking_, Marking::none);
    if (what == Marking::none) return;
    if (what == Marking::begin) {
        if (!linked_) return;
        if (!ok) return lose_links("the target cannot record that a resync begins", true, true);
        wire::Header ready;
        ready.type = wire::Type::resync_ready;
        return send_reply(ready, false);
    }
    Operation& operation = *std::exchange(ending_, nullptr);
    if (linked_ && operation.generation == link_generation_) {
        // A record that could not be written leaves this end out of the running, never the reverse.
        set_state(MirrorState::mirroring, PauseCause::none);
        flush_acknowledgements();
        wire::Header answer;
        answer.type = wire::Type::in_sync;
        answer.sequence = operation.header.sequence;
        send_reply(answer, false);
        driver_.in_sync();
    }
    done_with(operation);
}

void Target::done_with(Operation& operation) {
    if (operation.unpacked != nullptr) unpacked_.give_back(operation.unpacked, operation.header.extent);
    if (operation.header.type == wire::Type::compare_block) {
        --comparing_;
        if (operation.payload != nullptr)
            compare_buffers_.give_back(operation.payload, operation.header.extent);
    } else if (operation.payload != nullptr) {
        if (operation.resync) {
            driver_.release_resync(operation.payload, operation.header.length);
        } else {
            driver_.release_data(operation.payload, operation.header.length);
        }
    }
    if (!operation.resync && window_.contains(operation.header.sequence)) {
        window_.at(operation.header.sequence) = nullptr;
        window_.advance();
    }
    operations_.give_back(operation);
    --unapplied_;
    pump();
    check_drained();
}

// --- answers

void Target::acknowledge(std::uint64_t sequence, bool failed) {
    if (!failed && ack_count_ > 0 && sequence == ack_first_ + ack_count_) {
        ++ack_count_;
        return;
    }
    flush_acknowledgements();
    ack_first_ = sequence;
    ack_count_ = 1;
    if (!failed) return;
    wire::Header answer;
    answer.type = wire::Type::write_ack;
    answer.flags = wire::kFailed;
    answer.sequence = sequence;
    answer.argument = 1;
    ack_count_ = 0;
    send_reply(answer, false);
}

void Target::flush_acknowledgements() {
    if (ack_count_ == 0) return;
    wire::Header answer;
    answer.type = wire::Type::write_ack;
    answer.sequence = ack_first_;
    answer.argument = std::exchange(ack_count_, 0);
    if (linked_) send_reply(answer, false);
}

void Target::send_reply(wire::Header header, bool resync, std::span<const std::byte> payload) {
    if (!linked_) return;
    Reply& reply = replies_.take();
    reply.target = this;
    reply.payload.assign(payload.begin(), payload.end());
    reply.out = {};
    reply.out.payload = reply.payload.data();
    reply.out.length = static_cast<std::uint32_t>(reply.payload.size());
    wire::encode(header, reply.out.header);
    reply.out.owner = &reply;
    reply.bits = header.type == wire::Type::bitmap_data;
    if (reply.bits) ++bits_queued_;
    reply.out.released = [](Outgoing& item) {
        Reply& sent = *static_cast<Reply*>(item.owner);
        Target& target = *sent.target;
        const bool bits = sent.bits;
        target.replies_.give_back(sent);
        if (!bits) return;
        --target.bits_queued_;
        target.send_more_bits();
    };
    resync ? driver_.send_resync(reply.out) : driver_.send_data(reply.out);
}

/// Spec: REP-121. What this end may have that the source lacks: its own writes of an earlier life as source.
void Target::send_bits() {
    wire::Header last;
    last.type = wire::Type::bitmap_data;
    last.flags = wire::kLast;
    if (!bits_known_) {
        last.flags |= wire::kUnavailable;
        return send_reply(last, false);
    }
    bits_page_ = 0;
    send_more_bits();
}

/// A few pages at a time: all of a large volume's would be as large as its map. Nothing changes the bits
/// until the source has them all, for it begins only then.
void Target::send_more_bits() {
    while (linked_ && bits_page_ != BlockMap::kNone && bits_queued_ < kMostBitsQueued) {
        const std::uint64_t block = log_.dirty().next(bits_page_ * kBlocksPerPage);
        wire::Header header;
        header.type = wire::Type::bitmap_data;
        if (block == BlockMap::kNone) {
            bits_page_ = BlockMap::kNone;
            header.flags = wire::kLast;
            return send_reply(header, false);
        }
        const std::uint64_t page = block / kBlocksPerPage;
        bits_page_ = page + 1;
        const auto words = std::as_bytes(log_.dirty().page(page));
        header.offset = page;
        header.length = wire::kBitmapPage;
        header.payload_crc = crc32c(words);
        send_reply(header, false, words);
    }
}

// --- time, drain

void Target::tick(Instant now) {
    const auto interval = milliseconds(parameters_.ping_interval_ms);
    if (now - last_tick_ > std::max<Instant::duration>(std::chrono::seconds(1), interval)) last_heard_ = now;
    last_tick_ = now;
    if (linked_ && !full() && now - last_heard_ > interval * parameters_.max_ping_misses)
        lose_links(fmt::format("nothing heard from the source for {} ms",
                               (interval * parameters_.max_ping_misses).count()),
                   true, false);
}

void Target::drain(std::function<void(Result<>)> done) {
    resumable_ = false;  // about to be a source
    if (drained_ || final_flush_) return done(fail(Code::failure, "the volume is being drained already"));
    drained_ = std::move(done);
    pump();
    check_drained();
}

void Target::check_drained() {
    if (!drained_ || linked_ || final_flush_) return;
    pump();
    if (unapplied_ > 0 || !drained_ || final_flush_) return;
    final_flush_ = true;
    final_flush_request_ = {};
    final_flush_request_.op = BlockOp::flush;
    final_flush_request_.owner = this;
    final_flush_request_.done = [](BlockRequest& request) {
        Target& self = *static_cast<Target*>(request.owner);
        self.final_flush_ = false;
        const auto done = std::exchange(self.drained_, nullptr);
        if (request.result < 0 || self.drain_failed_)
            return done(
                fail(Code::failure, "the target's device failed; what was received is not all on it"));
        done({});
    };
    device_->submit(final_flush_request_);
}

}  // namespace understudy::mirror
