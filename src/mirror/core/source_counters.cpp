// What a source counts and measures, what that limits (how far an asynchronous target may be behind), and
// what becomes of payloads on their way.

#include "mirror/core/source.h"
#include "mirror/core/source_parts.h"

#include <algorithm>
#include <utility>

namespace understudy::mirror {
namespace {

std::uint64_t milliseconds_of(Instant::duration time) {
    using std::chrono::milliseconds;
    return static_cast<std::uint64_t>(
        std::max(std::chrono::duration_cast<milliseconds>(time), milliseconds(0)).count());
}

}  // namespace

// --- payloads

bool Source::compresses() const {
    return parameters_.compression_level != 0 && (features_ & wire::kFeatureZstd) != 0;
}

/// `into` is as long as `data`. False: `load` stays as it was.
bool Source::compress(const std::byte* data, std::uint32_t length, std::byte* into, Load& load) {
    const std::size_t packed =
        compressor_.compress(std::min(parameters_.compression_level, kMostCompression), {data, length}, into);
    if (packed == 0) return false;
    load = {into, static_cast<std::uint32_t>(packed), wire::kCompressed};
    return true;
}

// --- counting

void Source::count_sent(std::uint32_t length, const wire::Header& header) {
    counts_.data_bytes += length;
    counts_.data_bytes_on_wire += header.length;
    if ((header.flags & wire::kCompressed) != 0) ++counts_.compressed_messages;
}

void Source::count_acknowledged(Instant sent_at) {
    using std::chrono::microseconds;
    const auto time = std::max(std::chrono::duration_cast<microseconds>(now_ - sent_at), microseconds(0));
    const auto bounds = SourceCounters::kLatencyBounds;
    std::size_t bucket = 0;
    while (bucket < bounds.size() && time > microseconds(bounds[bucket]))
        ++bucket;
    ++counts_.acknowledged[bucket];
    counts_.acknowledged_us += static_cast<std::uint64_t>(time.count());
}

void Source::count_state(MirrorState from) {
    if (state_ == from) return;
    if (state_ == MirrorState::mirroring) {
        mirroring_since_ = now_;
        behind_since_.reset();
    } else if (from == MirrorState::mirroring || !behind_since_) {
        behind_since_ = now_;
    }
    if (state_ != MirrorState::mirroring) mirroring_since_.reset();
    if (state_ == MirrorState::resync) resync_since_ = now_;
    if (from == MirrorState::resync && resync_since_) {
        if (state_ == MirrorState::mirroring) counts_.resync_ms = milliseconds_of(now_ - *resync_since_);
        resync_since_.reset();
    }
    if (state_ == MirrorState::paused) ++counts_.pauses[static_cast<std::size_t>(cause_)];
}

SourceCounters Source::counters(Instant now) const {
    SourceCounters out = counts_;
    out.resync_total_blocks = log_.blocks();
    out.resumptions = resumptions_;
    out.held_writes = held_.size();
    if (mirroring_since_) out.mirroring_ms = milliseconds_of(now - *mirroring_since_);
    if (const auto oldest = oldest_unacknowledged()) out.queue_age_ms = milliseconds_of(now - *oldest);
    if (resync_since_) out.resync_ms = milliseconds_of(now - *resync_since_);
    if (state_ == MirrorState::resync) {
        out.resync_current_block = pointer_;
        out.resync_phase = pass_ == 0 ? 1 : 2;
    } else if (state_ == MirrorState::mirroring) {
        out.resync_phase = 3;
    }
    if (state_ == MirrorState::mirroring) {
        out.lag_ms = out.queue_age_ms;
        out.lag_bytes = window_bytes_;
        out.lag_requests = window_requests_;
    } else {
        out.lag_ms = behind_since_ ? milliseconds_of(now - *behind_since_) : 0;
        out.lag_bytes = std::min(dirty_blocks() * kBlockBytes + window_bytes_, size_);
        out.lag_requests = window_requests_;
    }
    return out;
}

// --- how far behind the target may be

/// Of writes: a flush loses nothing.
std::optional<Instant> Source::oldest_unacknowledged() const {
    for (std::uint64_t number = window_.first(); number < window_.end(); ++number)
        if (const Write* write = window_.at(number).write; write != nullptr) return write->sent_at;
    return std::nullopt;
}

/// Of an asynchronous mirror: whether `more` bytes on their way are more than may be lost.
bool Source::lags(std::uint64_t more) const {
    if ((parameters_.lag_limit_ms | parameters_.lag_limit_mb) == 0) return false;
    if (type_ != MirrorType::async || !sends_all()) return false;
    const std::uint64_t limit = std::uint64_t{parameters_.lag_limit_mb} << 20;
    // A single write larger than the limit passes alone, or it would wait for ever.
    if (limit != 0 && window_bytes_ != 0 && window_bytes_ + more > limit) return true;
    const auto oldest = parameters_.lag_limit_ms == 0 ? std::nullopt : oldest_unacknowledged();
    return oldest && now_ - *oldest > std::chrono::milliseconds(parameters_.lag_limit_ms);
}

/// At each tick: time passes without new writes, too.
void Source::check_lag() {
    if (parameters_.block_writes_on_lag_limit)
        release_held();
    else if (lags(0))
        interrupt_resync(PauseCause::lag_limit, std::chrono::milliseconds(parameters_.auto_resume_delay_ms));
}

}  // namespace understudy::mirror
