// A shared disk that grows under its mirror.

#include "mirror/emcmd/shared_lab.h"

namespace understudy::mirror::emcmd::testing_lab {
namespace {

// Spec: REP-309
TEST_F(SharedMirror, ItsDiskGrowsWhileTheOtherHostIsOffWhichTakesTheNewSizeWhenItIsBack) {
    mirror();
    const std::uint64_t before = record(left).size;
    power_off(right);
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    ok(third, {".", "UNLOCKVOLUME", "R"});
    left.disk.size += 65536;
    third.disk.size += 65536;
    ok(left, {".", "UPDATEVOLUMEINFO", "R"});
    ok(third, {".", "UPDATEVOLUMEINFO", "R"});
    ok(third, {".", "LOCKVOLUME", "R"});
    ok(left, {".", "CONTINUEMIRROR", "R", "10.0.0.3"});
    ASSERT_TRUE(in_sync(left));
    EXPECT_EQ(record(left).size, before + 65536);
    EXPECT_EQ(record(third).size, before + 65536);
    EXPECT_TRUE(pair.write(left, 3, 33));
    sent();
    start(right);
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right));
    EXPECT_EQ(record(right).size, before + 65536);
    EXPECT_EQ(right.daemon->host->exported_bytes(), before + 65536);
    EXPECT_EQ(sent(), 0U) << "the log was laid out for that size";
    EXPECT_TRUE(pair.write(right, 4, 44));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

struct ResizeOfSites : SharedMirror {
    ResizeOfSites() : SharedMirror(1, 4) {}
};

// Spec: MOP-143
TEST_F(ResizeOfSites, BothDisksGrowWhileTheirOtherHostsAreOffWhichTakeTheNewSizeWhenTheyAreBack) {
    share();
    share(third, fourth);
    make_job({{&left, &right}, {&third, &fourth}});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(in_sync(left, third));
    const std::uint64_t larger = record(left).size + 65536;
    ok(left, {".", "PAUSEMIRROR", "R"});
    power_off(right);
    power_off(fourth);
    left.disk.size = third.disk.size = larger;
    ok(left, {".", "UPDATEVOLUMEINFO", "R"});
    ok(third, {".", "UPDATEVOLUMEINFO", "R"});
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(in_sync(left, third));
    EXPECT_EQ(record(left).size, larger);
    EXPECT_EQ(record(third).size, larger);
    EXPECT_TRUE(pair.write(left, 3, 33));
    start(right);
    start(fourth);
    sent();
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right, third));
    EXPECT_EQ(record(right).size, larger);
    EXPECT_EQ(right.daemon->host->exported_bytes(), larger);
    ok(third, {".", "LOCKVOLUME", "R"});
    EXPECT_EQ(status(fourth, {".", "UNLOCKVOLUME", "R"}), 1);
    EXPECT_THAT(error, HasSubstr("has become the target of volume R"));
    ASSERT_TRUE(in_sync(right, fourth));
    EXPECT_EQ(record(fourth).size, larger);
    EXPECT_LT(sent(), kBlocks) << "partial";
    EXPECT_TRUE(pair.write(right, 4, 44));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
