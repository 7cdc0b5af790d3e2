// Requests of two joined volumes, and of one alone.

#include "mirror/volume_fixture.h"

#include <gtest/gtest.h>
#include <linux/magic.h>
#include <linux/tcp.h>
#include <sys/stat.h>
#include <sys/vfs.h>

namespace understudy::mirror::testing_volume {
namespace {

// Spec: REP-064, REP-176
TEST_F(VolumeTest, AVolumeWithoutRoomForALogMirrorsAndSaysThatNothingOutlivesIt) {
    without_log = "left";
    start(ResyncKind::full);
    EXPECT_FALSE(left->status().log_valid);
    EXPECT_FALSE(std::filesystem::exists(path("left") + ".log"));
    storm(*left, 200, 1);
    EXPECT_EQ(flush(*left), 0);
    EXPECT_TRUE(equal());
    cut();
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::paused; }));
    EXPECT_EQ(write(*left, 0, 4096, 7), 0);
    EXPECT_GT(left->status().dirty_blocks, 0U) << "tracked in memory";
    const std::uint64_t changed = left->status().dirty_blocks * kBlock;
    left->resume();
    join(*left, *right, ResyncKind::partial);
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::mirroring; }));
    EXPECT_LE(left->status().resync_bytes_sent, changed);
    EXPECT_EQ(flush(*left), 0);
    EXPECT_TRUE(equal());
    close(left);
    close(right);
}

// Spec: REP-081, REP-083
TEST_F(VolumeTest, AFlushOfAnAsynchronousMirrorWaitsForTheTarget) {
    type = MirrorType::async;
    start(ResyncKind::full);
    storm(*left, 300, 2);
    EXPECT_EQ(flush(*left), 0);
    EXPECT_EQ(left->status().queue_requests, 0U);
    EXPECT_TRUE(equal());
}

/// On files in memory, whose writes are done the moment they are submitted.
class InMemoryVolumeTest : public VolumeTest {
  protected:
    void SetUp() override {
        struct statfs about {};
        if (::statfs("/dev/shm", &about) != 0 || about.f_type != TMPFS_MAGIC) GTEST_SKIP() << "no tmpfs";
        VolumeTest::SetUp();
    }
    [[nodiscard]] std::string base() const override { return "/dev/shm"; }
    /// What the source's data link has given to the network.
    [[nodiscard]] std::uint64_t sent() const {
        tcp_info info{};
        socklen_t length = sizeof info;
        EXPECT_EQ(::getsockopt(cut_handles[0], IPPROTO_TCP, TCP_INFO, &info, &length), 0);
        return info.tcpi_bytes_sent;
    }
};

// Spec: REP-081
TEST_F(InMemoryVolumeTest, AnAsynchronousWriteIsAnsweredBeforeItsFrameIsSentWhichFollowsByItself) {
    type = MirrorType::async;
    start(ResyncKind::full);
    ASSERT_EQ(write(*left, 0, 4096, 1), 0);  // its bit is durable from here on
    ASSERT_TRUE(run_until([&] { return left->status().queue_requests == 0; }));
    const std::uint64_t before = sent();
    auto request = submit(*left, BlockOp::write, 0, 4096, std::byte{2});
    std::uint64_t at_answer = 0;
    ASSERT_TRUE(run_until([&] {
        if (!request->done) return false;
        if (at_answer == 0) at_answer = sent();
        return true;
    }));
    EXPECT_EQ(at_answer, before);
    ASSERT_TRUE(run_until([&] { return left->status().queue_requests == 0; }));
    EXPECT_GT(sent(), before);
    EXPECT_TRUE(equal());
}

// Spec: REP-082
TEST_F(VolumeTest, ZeroesTravelWithoutTheirBytesAndLeaveAHoleInTheTarget) {
    start(ResyncKind::full);
    ASSERT_EQ(write(*left, 0, 1 << 20, 7), 0);
    ASSERT_TRUE(equal());
    struct stat full {
    }, after{};
    ASSERT_EQ(::stat(path("right").c_str(), &full), 0);
    for (const MirrorType mode : {MirrorType::sync, MirrorType::async}) {
        left->set_type(mode);
        ASSERT_EQ(write(*left, mode == MirrorType::sync ? 0 : 512 << 10, 512 << 10, 0), 0);
    }
    ASSERT_EQ(flush(*left), 0);
    EXPECT_TRUE(equal());
    ASSERT_EQ(::stat(path("right").c_str(), &after), 0);
    EXPECT_LE(after.st_blocks + (1 << 20) / 512, full.st_blocks);
}

