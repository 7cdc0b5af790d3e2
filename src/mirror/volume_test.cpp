// Two real volumes on files, joined by TCP on loopback or socket pairs, on one reactor.

#include "mirror/volume.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace understudy::mirror {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t kBlock = 65536;
constexpr std::uint64_t kSize = (24u << 20) + 4096;  // not a multiple of a block

struct Events : VolumeEvents {
    void state_changed(MirrorState, MirrorState to, PauseCause why) override {
        states.push_back(to);
        cause = why;
    }
    void link_lost(std::string why) override {
        ++lost;
        reason = std::move(why);
    }
    void link_interrupted(std::string why) override {
        ++interrupted;
        reason = std::move(why);
    }
    void degraded(DegradeAnswer release) override {
        ++degradations;
        if (hold_release) {
            held = std::move(release);
        } else {
            release(true);
        }
    }
    void in_sync() override { ++synced; }
    void target_silent() override {}
    void log_failed(std::string why) override { log_error = std::move(why); }

    std::vector<MirrorState> states;
    PauseCause cause = PauseCause::none;
    int lost = 0, interrupted = 0, degradations = 0, synced = 0;
    bool hold_release = false;
    DegradeAnswer held;
    std::string reason, log_error;
};

struct Request {
    explicit Request(std::uint32_t bytes)
        : buffer(static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)),
                 &std::free) {}
    BlockRequest block;
    std::unique_ptr<std::byte, decltype(&std::free)> buffer;
    bool done = false;
};

/// Nothing but the end of a test takes longer than this.
constexpr auto kLimit = seconds(20);

class VolumeTest : public ::testing::Test {
  protected:
    void SetUp() override {
        auto made = Reactor::create();
        ASSERT_TRUE(made) << made.error().text;
        reactor = std::move(*made);
        std::string pattern = base() + "/volume_test.XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        directory = pattern;
        reactor->after_batch([this] {
            if (condition && condition()) reactor->stop();
        });
        for (const char* name : {"left", "right"}) {
            std::ofstream file(path(name));
            file.close();
            std::filesystem::resize_file(path(name), kSize);
        }
    }

    void TearDown() override {
        for (auto* volume : {&left, &right})
            close(*volume);
        reactor.reset();
        std::filesystem::remove_all(directory);
    }

    [[nodiscard]] virtual std::string base() const { return std::filesystem::temp_directory_path(); }
    [[nodiscard]] std::string path(const std::string& name) const { return directory + "/" + name; }

    bool run_until(std::function<bool()> wanted) {
        if (wanted()) return true;
        bool late = false;
        IoOperation deadline;
        deadline.owner = &late;
        deadline.done = [](IoOperation& op, int) { *static_cast<bool*>(op.owner) = true; };
        reactor->timeout(deadline, kLimit);
        condition = [&] { return late || wanted(); };
        reactor->run();
        const bool reached = wanted();
        if (deadline.in_flight) {
            reactor->cancel(deadline);
            condition = [&] { return late; };
            reactor->run();
        }
        condition = nullptr;
        return reached;
    }

    /// Lets the volumes' own timers work for a while.
    void reactor_idle(milliseconds time) {
        const auto end = std::chrono::steady_clock::now() + time;
        run_until([end] { return std::chrono::steady_clock::now() >= end; });
    }

    VolumeOptions options(const std::string& name) {
        VolumeOptions result;
        result.id = VolumeId("data");
        result.device = path(name);
        result.log_path = path(name + ".log");
        result.log_in_memory = without_log == name;
        result.uuid = {1, 2, 3};
        result.type = type;
        result.parameters = parameters;
        result.busy_wait_ms = 0;
        return result;
    }

    std::unique_ptr<Volume> open(const std::string& name, Events& events) {
        auto volume = Volume::open(*reactor, options(name), events);
        EXPECT_TRUE(volume) << (volume ? "" : volume.error().text);
        return volume ? std::move(*volume) : nullptr;
    }

