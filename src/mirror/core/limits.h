#pragma once
// Bounds and intervals of the data path that are not parameters of the manual.

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace understudy::mirror {

/// How often cores are told the time.
inline constexpr std::chrono::milliseconds kTick{100};
/// A target that owes an answer and has said nothing for so long is asked about elsewhere; its driver is told
/// again each time this passes.
inline constexpr std::chrono::milliseconds kSilence{300};
/// Copies of asynchronous writes that wait to be sent; beyond that the mirror pauses. Spec: REP-087.
inline constexpr std::size_t kMaxCopyBytes = std::size_t{512} << 20;
/// Largest request of an export, and so the largest payload on the wire.
inline constexpr std::uint32_t kMaxRequestBytes = 32u << 20;
/// Writes of at least this many bytes that are all zero travel without them. Smaller ones are cheaper to send
/// than to punch out of the target's device.
inline constexpr std::uint32_t kLeastZeroBytes = 64u << 10;
/// Adjacent dirty blocks travel together up to this size.
inline constexpr std::uint32_t kMaxResyncBytes = 1u << 20;
/// Buffers of resync blocks being read or sent.
inline constexpr std::size_t kMaxResyncBufferBytes = std::size_t{32} << 20;
/// Pages of a target's bitmap that wait to be sent to the source.
inline constexpr std::size_t kMostBitsQueued = 16;
/// Extents compared at a time, and the size of one: that of a block, so that a difference names one.
inline constexpr std::size_t kMostComparisons = 8;
inline constexpr std::uint32_t kCompareBytes = 64u << 10;
/// Under load an epoch of the intent log ends this often; when nothing is written, at the next tick.
inline constexpr std::chrono::milliseconds kEpochInterval{1000};
/// How often bits that nothing needs are looked for. Spec: REP-053.
inline constexpr std::chrono::milliseconds kCollectInterval{2000};
/// Under load this many bits may stay set on disk that nothing needs (2 GiB of volume, what a crash then
/// resends at most: 20 s of a gigabit link): a block that is written again and again then needs no log
/// update. When idle, all of them go.
inline constexpr std::uint64_t kWarmBits = 32768;
/// Under load, bits of blocks that were not written for one to two of these go as well, so that what a crash
/// resends is what was written lately.
inline constexpr std::chrono::milliseconds kAgeInterval{30000};
/// More commits of the log than this between two ticks: scattered writes, for which it marks ahead.
inline constexpr std::uint64_t kBusyCommits = 20;
/// A resync that was interrupted by itself is tried again after this. Spec: REP-115, REP-117, REP-143.
inline constexpr std::chrono::milliseconds kRetryDelay{60000};
/// Writes the target has in its device at a time, and messages it holds unapplied.
inline constexpr std::size_t kMaxApplying = 128;
inline constexpr std::size_t kMaxUnapplied = 8192;
/// Payloads received and not yet applied, per link.
inline constexpr std::size_t kMaxReceiveBytes = std::size_t{64} << 20;

}  // namespace understudy::mirror
