// Random lives of a snapshot against a plain copy of what the volume held when it was taken.

#include "mirror/snapshot/snapshot.h"

#include "base/test_seeds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <random>
#include <vector>

namespace understudy::mirror {
namespace {

constexpr std::uint32_t kSector = 512;
constexpr std::uint64_t kVolume = 19 * 4096 + 1536;  // the last block is a short one

using Bytes = std::vector<std::byte>;

/// Completes operations in any order; reads show the content at a moment between submission and completion.
class FakeDisk : public BlockBackend {
  public:
    FakeDisk(std::mt19937_64& dice, std::uint64_t size) : content(size), dice_(dice) {}
    [[nodiscard]] std::uint64_t size() const override { return content.size(); }
    [[nodiscard]] std::uint32_t sector_size() const override { return kSector; }
    void submit(BlockRequest& request) override {
        ++submitted;
        pending_.push_back({&request, {}});
        // A device may read early and answer late.
        if (request.op == BlockOp::read && dice_() % 2 == 0) pending_.back().early = read(request);
        if (at_once) complete_one();
    }
    [[nodiscard]] bool busy() const { return !pending_.empty(); }
    void complete_one() {
        const std::size_t index = dice_() % pending_.size();
        const Pending one = pending_[index];
        pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(index));
        BlockRequest& request = *one.request;
        request.result = 0;
        if (request.op == BlockOp::read) {
            if (dice_() % 100 < fail_reads) request.result = -EIO;
            const Bytes data = one.early.empty() ? read(request) : one.early;
            std::memcpy(request.data, data.data(), data.size());
        } else if (request.op != BlockOp::flush) {
            if (dice_() % 100 < fail_writes) {
                request.result = -ENOSPC;
            } else if (request.op == BlockOp::write) {
                std::memcpy(content.data() + request.offset, request.data, request.length);
                written += request.length;
            } else {
                std::memset(content.data() + request.offset, 0, request.length);
            }
        }
        request.done(request);
    }

    Bytes content;
    std::uint64_t submitted = 0, written = 0;
    unsigned fail_reads = 0, fail_writes = 0;  // percent
    bool at_once = false;

  private:
    struct Pending {
        BlockRequest* request;
        Bytes early;
    };
    [[nodiscard]] Bytes read(const BlockRequest& request) const {
        const auto from = content.begin() + static_cast<std::ptrdiff_t>(request.offset);
        return {from, from + request.length};
    }
    std::mt19937_64& dice_;
    std::vector<Pending> pending_;
};

struct Asked {
    BlockRequest block;
    Bytes data;
    bool done = false;
};

class Life {
  public:
    Life(std::uint64_t seed, std::uint32_t block_bytes)
        : dice(seed), volume(dice, kVolume), store(dice, kVolume) {
        for (auto& byte : volume.content)
            byte = static_cast<std::byte>(dice());
        // Some of it was never used: such blocks cost no space.
        std::fill_n(volume.content.begin() + 8 * 4096, 3 * 4096, std::byte{0});
        frozen = truth = volume.content;
        snapshot = std::make_unique<Snapshot>(volume, store, block_bytes, [this](std::string text) {
            ++failures;
            why = std::move(text);
        });
    }

    Asked& ask(BlockBackend& to, BlockOp op, std::uint64_t offset, std::uint32_t length) {
        Asked& one = requests.emplace_back();
        one.data.resize(length);
        if (op == BlockOp::write)
            for (auto& byte : one.data)
                byte = static_cast<std::byte>(dice());
        one.block.op = op;
        one.block.offset = offset;
        one.block.length = length;
        one.block.data = one.data.data();
        one.block.owner = &one;
        one.block.done = [](BlockRequest& block) { static_cast<Asked*>(block.owner)->done = true; };
        to.submit(one.block);
        return one;
    }
    bool step() {
        std::array<FakeDisk*, 2> disks{&volume, &store};
        FakeDisk& first = *disks[dice() % 2];
        for (FakeDisk* disk : {&first, disks[0], disks[1]})
            if (disk->busy()) {
                disk->complete_one();
                return true;
            }
        return false;
    }
    void settle() {
        while (step()) {
        }
    }
    void range(std::uint64_t& offset, std::uint32_t& length) {
        const std::uint64_t sectors = kVolume / kSector;
        const std::uint64_t first = dice() % sectors;
        const std::uint64_t most = dice() % 4 == 0 ? 48 : 12;
        offset = first * kSector;
        length = static_cast<std::uint32_t>(std::min(1 + dice() % most, sectors - first) * kSector);
    }
    static void apply(const Asked& one, Bytes& to) {
        if (one.block.op == BlockOp::write)
            std::memcpy(to.data() + one.block.offset, one.data.data(), one.data.size());
        else
            std::memset(to.data() + one.block.offset, 0, one.data.size());
    }
    static bool overlap(const BlockRequest& a, std::uint64_t offset, std::uint32_t length) {
        return a.offset < offset + length && offset < a.offset + a.length;
    }
    Asked& read_all() {
        Asked& one = ask(snapshot->view(), BlockOp::read, 0, kVolume);
        settle();
        return one;
    }

