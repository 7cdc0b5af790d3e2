#pragma once
// The data links' messages, to the byte: a fixed header of 64 bytes, little-endian, then `length` bytes of
// payload. Versions and features are agreed before, by mirror/control.
//
//   0  u32 magic      16 u64 offset     32 u64 depends    48 u32 payload CRC32C (0 without payload)
//   4  u8  version    24 u32 length     40 u64 argument   52 u64 reserved, 0
//   5  u8  type       28 u32 extent                       60 u32 CRC32C of the 60 bytes before
//   6  u16 flags
//   8  u64 sequence

#include <cstddef>
#include <cstdint>

namespace understudy::mirror::wire {

inline constexpr std::uint32_t kMagic = 0x4d445355;  // "USDM"
inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::size_t kHeaderBytes = 64;
inline constexpr std::uint32_t kMaxPayload = 32u << 20;
inline constexpr std::uint32_t kMaxText = 1024;  // of error and bye
inline constexpr std::uint32_t kBitmapPage = 4096;

enum class Type : std::uint8_t {
    write = 1,       // source: data at offset; sequence, depends
    write_ack,       // target: `argument` writes from `sequence` on are done; flags: failed
    write_zeroes,    // source: zeroes [offset, offset + extent); no payload
    discard,         // as write_zeroes, space may be given back
    flush,           // source: everything before `sequence` becomes durable; flags: snapshot
    flush_ack,       // target: it is
    ping,            // either side
    pong,            // answer; argument as in the ping
    bitmap_request,  // source: send your dirty bits
    bitmap_data,     // target: page `offset` of the bitmap; flags: last, unavailable
    resync_begin,    // source: you are inconsistent from now on
    resync_ready,    // target: recorded durably
    resync_block,    // resync link, source: data; apply after data link's `depends`
    resync_zeroes,   // the same, all zero; no payload
    resync_ack,      // resync link, target: done; flags: failed, differs
    resync_end,      // source: at `sequence` both ends are equal
    in_sync,         // target: recorded durably; answers resync_end
    error,           // either side: text; the sender closes
    bye,             // either side: closes on purpose; text
    compare_block,   // resync link, source: is the XXH3 of your extent `argument`? in order as resync_block
    // From here on only where agreed, see features.h.
    resume,      // source, first on new data links: `sequence` is the first number without acknowledgement
    resume_ack,  // target: `sequence` is due next, everything before `argument` is applied
};
inline constexpr Type kLastType = Type::resume_ack;

inline constexpr std::uint16_t kFua = 1;          // write, write_zeroes: durable before the acknowledgement
inline constexpr std::uint16_t kFailed = 2;       // write_ack, flush_ack, resync_ack
inline constexpr std::uint16_t kLast = 4;         // bitmap_data
inline constexpr std::uint16_t kUnavailable = 8;  // bitmap_data: no trustworthy bits; send everything
inline constexpr std::uint16_t kDiffers = 16;     // resync_ack of compare_block: the extent is another
// flush: a snapshot, number `argument`, begins at it; only for a target that has asked for it. flush_ack with
// kFailed: it did not begin.
inline constexpr std::uint16_t kSnapshot = 32;
// write, resync_block: the payload is compressed, `length` is its length and less than `extent`.
inline constexpr std::uint16_t kCompressed = 64;
inline constexpr std::uint16_t kAllFlags =
    kFua | kFailed | kLast | kUnavailable | kDiffers | kSnapshot | kCompressed;

/// A header in memory.
struct Header {
    Type type = Type::ping;
    std::uint16_t flags = 0;
    std::uint64_t sequence = 0;
    std::uint64_t offset = 0;    // bytes of the volume
    std::uint32_t length = 0;    // bytes of payload
    std::uint32_t extent = 0;    // bytes of the volume that the message covers
    std::uint64_t depends = 0;   // apply only after everything up to this sequence number
    std::uint64_t argument = 0;  // by type
    std::uint32_t payload_crc = 0;

    friend bool operator==(const Header&, const Header&) = default;
};

}  // namespace understudy::mirror::wire
