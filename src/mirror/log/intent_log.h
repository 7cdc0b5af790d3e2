#pragma once
// The intent log's decisions, without I/O: which blocks may differ between the two ends, which of that is
// durable, what to write next. Spec: REP-046 to REP-054.
//
// A block is in some of four sets:
//   dirty    must be sent by a resync
//   recent   written here and sent (or being sent) since the last close_epoch()
//   closing  the same of the epoch before, for which both ends are being flushed
//   disk     its bit is durably 1 in the file
// A write may go to the device only when its blocks are in `disk` (REP-052). A bit leaves `disk` only when
// its block is in none of the other three, that is after both ends have the data durably (REP-053, REP-078).
//
// Why any mix of old and new sectors after a torn page write is safe: let `old` be the page in the file and
// `new` the page being written. A bit that goes 0 -> 1 has no data behind it yet: its writes wait for the
// whole page. A bit that goes 1 -> 0 belongs to a block that is equal and durable on both ends. A bit that is
// 1 in both is 1 in every mix. So every needed bit is 1 whichever sectors arrive. While the page is under way
// only the bits that are 1 in both count as durable; a write that hits a bit on its way to 0 joins the next
// commit.
//
// Group commit: mark() of any number of writes adds to the pages wanted; one commit is under way at a time
// and the next one carries everything that came meanwhile. Not thread-safe; one volume's reactor thread.

#include "mirror/core/block_map.h"
#include "mirror/log/left_out.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace understudy::mirror {

class IntentLog {
  public:
    /// Number of the commit that a write must wait for; kDurable: it may go now.
    using Ticket = std::uint64_t;
    static constexpr Ticket kDurable = 0;

    /// Pages [first, first + count) of the bitmap, to be written together.
    struct PageRun {
        std::uint64_t first = 0;
        std::uint64_t count = 0;
    };

    enum class As { dirty, recent };

    IntentLog(std::uint64_t volume_bytes, std::uint32_t bytes_per_mark);
    /// Takes a page as found in the file: its bits are durable and dirty.
    void load(std::uint64_t page, std::span<const std::uint64_t> words);

    /// Bytes marked around a write; lower values and remainders are rounded as REP-050 says.
    void set_bytes_per_mark(std::uint32_t bytes);

    /// A write of [offset, offset + length) is about to start. Call again when the ticket's commit is done:
    /// the bits may have moved on.
    Ticket mark(std::uint64_t offset, std::uint64_t length, As as);
    /// The blocks must be sent (again); their bits are durable already or will be asked for by persist().
    void set_dirty(std::uint64_t offset, std::uint64_t length);
    /// False when there is no memory for all of these bits; those that were set stay.
    [[nodiscard]] bool set_all_dirty();
    /// Everything must be sent, but for blocks of `unused` that nobody has written since left_out().watch().
    /// False as above.
    [[nodiscard]] bool set_dirty_but(const BlockRanges& unused);
    [[nodiscard]] LeftOut& left_out() { return left_out_; }
    [[nodiscard]] const LeftOut& left_out() const { return left_out_; }
    [[nodiscard]] bool merge_dirty(std::uint64_t page, std::span<const std::uint64_t> words);
    /// Resync takes the block: not dirty any more but in flight.
    void take(std::uint64_t block);
    /// Makes every dirty bit durable.
    Ticket persist();
    [[nodiscard]] bool done(Ticket ticket) const { return failed_ || ticket <= finished_; }

    // --- epochs
    [[nodiscard]] bool epoch_closing() const { return closing_open_; }
    [[nodiscard]] bool epoch_empty() const { return recent_.count() == 0; }
    void close_epoch();
    /// Both ends have everything of the closing epoch durably.
    void epoch_durable();
    /// What was sent may or may not have arrived: all of it is dirty again.
    void forget_epochs();
    /// Nothing differs any more (target: end of a resync).
    void clear_dirty();

    // --- commits
    [[nodiscard]] bool wants_commit() const { return !wanted_.empty() && !committing_ && !failed_; }
    [[nodiscard]] bool committing() const { return committing_; }
    /// Composes the wanted pages into image() and says which to write. They stay untouched until finish.
    std::span<const PageRun> start_commit();
    void finish_commit(bool written);
    /// The bitmap as the file gets it.
    [[nodiscard]] std::span<const std::byte> image() const {
        return std::as_bytes(std::span<const std::uint64_t>(image_, image_words_));
    }
    /// While commits come thick and fast, each also sets the bits of the blocks next to its own (1 MiB) on
    /// disk, as long as fewer than `limit` bits are set there: scattered writes then soon find theirs
    /// durable. These bits are no more than bits that were cleared late. 0: never.
    void mark_ahead(std::uint64_t limit) { ahead_limit_ = limit; }
    static constexpr unsigned kAheadBlocks = 16;

    /// Schedules the clearing of bits that nothing needs, as many as there are above `keep` bits on disk.
    void collect(std::uint64_t keep);
    /// Schedules the clearing of bits that nothing needs and whose blocks were not written since the last
    /// call. Call at even intervals. Spec: REP-053.
    void age();
    /// Bits on disk that nothing needs. Walks the map.
    [[nodiscard]] std::uint64_t stale() const;

    /// The file cannot be written: go on in memory. Spec: REP-064.
    void fail();
    [[nodiscard]] bool failed() const { return failed_; }

    [[nodiscard]] const BlockMap& dirty() const { return dirty_; }
    /// Dirty, or of an epoch that is not durable on the other end.
    [[nodiscard]] BlockMap may_differ() const {
        BlockMap all = dirty_;
        all.merge(recent_);
        all.merge(closing_);
        return all;
    }
    [[nodiscard]] const BlockMap& disk() const { return disk_; }
    [[nodiscard]] std::uint64_t blocks() const { return dirty_.size(); }
    [[nodiscard]] std::uint64_t commits() const { return finished_; }

  private:
    struct Wanted {
        bool write = false;
        bool cold = false;       // leave out the bits that nothing needs and nobody has written lately
        std::uint32_t drop = 0;  // leave out so many of the bits that nothing needs
    };

    void want(std::uint64_t page, std::uint32_t drop);
    [[nodiscard]] std::uint64_t with_neighbours(std::uint64_t bits, std::uint64_t word) const;
    [[nodiscard]] std::uint64_t needed(std::uint64_t word) const;
    [[nodiscard]] std::uint64_t cold(std::uint64_t page, std::uint64_t at) const;

    std::uint64_t bytes_per_mark_ = kBlockBytes;
    BlockMap dirty_, recent_, closing_, disk_;
    BlockMap written_, written_before_;  // since the last age(), and since the one before
    LeftOut left_out_;
    std::uint64_t ahead_limit_ = 0;
    bool closing_open_ = false;
    bool committing_ = false;
    bool failed_ = false;
    std::uint64_t started_ = 0, finished_ = 0;
    std::vector<Wanted> flags_;          // per page
    std::vector<std::uint64_t> wanted_;  // pages of the next commit
    std::vector<PageRun> runs_;          // of the commit under way
    struct Freed {
        void operator()(void* memory) const;
    };
    std::size_t image_words_ = 0;
    std::unique_ptr<void, Freed> image_memory_;  // zeroes that nobody has written take no memory
    std::uint64_t* image_ = nullptr;             // in it, aligned to a page
    std::vector<std::uint64_t> scratch_;
    std::uint64_t hand_ = 0;       // page where collect() goes on
    std::uint64_t word_hand_ = 0;  // word of a page where dropping goes on
};

}  // namespace understudy::mirror