    void close(std::unique_ptr<Volume>& volume) {
        if (!volume) return;
        bool done = false;
        volume->shutdown([&] { done = true; });
        EXPECT_TRUE(run_until([&] { return done; }));
        volume.reset();
    }

    std::array<int, 2> tcp_pair() {
        const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        EXPECT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(listener, 1), 0);
        ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
        const int first = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        EXPECT_EQ(::connect(first, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        const int second = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        ::close(listener);
        return {first, second};
    }

    /// Joins two volumes; keeps duplicates of the sockets so that a test can cut the link.
    void join(Volume& source, Volume& target, ResyncKind kind) {
        const auto data = tcp_pair(), resync = tcp_pair();
        for (const int fd : cut_handles)
            ::close(fd);
        cut_handles = {::dup(data[0]), ::dup(resync[0])};
        target.attach(data[1], resync[1], {ResyncKind::none, features});
        source.attach(data[0], resync[0], {kind, features});
    }

    /// New connections for an interrupted session.
    void rejoin(Volume& source, Volume& target) {
        const auto data = tcp_pair(), resync = tcp_pair();
        cut_handles = {::dup(data[0]), ::dup(resync[0])};
        const LinkTerms terms{ResyncKind::partial, wire::kAllFeatures, true};
        target.attach(data[1], resync[1], terms);
        source.attach(data[0], resync[0], terms);
    }

    void cut() {
        for (const int fd : cut_handles) {
            ::shutdown(fd, SHUT_RDWR);
            ::close(fd);
        }
        cut_handles.clear();
    }

    void start(ResyncKind kind) {
        left = open("left", left_events);
        right = open("right", right_events);
        ASSERT_TRUE(left && right);
        left->become_source(MirrorState::pending, PauseCause::none, false);
        right->become_target();
        join(*left, *right, kind);
        ASSERT_TRUE(run_until([&] {
            return left->status().state == MirrorState::mirroring &&
                   right->status().state == MirrorState::mirroring;
        }));
    }

    std::unique_ptr<Request> submit(Volume& volume, BlockOp op, std::uint64_t offset, std::uint32_t length,
                                    std::byte fill = {}) {
        auto request = std::make_unique<Request>(std::max(length, 4096u));
        request->block.op = op;
        request->block.offset = offset;
        request->block.length = length;
        request->block.data = request->buffer.get();
        request->block.owner = request.get();
        request->block.done = [](BlockRequest& block) { static_cast<Request*>(block.owner)->done = true; };
        if (op == BlockOp::write) std::memset(request->buffer.get(), static_cast<int>(fill), length);
        volume.submit(request->block);
        return request;
    }

    int write(Volume& volume, std::uint64_t offset, std::uint32_t length, int fill) {
        auto request = submit(volume, BlockOp::write, offset, length, static_cast<std::byte>(fill));
        EXPECT_TRUE(run_until([&] { return request->done; }));
        return request->block.result;
    }

    int flush(Volume& volume) {
        auto request = submit(volume, BlockOp::flush, 0, 0);
        EXPECT_TRUE(run_until([&] { return request->done; }));
        return request->block.result;
    }

    /// Many writes at once, as a busy file system does.
    void storm(Volume& volume, unsigned count, unsigned seed) {
        std::mt19937 random(seed);
        std::deque<std::unique_ptr<Request>> flying;
        for (unsigned i = 0; i < count; ++i) {
            const std::uint32_t length = 4096u << (random() % 5);
            const std::uint64_t offset = random() % ((kSize - length) / 4096) * 4096;
            flying.push_back(
                submit(volume, BlockOp::write, offset, length, static_cast<std::byte>(random())));
            if (flying.size() < 16) continue;
            EXPECT_TRUE(run_until([&] { return flying.front()->done; }));
            flying.pop_front();
        }
        EXPECT_TRUE(run_until([&] {
            return std::all_of(flying.begin(), flying.end(),
                               [](const auto& request) { return request->done; });
        }));
    }

    static std::string content(const std::string& file) {
        std::ifstream stream(file, std::ios::binary);
        std::string bytes(std::filesystem::file_size(file), 0);
        stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        return bytes;
    }
    bool equal() { return content(path("left")) == content(path("right")); }

    wire::Features features = wire::kAllFeatures & ~wire::kFeatureResend;
    std::unique_ptr<Reactor> reactor;
    std::string directory;
    std::function<bool()> condition;
    Events left_events, right_events;
    std::unique_ptr<Volume> left, right;
    std::vector<int> cut_handles;
    MirrorType type = MirrorType::sync;
    std::string without_log;  // which of the two
    MirrorParameters parameters;
};

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

// Spec: REP-002, REP-074, REP-109, MOP-004
TEST_F(VolumeTest, AFullResyncThenSynchronousWritesMakeEqualEnds) {
    std::ofstream(path("left"), std::ios::in | std::ios::out).seekp(1 << 20)
        << "content from before the mirror";
    std::ofstream(path("right"), std::ios::in | std::ios::out).seekp(5 << 20) << "rubbish";
    start(ResyncKind::full);
    EXPECT_EQ(left_events.synced, 1);
    EXPECT_EQ(right_events.synced, 1);
    EXPECT_TRUE(equal());
    storm(*left, 300, 1);
    EXPECT_TRUE(equal());  // each write waited for both ends
    EXPECT_EQ(left->status().dirty_blocks, 0U);
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

// Spec: REP-244, REP-246
TEST_F(VolumeTest, AThrottledMirrorSendsNoFasterThanItsRateUntilTheLimitIsLifted) {
    type = MirrorType::async;
    start(ResyncKind::full);
    parameters.bandwidth_throttle_kbit = 8000;
    left->set_parameters(parameters);
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_EQ(write(*left, 0, 1 << 20, 9), 0);
    ASSERT_EQ(flush(*left), 0);
    // 1 MiB at 1 MB/s, of which a tenth of a second's worth may go at once.
    EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(900));
    EXPECT_TRUE(equal());
    parameters.bandwidth_throttle_kbit = 1;  // as good as never
    left->set_parameters(parameters);
    ASSERT_EQ(write(*left, 0, 1 << 20, 10), 0);
    parameters.bandwidth_throttle_kbit = 0;
    left->set_parameters(parameters);
    ASSERT_EQ(flush(*left), 0);
    EXPECT_TRUE(equal());
}

// Spec: REP-355
TEST_F(VolumeTest, AComparisonFindsAndRepairsWhatWasChangedBehindItsBack) {
    start(ResyncKind::full);
    ASSERT_EQ(write(*left, 0, 1 << 20, 3), 0);
    std::ofstream(path("right"), std::ios::in | std::ios::out).seekp(5 * kBlock + 100) << "rubbish";
    ASSERT_EQ(::system(("sync " + path("right")).c_str()), 0);
    for (const bool repair : {false, true, false}) {
        std::optional<CompareReport> report;
        left->compare({1 << 30, repair}, [&](Result<CompareReport> result) {
            ASSERT_TRUE(result) << result.error().text;
            report = *result;
        });
        storm(*left, 50, 7);
        ASSERT_TRUE(run_until([&] { return report && left->status().dirty_blocks == 0; }));
        EXPECT_EQ(report->stopped, "");
        EXPECT_EQ(report->compared_bytes + report->skipped_bytes, kSize);
        EXPECT_FALSE(left->status().comparison.running);
        if (repair) {
            EXPECT_TRUE(equal());
        }
        EXPECT_LE(report->different_blocks, 1U);
    }
    EXPECT_TRUE(equal());
    right->compare({}, [](const Result<CompareReport>& result) { EXPECT_FALSE(result); });
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

// Spec: REP-086, REP-122, REP-138, REP-166, REP-204
TEST_F(VolumeTest, AfterACutOnlyChangedBlocksAreSentAgain) {
    start(ResyncKind::full);
    storm(*left, 100, 3);
    ASSERT_EQ(flush(*left), 0);
    // An idle moment lets the epoch end, so that nothing counts as unconfirmed.
    ASSERT_TRUE(
        run_until([&] { return left->status().log_commits > 0 && left->status().dirty_blocks == 0; }));
    reactor_idle(milliseconds(400));
    cut();
    ASSERT_TRUE(
        run_until([&] { return left->status().state == MirrorState::paused && right_events.lost > 0; }));
    EXPECT_EQ(left->status().cause, PauseCause::link_lost);
    EXPECT_EQ(left_events.degradations, 1);
    EXPECT_EQ(right->status().state, MirrorState::mirroring);  // Spec: REP-152
    for (unsigned i = 0; i < 10; ++i)
        EXPECT_EQ(write(*left, i * 2 * kBlock, 4096, 0x40 + static_cast<int>(i)), 0);
    EXPECT_EQ(left->status().dirty_blocks, 10U);
    left->resume();
    join(*left, *right, ResyncKind::partial);
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::mirroring; }));
    EXPECT_EQ(left->status().resync_bytes_sent, 10 * kBlock);
    EXPECT_TRUE(equal());
}

