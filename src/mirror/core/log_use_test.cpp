// What the intent log is for: the time after a crash or without a target. A mirror that mirrors asks it
// nothing.

#include "mirror/core/limits.h"
#include "mirror/core/model_world.h"

#include <gtest/gtest.h>

namespace understudy::mirror::model {
namespace {

// Spec: REP-054
TEST(LogUse, WhatTheLogSaysIsNoReasonToSendAnythingWhileTheMirrorMirrors) {
    for (const MirrorType type : {MirrorType::sync, MirrorType::async}) {
        World world{1};
        world.type = type;
        world.start(ResyncKind::none);
        Source& source = *world.source().source;
        ASSERT_TRUE(world.run_until([&] { return source.state() == MirrorState::mirroring; }));
        world.submit(BlockOp::write, 0, 8, false);
        world.settle();
        const auto sent = world.target().target->writes();
        // As writes of long ago have left it, whose bits are cleared when there is time.
        IntentLog& log = *world.source().log;
        log.mark(10 * kBlockBytes, 3 * kBlockBytes, IntentLog::As::recent);
        for (int i = 0; i < 10; ++i) {
            world.tick(kTick);
            world.settle();
        }
        EXPECT_EQ(world.target().target->writes(), sent);
        EXPECT_EQ(source.resync_bytes_sent(), 0U);
        EXPECT_EQ(source.state(), MirrorState::mirroring);
        // Nor does it take part in a write: without it one is mirrored as before.
        log.fail();
        world.submit(BlockOp::write, 640, 8, false);
        AppRequest& request = *world.history.back();
        source.log_committed();
        world.source().commit_wanted = false;
        world.settle();
        EXPECT_NE(request.completed, 0U);
        EXPECT_FALSE(request.failed);
        EXPECT_EQ(world.target().target->writes(), sent + 1);
        EXPECT_EQ(source.state(), MirrorState::mirroring);
        EXPECT_EQ(world.check_equal(), "");
        world.pending_requests = 0;
    }
}

}  // namespace
}  // namespace understudy::mirror::model
