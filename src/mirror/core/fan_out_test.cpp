#include "mirror/core/fan_out.h"

#include "mirror/core/recent_writes.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <memory>
#include <vector>

namespace understudy::mirror {
namespace {

/// Does nothing by itself: the test says when something completes.
struct Held : BlockBackend {
    [[nodiscard]] std::uint64_t size() const override { return 1 << 20; }
    [[nodiscard]] std::uint32_t sector_size() const override { return 512; }
    void submit(BlockRequest& request) override { requests.push_back(&request); }
    void finish(std::size_t index = 0, int result = 0) {
        BlockRequest& request = *requests[index];
        requests.erase(requests.begin() + static_cast<std::ptrdiff_t>(index));
        request.result = result;
        request.done(request);
    }
    std::vector<BlockRequest*> requests;
};

/// A Source reduced to its order of events: ask() is its log's commit, acknowledge() its target's answer.
struct Stub : FanOutLeg {
    explicit Stub(FanOut& front) : device(front) {}
    void submit_part(BlockRequest& request) override {
        parts.push_back(&request);
        if (request.op == BlockOp::flush) ask(parts.size() - 1);
    }
    void ask(std::size_t index) {
        auto& local = locals.emplace_back(std::make_unique<BlockRequest>(*parts[index]));
        local->owner = this;
        local->done = [](BlockRequest& done) {
            ++static_cast<Stub*>(done.owner)->written;
            static_cast<Stub*>(done.owner)->result = done.result;
        };
        device.submit(*local);
    }
    void complete(int with = 0) {
        BlockRequest& part = *parts.front();
        parts.erase(parts.begin());
        part.result = with;
        part.done(part);
    }
    [[nodiscard]] std::optional<Progress> progress() const override { return now; }
    void everywhere(std::uint64_t through) override { told.push_back(through); }

    FanOut::Member device;
    std::vector<BlockRequest*> parts;
    std::vector<std::unique_ptr<BlockRequest>> locals;
    int written = 0, result = 0;
    std::optional<Progress> now;
    std::vector<std::uint64_t> told;
};

struct FanOutTest : testing::Test {
    Held disk;
    FanOut front{disk};
    Stub b{front}, c{front};
    std::array<BlockRequest, 4> requests{};
    std::array<int, 4> answers{1, 1, 1, 1};  // 1: none yet

