// A link of high latency: what is on it at a time depends on no round trip.

#include "mirror/core/source_test_support.h"

#include <gtest/gtest.h>

namespace understudy::mirror::model {
namespace {

struct OnTheWay {
    std::size_t messages = 0;
    std::uint64_t bytes = 0;
};

OnTheWay sent(const IntrusiveQueue<Outgoing>& queue) {
    OnTheWay out;
    for (const Outgoing* item = queue.front(); item != nullptr; item = item->next) {
        ++out.messages;
        out.bytes += wire::kHeaderBytes + item->length;
    }
    return out;
}

// Spec: REP-001, REP-243
TEST_F(SourceTest, AsynchronousWritesFillALinkOfAnyLengthAndTakeLittleOfItCompressed) {
    world.parameters.compression_level = 1;
    start(MirrorType::async);
    constexpr std::size_t kWrites = 500;
    constexpr std::uint64_t kWriteCells = 8;
    for (std::uint64_t i = 0; i < kWrites; ++i)
        write(i * kWriteCells % (kCells - kWriteCells), kWriteCells);
    run_here();
    for (const auto& request : world.history)
        EXPECT_NE(request->completed, 0U) << "it waits for no answer";
    const OnTheWay live = sent(world.source().data.queued);
    EXPECT_EQ(live.messages, kWrites) << "the next one goes out before the first is acknowledged";
    EXPECT_LT(live.bytes, kWrites * kWriteCells * kCell / 4);
}

// Spec: REP-001, REP-113
TEST_F(SourceTest, AResyncHasManyBlocksOnItsWayAtATime) {
    start(MirrorType::async);
    source().give_up_links("cut");
    for (std::uint64_t block = 0; block < 16; block += 2)  // apart, or they would travel together
        write(block * kBlockBytes / kCell);
    run_here();
    world.connect(ResyncKind::partial);
    ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::resync; }));
    run_here();
    EXPECT_GE(sent(world.source().resync.queued).messages + world.source().resync.travelling.size(), 7U);
}

}  // namespace
}  // namespace understudy::mirror::model
