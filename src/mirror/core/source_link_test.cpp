// What the source does about its link: cut, resumed, silent, refused.

#include "mirror/core/source_test_support.h"

#include <gtest/gtest.h>

namespace understudy::mirror::model {
namespace {

// Spec: REP-095
TEST_F(SourceTest, ATargetThatOwesAnAnswerAndIsSilentIsReportedLongBeforeItsPingsAreMissed) {
    start(MirrorType::sync);
    Node& node = world.source();
    pass(milliseconds(2000));
    EXPECT_EQ(node.silences, 0U);  // idle: the pings of 3 s are all it owes
    AppRequest& request = write(0);
    run_here();
    for (milliseconds time(0); time < kSilence; time += kTick)
        world.tick(kTick);
    EXPECT_EQ(node.silences, 0U);
    for (milliseconds time(0); time < milliseconds(3000); time += kTick)
        world.tick(kTick);
    EXPECT_GE(node.silences, 9U);
    EXPECT_TRUE(source().linked());  // only told: it may be slow
    EXPECT_EQ(request.completed, 0U);
    world.settle();
    const unsigned before = node.silences;
    pass(milliseconds(1000));
    EXPECT_EQ(node.silences, before);
    EXPECT_NE(request.completed, 0U);
}

// Spec: REP-041
TEST_F(SourceTest, AnOlderTargetIsMirroredToAndNotAskedForWhatItDoesNotKnow) {
    world.features = 0;
    start(MirrorType::sync, ResyncKind::full);
    Compared& result = comparisons.emplace_back();
    source().compare({1 << 30, false}, result.callback());
    EXPECT_NE(result.error.find("older and cannot compare"), std::string::npos) << result.error;
    AppRequest& request = write(0);
    pass(milliseconds(500));
    EXPECT_NE(request.completed, 0U);
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-096, REP-164
TEST_F(SourceTest, AfterAShortCutWhatWasNotAcknowledgedIsSentAgainAndNothingElse) {
    world.features |= wire::kFeatureResend;
    start(MirrorType::async);
    AppRequest& arrived = write(0);
    run_here();
    world.source().data.transmit();
    ASSERT_TRUE(world.deliver(world.source(), false));  // applied, but its acknowledgement is lost
    AppRequest& lost = write(8);
    run_here();
    source().link_broken("reset");
    world.target().target->link_broken("reset");
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_FALSE(source().linked());
    EXPECT_EQ(world.source().interrupted_reason, "reset");
    EXPECT_EQ(world.source().lost_reason, "");
    AppRequest& meanwhile = write(16);
    run_here();
    EXPECT_NE(meanwhile.completed, 0U);
    EXPECT_EQ(source().queue_requests(), 3U);
    world.settle();
    EXPECT_EQ(world.target().target->writes(), 1U);
    world.reconnect();
    world.settle();
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(source().queue_requests(), 0U);
    EXPECT_EQ(source().resumptions(), 1U);
    EXPECT_EQ(source().resync_bytes_sent(), 0U);
    EXPECT_EQ(world.target().target->writes(), 3U) << "a duplicate was applied";
    for (const AppRequest* request : {&arrived, &lost, &meanwhile})
        EXPECT_EQ(world.target().disk.cell(request->block.offset / kCell), request->id);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-096
TEST_F(SourceTest, ASynchronousWriteWaitsForTheReconnectionAndNoLongerThanADetectionInterval) {
    world.features |= wire::kFeatureResend;
    start(MirrorType::sync);
    AppRequest& first = write(0);
    run_here();
    source().link_broken("reset");
    world.target().target->link_broken("reset");
    pass(milliseconds(5000));
    EXPECT_EQ(first.completed, 0U);
    world.reconnect();
    world.settle();
    EXPECT_NE(first.completed, 0U);
    EXPECT_EQ(world.target().disk.cell(0), first.id);

    AppRequest& second = write(8);
    run_here();
    source().link_broken("reset again");
    EXPECT_FALSE(world.source().release);
    pass(milliseconds(29000));
    EXPECT_EQ(state(), MirrorState::mirroring);
    pass(milliseconds(2000));
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::link_lost);
    EXPECT_NE(world.source().lost_reason, "");
    world.settle();  // the cluster's record, then the write
    EXPECT_NE(second.completed, 0U);
    EXPECT_EQ(source().dirty_blocks(), 1U);
}

// Spec: REP-096, REP-099, REP-139
TEST_F(SourceTest, AFullQueueEndsTheWaitForAReconnection) {
    world.features |= wire::kFeatureResend;
    world.parameters.write_queue_high_water = 2;
    start(MirrorType::async);
    source().link_broken("reset");
    write(0);
    write(128);
    run_here();
    EXPECT_EQ(state(), MirrorState::mirroring);
    write(256);
    run_here();
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::queue_limit);
    EXPECT_EQ(source().dirty_blocks(), 3U);
    EXPECT_FALSE(source().suspended());
}

// Spec: REP-096
TEST_F(SourceTest, ATargetWithAWriteErrorMeanwhileIsResynchronised) {
    world.features |= wire::kFeatureResend;
    start(MirrorType::async);
    write(0);
    run_here();
    world.source().data.transmit();
    world.target().disk.fail_writes = 100;
    ASSERT_TRUE(world.deliver(world.source(), false));
    source().link_broken("reset");
    world.target().target->link_broken("reset");
    EXPECT_TRUE(world.target().target->resumable());
    world.settle();
    world.target().disk.fail_writes = 0;
    EXPECT_FALSE(world.target().target->resumable());
    world.reconnect();
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().dirty_blocks(), 1U);
}

// Spec: REP-098
TEST_F(SourceTest, AnImpossibleAnswerToAResumptionLosesTheLinkAndNothingElse) {
    world.features |= wire::kFeatureResend;
    start(MirrorType::async);
    for (const auto& [expected, applied] : {std::pair{100U, 1U}, {1U, 100U}, {0U, 0U}}) {
        write(0);
        run_here();
        source().link_broken("reset");
        ASSERT_TRUE(source().suspended());
        source().attach({ResyncKind::partial, world.features, true}, world.now);
        wire::Header answer;
        answer.type = wire::Type::resume_ack;
        answer.sequence = expected;
        answer.argument = applied;
        source().on_data(answer, nullptr, world.now);
        EXPECT_FALSE(source().suspended());
        EXPECT_EQ(state(), MirrorState::paused);
        EXPECT_EQ(source().dirty_blocks(), 1U);
        world.settle();
        world.connect(ResyncKind::partial);
        ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::mirroring; }));
        world.settle();
    }
}