// Spec: REP-079
TEST_F(VolumeTest, WritesThatWaitForALostTargetAreReleasedOnlyAfterTheRecordIsMade) {
    start(ResyncKind::full);
    left_events.hold_release = true;
    cut();
    auto request = submit(*left, BlockOp::write, 0, 4096, std::byte{7});
    ASSERT_TRUE(run_until([&] { return left_events.held != nullptr; }));
    auto later = submit(*left, BlockOp::write, 8192, 4096, std::byte{8});
    reactor_idle(milliseconds(300));
    EXPECT_FALSE(request->done);
    EXPECT_FALSE(later->done);
    left_events.held(true);
    EXPECT_TRUE(run_until([&] { return request->done && later->done; }));
    EXPECT_EQ(request->block.result, 0);
}

// Spec: REP-096, REP-164
TEST_F(VolumeTest, ConnectionsThatBreakUnderLoadAreReplacedWithoutAResync) {
    features = wire::kAllFeatures;
    for (const MirrorType kind : {MirrorType::sync, MirrorType::async}) {
        type = kind;
        start(ResyncKind::full);
        const auto sent = left->status().resync_bytes_sent;
        for (unsigned i = 0; i < 5; ++i) {
            std::deque<std::unique_ptr<Request>> flying;
            for (unsigned n = 0; n < 40; ++n)
                flying.push_back(submit(*left, BlockOp::write, (n * 7 + i) % 300 * 65536, 65536,
                                        static_cast<std::byte>(n + i)));
            left_events.interrupted = 0;
            cut();
            ASSERT_TRUE(run_until([&] { return left_events.interrupted > 0 && right->status().resumable; }));
            EXPECT_EQ(left->status().state, MirrorState::mirroring);
            rejoin(*left, *right);
            ASSERT_TRUE(run_until([&] {
                return std::all_of(flying.begin(), flying.end(),
                                   [](const auto& request) { return request->done; });
            }));
            for (const auto& request : flying)
                EXPECT_EQ(request->block.result, 0);
        }
        ASSERT_EQ(flush(*left), 0);
        EXPECT_EQ(left_events.lost, 0);
        EXPECT_EQ(left_events.degradations, 0);
        EXPECT_EQ(left->status().resync_bytes_sent, sent);
        EXPECT_TRUE(equal());
        close(left);
        close(right);
    }
}

