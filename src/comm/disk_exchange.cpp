#include "comm/disk_exchange.h"

#include <algorithm>
#include <utility>

namespace understudy::comm {
namespace {

// One foreign record may be a write of this node's earlier life that was on its way; two programs that write
// by turns show a foreign one again and again.
constexpr int kForeignWeight = 2;
constexpr int kForeignLimit = 3;
constexpr int kMostForeign = 6;

}  // namespace

DiskExchange::Reading DiskExchange::on_region(std::span<const std::byte> region) {
    Reading out;
    const auto header = region.size() < disk::kRegionBytes ? std::nullopt : disk::decode_header(region);
    if (!header || *header != pair_) {
        seen_.reset();
        out.problem = header ? fmt::format("the disk belongs to a path between {} and {}",
                                           header->first.str(), header->second.str())
                             : fmt::format(
                                   "the disk does not carry a path between {} and {}: it is another disk, or "
                                   "something else was written to it; remove the path and make it again",
                                   pair_.first.str(), pair_.second.str());
        return out;
    }
    out.may_write = true;
    out.problem = intruder(region.subspan(own_offset(), disk::kBlockBytes));
    auto record = disk::decode_record(region.subspan(pair_.slot_of(peer_), disk::kBlockBytes));
    if (!record) return out;  // not written yet, or torn
    if (record->node != peer_.str()) {
        out.problem = fmt::format("the slot of {} was written by \"{}\"", peer_.str(), record->node);
        return out;
    }
    const Seen now{record->incarnation, record->heartbeat.sequence};
    const auto before = std::exchange(seen_, now);
    // The first reading is what it is: only a change shows that somebody writes.
    if (!before || (before->incarnation == now.incarnation && now.sequence <= before->sequence)) return out;
    if (!out.problem.empty()) return out;
    heard_incarnation_ = record->incarnation;
    if (record->seen_incarnation != incarnation_) {
        record->heartbeat.view = wire::View::unknown;
        record->heartbeat.last_seen = 0;
        record->heartbeat.echo_ns = 0;
    }
    out.heartbeat = std::move(record);
    return out;
}

std::string DiskExchange::intruder(std::span<const std::byte> own_block) {
    const auto own = disk::decode_record(own_block);
    if (written_ && own) {
        const bool foreign = own->incarnation != incarnation_ || own->node != self_.str();
        foreign_ = std::clamp(foreign ? foreign_ + kForeignWeight : foreign_ - 1, 0, kMostForeign);
    }
    if (foreign_ < kForeignLimit) return {};
    return fmt::format("another program writes into the slot of {}: two clusters use the same disk",
                       self_.str());
}

std::string DiskExchange::slot(const wire::Heartbeat& heartbeat, const PathLimits& limits) {
    disk::Record record;
    record.node = self_.str();
    record.incarnation = incarnation_;
    record.seen_incarnation = heard_incarnation_;
    record.interval_ms = static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(limits.interval).count());
    record.misses = static_cast<std::uint32_t>(limits.misses);
    record.heartbeat = heartbeat;
    return disk::encode_record(record);
}

}  // namespace understudy::comm
