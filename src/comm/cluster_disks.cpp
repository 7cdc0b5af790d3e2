// The driver's DISK paths. Every access reads the whole region first: what stands in the peer's slot, and
// whether this node may still write to its own.

#include "comm/cluster_impl.h"
#include "messages/messages.h"

namespace understudy::comm {
namespace {

/// A daemon that was restarted needs three readings, one here and two there, before both know again that they
/// hear each other; with three misses that must happen within two intervals.
constexpr int kReadsPerInterval = 4;

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

/// Several times in each interval, and whenever a heartbeat is due. An access that does not end is waited
/// for: while it lasts nothing is read and nothing written, and both ends notice by the silence.
void Cluster::Impl::exchange(PathEnd& path) {
    auto& end = *path.disk;
    if (end.busy_since) return;
    end.busy_since = now();
    end.next_read = now() + path.monitor.limits().interval / kReadsPerInterval;
    end.disk->read(0, disk::kRegionBytes,
                   guarded([id = path.id](Impl& self, const Result<std::string>& region) {
                       if (auto* read = self.path_of(id)) self.on_region(*read, region);
                   }));
}

void Cluster::Impl::on_region(PathEnd& path, const Result<std::string>& region) {
    auto& end = *path.disk;
    DiskExchange::Reading reading;
    if (region)
        reading = end.exchange.on_region(bytes_of(*region));
    else
        reading.problem = region.error().text;
    end.trouble = reading.problem;
    if (!end.trouble.empty()) set_problem(path, end.trouble);
    if (reading.heartbeat) on_disk_heartbeat(path, *reading.heartbeat);
    // What the heartbeat or the timer asked for meanwhile goes with this access.
    if (end.write_due && reading.may_write) return write_slot(path);
    end.write_due = false;
    end.busy_since.reset();
    schedule(path);
}

void Cluster::Impl::on_disk_heartbeat(PathEnd& path, const disk::Record& record) {
    const PathLimits limits{std::chrono::milliseconds(record.interval_ms), static_cast<int>(record.misses)};
    path.monitor.on_greeting(record.incarnation, limits, now());
    on_heartbeat(path, record.heartbeat);
}

void Cluster::Impl::write_slot(PathEnd& path) {
    auto& end = *path.disk;
    end.write_due = false;
    const auto heartbeat = path.monitor.make_heartbeat(now(), world.clock.wall());
    end.disk->write(end.exchange.own_offset(), end.exchange.slot(heartbeat, path.monitor.limits()),
                    guarded([id = path.id](Impl& self, const Result<>& written) {
                        auto* wrote = self.path_of(id);
                        if (wrote == nullptr) return;
                        auto& there = *wrote->disk;
                        there.exchange.on_written(written.has_value());
                        if (!written) {
                            there.trouble = written.error().text;
                            self.set_problem(*wrote, there.trouble);
                        }
                        there.busy_since.reset();
                        if (there.write_due) self.exchange(*wrote);
                        self.schedule(*wrote);
                    }));
}

}  // namespace understudy::comm