// Spec: REP-119, REP-121, REP-198, REP-211, REP-236
TEST_F(VolumeTest, APromotedTargetGoesOnAndTheOldSourceFollowsWithItsOwnBlocksOverwritten) {
    start(ResyncKind::full);
    storm(*left, 30, 4);
    reactor_idle(milliseconds(400));
    cut();
    ASSERT_TRUE(run_until([&] { return left_events.lost > 0 && right_events.lost > 0; }));
    ASSERT_EQ(write(*left, 3 << 20, 65536, 0x11), 0);  // only the old source has this

    bool drained = false;
    right->drain([&](Result<> result) { drained = result.has_value(); });
    ASSERT_TRUE(run_until([&] { return drained; }));
    right->become_source(MirrorState::paused, PauseCause::link_lost, false);
    ASSERT_EQ(write(*right, 9 << 20, 65536, 0x22), 0);

    bool quiet = false;
    left->quiesce([&](Result<>) { quiet = true; });
    ASSERT_TRUE(run_until([&] { return quiet; }));
    EXPECT_EQ(submit(*left, BlockOp::write, 0, 4096)->block.result, -EROFS);
    left->become_target();
    right->resume();
    join(*right, *left, ResyncKind::partial);
    ASSERT_TRUE(
        run_until([&] { return right->status().state == MirrorState::mirroring && left_events.synced > 1; }));
    EXPECT_TRUE(equal());
    EXPECT_LT(right->status().resync_bytes_sent, kSize);  // partial
    EXPECT_NE(content(path("left")).substr(3 << 20, 65536), std::string(65536, 0x11));
    storm(*right, 50, 5);
    EXPECT_TRUE(equal());
}

