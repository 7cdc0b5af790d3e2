// The marker of a snapshot in the stream of writes: which of them the snapshot holds.

#include "mirror/core/model_world.h"
#include "mirror/snapshot/snapshot.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

namespace understudy::mirror::model {
namespace {

/// A store that completes at once.
class Memory : public BlockBackend {
  public:
    [[nodiscard]] std::uint64_t size() const override { return content.size(); }
    [[nodiscard]] std::uint32_t sector_size() const override { return kCell; }
    void submit(BlockRequest& request) override {
        if (request.op == BlockOp::read)
            std::memcpy(request.data, content.data() + request.offset, request.length);
        else if (request.op == BlockOp::write)
            std::memcpy(content.data() + request.offset, request.data, request.length);
        else if (request.op != BlockOp::flush)
            std::memset(content.data() + request.offset, 0, request.length);
        request.result = 0;
        request.done(request);
    }
    std::vector<std::byte> content = std::vector<std::byte>(kVolume);
};

struct Marked {
    bool done = false;
    std::string error;
    std::function<void(Result<>)> callback() {
        return [this](Result<> result) {
            done = true;
            if (!result) error = result.error().text;
        };
    }
};

class MarkerTest : public ::testing::Test {
  protected:
    void start(std::uint64_t seed, MirrorType type) {
        snapshot.reset();
        world = std::make_unique<World>(seed);
        world->type = type;
        world->start(ResyncKind::none);
        ASSERT_TRUE(world->run_until([&] { return source().state() == MirrorState::mirroring; }));
        world->settle();
        for (std::size_t cell = 0; cell < kCells; ++cell)
            before[cell] = world->target().disk.cell(cell);
        store = {};
        world->target().on_snapshot = [this](std::uint64_t number) {
            if (number != wanted) return false;
            snapshot = std::make_unique<Snapshot>(world->target().disk, store, 4096, nullptr);
            world->target().target->set_device(*snapshot);
            return true;
        };
    }
    void TearDown() override {
        if (world) world->settle();
        world.reset();
    }
    Source& source() { return *world->source().source; }

    /// What the view shows, cell by cell.
    std::vector<std::uint64_t> view() {
        std::vector<std::byte> data(kVolume);
        BlockRequest read;
        bool done = false;
        read.op = BlockOp::read;
        read.length = kVolume;
        read.data = data.data();
        read.owner = &done;
        read.done = [](BlockRequest& request) { *static_cast<bool*>(request.owner) = true; };
        snapshot->view().submit(read);
        world->settle();
        EXPECT_TRUE(done && read.result == 0);
        std::vector<std::uint64_t> cells(kCells);
        for (std::size_t i = 0; i < kCells; ++i)
            std::memcpy(&cells[i], data.data() + i * kCell, sizeof cells[i]);
        return cells;
    }
    /// Every write that was completed at `moment` is in it, unless one that began later covers it; none that
    /// was submitted after it is.
    std::string check(std::uint64_t moment) {
        const auto cells = view();
        for (std::uint64_t cell = 0; cell < kCells; ++cell) {
            const auto covers = [&](const AppRequest& one) {
                return one.block.offset <= cell * kCell && cell * kCell < one.block.offset + one.block.length;
            };
            const AppRequest* writer = nullptr;  // the last that may have written what is there
            bool possible = cells[cell] == 0 || cells[cell] == before[cell];
            for (const auto& one : world->history) {
                if (!covers(*one) || one->id != cells[cell] || one->submitted > moment) continue;
                possible = true;
                if (writer == nullptr || one->completed > writer->completed) writer = one.get();
            }
            if (!possible) return fmt::format("cell {} has {}, written after the moment", cell, cells[cell]);
            for (const auto& one : world->history) {
                if (!covers(*one) || one->completed == 0 || one->completed > moment) continue;
                if (one->id == cells[cell]) continue;
                if (writer == nullptr || (writer->completed != 0 && writer->completed < one->submitted))
                    return fmt::format("cell {} has {} although {} was completed before the moment", cell,
                                       cells[cell], one->id);
            }
        }
        return {};
    }