// Spec: REP-008, REP-090
TEST_F(VolumeTest, ReadsOfASourceAreItsDevicesBusinessAlone) {
    start(ResyncKind::full);
    ASSERT_EQ(write(*left, 0, 65536, 0x42), 0);
    const VolumeStatus before = left->status(), there = right->status();
    for (std::uint64_t i = 0; i < 16; ++i) {
        auto read = submit(*left, BlockOp::read, i * 4096, 4096);
        ASSERT_TRUE(run_until([&] { return read->done; }));
        EXPECT_EQ(read->block.result, 0);
        EXPECT_EQ(*read->buffer, std::byte{0x42});
    }
    const VolumeStatus after = left->status();
    EXPECT_EQ(after.reads, before.reads + 16);
    EXPECT_EQ(after.writes, before.writes);
    EXPECT_EQ(after.queue_requests, 0U);
    EXPECT_EQ(after.counters.data_bytes, before.counters.data_bytes);
    EXPECT_EQ(right->status().writes, there.writes);
}

// Spec: REP-090
TEST_F(VolumeTest, ATargetRefusesReadsAndWrites) {
    start(ResyncKind::full);
    for (const BlockOp op : {BlockOp::read, BlockOp::write, BlockOp::flush, BlockOp::discard}) {
        auto request = submit(*right, op, 0, op == BlockOp::flush ? 0 : 4096);
        EXPECT_TRUE(request->done);
        EXPECT_EQ(request->block.result, -EACCES);
    }
}

TEST_F(VolumeTest, RequestsBeyondTheEndOrOffTheSectorsAreRefused) {
    start(ResyncKind::full);
    EXPECT_EQ(submit(*left, BlockOp::write, kSize, 4096)->block.result, -EINVAL);
    EXPECT_EQ(submit(*left, BlockOp::read, kSize - 4096, 8192)->block.result, -EINVAL);
    EXPECT_EQ(submit(*left, BlockOp::write, 100, 4096)->block.result, -EINVAL);
    EXPECT_EQ(submit(*left, BlockOp::read, ~0ULL - 4095, 4096)->block.result, -EINVAL);
}

// Spec: REP-110 (zero blocks travel without data), REP-111
TEST_F(VolumeTest, DiscardsAndZeroesReadTheSameOnBothEnds) {
    start(ResyncKind::full);
    ASSERT_EQ(write(*left, 0, 1 << 20, 0x77), 0);
    for (const BlockOp op : {BlockOp::discard, BlockOp::write_zeroes}) {
        auto request = submit(*left, op, op == BlockOp::discard ? 65536 : 262144, 131072);
        ASSERT_TRUE(run_until([&] { return request->done; }));
        EXPECT_EQ(request->block.result, 0);
    }
    EXPECT_TRUE(equal());
    EXPECT_EQ(content(path("right")).substr(262144, 131072), std::string(131072, 0));
}

// Spec: REP-026
TEST_F(VolumeTest, ADeviceInUseIsRefusedNamingItsHolder) {
    left = open("left", left_events);
    VolumeOptions second = options("left");
    second.log_path = path("other.log");
    const auto refused = Volume::open(*reactor, second, right_events);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find(fmt::format("(pid {})", ::getpid())), std::string::npos)
        << refused.error().text;
}

// Spec: REP-021
TEST_F(VolumeTest, ATargetMayBeLargerThanTheReplicatedSizeButNotSmaller) {
    VolumeOptions wanted = options("right");
    wanted.size = kSize - 65536;
    auto volume = Volume::open(*reactor, wanted, right_events);
    ASSERT_TRUE(volume) << volume.error().text;
    EXPECT_EQ((*volume)->size(), kSize - 65536);
    close(*volume);
    std::filesystem::remove(path("right.log"));
    wanted.size = kSize + 65536;
    EXPECT_FALSE(Volume::open(*reactor, wanted, right_events));
}

TEST_F(VolumeTest, AnUnreplicatedVolumeGoesStraightToItsDevice) {
    VolumeOptions alone = options("left");
    alone.has_target = false;
    alone.log_path.clear();
    auto opened = Volume::open(*reactor, alone, left_events);
    ASSERT_TRUE(opened);
    left = std::move(*opened);
    left->become_source(MirrorState::none, PauseCause::none, false);
    storm(*left, 50, 8);
    ASSERT_EQ(write(*left, 4096, 4096, 0x42), 0);
    EXPECT_EQ(content(path("left")).substr(4096, 4096), std::string(4096, 0x42));
    bool quiet = false;
    left->quiesce([&](Result<> result) { quiet = result.has_value(); });
    EXPECT_TRUE(run_until([&] { return quiet; }));
}

}  // namespace
}  // namespace understudy::mirror::testing_volume