// Spec: REP-184, REP-185, REP-218
TEST_F(VolumeTest, ACleanShutdownLeavesACleanLogAndNoResyncWork) {
    type = MirrorType::async;
    start(ResyncKind::full);
    storm(*left, 200, 6);
    close(left);
    close(right);
    EXPECT_TRUE(equal());
    left = open("left", left_events);
    EXPECT_TRUE(left->status().log_was_clean);
    EXPECT_TRUE(left->status().log_valid);
    left->become_source(MirrorState::pending, PauseCause::none, false);
    EXPECT_EQ(left->status().dirty_blocks, 0U);
}

// Spec: REP-186, REP-209, MOP-123
TEST_F(VolumeTest, DirtyBlocksOutliveARestartWhilePaused) {
    start(ResyncKind::full);
    cut();
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::paused; }));
    for (unsigned i = 0; i < 5; ++i)
        ASSERT_EQ(write(*left, i * kBlock * 3, 8192, 0x60), 0);
    const auto dirty = left->status().dirty_blocks;
    close(left);
    left = open("left", left_events);
    left->become_source(MirrorState::pending, PauseCause::none, false);
    EXPECT_EQ(left->status().dirty_blocks, dirty);
    join(*left, *right, ResyncKind::partial);
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::mirroring; }));
    EXPECT_TRUE(equal());
}

