#pragma once
// What a mirror of a shared volume keeps in the volume's lock area, behind the hosts' slots: its record, and
// the intent logs. Whoever owns the volume next goes on from there as the former owner would have after a
// crash. Little-endian. Spec: MOP-067, REP-058, EMC-039.
//
//   kRecordsAt + n * 2 * kRecordBytes   record of slot n, two copies
//   kLogsAt + (16 t + n) * B            intent log of slot n for the mirror's target t (log/log_format.h); B:
//   see
//                                       log_room()
//
// As in the rest of the area, a host writes what is its own alone; a write of a former owner that comes late
// changes nothing that counts any more. The record that counts is the newest of the newest generation of
// ownership. A new owner first copies the log that belongs to it to its own place, and then writes its own
// record. Of a record's two copies the one is overwritten that is not its newest.
//
//   record  0 magic (8)  8 version (4)  12 bytes of text (4)  16 area (8)  24 generation (8)  32 serial (8)
//           40 CRC32C of what is before it and of the text (4)   64 text: control/record.h; none: no mirror
//
// Pure; any thread.

#include "mirror/shared/owner_format.h"

namespace understudy::mirror::shared {

inline constexpr std::string_view kRecordMagic = "USTMIRR\x01";
inline constexpr std::size_t kRecordBytes = 8192;
inline constexpr std::size_t kRecordTextAt = 64;
inline constexpr std::size_t kMostRecordText = kRecordBytes - kRecordTextAt;
/// Hosts of a volume that is mirrored: their endpoints fit into the record.
inline constexpr std::size_t kMostMirrorHosts = 16;
/// Mirrors of a shared volume: their records fit, too.
inline constexpr std::uint32_t kMostSharedTargets = 4;
inline constexpr std::uint64_t kRecordsAt = 512 << 10;
inline constexpr std::uint64_t kLogsAt = kRecordsAt + 2 * kMostHosts * kRecordBytes;
static_assert(kRecordsAt >= kAreaBytes && kLogsAt == 1 << 20);

struct StateRecord {
    std::uint64_t generation = 0;  // of the ownership under which it was written
    std::uint64_t serial = 0;      // counts what this slot has written
    std::string text;              // empty: the volume is not mirrored
    friend bool operator==(const StateRecord&, const StateRecord&) = default;
};

/// kRecordBytes bytes. The text has at most kMostRecordText.
std::string encode(const StateRecord& record, std::uint64_t area);
/// nullopt: not whole, or not of this area.
std::optional<StateRecord> decode_state(std::string_view copy, std::uint64_t area);

/// All records of an area.
struct States {
    struct OfSlot {
        std::optional<StateRecord> record;
        unsigned copy = 1;  // where it stands
    };
    std::vector<OfSlot> slots;
    /// Whose record counts; nullopt: the volume was never mirrored.
    std::optional<std::uint32_t> newest;
};
/// `bytes`: states_bytes(hosts) bytes from kRecordsAt on.
States decode_states(std::string_view bytes, std::size_t hosts, std::uint64_t area);
[[nodiscard]] constexpr std::size_t states_bytes(std::size_t hosts) {
    return hosts * 2 * kRecordBytes;
}
[[nodiscard]] constexpr std::uint64_t offset_of_record(std::uint32_t slot, unsigned copy) {
    return kRecordsAt + (2 * std::uint64_t{slot} + copy) * kRecordBytes;
}

/// What each host's log takes: with room for a volume of twice the size.
std::uint64_t log_room(std::uint64_t volume_bytes);
/// `target`: which of the volume's targets, or other hosts of a target; counted from 0.
[[nodiscard]] constexpr std::uint64_t offset_of_log(std::uint32_t slot, std::uint64_t room,
                                                    std::uint32_t target = 0) {
    return kLogsAt + (std::uint64_t{target} * kMostMirrorHosts + slot) * room;
}
/// The inverse.
[[nodiscard]] constexpr std::uint32_t target_of_log(std::uint64_t offset, std::uint64_t room) {
    return static_cast<std::uint32_t>((offset - kLogsAt) / room / kMostMirrorHosts);
}

}  // namespace understudy::mirror::shared