// Spec: REP-079
TEST_F(SourceTest, AfterALostLinkNothingCompletesBeforeTheRecordIsMade) {
    start(MirrorType::sync);
    AppRequest& waiting = write(0);
    run_here();
    source().give_up_links("cut");
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(waiting.completed, 0U);
    AppRequest& later = write(64);
    run_here();
    EXPECT_EQ(later.completed, 0U);
    ASSERT_NE(world.source().release, nullptr);
    world.source().release(true);
    EXPECT_NE(waiting.completed, 0U);
    EXPECT_NE(later.completed, 0U);
    EXPECT_FALSE(waiting.failed);
}

// Spec: REP-079, REP-217
TEST_F(SourceTest, WhatCouldNotBeRecordedFailsAndIsSentAgainLater) {
    start(MirrorType::sync);
    AppRequest& waiting = write(0);
    run_here();
    source().give_up_links("cut");
    world.source().release(false);
    EXPECT_NE(waiting.completed, 0U);
    EXPECT_TRUE(waiting.failed);
    EXPECT_GT(source().dirty_blocks(), 0U);
}

// Spec: REP-095, REP-138, REP-165, REP-204, MOP-122
TEST_F(SourceTest, SilenceOfTheDetectionIntervalIsALostLink) {
    world.parameters.ping_interval_ms = 200;
    world.parameters.max_ping_misses = 5;
    start(MirrorType::sync);
    AppRequest& request = write(0);
    run_here();
    for (int i = 0; i < 9; ++i)
        world.tick(milliseconds(100));
    EXPECT_EQ(state(), MirrorState::mirroring);
    for (int i = 0; i < 3; ++i)
        world.tick(milliseconds(100));
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::link_lost);
    EXPECT_FALSE(source().linked());
    world.source().release(true);
    EXPECT_NE(request.completed, 0U);
}

// Spec: REP-079
TEST_F(SourceTest, ASourceThatStepsDownAnswersNoWriteThatItsLostTargetLacksBeforeThatIsRecorded) {
    start(MirrorType::sync);
    AppRequest& request = write(0);
    run_here();
    std::optional<Result<>> stepped_down;
    source().quiesce([&](Result<> result) { stepped_down = std::move(result); });
    source().give_up_links("cut");
    run_here();
    ASSERT_TRUE(stepped_down);
    EXPECT_FALSE(*stepped_down);
    EXPECT_EQ(request.completed, 0U);
    ASSERT_TRUE(world.source().release);
    world.source().release(true);
    EXPECT_NE(request.completed, 0U);
}

// Spec: REP-235
TEST_F(SourceTest, ASourceThatHasSteppedDownIsStillItsTargetsEqualWhenTheLinkGoes) {
    start(MirrorType::sync);
    write(0);
    std::optional<Result<>> stepped_down;
    source().quiesce([&](Result<> result) { stepped_down = std::move(result); });
    ASSERT_TRUE(world.run_until([&] { return stepped_down.has_value(); }));
    EXPECT_TRUE(*stepped_down);
    world.settle();
    world.source().release = nullptr;
    source().give_up_links("cut");
    EXPECT_FALSE(world.source().release) << "nothing is recorded: both go on from the same";
}

TEST_F(SourceTest, ASourceThatWasStoppedDoesNotBlameItsTarget) {
    start(MirrorType::sync);
    world.tick(std::chrono::minutes(10));
    EXPECT_EQ(state(), MirrorState::mirroring);
    pass(milliseconds(3000));
    EXPECT_EQ(state(), MirrorState::mirroring);
}

// Spec: REP-098
TEST_F(SourceTest, AnAcknowledgementOutOfNowhereEndsTheLink) {
    start(MirrorType::sync);
    wire::Header strange;
    strange.type = wire::Type::write_ack;
    strange.sequence = 4711;
    strange.argument = 1;
    source().on_data(strange, nullptr, world.now);
    EXPECT_FALSE(source().linked());
    EXPECT_NE(world.source().lost_reason.find("protocol"), std::string::npos);
}

}  // namespace
}  // namespace understudy::mirror::model
