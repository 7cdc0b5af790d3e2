#include "mirror/control/gate.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

namespace understudy::mirror::control {
namespace {

class Below : public BlockBackend {
  public:
    std::uint64_t size() const override { return 1U << 20; }
    std::uint32_t sector_size() const override { return 512; }
    void submit(BlockRequest& request) override {
        order.push_back(request.offset);
        request.result = 0;
        request.done(request);
    }
    std::vector<std::uint64_t> order;
};

struct GateTest : testing::Test {
    Below below;
    int asked = 0;
    Gate gate{below, 1U << 19, [this] { ++asked; }};
    BlockRequest requests[4];
    static inline int done = 0;

    BlockRequest& make(int index, BlockOp op, std::uint64_t offset) {
        done = 0;
        requests[index].op = op;
        requests[index].offset = offset;
        requests[index].length = 512;
        requests[index].result = 1;
        requests[index].done = [](BlockRequest&) { ++done; };
        return requests[index];
    }
};

// Spec: REP-305
TEST_F(GateTest, AnotherSizeCountsForWhatWaitsAsWell) {
    gate.set(GateMode::hold_all);
    gate.submit(make(0, BlockOp::write, (1U << 19) - 512));
    gate.submit(make(1, BlockOp::write, 1U << 19));
    EXPECT_EQ(requests[1].result, -EINVAL) << "behind the end";
    gate.resize(1U << 20);
    gate.submit(make(2, BlockOp::write, 1U << 19));
    gate.resize(1U << 18);
    gate.set(GateMode::open);
    EXPECT_EQ(requests[0].result, -EINVAL);
    EXPECT_EQ(requests[2].result, -EINVAL);
    EXPECT_TRUE(below.order.empty());
}

// Spec: REP-237
TEST_F(GateTest, NothingPassesBeforeTheRoleIsKnown) {
    gate.submit(make(0, BlockOp::read, 0));
    gate.submit(make(1, BlockOp::write, 512));
    EXPECT_TRUE(below.order.empty());
    gate.set(GateMode::hold_writes);
    EXPECT_EQ(below.order, std::vector<std::uint64_t>{0});
    gate.set(GateMode::open);
    EXPECT_EQ(below.order, (std::vector<std::uint64_t>{0, 512}));
    EXPECT_EQ(gate.held(), 0U);
}

TEST_F(GateTest, TheFirstWriteAsksOnceAndWaits) {
    gate.set(GateMode::first_write);
    gate.submit(make(0, BlockOp::read, 0));
    EXPECT_EQ(asked, 0);
    gate.submit(make(1, BlockOp::write, 512));
    gate.submit(make(2, BlockOp::discard, 1024));
    EXPECT_EQ(asked, 1);
    EXPECT_EQ(below.order, std::vector<std::uint64_t>{0});
    gate.set(GateMode::open);
    EXPECT_EQ(below.order, (std::vector<std::uint64_t>{0, 512, 1024}));
}

TEST_F(GateTest, WritesThatWaitedAskAgainWhenTheGateIsArmed) {
    gate.set(GateMode::hold_writes);
    gate.submit(make(0, BlockOp::write, 0));
    EXPECT_EQ(asked, 0);
    gate.set(GateMode::first_write);
    EXPECT_EQ(asked, 1);
    EXPECT_EQ(gate.held(), 1U);
    gate.fail_held(-EIO);
    EXPECT_EQ(requests[0].result, -EIO);
    EXPECT_EQ(gate.held(), 0U);
}

// Spec: REP-079 REP-217
TEST_F(GateTest, RefusedWritesFailAtOnceAndReadsPass) {
    gate.set(GateMode::first_write);
    gate.submit(make(0, BlockOp::write, 0));
    gate.set(GateMode::refuse_writes);
    EXPECT_EQ(requests[0].result, -EIO);
    gate.submit(make(1, BlockOp::write, 512));
    EXPECT_EQ(requests[1].result, -EIO);
    gate.submit(make(2, BlockOp::read, 1024));
    EXPECT_EQ(below.order, std::vector<std::uint64_t>{1024});
    gate.set(GateMode::open);
    gate.submit(make(3, BlockOp::write, 2048));
    EXPECT_EQ(below.order, (std::vector<std::uint64_t>{1024, 2048}));
}

// Spec: REP-028
TEST_F(GateTest, ALargerDeviceShowsTheMirrorsSize) {
    gate.set(GateMode::open);
    EXPECT_EQ(gate.size(), 1U << 19);
    gate.submit(make(0, BlockOp::write, (1U << 19) - 256));
    EXPECT_EQ(requests[0].result, -EINVAL);
    gate.submit(make(1, BlockOp::write, ~0ULL));
    EXPECT_EQ(requests[1].result, -EINVAL);
    EXPECT_TRUE(below.order.empty());
}

}  // namespace
}  // namespace understudy::mirror::control