// Spec: REP-150, REP-159
TEST_F(VolumeTest, APauseGivesTheTargetWhatIsQueuedAndThenOnlyTracks) {
    type = MirrorType::async;
    start(ResyncKind::full);
    storm(*left, 100, 7);
    bool paused = false;
    left->pause([&](Result<> result) { paused = result.has_value(); });
    ASSERT_TRUE(run_until([&] { return paused && right_events.lost > 0; }));
    EXPECT_NE(right_events.reason.find("paused by the user"), std::string::npos) << right_events.reason;
    EXPECT_EQ(left->status().cause, PauseCause::user);
    EXPECT_EQ(left->status().dirty_blocks, 0U);
    EXPECT_TRUE(equal());
    ASSERT_EQ(write(*left, 0, 4096, 0x55), 0);
    EXPECT_EQ(left->status().dirty_blocks, 1U);
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

// Spec: REP-321, REP-324, REP-327, REP-328, REP-333
TEST_F(VolumeTest, ASnapshotOfTheTargetStandsStillWhileTheMirrorGoesOnAndIsGoneWhenDropped) {
    start(ResyncKind::full);
    storm(*left, 100, 21);
    const std::string file = path("data.cow");
    std::ofstream(file).close();
    std::filesystem::resize_file(file, (kSize + kBlock) / kBlock * kBlock);
    ASSERT_TRUE(right->prepare_snapshot({5, file, 65536}));
    EXPECT_EQ(right->prepare_snapshot({6, file, 65536}).error().code, Code::exists);
    EXPECT_EQ(right->snapshot_view(), nullptr);
    EXPECT_EQ(right->status().snapshot, SnapshotState::prepared);
    const std::string moment = content(path("left"));
    bool marked = false;
    left->mark_snapshot(5, [&](Result<> result) { marked = result.has_value(); });
    storm(*left, 200, 22);
    ASSERT_TRUE(run_until([&] { return marked && right->snapshot_view() != nullptr; }));
    EXPECT_TRUE(equal());
    EXPECT_NE(content(path("right")), moment);
    EXPECT_EQ(right->status().snapshot, SnapshotState::active);
    EXPECT_GT(right->status().snapshot_bytes, 0U);

    Request read(kSize);
    read.block.length = kSize;
    read.block.data = read.buffer.get();
    read.block.owner = &read;
    read.block.done = [](BlockRequest& block) { static_cast<Request*>(block.owner)->done = true; };
    right->snapshot_view()->submit(read.block);
    ASSERT_TRUE(run_until([&] { return read.done; }));
    EXPECT_EQ(std::memcmp(read.buffer.get(), moment.data(), kSize), 0);

    auto local = std::make_unique<Request>(4096);
    local->block = read.block;
    local->block.op = BlockOp::write;
    local->block.length = 4096;
    local->block.data = local->buffer.get();
    local->block.owner = local.get();
    std::memset(local->buffer.get(), 0x66, 4096);
    right->snapshot_view()->submit(local->block);
    ASSERT_TRUE(run_until([&] { return local->done; }));
    EXPECT_EQ(local->block.result, 0);
    EXPECT_TRUE(equal());

    bool dropped = false;
    right->drop_snapshot([&] { dropped = true; });
    storm(*left, 50, 23);
    ASSERT_TRUE(run_until([&] { return dropped; }));
    EXPECT_EQ(right->status().snapshot, SnapshotState::none);
    EXPECT_TRUE(equal());
    // The file is free again.
    ASSERT_TRUE(right->prepare_snapshot({6, file, 65536}));
}

// Spec: REP-316
TEST_F(VolumeTest, ASnapshotOutlivesTheLinkAndTheResyncThatFollows) {
    start(ResyncKind::full);
    storm(*left, 100, 31);
    const std::string file = path("data.cow");
    std::ofstream(file).close();
    std::filesystem::resize_file(file, kSize + kBlock);
    ASSERT_TRUE(right->prepare_snapshot({5, file, 4096}));
    const std::string moment = content(path("left"));
    bool marked = false;
    left->mark_snapshot(5, [&](const Result<>& result) { marked = result.has_value(); });
    ASSERT_TRUE(run_until([&] { return marked && right->snapshot_view() != nullptr; }));
    cut();
    ASSERT_TRUE(run_until([&] { return left_events.lost > 0 && right_events.lost > 0; }));
    storm(*left, 100, 32);
    join(*left, *right, ResyncKind::partial);
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::mirroring; }));
    EXPECT_TRUE(equal());
    Request read(kSize);
    read.block.length = kSize;
    read.block.data = read.buffer.get();
    read.block.owner = &read;
    read.block.done = [](BlockRequest& block) { static_cast<Request*>(block.owner)->done = true; };
    right->snapshot_view()->submit(read.block);
    ASSERT_TRUE(run_until([&] { return read.done; }));
    EXPECT_EQ(std::memcmp(read.buffer.get(), moment.data(), kSize), 0);
    // A new role ends it.
    right->become_target();
    EXPECT_NE(right->snapshot_view(), nullptr);
    right->become_source(MirrorState::paused, PauseCause::none, false);
    EXPECT_EQ(right->snapshot_view(), nullptr);
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