    FanOutTest() {
        front.join(b.device, b);
        front.join(c.device, c);
    }
    void submit(std::size_t index, BlockOp op, std::uint64_t offset = 0, std::uint32_t length = 4096) {
        BlockRequest& request = requests[index];
        request.op = op;
        request.offset = offset;
        request.length = op == BlockOp::flush ? 0 : length;
        request.owner = &answers[index];
        request.done = [](BlockRequest& done) { *static_cast<int*>(done.owner) = done.result; };
        front.submit(request);
    }
};

// Spec: REP-052, REP-080
TEST_F(FanOutTest, TheDeviceIsWrittenOnceWhenEveryLogIsDurableAndTheRequestEndsWithTheLastTarget) {
    submit(0, BlockOp::write);
    b.ask(0);
    EXPECT_TRUE(disk.requests.empty());
    EXPECT_FALSE(front.all_written());
    c.ask(0);
    ASSERT_EQ(disk.requests.size(), 1U);
    disk.finish();
    EXPECT_TRUE(front.all_written());
    EXPECT_EQ(b.written + c.written, 2);
    c.complete();
    EXPECT_EQ(answers[0], 1);
    b.complete();
    EXPECT_EQ(answers[0], 0);
    EXPECT_TRUE(front.idle());
}

TEST_F(FanOutTest, OverlappingWritesGoOneAfterTheOtherHoweverTheLogsBehave) {
    submit(0, BlockOp::write, 0, 8192);
    submit(1, BlockOp::write, 4096);
    submit(2, BlockOp::write, 8192);  // beside both
    submit(3, BlockOp::write, 4096);
    EXPECT_EQ(b.parts.size(), 2U);
    b.ask(1);
    b.ask(0);
    c.ask(0);
    disk.finish();
    ASSERT_EQ(c.parts.size(), 3U);  // the second, still not the last
    c.ask(2);
    b.ask(2);
    disk.finish();
    EXPECT_EQ(c.parts.size(), 4U);
}

TEST_F(FanOutTest, AnErrorOfTheDeviceOrOfOneTargetIsTheRequestsError) {
    submit(0, BlockOp::write);
    b.ask(0);
    c.ask(0);
    disk.finish(0, -EIO);
    EXPECT_EQ(b.result, -EIO);
    b.complete(-EIO);
    c.complete(-EIO);
    EXPECT_EQ(answers[0], -EIO);
    submit(1, BlockOp::write);
    b.ask(0);
    c.ask(0);
    disk.finish();
    b.complete();
    c.complete(-EIO);  // its degrade barrier could not be recorded
    EXPECT_EQ(answers[1], -EIO);
}

TEST_F(FanOutTest, WhatOneSourceRefusesIsWrittenNowhere) {
    submit(0, BlockOp::write);
    b.ask(0);
    c.complete(-EROFS);
    EXPECT_TRUE(disk.requests.empty());
    EXPECT_EQ(b.result, -EROFS);
    b.complete(-EROFS);
    EXPECT_EQ(answers[0], -EROFS);
    EXPECT_TRUE(front.idle());
    EXPECT_TRUE(front.all_written());
}

TEST_F(FanOutTest, ACallersFlushIsOneFlushOfTheDevice) {
    submit(0, BlockOp::flush);
    ASSERT_EQ(disk.requests.size(), 1U);
    disk.finish();
    EXPECT_EQ(b.written + c.written, 2);
    b.complete();
    c.complete();
    EXPECT_EQ(answers[0], 0);
}

TEST_F(FanOutTest, AWriteOfOneTargetsTimeMeetsOneOfTwo) {
    front.leave(c.device);
    submit(0, BlockOp::write);
    ASSERT_EQ(b.parts.size(), 1U);
    EXPECT_EQ(b.parts.front(), &requests[0]);  // handed through
    front.join(c.device, c);
    submit(1, BlockOp::write);
    b.ask(0);  // not mistaken for the other write of the same blocks
    ASSERT_EQ(disk.requests.size(), 1U);
    disk.finish();
    c.ask(0);
    EXPECT_TRUE(disk.requests.empty());
    b.ask(1);
    EXPECT_EQ(disk.requests.size(), 1U);
}

// Spec: REP-238
TEST_F(FanOutTest, ATargetIsToldWhatAllHaveOnlyWhenAllHaveIt) {
    b.now = FanOutLeg::Progress{1, 5, 5};
    c.now = FanOutLeg::Progress{1, 9, 9};
    submit(0, BlockOp::write);  // under way: may have been sent to one and not to the other
    front.tick();
    EXPECT_TRUE(b.told.empty());
    b.ask(0);
    c.ask(0);
    b.now->sent = 6;
    c.now->sent = 10;
    disk.finish();
    front.tick();
    EXPECT_TRUE(b.told.empty());
    b.now->acknowledged = 6;
    front.tick();
    EXPECT_TRUE(b.told.empty());  // the other lacks it still
    c.now->acknowledged = 10;
    front.tick();
    EXPECT_EQ(b.told, std::vector<std::uint64_t>{5});
    EXPECT_EQ(c.told, std::vector<std::uint64_t>{9});
}

// Spec: REP-238
TEST_F(FanOutTest, ATargetThatBeginsToMirrorStartsTheCountAnew) {
    b.now = FanOutLeg::Progress{1, 5, 4};
    front.tick();
    c.now = FanOutLeg::Progress{1, 0, 0};
    b.now = FanOutLeg::Progress{1, 8, 8};
    front.tick();
    EXPECT_EQ(b.told, std::vector<std::uint64_t>{8});
    EXPECT_EQ(c.told, std::vector<std::uint64_t>{0});
}

// Spec: REP-238
TEST(RecentWrites, AreKnownFromTheFirstNumberOnThatAllHave) {
    RecentWrites recent;
    recent.add(1, 0, 4096);
    recent.add(2, 65536, 4096);
    EXPECT_FALSE(recent.known());
    recent.everywhere(1);  // the second one was not remembered
    EXPECT_FALSE(recent.known());
    recent.add(3, 3 * 65536 - 4096, 8192);
    recent.everywhere(2);
    ASSERT_TRUE(recent.known());
    std::vector<std::uint64_t> blocks;
    recent.for_each([&](std::uint64_t first, std::uint64_t last) {
        blocks.push_back(first);
        blocks.push_back(last);
    });
    EXPECT_EQ(blocks, (std::vector<std::uint64_t>{2, 3}));
    recent.restart();
    EXPECT_FALSE(recent.known());
}

// Spec: REP-238
TEST(RecentWrites, MoreThanFitIsNotKnownUntilAllHaveThem) {
    RecentWrites recent;
    recent.everywhere(0);
    for (std::uint64_t number = 1; number <= RecentWrites::kMost + 10; ++number)
        recent.add(number, 0, 4096);
    EXPECT_FALSE(recent.known());
    recent.everywhere(RecentWrites::kMost);
    EXPECT_FALSE(recent.known());
    recent.everywhere(RecentWrites::kMost + 10);
    EXPECT_TRUE(recent.known());
}

}  // namespace
}  // namespace understudy::mirror