    std::mt19937_64 dice;
    FakeDisk volume, store;
    Bytes frozen;  // the view as it must be
    Bytes truth;   // the volume as it must be
    std::deque<Asked> requests;
    std::unique_ptr<Snapshot> snapshot;
    int failures = 0;
    std::string why;
};

/// Requests of both sides at random, a few at a time, completed in any order.
void live(Life& life, unsigned rounds, bool faults) {
    std::vector<Asked*> mirror, local_writes, local_reads;
    for (unsigned round = 0; round < rounds; ++round) {
        std::uint64_t offset = 0;
        std::uint32_t length = 0;
        life.range(offset, length);
        const auto busy = [&](const std::vector<Asked*>& list) {
            return std::any_of(list.begin(), list.end(),
                               [&](const Asked* one) { return Life::overlap(one->block, offset, length); });
        };
        const BlockOp change = life.dice() % 5 == 0 ? BlockOp::write_zeroes : BlockOp::write;
        switch (life.dice() % 4) {
            case 0:
                // As the target promises: what overlaps is not under way together.
                if (busy(mirror)) break;
                mirror.push_back(&life.ask(*life.snapshot, change, offset, length));
                Life::apply(*mirror.back(), life.truth);
                break;
            case 1:
                if (busy(local_writes) || busy(local_reads)) break;
                local_writes.push_back(&life.ask(life.snapshot->view(), change, offset, length));
                break;
            case 2:
                if (busy(local_writes)) break;
                local_reads.push_back(&life.ask(life.snapshot->view(), BlockOp::read, offset, length));
                break;
            default:
                life.step();
                break;
        }
        for (unsigned i = 0; i < life.dice() % 6; ++i)
            life.step();
        std::erase_if(mirror, [&](Asked* one) {
            if (one->done) {
                EXPECT_EQ(one->block.result, 0) << "the mirror suffers from its snapshot";
            }
            return one->done;
        });
        std::erase_if(local_writes, [&](Asked* one) {
            if (one->done && one->block.result == 0) Life::apply(*one, life.frozen);
            if (one->done && !faults) {
                EXPECT_EQ(one->block.result, 0);
            }
            return one->done;
        });
        std::erase_if(local_reads, [&](Asked* one) {
            if (!one->done) return false;
            if (!faults) {
                EXPECT_EQ(one->block.result, 0);
            }
            if (one->block.result == 0) {
                EXPECT_EQ(
                    std::memcmp(one->data.data(), life.frozen.data() + one->block.offset, one->data.size()),
                    0)
                    << "read of " << one->data.size() << " at " << one->block.offset;
            }
            return true;
        });
        if (::testing::Test::HasFailure()) return;
    }
    life.settle();
    for (Asked* one : local_writes)
        if (one->block.result == 0) Life::apply(*one, life.frozen);
    EXPECT_TRUE(life.snapshot->idle());
    EXPECT_EQ(life.volume.content, life.truth);
}

constexpr std::uint64_t kSeeds = 150;

// Spec: REP-312, REP-327, REP-328, REP-329, REP-330, MOP-201, MOP-202
TEST(SnapshotModel, TheViewIsTheMomentItWasTakenPlusItsOwnWritesWhateverTheMirrorDoes) {
    const auto [first, end] = test_seeds(kSeeds);
    for (std::uint64_t seed = first; seed < end; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        Life life(seed, seed % 3 == 0 ? 512 : seed % 3 == 1 ? 4096 : 12288);
        live(life, 400, false);
        Asked& all = life.read_all();
        ASSERT_EQ(all.block.result, 0);
        ASSERT_EQ(all.data, life.frozen);
        ASSERT_EQ(life.failures, 0);
        if (HasFailure()) return;
    }
}

// Spec: REP-332, MOP-209
TEST(SnapshotModel, AStoreThatFailsEndsTheSnapshotAndNothingElse) {
    unsigned failed = 0;
    const auto [first, end] = test_seeds(kSeeds);
    for (std::uint64_t seed = first; seed < end; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        Life life(seed, 4096);
        life.store.fail_writes = 4;
        live(life, 300, true);
        if (life.failures == 0) continue;
        ++failed;
        ASSERT_EQ(life.failures, 1);
        ASSERT_FALSE(life.snapshot->valid());
        ASSERT_EQ(life.read_all().block.result, -EIO);
        if (HasFailure()) return;
    }
    EXPECT_GE(failed, (end - first) / 2);
}

// Spec: REP-333
TEST(SnapshotModel, DroppingItLetsTheMirrorsWritesThroughAndRefusesEveryOther) {
    const auto [first, end] = test_seeds(kSeeds);
    for (std::uint64_t seed = first; seed < end; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        Life life(seed, 4096);
        std::vector<Asked*> local, mirror;
        for (std::uint64_t block = 0; block < 12; ++block) {
            mirror.push_back(&life.ask(*life.snapshot, BlockOp::write, block * 4096, 4096));
            Life::apply(*mirror.back(), life.truth);
            local.push_back(&life.ask(life.snapshot->view(), block % 2 == 0 ? BlockOp::read : BlockOp::write,
                                      block * 4096 + 512, 1024));
        }
        for (unsigned i = 0; i < seed % 20; ++i)
            life.step();
        life.snapshot->drop();
        EXPECT_EQ(life.ask(life.snapshot->view(), BlockOp::read, 0, 512).block.result, -EIO);
        life.settle();
        for (Asked* one : mirror)
            ASSERT_TRUE(one->done && one->block.result == 0);
        for (Asked* one : local)
            ASSERT_TRUE(one->done);
        ASSERT_TRUE(life.snapshot->idle());
        ASSERT_EQ(life.volume.content, life.truth);
    }
}

// Spec: REP-327, REP-322
TEST(Snapshot, ABlockIsCopiedOnceAndOneOfZeroesCostsNoSpace) {
    Life life(1, 4096);
    for (int i = 0; i < 5; ++i) {
        life.ask(*life.snapshot, BlockOp::write, 4096, 512);
        life.settle();
    }
    EXPECT_EQ(life.snapshot->copied_blocks(), 1U);
    EXPECT_EQ(life.store.written, 4096U);
    life.ask(*life.snapshot, BlockOp::write, 8 * 4096, 3 * 4096);
    life.settle();
    EXPECT_EQ(life.snapshot->copied_blocks(), 4U);
    EXPECT_EQ(life.store.written, 4096U);
    EXPECT_EQ(life.read_all().data, life.frozen);
}

// Spec: REP-328
TEST(Snapshot, ALocalWriteOfAWholeBlockCopiesNothing) {
    Life life(1, 4096);
    Asked& whole = life.ask(life.snapshot->view(), BlockOp::write, 2 * 4096, 2 * 4096);
    Life::apply(whole, life.frozen);
    life.settle();
    EXPECT_EQ(life.snapshot->copied_blocks(), 0U);
    EXPECT_EQ(life.volume.content, life.truth);
    Asked& part = life.ask(life.snapshot->view(), BlockOp::write, 5 * 4096 + 512, 512);
    Life::apply(part, life.frozen);
    life.settle();
    EXPECT_EQ(life.snapshot->copied_blocks(), 1U);
    EXPECT_EQ(life.read_all().data, life.frozen);
}

TEST(Snapshot, BackendsThatCompleteAtOnceAreNoTrouble) {
    Life life(1, 4096);
    life.volume.at_once = life.store.at_once = true;
    for (std::uint64_t block = 0; block < 10; ++block)
        Life::apply(life.ask(*life.snapshot, BlockOp::write, block * 4096 + 512, 8192), life.truth);
    Life::apply(life.ask(life.snapshot->view(), BlockOp::write, 14 * 4096 + 512, 1024), life.frozen);
    EXPECT_TRUE(life.snapshot->idle());
    EXPECT_EQ(life.volume.content, life.truth);
    EXPECT_EQ(life.read_all().data, life.frozen);
}

// Spec: REP-332
TEST(Snapshot, AVolumeThatCannotBeReadForACopyEndsTheSnapshotAndIsWrittenAllTheSame) {
    Life life(1, 4096);
    life.volume.fail_reads = 100;
    Asked& write = life.ask(*life.snapshot, BlockOp::write, 0, 4096);
    life.settle();
    EXPECT_TRUE(write.done);
    EXPECT_EQ(write.block.result, 0);
    EXPECT_FALSE(life.snapshot->valid());
    EXPECT_NE(life.why.find("cannot be read"), std::string::npos);
}

// Spec: REP-315, REP-323
TEST(Snapshot, ItsBlocksAreWholeSectorsAndItsMapFitsInMemory) {
    EXPECT_EQ(snapshot_block_problem(1 << 30, 512, 65536), "");
    EXPECT_EQ(snapshot_block_problem(1 << 30, 512, 512 * 3), "");
    EXPECT_NE(snapshot_block_problem(1 << 30, 4096, 512), "");
    EXPECT_NE(snapshot_block_problem(1 << 30, 512, 1000), "");
    EXPECT_NE(snapshot_block_problem(1 << 30, 512, 2 << 20), "");
    EXPECT_NE(snapshot_block_problem(std::uint64_t{1} << 40, 512, 512), "");
    EXPECT_EQ(snapshot_block_problem(std::uint64_t{1} << 40, 512, 65536), "");
}

}  // namespace
}  // namespace understudy::mirror
