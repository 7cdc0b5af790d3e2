#pragma once
// A copy-on-write snapshot of a target's volume: what the volume held at one moment, readable and writable,
// while the mirror goes on. No I/O of its own: it sits between block backends.
//
//   mirror's writes, live and resync --> Snapshot --> [copy old blocks to the store] --> volume
//   readers and writers on this host --> view() ----> store where the block is there, else volume
//
// What makes the view exact:
// - A block is "present" when the store has it. Before a write of the mirror touches the volume, every block
//   that it touches is present: the old content is copied first, once (REP-327). So a block that is not
//   present has never changed in the volume, and reading it there is right.
// - A read of the view that went to the volume looks again when it ends: when a block has become present
//   meanwhile, a write of the mirror may have overtaken the read, and that part is read again from the store.
//   Nothing waits for readers.
// - A write of the view goes to the store only (REP-328). Blocks that it covers in part are copied first;
//   blocks that it covers whole become present with it, and until then nobody else fills them.
//
// Not present is not persistent: a snapshot ends with the process (REP-330).
// When the store fails the snapshot is invalid: the view gives -EIO, the mirror goes on (REP-332).
// Threading: the volume's reactor thread.

#include "mirror/block.h"
#include "mirror/core/block_map.h"
#include "mirror/core/buffers.h"
#include "mirror/core/containers.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace understudy::mirror {

/// Adjacent blocks are copied together up to this size, at most so many such copies at a time.
inline constexpr std::uint32_t kMostSnapshotCopyBytes = 1U << 20;
inline constexpr std::size_t kMostSnapshotCopies = 32;
/// One bit a block in memory: 32 MiB of bits at most (REP-315: refused when it needs more).
inline constexpr std::uint64_t kMostSnapshotBlocks = std::uint64_t{1} << 28;

/// Empty when `block_bytes` may be the block size of a snapshot of such a volume. Spec: REP-323.
std::string snapshot_block_problem(std::uint64_t volume_bytes, std::uint32_t sector_bytes,
                                   std::uint64_t block_bytes);

/// The mirror's side is this object itself; the host's side is view().
class Snapshot final : public BlockBackend {
  public:
    /// `store` is empty (all holes) and at least as large as `volume`, in sectors no larger than its.
    /// `failed` is called once, when the store or the volume fails. Both backends outlive this object.
    Snapshot(BlockBackend& volume, BlockBackend& store, std::uint32_t block_bytes,
             std::function<void(std::string why)> failed);
    ~Snapshot() override;

    [[nodiscard]] std::uint64_t size() const override { return size_; }
    [[nodiscard]] std::uint32_t sector_size() const override { return volume_.sector_size(); }
    [[nodiscard]] bool punches() const override { return volume_.punches(); }
    /// The mirror's requests. As everywhere, overlapping writes are not under way together.
    void submit(BlockRequest& request) override;

    [[nodiscard]] BlockBackend& view() { return view_; }
    /// The view gives -EIO from here on, the mirror's requests pass. Spec: REP-333.
    void drop();
    [[nodiscard]] bool valid() const { return valid_; }
    /// Nothing of this object's own is under way. Destroying it earlier is a defect.
    [[nodiscard]] bool idle() const { return copies_.out() == 0 && jobs_.out() == 0; }

    [[nodiscard]] std::uint64_t present_blocks() const { return present_.count(); }
    [[nodiscard]] std::uint64_t copied_blocks() const { return copied_blocks_; }
    [[nodiscard]] std::uint32_t block_bytes() const { return block_bytes_; }

  private:
    class View final : public BlockBackend {
      public:
        explicit View(Snapshot& snapshot) : snapshot_(snapshot) {}
        [[nodiscard]] std::uint64_t size() const override { return snapshot_.size_; }
        [[nodiscard]] std::uint32_t sector_size() const override { return snapshot_.sector_size(); }
        [[nodiscard]] bool punches() const override { return true; }
        void submit(BlockRequest& request) override { snapshot_.submit_local(request); }

      private:
        Snapshot& snapshot_;
    };
    /// A request that cannot simply pass.
    struct Job {
        Snapshot* snapshot = nullptr;
        BlockRequest* request = nullptr;
        BlockRequest part;
        bool local = false;
        bool from_volume = false;     // part: a read that went to the volume
        std::uint32_t progress = 0;   // bytes of a read that are done
        std::size_t range_index = 0;  // fills: blocks it makes present when it ends
        bool fills = false;
        Job* next = nullptr;
    };
    struct Copy {
        Snapshot* snapshot = nullptr;
        BlockRequest io;
        std::byte* buffer = nullptr;
        std::uint64_t first = 0, count = 0;  // blocks
        std::uint32_t length = 0;            // bytes
        std::size_t range_index = 0;
        Copy* next = nullptr;
    };
    struct Blocks {
        std::uint64_t first = 0, last = 0;
    };

    void submit_local(BlockRequest& request);
    void advance(Job& job);
    bool make_present(const Blocks& blocks);
    bool start_copy(std::uint64_t first, std::uint64_t last);
    void copy_read(Copy& copy, int result);
    void end_copy(Copy& copy, int result);
    void advance_local_write(Job& job);
    void end_local_write(Job& job, int result);
    void read_next(Job& job);
    void end_read(Job& job, int result);
    void finish(Job& job, int result);
    void wake();
    void mark_present(std::uint64_t first, std::uint64_t last);
    void invalidate(const std::string& why);
    [[nodiscard]] Blocks blocks_of_request(const BlockRequest& request) const;
    /// Its end wakes those that wait. A backend may complete at once: then there is nothing to wait for.
    [[nodiscard]] bool something_under_way() const { return copies_.out() > 0 || !filling_.empty(); }
    [[nodiscard]] bool being_filled(std::uint64_t first, std::uint64_t last) const;

    BlockBackend& volume_;
    BlockBackend& store_;
    const std::uint32_t block_bytes_;
    const std::uint64_t size_;
    std::function<void(std::string)> failed_;
    View view_{*this};
    BlockMap present_;
    bool valid_ = true;

    ObjectPool<Job> jobs_;
    ObjectPool<Copy> copies_;
    RangeSet<Copy> copying_;       // in blocks
    RangeSet<Job> filling_;        // in blocks: whole-block writes of the view
    IntrusiveQueue<Job> waiting_;  // for copies and fills under way
    BufferPool buffers_;
    std::uint64_t copied_blocks_ = 0;
};

}  // namespace understudy::mirror
