#pragma once
// One end of a DISK path: what the region on the shared device says, and what this node writes to its slot.
// A state machine without I/O. Spec: CLU-053, CLU-070.
//
//   read the region --> on_region() --> a heartbeat of the peer, or why there is none
//                                   --> may this node write?  --> slot() --> write it --> on_written()
//
// A record is a heartbeat only when it differs from the one that was there before: what an earlier cluster,
// an earlier life of the peer or a peer that died has left is never a sign of life. A torn or damaged record
// is no heartbeat either; the next write replaces it. That the peer hears this node counts only when its
// record names this life of ours (the incarnation, a random number): old contents cannot know it.
//
// Before it writes, a node has read that the header names exactly these two nodes. A name that leads to
// another disk, or a device that has become something else, is therefore never overwritten.

#include "comm/disk_format.h"
#include "comm/path_monitor.h"

namespace understudy::comm {

class DiskExchange {
  public:
    DiskExchange(const NodeName& self, const NodeName& peer, std::uint64_t incarnation)
        : self_(self), peer_(peer), pair_(disk::Pair::of(self, peer)), incarnation_(incarnation) {}

    struct Reading {
        std::optional<disk::Record> heartbeat;  // the peer's, new since the last reading
        bool may_write = false;
        std::string problem;  // for a person; empty when nothing is wrong with the disk
    };
    /// `region`: kRegionBytes from the start of the device.
    Reading on_region(std::span<const std::byte> region);

    /// This node's block, to be written at own_offset() after a reading that permits it.
    std::string slot(const wire::Heartbeat& heartbeat, const PathLimits& limits);
    [[nodiscard]] std::uint64_t own_offset() const { return pair_.slot_of(self_); }
    void on_written(bool done) { written_ = written_ || done; }

  private:
    [[nodiscard]] std::string intruder(std::span<const std::byte> own_block);

    NodeName self_;
    NodeName peer_;
    disk::Pair pair_;
    std::uint64_t incarnation_;
    // The peer's slot as it was read last; what follows it is a heartbeat.
    struct Seen {
        std::uint64_t incarnation = 0;
        std::uint64_t sequence = 0;
    };
    std::optional<Seen> seen_;
    std::uint64_t heard_incarnation_ = 0;  // of the peer's last heartbeat
    bool written_ = false;
    int foreign_ = 0;  // how often somebody else's record was in this node's own slot lately
};

}  // namespace understudy::comm
