// Random lives of a mirror whose first copy leaves out what the file system does not use. UNDERSTUDY_SEEDS=n
// runs n seeds, UNDERSTUDY_SEED=s runs one.

#include "base/test_seeds.h"
#include "mirror/core/model_world.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>

namespace understudy::mirror::model {
namespace {

constexpr std::uint64_t kCellsPerBlock = kBlockBytes / kCell;

class LeftOutLife {
  public:
    explicit LeftOutLife(std::uint64_t seed) : world(seed) {
        world.type = seed % 2 == 0 ? MirrorType::sync : MirrorType::async;
        world.parameters.auto_resume_delay_ms = 200;
        world.parameters.resync_reads = 1 + static_cast<std::uint32_t>(world.dice.below(8));
        if (world.dice.chance(20)) world.parameters.bitmap_bytes_per_block = 4 * kBlockBytes;
        world.flips = static_cast<unsigned>(world.dice.below(20));
        world.stalls = static_cast<unsigned>(world.dice.below(10));
        for (auto& node : world.nodes) {
            for (std::uint64_t cell = 0; cell < kCells; ++cell) {
                const std::uint64_t id = world.next_id++;
                std::memcpy(node->disk.content_for_setup().data() + cell * kCell, &id, sizeof id);
            }
            node->disk.make_durable();
        }
        world.source().become_source(MirrorState::pending);
        world.target().become_target();
    }

    /// Writes come from the moment in which the file system is asked to that in which the copy begins, and go
    /// on.
    void begin() {
        world.source().log->left_out().watch();
        live(static_cast<unsigned>(world.dice.below(150)));
        BlockRanges ranges;
        for (std::uint64_t block = 0; block < blocks_of(kVolume);) {
            const std::uint64_t count = std::min(1 + world.dice.below(5), blocks_of(kVolume) - block);
            if (world.dice.chance(50)) {
                ranges.push_back({block, count});
                for (std::uint64_t i = 0; i < count; ++i)
                    unused.insert(block + i);
            }
            block += count;
        }
        live(static_cast<unsigned>(world.dice.below(150)));
        ASSERT_TRUE(world.source().log->set_dirty_but(ranges));
        world.connect(ResyncKind::none);
    }

    void live(unsigned steps) {
        for (unsigned i = 0; i < steps; ++i) {
            if (world.pending_requests < 12 && world.dice.chance(20)) world.submit_random();
            if (!world.step() || world.dice.chance(2)) world.tick(std::chrono::milliseconds(100));
        }
    }

    bool mirrors() { return world.source().source->state() == MirrorState::mirroring; }

    bool recover() {
        world.flips = world.stalls = 0;
        for (int i = 0; i < 10; ++i) {
            if (!world.source().source->linked()) world.connect(ResyncKind::partial);
            const bool equal = world.run_until(
                [&] {
                    return mirrors() && world.source().source->dirty_blocks() == 0 &&
                           world.pending_requests == 0;
                },
                100000);
            if (equal) return world.settle(), true;
        }
        return false;
    }

    /// What the file system used, and whatever was written, is the same on both ends.
    std::string difference() {
        std::set<std::uint64_t> written;
        for (const auto& request : world.history)
            for (std::uint64_t at = 0; at < request->block.length; at += kCell)
                written.insert((request->block.offset + at) / kCell);
        for (std::uint64_t cell = 0; cell < kCells; ++cell) {
            const bool counts = !unused.contains(cell / kCellsPerBlock) || written.contains(cell);
            const std::uint64_t here = world.source().disk.cell(cell), there = world.target().disk.cell(cell);
            if (counts && here != there) return fmt::format("cell {} has {} and {}", cell, here, there);
        }
        return {};
    }

    std::set<std::uint64_t> unused;  // blocks
    World world;
};

// Spec: REP-029, REP-110
TEST(LeftOutLives, EverythingUsedOrWrittenIsEqualAndNothingElseIsCopied) {
    std::uint64_t spared = 0;
    const auto [first, end] = test_seeds(200, 10);
    for (std::uint64_t seed = first; seed < end; ++seed) {
        LeftOutLife life(seed);
        World& world = life.world;
        life.begin();
        for (std::uint64_t stretch = world.dice.below(5); stretch > 0; --stretch) {
            life.live(static_cast<unsigned>(world.dice.below(400)));
            if (world.dice.chance(30)) world.cut();
            if (world.source().source->suspended()) world.reconnect();
            if (!world.source().source->linked()) world.connect(ResyncKind::partial);
        }
        ASSERT_TRUE(life.recover()) << "seed " << seed;
        ASSERT_EQ(life.difference(), "") << "seed " << seed;

        // A comparison finds nothing to complain of, and completes blocks that were sent in part.
        const bool completes = world.dice.chance(50);
        bool done = false;
        CompareReport report;
        world.source().source->compare({.bytes_per_second = 1U << 30, .repair = completes},
                                       [&](Result<CompareReport> found) {
                                           done = true;
                                           ASSERT_TRUE(found);
                                           report = *found;
                                       });
        ASSERT_TRUE(world.run_until([&] { return done; })) << "seed " << seed;
        ASSERT_EQ(report.stopped, "") << "seed " << seed;
        ASSERT_EQ(report.different_blocks, 0U) << "seed " << seed;
        spared += report.unused_bytes;
        world.settle();
        ASSERT_EQ(life.difference(), "") << "seed " << seed;
    }
    if (end - first > 1) {
        EXPECT_GT(spared, 0U);
    }
}

}  // namespace
}  // namespace understudy::mirror::model