// Spec: REP-029, REP-110, REP-355
TEST_F(VolumeTest, WhatAFullCopyLeavesOutIsNeitherSentNorComparedUntilItIsWritten) {
    constexpr std::uint64_t kBlocks = kSize / kBlock;
    for (const char* name : {"left", "right"}) {
        std::ofstream file(path(name), std::ios::in | std::ios::out);
        for (std::uint64_t at = 0; at < kSize; at += 4096)
            file << std::string(4096, name[0]);
    }
    const auto differing = [this] {
        std::vector<std::uint64_t> out;
        const std::string here = content(path("left")), there = content(path("right"));
        for (std::uint64_t block = 0; block * kBlock < kSize; ++block)
            if (here.compare(block * kBlock, kBlock, there, block * kBlock, kBlock) != 0)
                out.push_back(block);
        return out;
    };
    left = open("left", left_events);
    right = open("right", right_events);
    ASSERT_TRUE(left && right);
    left->become_source(MirrorState::pending, PauseCause::none, true);
    right->become_target();
    left->watch_writes(1);
    left->leave_out(1, {{5, 1}}, false);  // overtaken by the next question
    left->watch_writes(2);
    ASSERT_EQ(write(*left, 102 * kBlock + 4096, 4096, 7), 0);  // while the file system is asked
    left->leave_out(1, {{5, 1}}, false);
    left->leave_out(2, {{100, 6}}, false);
    join(*left, *right, ResyncKind::full);
    ASSERT_TRUE(run_until([&] {
        return left->status().state == MirrorState::mirroring && right->status().consistent &&
               right->status().state == MirrorState::mirroring;
    }));
    EXPECT_EQ(differing(), (std::vector<std::uint64_t>{100, 101, 103, 104, 105}));
    EXPECT_EQ(left->status().resync_bytes_sent, kSize - 5 * kBlock);
    EXPECT_EQ(left->status().left_out_blocks, 5U);
    const auto compare = [this](CompareReport& report) {
        bool done = false;
        left->compare({1 << 30, false}, [&](Result<CompareReport> result) {
            ASSERT_TRUE(result) << result.error().text;
            report = *result;
            done = true;
        });
        ASSERT_TRUE(run_until([&] { return done && left->status().dirty_blocks == 0; }));
    };
    CompareReport report;
    compare(report);
    EXPECT_EQ(report.unused_bytes, 5 * kBlock);
    EXPECT_EQ(report.different_blocks + report.completed_blocks, 0U);
    // A part is used now: the file system never reads the rest, and a comparison makes it equal all the same.
    ASSERT_EQ(write(*left, 104 * kBlock, 4096, 9), 0);
    EXPECT_EQ(content(path("right")).substr(104 * kBlock, 4096), std::string(4096, 9));
    compare(report);
    EXPECT_EQ(report.completed_blocks, 1U);
    EXPECT_EQ(report.different_blocks, 0U);
    EXPECT_EQ(report.compared_bytes + report.skipped_bytes + report.unused_bytes + kBlock, kSize);
    EXPECT_EQ(differing(), (std::vector<std::uint64_t>{100, 101, 103, 105}));
    // After the loss of the link nothing more is owed.
    cut();
    ASSERT_TRUE(run_until([&] { return left_events.lost == 1; }));
    EXPECT_LT(left->status().dirty_blocks, kBlocks / 2);
    left->resume();
    join(*left, *right, ResyncKind::partial);
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::mirroring; }));
    EXPECT_EQ(differing(), (std::vector<std::uint64_t>{100, 101, 103, 105}));
    // In full, and nobody was asked.
    left->detach();
    join(*left, *right, ResyncKind::full);
    ASSERT_TRUE(run_until([&] { return left_events.synced == 3; }));
    EXPECT_TRUE(equal());
    EXPECT_FALSE(left->status().left_out_known);
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
}  // namespace understudy::mirror
