#pragma once
// The lock area of a shared volume, to the byte: who may become its owner, and what each of them says.
// Little-endian. Spec: MOP-066, REP-371.
//
//   block 0, 1       header, two copies: the volume and the names of the hosts, in the order of their slots
//   block 2 + 2n     slot n, copy 0      block 3 + 2n   slot n, copy 1
//
// A block has 4096 bytes. A host writes its own slot only, in turn into the copy that does not hold its
// newest record, so a torn write leaves the record before it in force. The header is written by understudy
// volume share alone; a name of no bytes is that of a host that was removed, whose slot another one may get
// (free_slot()). Of two copies that are whole the one with the higher beat (header: serial) counts.
//
//   header  0 magic (8)  8 version (4)  12 number of hosts (4)  16 serial (8)  24 id (8)  32 volume (64)
//           96 names (64 each)   4092 CRC32C of what is before it (4)
//   slot    0 magic (8)  8 version (4)  12 lease, ms (4)  16 area (8)  24 beat (8)  32 incarnation (8)  40
//   host (8)
//           48 decided (8)  56 released (8)  64 voted (8)  72 ballot (8)  80 accepted ballot (8)  88 owner
//           (4) 92 accepted (4)   508 CRC32C (4)
//   name    length (1), bytes (63)
//
// Pure; any thread.

#include "base/result.h"
#include "base/types.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::shared {

inline constexpr std::string_view kHeaderMagic = "USTAREA\x01";
inline constexpr std::string_view kSlotMagic = "USTOWNR\x01";
inline constexpr std::uint32_t kAreaVersion = 1;
inline constexpr std::size_t kAreaBlock = 4096;
inline constexpr std::size_t kMostHosts = 32;
inline constexpr std::size_t kNameBytes = 64;
/// What the area takes at most; devices for it have 1 MiB or more.
inline constexpr std::size_t kAreaBytes = (2 + 2 * kMostHosts) * kAreaBlock;

/// What a host's slot says.
struct OwnerRecord {
    std::uint64_t beat = 0;         // counts what was written to this slot, over all lives of its host
    std::uint64_t incarnation = 0;  // a random number of the host's process
    std::uint64_t host = 0;         // tells two hosts with one name apart
    std::uint32_t lease_ms = 0;     // so long the host may use what it owns after the start of a write
    std::uint64_t decided = 0;      // the newest generation of ownership whose owner is known; 0: none yet
    std::uint32_t owner = 0;        // the slot of that owner
    std::uint64_t released = 0;     // the newest generation that this host owned and has given up
    // The vote about one generation (ownership.h).
    std::uint64_t voted = 0;  // which; 0: none
    std::uint64_t ballot = 0;
    std::uint64_t accepted_ballot = 0;  // 0: nothing accepted
    std::uint32_t accepted = 0;         // the slot for which it is
    friend bool operator==(const OwnerRecord&, const OwnerRecord&) = default;
};

struct AreaHeader {
    std::uint64_t serial = 1;
    std::uint64_t id = 0;  // random, of this area
    VolumeId volume;
    std::vector<NodeName> hosts;  // by slot; empty: a host that was removed
    /// Without those that were removed.
    [[nodiscard]] std::vector<NodeName> members() const;
    [[nodiscard]] std::optional<std::uint32_t> slot_of(const NodeName& host) const;
    friend bool operator==(const AreaHeader&, const AreaHeader&) = default;
};

/// A slot as it was read.
struct Slot {
    std::optional<OwnerRecord> record;  // nullopt: nothing was ever written, or damaged
    unsigned copy = 1;                  // where it stands; the next record goes into the other copy
    bool damaged = false;               // both copies hold something, and neither is whole
};

/// kAreaBlock bytes. The names and the volume fit: check_header().
std::string encode(const AreaHeader& header);
std::string encode(const OwnerRecord& record, std::uint64_t area);

/// Errors: bad_argument (no names, too many, one too long, one twice). Removed hosts have none.
Result<> check_header(const AreaHeader& header);
/// `blocks`: the first two of the area. Errors: not_found when there is nothing, failure when it is damaged
/// or of a version that this program does not know.
Result<AreaHeader> decode_header(std::string_view blocks);
/// `blocks`: the slot's two.
Slot decode_slot(std::string_view blocks, std::uint64_t area);

[[nodiscard]] constexpr std::size_t bytes_of_hosts(std::size_t hosts) {
    return (2 + 2 * hosts) * kAreaBlock;
}
[[nodiscard]] constexpr std::uint64_t offset_of_copy(std::uint32_t slot, unsigned copy) {
    return (2 + 2 * std::uint64_t{slot} + copy) * kAreaBlock;
}
/// Where a host that is added gets its slot: behind the others, as long as there are fewer than `most`, else
/// in the place of one that was removed. Not of one that may have a part in the vote about the next owner:
/// what it has accepted counts. What is written there stays, and the new one keeps to it, after it has seen
/// that nobody writes there any more (Ownership). nullopt: there is none.
std::optional<std::uint32_t> free_slot(const AreaHeader& header, const std::vector<Slot>& slots,
                                       std::size_t most);
/// All slots of an area with so many hosts, from its first bytes_of_hosts() bytes.
std::vector<Slot> decode_slots(std::string_view area, const AreaHeader& header);

}  // namespace understudy::mirror::shared
