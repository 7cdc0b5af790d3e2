#pragma once
// What a DISK path's device holds. Little-endian. Spec: CLU-053.
//
//   byte 0       header      names of the two nodes, in alphabetical order
//   byte 4096    first slot  newest heartbeat of the first node
//   byte 8192    second slot newest heartbeat of the second node
//
// Each is 512 bytes, which a disk writes whole, padded with zeros to a block of 4096. A node writes its own
// slot only. The header is written once, when the path is made, and is what permits heartbeats: a device
// without it (another disk under a name that moved, a new file system) is never written to.
//
//   every record  0 magic (8)   8 version (4)   508 CRC32C of bytes 0 to 507 (4)
//   header        16 first name (64)   80 second name (64)   144 made at, µs since 1970 (8)
//   slot          12 view (4)  16 node (64)  80 incarnation (8)  88 incarnation seen of the peer (8)
//                 96 sequence (8)  104 last sequence seen (8)  112 interval, ms (4)  116 misses (4)
//                 120 wall, µs (8)  128 sent, ns (8)  136 echo, ns (8)  144 held, ns (8)
//   name          length (1), bytes (63)
//
// Pure; any thread.

#include "base/result.h"
#include "base/types.h"
#include "comm/wire.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace understudy::comm::disk {

inline constexpr std::string_view kHeaderMagic = "USTDISK\x01";
inline constexpr std::string_view kSlotMagic = "USTBEAT\x01";
inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::size_t kRecordBytes = 512;
inline constexpr std::size_t kBlockBytes = 4096;
inline constexpr std::size_t kRegionBytes = 3 * kBlockBytes;
/// A device must be zero so far before a header is written: no file system, volume group, RAID or partition
/// table hides there (Btrfs is the last to show itself, at 64 KiB).
inline constexpr std::size_t kProbeBytes = 128UL << 10;

/// The two nodes of a path, in the order of their slots.
struct Pair {
    NodeName first;
    NodeName second;
    static Pair of(const NodeName& a, const NodeName& b) { return a < b ? Pair{a, b} : Pair{b, a}; }
    [[nodiscard]] std::uint64_t slot_of(const NodeName& node) const {
        return node == first ? kBlockBytes : 2 * kBlockBytes;
    }
    friend bool operator==(const Pair&, const Pair&) = default;
};

/// A node's heartbeat as its slot has it.
struct Record {
    std::string node;
    std::uint64_t incarnation = 0;
    std::uint64_t seen_incarnation = 0;  // of the peer, when the record was written; 0: none yet
    std::uint32_t interval_ms = 0;
    std::uint32_t misses = 0;
    wire::Heartbeat heartbeat;
    friend bool operator==(const Record&, const Record&) = default;
};

/// A block each.
std::string encode_header(const Pair& pair, std::int64_t wall_us);
std::string encode_record(const Record& record);
/// nullopt: nothing that encode made, whole: empty, torn, damaged, of a later format.
std::optional<Pair> decode_header(std::span<const std::byte> block);
std::optional<Record> decode_record(std::span<const std::byte> block);

/// Whether a path between `pair` may be made on a device that begins like this (kProbeBytes).
enum class Contents : std::uint8_t {
    blank,       // write the header
    ours,        // it is there: the other end, or an earlier path of the same two, has written it
    other_pair,  // of other nodes
    foreign,     // something else
};
struct Probe {
    Contents contents = Contents::foreign;
    std::optional<Pair> pair;  // whose it is
};
Probe probe(std::span<const std::byte> start, const Pair& pair);

}  // namespace understudy::comm::disk
