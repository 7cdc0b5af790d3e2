// The target's rules one by one, in the model's world.

#include "mirror/core/source_test_support.h"

#include <gtest/gtest.h>

namespace understudy::mirror::model {
namespace {

class TargetTest : public SourceTest {
  protected:
    Target& target() { return *world.target().target; }
    void give(wire::Header header) {
        std::byte* payload = nullptr;
        if (header.length > 0) {
            payload = world.target().pool.take(header.length);
            std::memset(payload, 7, header.length);
        }
        target().on_data(header, payload, world.now);
    }
    /// The next number on this link, as the source would give it.
    std::uint64_t next = 0;
    wire::Header message(wire::Type type, std::uint64_t offset, std::uint64_t depends) {
        wire::Header header;
        header.type = type;
        header.sequence = ++next;
        header.depends = depends;
        if (type == wire::Type::write) {
            header.offset = offset;
            header.length = header.extent = kCell;
        }
        return header;
    }
    void fresh_link() {
        start(MirrorType::async);
        source().give_up_links("cut");
        target().link_broken("cut");
        world.settle();
        world.target().link_open = true;
        target().attach({ResyncKind::none, world.features}, world.now);
    }
    std::size_t in_device() {
        std::size_t count = 0;
        while (world.target().disk.busy()) {
            world.target().disk.complete_one();
            ++count;
        }
        return count;
    }
};

// Spec: REP-082
TEST_F(TargetTest, WhatRanTogetherAtTheSourceRunsTogetherAndTheRestWaits) {
    fresh_link();
    give(message(wire::Type::write, 0, 0));
    give(message(wire::Type::write, 4096, 0));
    give(message(wire::Type::write, 8192, 2));  // its writer had seen both
    Disk& disk = world.target().disk;
    disk.complete_one();
    EXPECT_TRUE(disk.busy());
    disk.complete_one();
    EXPECT_TRUE(disk.busy());  // only now the third
    disk.complete_one();
    EXPECT_FALSE(disk.busy());
}

// Spec: REP-082
TEST_F(TargetTest, OverlappingWritesAreNeverReordered) {
    fresh_link();
    give(message(wire::Type::write, 0, 0));
    give(message(wire::Type::write, 0, 0));
    world.target().disk.complete_one();
    EXPECT_TRUE(world.target().disk.busy());
    EXPECT_EQ(in_device(), 1U);
}

// Spec: REP-083
TEST_F(TargetTest, AFlushWaitsForAllBeforeItAndLaterWritesWaitForTheFlush) {
    fresh_link();
    give(message(wire::Type::write, 0, 0));
    give(message(wire::Type::flush, 0, 0));
    give(message(wire::Type::write, 4096, 2));
    Disk& disk = world.target().disk;
    const std::uint64_t before = disk.cell(8);
    disk.complete_one();  // the write
    EXPECT_EQ(disk.cell(8), before);
    disk.complete_one();  // the flush
    EXPECT_EQ(disk.cell(8), before);
    disk.complete_one();
    EXPECT_NE(disk.cell(8), before);
}

// Spec: REP-098
TEST_F(TargetTest, MessagesThatCannotBeEndTheLinkAndChangeNothing) {
    const auto refused = [this](auto&& change) {
        world.target().lost_reason.clear();
        next = 0;
        target().attach({ResyncKind::none, world.features}, world.now);
        wire::Header header = message(wire::Type::write, 0, 0);
        change(header);
        give(header);
        EXPECT_FALSE(world.target().disk.busy());
        return !target().linked() && !world.target().lost_reason.empty();
    };
    fresh_link();
    EXPECT_TRUE(refused([](wire::Header& header) { header.offset = kVolume; }));
    EXPECT_TRUE(refused([](wire::Header& header) { header.offset = ~std::uint64_t{0} - 511; }));
    EXPECT_TRUE(refused([](wire::Header& header) { header.offset = 1; }));
    EXPECT_TRUE(refused([](wire::Header& header) { header.sequence = 2; }));
    EXPECT_TRUE(refused([](wire::Header& header) { header.depends = 1; }));
    EXPECT_TRUE(refused([](wire::Header& header) { header.type = wire::Type::resync_block; }));
    EXPECT_EQ(world.target().pool.out(), 0U);
}

TEST_F(TargetTest, ACopyThatWaitsForLostLiveWritesIsGivenUpWithTheLink) {
    fresh_link();
    give(message(wire::Type::resync_begin, 0, 0));
    next = 0;
    world.settle();
    wire::Header copy;
    copy.type = wire::Type::resync_zeroes;
    copy.sequence = 1;
    copy.extent = 65536;
    copy.depends = 5;  // which are still on their way
    target().on_resync(copy, nullptr, world.now);
    EXPECT_FALSE(target().applied());
    EXPECT_FALSE(world.target().disk.busy());
    target().link_broken("cut");
    EXPECT_TRUE(target().applied());
    EXPECT_FALSE(world.target().disk.busy());
}

// Spec: REP-199
TEST_F(TargetTest, AfterAWriteErrorNothingMoreIsWritten) {
    fresh_link();
    world.target().disk.fail_writes = 100;
    give(message(wire::Type::write, 0, 0));
    in_device();
    EXPECT_EQ(target().cause(), PauseCause::target_error);
    world.target().disk.fail_writes = 0;
    give(message(wire::Type::write, 4096, 0));
    EXPECT_FALSE(world.target().disk.busy());
}

}  // namespace
}  // namespace understudy::mirror::model
