// Thousands of short random lives of a mirror, one per seed: writes, flushes, cuts, pauses, crashes of either
// end or both, take-overs. UNDERSTUDY_SEEDS=n runs n seeds, UNDERSTUDY_SEED=s runs one.

#include "base/test_seeds.h"
#include "mirror/core/model_world.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace understudy::mirror::model {
namespace {

void choose(World& world, std::uint64_t seed) {
    world.type = seed % 2 == 0 ? MirrorType::sync : MirrorType::async;
    if (world.dice.chance(30))
        world.parameters.write_queue_high_water = 2 + static_cast<std::uint32_t>(world.dice.below(20));
    world.parameters.block_writes_on_limit_reached = world.dice.chance(50);
    world.parameters.auto_resume_delay_ms = 200;
    world.parameters.resync_reads = 1 + static_cast<std::uint32_t>(world.dice.below(20));
    if (world.dice.chance(20)) world.parameters.bitmap_bytes_per_block = 4 * 65536;
    if (world.dice.chance(20)) world.parameters.max_resync_passes = 20;
    world.features |= wire::kFeatureResend;
    if (world.dice.chance(10)) world.features = 0;  // the other end is an older build
    if (world.dice.chance(30))
        world.parameters.compression_level = 1 + static_cast<std::uint32_t>(world.dice.below(9));
    if (world.dice.chance(10)) world.copy_bytes = 16384 << world.dice.below(4);
    if (world.dice.chance(15)) {
        world.parameters.lag_limit_ms = 100 + static_cast<std::uint32_t>(world.dice.below(400));
        world.parameters.block_writes_on_lag_limit = world.dice.chance(50);
    }
    if (world.dice.chance(20)) world.parameters.dont_flush_async_queue = true;
    if (world.dice.chance(20)) world.usual_tick = std::chrono::milliseconds(950);  // the log's bits grow old
}

/// A stretch of ordinary life: writes come while everything is under way.
void live(World& world, unsigned steps) {
    const unsigned depth = 1 + static_cast<unsigned>(world.dice.below(24));
    const unsigned eagerness = 5 + static_cast<unsigned>(world.dice.below(60));
    for (unsigned i = 0; i < steps; ++i) {
        if (world.pending_requests < depth && world.dice.chance(eagerness)) world.submit_random();
        if (!world.step() || world.dice.chance(2)) world.tick(world.usual_tick);
    }
}

bool mirrored(World& world) {
    return world.source().source->state() == MirrorState::mirroring;
}

/// Reaches the mirroring state from whatever is now, with nothing new written.
std::string recover(World& world) {
    world.flips = world.stalls = 0;
    if (!world.undetected.empty()) return world.undetected;
    if (!world.source().source->linked()) world.connect(ResyncKind::partial);
    const auto equal = [&] {
        return mirrored(world) && world.source().source->dirty_blocks() == 0 &&
               world.source().source->queue_requests() == 0 && world.pending_requests == 0;
    };
    for (int minutes = 0; minutes < 5; ++minutes) {
        if (world.run_until(equal, 60000)) {
            world.settle();
            if (equal()) break;
        }
        for (int i = 0; i < 700; ++i) {  // let a retry delay pass
            world.tick(std::chrono::milliseconds(100));
            world.settle(50);
        }
        if (!world.source().source->linked()) world.connect(ResyncKind::partial);
    }
    if (!equal())
        return fmt::format("did not become mirroring: state {}, cause {}, dirty {}",
                           to_string(world.source().source->state()),
                           to_string(world.source().source->cause()), world.source().source->dirty_blocks());
    world.settle();
    if (world.pending_requests != 0)
        return fmt::format("{} requests never completed", world.pending_requests);
    return world.check_equal();
}

class Lives : public ::testing::Test {
  protected:
    template <class Function>
    void each(std::uint64_t usual, Function&& life) {
        const auto [first, end] = test_seeds(usual, 20);
        for (std::uint64_t seed = first; seed < end; ++seed) {
            World world(seed);
            choose(world, seed);
            const std::string problem = life(world);
            ASSERT_EQ(problem, "") << "seed " << seed;
        }
    }
};

// Spec: REP-002, REP-109, REP-111, REP-112, REP-158
TEST_F(Lives, AFullResyncUnderWritesEndsWithEqualEnds) {
    each(200, [](World& world) -> std::string {
        world.start(ResyncKind::full);
        live(world, 1500);
        return recover(world);
    });
}

// Spec: REP-355
TEST_F(Lives, AComparisonUnderWritesFindsNoDifferenceWhereThereIsNone) {
    each(300, [](World& world) -> std::string {
        world.start(ResyncKind::none);
        if (!world.run_until([&] { return mirrored(world); }, 60000)) return "did not become mirroring";
        const bool repair = world.dice.chance(50);
        const bool damaged = repair && world.features != 0 && world.dice.chance(70);
        if (damaged) world.target().disk.content_for_setup()[world.dice.below(kVolume)] ^= std::byte{1};
        struct Outcome {
            bool done = false;
            CompareReport report;
        };
        const auto outcome = std::make_shared<Outcome>();  // the world's end may still report
        world.source().source->compare({1 << 26, repair}, [outcome](Result<CompareReport> result) {
            outcome->done = true;
            if (result) outcome->report = *result;
        });
        if (world.features == 0)
            return outcome->done ? recover(world) : "an older target was asked to compare";
        live(world, 300 + static_cast<unsigned>(world.dice.below(2500)));
        if (world.dice.chance(20)) world.cut();
        if (!world.run_until([&] { return outcome->done; }, 60000)) return "the comparison did not end";
        const CompareReport& report = outcome->report;
        if (report.different_blocks > (damaged ? 1U : 0U))
            return fmt::format("{} differences in equal blocks",
                               report.different_blocks - (damaged ? 1U : 0U));
        if (damaged && !report.stopped.empty()) return {};  // was not reached
        return recover(world);
    });
}

// Spec: REP-052, REP-077, REP-082, REP-083, REP-211
TEST_F(Lives, APromotedTargetHasEveryCompletedSyncWriteOrAnExactPrefixOfTheAsyncOnes) {
    each(500, [](World& world) -> std::string {
        world.start(world.dice.chance(50) ? ResyncKind::none : ResyncKind::full);
        live(world, 200 + static_cast<unsigned>(world.dice.below(1500)));
        if (world.dice.chance(40)) {
            world.cut();
            live(world, static_cast<unsigned>(world.dice.below(200)));
            if (world.dice.chance(40)) world.reconnect();
            if (!world.source().source->linked() && world.dice.chance(70)) world.connect(ResyncKind::partial);
            live(world, static_cast<unsigned>(world.dice.below(1500)));
        }
        world.crash_source_and_promote();
        const bool promotable = !world.out_of_date && world.target().file_consistent &&
                                world.target().target->state() == MirrorState::mirroring;
        if (!promotable) return {};
        if (std::string problem = world.check_promoted(); !problem.empty()) return problem;
        // The new source goes on; the old one returns as target and its own blocks are overwritten.
        Node& old_source = world.source();
        for (auto& request : world.history)
            world.old.push_back(std::move(request));
        for (auto& request : world.flushes)
            world.old.push_back(std::move(request));
        world.history.clear();
        world.flushes.clear();
        world.pending_requests = 0;
        world.source_index = 1 - world.source_index;
        world.source().become_source(MirrorState::paused);
        old_source.become_target();
        world.out_of_date = true;
        if (std::string problem = world.check_bits(); !problem.empty()) return problem;
        live(world, 300);
        world.connect(ResyncKind::partial);
        live(world, 600);
        return recover(world);
    });
}

// Spec: REP-052, REP-053, REP-078, REP-186, REP-209, REP-212
TEST_F(Lives, AfterACrashNoBlockDiffersWithoutABitAndAPartialResyncSuffices) {
    each(500, [](World& world) -> std::string {
        world.start(world.dice.chance(50) ? ResyncKind::none : ResyncKind::full);
        for (int crashes = 0; crashes < 2; ++crashes) {
            live(world, 200 + static_cast<unsigned>(world.dice.below(1500)));
            const bool resynced = world.source().synced > 0;
            switch (world.dice.below(3)) {
                case 0:
                    world.restart_source();
                    world.pending_requests = 0;
                    break;
                case 1:
                    world.restart_target();
                    break;
                default:
                    world.restart_both();
                    world.pending_requests = 0;
                    break;
            }
            // Until the first resync has been announced the controller knows that it must be full.
            const auto state = world.source().source->state();
            if (resynced || state == MirrorState::resync || state == MirrorState::mirroring)
                if (std::string problem = world.check_bits(); !problem.empty()) return problem;
            live(world, static_cast<unsigned>(world.dice.below(300)));
            world.connect(resynced ? ResyncKind::partial : ResyncKind::full);
        }
        live(world, 300);
        return recover(world);
    });
}

// Spec: REP-086, REP-122, REP-138, REP-150, REP-159, REP-160, REP-166
TEST_F(Lives, CutsAndPausesLoseNothingAndResyncOnlyWhatChanged) {
    each(250, [](World& world) -> std::string {
        world.start(ResyncKind::none);
        for (int i = 0; i < 3; ++i) {
            live(world, 200 + static_cast<unsigned>(world.dice.below(600)));
            if (world.dice.chance(50)) {
                world.cut();
            } else {
                bool paused = false;
                world.source().source->pause([&](Result<>) { paused = true; });
                if (!world.run_until([&] { return paused; })) return "a pause never ended";
                if (world.source().source->linked()) return "paused but linked";
            }
            live(world, static_cast<unsigned>(world.dice.below(300)));
            world.source().source->resume();
            world.connect(ResyncKind::partial);
        }
        return recover(world);
    });
}

/// Everything that goes wrong by itself, at once.
std::string live_with_faults(World& world, unsigned stretches) {
    for (unsigned i = 0; i < stretches; ++i) {
        Node& node = *world.nodes[world.dice.below(2)];
        node.disk.fail_reads = world.dice.chance(20) ? 3 : 0;
        node.disk.fail_writes = world.dice.chance(20) ? 2 : 0;
        live(world, 100 + static_cast<unsigned>(world.dice.below(300)));
        if (world.dice.chance(15)) world.cut();
        if (world.source().source->suspended() && world.dice.chance(80)) world.reconnect();
        if (!world.source().source->linked() && world.dice.chance(80)) {
            world.source().source->resume();
            world.connect(ResyncKind::partial);
        }
    }
    for (auto& node : world.nodes)
        node->disk.fail_reads = node->disk.fail_writes = 0;
    return world.undetected;
}

void choose_faults(World& world) {
    world.flips = static_cast<unsigned>(world.dice.below(30));
    world.stalls = static_cast<unsigned>(world.dice.below(10));
}

// Spec: REP-098, REP-120, REP-143, REP-164
TEST_F(Lives, WrongBitsOnTheWireAndSlowAndFailingDisksEndInEqualEnds) {
    each(100, [](World& world) -> std::string {
        choose_faults(world);
        world.start(ResyncKind::none);
        if (std::string problem = live_with_faults(world, 8); !problem.empty()) return problem;
        return recover(world);
    });
}

// Spec: REP-052, REP-053, REP-077, REP-078, REP-082, REP-098, REP-209, REP-211, REP-212
TEST_F(Lives, APowerCutAmongAllOtherFaultsLosesNothingThatWasPromised) {
    each(250, [](World& world) -> std::string {
        choose_faults(world);
        world.start(ResyncKind::none);
        if (std::string problem = live_with_faults(world, 1 + static_cast<unsigned>(world.dice.below(6)));
            !problem.empty())
            return problem;
        if (world.source().synced == 0) return {};
        if (world.dice.chance(50)) {
            world.crash_source_and_promote();
            const bool promotable = !world.out_of_date && world.target().file_consistent &&
                                    world.target().target->state() == MirrorState::mirroring;
            return promotable ? world.check_promoted() : std::string();
        }
        world.restart_both();
        world.pending_requests = 0;
        if (std::string problem = world.check_bits(); !problem.empty()) return problem;
        world.connect(ResyncKind::partial);
        if (std::string problem = live_with_faults(world, 2); !problem.empty()) return problem;
        return recover(world);
    });
}

// Spec: REP-096, REP-164
TEST_F(Lives, ShortCutsLoseNothingAndNeedNoResync) {
    each(150, [](World& world) -> std::string {
        world.usual_tick = std::chrono::milliseconds(100);  // or no cut would be short
        world.start(ResyncKind::none);
        if (!world.run_until([&] { return mirrored(world); }, 60000)) return "did not become mirroring";
        const bool limited = world.parameters.write_queue_high_water < 100 ||
                             world.parameters.lag_limit_ms != 0 || world.copy_bytes < (1U << 20);
        for (int i = 0; i < 4; ++i) {
            live(world, 100 + static_cast<unsigned>(world.dice.below(600)));
            const bool before = mirrored(world);
            world.cut();
            live(world, static_cast<unsigned>(world.dice.below(150)));
            if (before && world.features != 0 && !limited && !world.source().source->suspended())
                return "a short cut was not waited out";
            const std::uint64_t resumed = world.source().source->resumptions();
            world.reconnect();
            live(world, static_cast<unsigned>(world.dice.below(30)));
            if (world.dice.chance(20)) {  // and again, before or after the two have agreed where to go on
                world.cut();
                world.reconnect();
            }
            live(world, static_cast<unsigned>(world.dice.below(600)));
            world.settle();
            if (before && world.features != 0 && !limited &&
                (!mirrored(world) || world.source().source->resumptions() == resumed))
                return "the session did not go on";
            if (!world.source().source->linked()) world.connect(ResyncKind::partial);
        }
        if (world.features != 0 && !limited && world.source().source->resync_bytes_sent() != 0)
            return "a resync was needed";
        return recover(world);
    });
}

// Spec: REP-075, REP-076, REP-089, REP-143, REP-167, REP-173
TEST_F(Lives, WriteErrorsOnEitherDiskEndInEqualEnds) {
    each(200, [](World& world) -> std::string {
        world.start(ResyncKind::none);
        live(world, 300);
        Node& bad = world.dice.chance(50) ? world.source() : world.target();
        bad.disk.fail_writes = 10;
        live(world, 300);
        bad.disk.fail_writes = 0;
        live(world, 100);
        return recover(world);
    });
}

// Spec: REP-053, REP-078, REP-089, REP-214
TEST_F(Lives, AFlushThatFailsOnEitherDiskLeavesNoBlockThatDiffersWithoutABit) {
    each(300, [](World& world) -> std::string {
        world.start(ResyncKind::none);
        if (!world.run_until([&] { return mirrored(world); }, 60000)) return "did not become mirroring";
        for (std::uint64_t i = 1 + world.dice.below(3); i > 0; --i) {
            Node& bad = world.dice.chance(60) ? world.source() : world.target();
            bad.disk.fail_flushes = 5 + static_cast<unsigned>(world.dice.below(40));
            live(world, 100 + static_cast<unsigned>(world.dice.below(500)));
            bad.disk.fail_flushes = 0;
            live(world, static_cast<unsigned>(world.dice.below(400)));
        }
        if (world.dice.chance(50)) {
            world.restart_both();
            world.pending_requests = 0;
            if (std::string problem = world.check_bits(); !problem.empty()) return problem;
            world.connect(ResyncKind::partial);
        }
        return recover(world);
    });
}

}  // namespace
}  // namespace understudy::mirror::model