    std::vector<std::uint64_t> before = std::vector<std::uint64_t>(kCells);
    Memory store;
    std::unique_ptr<World> world;
    std::unique_ptr<Snapshot> snapshot;
    std::uint64_t wanted = 7;
};

// Spec: REP-324, MOP-198, MOP-203
TEST_F(MarkerTest, TheSnapshotHoldsWhatWasCompletedBeforeItAndNothingThatCameLater) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        start(seed, seed % 2 == 0 ? MirrorType::sync : MirrorType::async);
        const auto live = [&](unsigned rounds) {
            for (unsigned i = 0; i < rounds; ++i) {
                if (world->pending_requests < 12) world->submit_random();
                for (std::uint64_t steps = world->dice.below(6); steps > 0; --steps)
                    world->step();
            }
        };
        live(120);
        Marked marked;
        const std::uint64_t moment = ++world->now_step;
        source().mark_snapshot(wanted, marked.callback());
        live(200);
        world->settle();
        ASSERT_TRUE(marked.done);
        ASSERT_EQ(marked.error, "");
        ASSERT_TRUE(snapshot);
        ASSERT_EQ(check(moment), "");
        live(60);
        world->settle();
        ASSERT_EQ(check(moment), "") << "later";
        ASSERT_EQ(world->check_equal(), "");
        world->settle();
    }
}

// Spec: REP-331
TEST_F(MarkerTest, AResyncGoesThroughTheSnapshotAndLeavesItWhole) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        start(seed, MirrorType::sync);
        for (unsigned i = 0; i < 60; ++i)
            world->submit_random();
        world->settle();
        Marked marked;
        source().mark_snapshot(wanted, marked.callback());
        world->settle();
        ASSERT_EQ(marked.error, "");
        const auto taken = view();
        world->cut();
        for (unsigned i = 0; i < 60; ++i)
            world->submit_random();
        world->settle();
        world->connect(ResyncKind::full);
        ASSERT_TRUE(world->run_until([&] { return source().state() == MirrorState::mirroring; }));
        world->settle();
        ASSERT_EQ(world->check_equal(), "");
        ASSERT_EQ(view(), taken);
    }
}

// Spec: REP-315, MOP-198
TEST_F(MarkerTest, OnlyAMirroringSourceMarksAndATargetThatDidNotAskSaysSo) {
    start(1, MirrorType::sync);
    Marked nobody_asked;
    source().mark_snapshot(8, nobody_asked.callback());
    world->settle();
    EXPECT_EQ(nobody_asked.error, "the target did not begin its snapshot");
    EXPECT_EQ(source().state(), MirrorState::mirroring);
    Marked under_way, second;
    source().mark_snapshot(wanted, under_way.callback());
    source().mark_snapshot(wanted, second.callback());
    EXPECT_EQ(second.error, "a snapshot is being taken already");
    world->cut();
    EXPECT_TRUE(under_way.done);
    EXPECT_NE(under_way.error, "");
    world->settle();
    Marked paused;
    source().mark_snapshot(wanted, paused.callback());
    EXPECT_NE(paused.error.find("only while both ends mirror"), std::string::npos);
    EXPECT_FALSE(snapshot);
}

TEST_F(MarkerTest, ATargetOfAnOlderBuildIsNeverSentAMarker) {
    start(1, MirrorType::sync);
    world->cut();
    world->settle();
    world->features = wire::kAllFeatures & ~wire::kFeatureSnapshot;
    world->connect(ResyncKind::partial);
    ASSERT_TRUE(world->run_until([&] { return source().state() == MirrorState::mirroring; }));
    world->settle();
    Marked refused;
    source().mark_snapshot(wanted, refused.callback());
    EXPECT_EQ(refused.error, "the target's build knows no snapshots");
    EXPECT_TRUE(world->source().data.queued.empty());
}

}  // namespace
}  // namespace understudy::mirror::model
