#include "mirror/log/log_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace understudy::mirror {
namespace {

constexpr std::uint64_t kVolume = 100 * kBlockBytes;
constexpr std::array<std::uint8_t, 16> kUuid{9, 8, 7};

class LogFileTest : public ::testing::Test {
  protected:
    void SetUp() override {
        auto made = Reactor::create(64);
        ASSERT_TRUE(made);
        reactor = std::move(*made);
        std::string pattern = (std::filesystem::temp_directory_path() / "log_file_test.XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        directory = pattern;
        path = directory + "/data.log";
    }
    void TearDown() override {
        file.reset();
        reactor.reset();
        std::filesystem::remove_all(directory);
    }

    Result<> open(std::uint64_t size = kVolume, std::array<std::uint8_t, 16> uuid = kUuid) {
        file.reset();
        log = std::make_unique<IntentLog>(size, 65536);
        auto opened = LogFile::open(*reactor, path, uuid, size, *log);
        if (!opened) return fail(std::move(opened.error()));
        file = std::move(*opened);
        file->finished = [this](int error) {
            commit_result = error;
            reactor->stop();
        };
        return {};
    }

    int update(std::function<void(LogHeader&)> change) {
        int result = 1;
        file->update_header(std::move(change), [&](int error) {
            result = error;
            reactor->stop();
        });
        reactor->run();
        return result;
    }

    /// Changes bytes of the file as a fault would.
    void damage(std::uint64_t offset, const std::string& bytes) {
        std::fstream stream(path, std::ios::in | std::ios::out | std::ios::binary);
        stream.seekp(static_cast<std::streamoff>(offset));
        stream << bytes;
    }

    std::unique_ptr<Reactor> reactor;
    std::string directory, path;
    std::unique_ptr<IntentLog> log;
    std::unique_ptr<LogFile> file;
    int commit_result = 1;
};

// Spec: REP-046, REP-186
TEST_F(LogFileTest, CommittedBitsAreFoundAgain) {
    ASSERT_TRUE(open());
    EXPECT_TRUE(file->created());
    EXPECT_TRUE(file->found().fresh);
    log->mark(42 * kBlockBytes, 4096, IntentLog::As::dirty);
    file->commit();
    reactor->run();
    EXPECT_EQ(commit_result, 0);
    ASSERT_TRUE(open());
    EXPECT_FALSE(file->created());
    EXPECT_EQ(log->dirty().count(), 1U);
    EXPECT_TRUE(log->dirty().test(42));
}

// Spec: REP-055, REP-184
TEST_F(LogFileTest, TheCleanMarkIsSeenOnceAndTakenOff) {
    ASSERT_TRUE(open());
    EXPECT_EQ(update([](LogHeader& header) { header.clean = true; }), 0);
    ASSERT_TRUE(open());
    EXPECT_TRUE(file->found().clean);
    ASSERT_TRUE(open());
    EXPECT_FALSE(file->found().clean);
    EXPECT_EQ(file->header().generation, 3U);
}

TEST_F(LogFileTest, ATornHeaderLeavesTheFormerOneInForce) {
    ASSERT_TRUE(open());
    EXPECT_EQ(update([](LogHeader& header) { header.inconsistent = true; }), 0);
    const auto serial = file->header().serial;
    EXPECT_EQ(update([](LogHeader& header) { header.inconsistent = false; }), 0);
    file.reset();
    damage(log_format::kHeaderOffset[(serial + 1) % 2] + log_format::kAtFlags, "\x07");
    ASSERT_TRUE(open());
    EXPECT_TRUE(file->found().inconsistent);
    EXPECT_EQ(file->found().serial, serial);
}

// Spec: REP-055, REP-187
TEST_F(LogFileTest, WithoutAWholeHeaderEverythingIsDirty) {
    ASSERT_TRUE(open());
    file.reset();
    damage(log_format::kHeaderOffset[0] + 100, "x");
    damage(log_format::kHeaderOffset[1] + 100, "x");
    ASSERT_TRUE(open());
    EXPECT_FALSE(file->found().valid);
    EXPECT_EQ(log->dirty().count(), log->blocks());
    ASSERT_TRUE(open());  // and it stays so
    EXPECT_EQ(log->dirty().count(), log->blocks());
}

// Spec: REP-064
TEST_F(LogFileTest, ALogThatSaysItsBitsAreWorthlessMakesEverythingDirty) {
    ASSERT_TRUE(open());
    EXPECT_EQ(update([](LogHeader& header) { header.valid = false; }), 0);
    ASSERT_TRUE(open());
    EXPECT_FALSE(file->found().valid);
    EXPECT_EQ(log->dirty().count(), log->blocks());
}

TEST_F(LogFileTest, TheLogOfAnotherMirrorIsRefusedAndLeftAlone) {
    ASSERT_TRUE(open());
    file.reset();
    const auto refused = open(kVolume, {1});
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("another mirror"), std::string::npos);
    EXPECT_TRUE(open());
}

// Spec: REP-307, REP-047
TEST_F(LogFileTest, AVolumeThatHasGrownKeepsItsBitsAndTheNewPartIsDirty) {
    // Across the end of a page, with a block at the end that is only partly there before.
    constexpr std::uint64_t kSmall = (kBlocksPerPage - 3) * kBlockBytes + 4096;
    constexpr std::uint64_t kLarge = (2 * kBlocksPerPage + 100) * kBlockBytes;
    ASSERT_TRUE(open(kSmall));
    log->mark(42 * kBlockBytes, 4096, IntentLog::As::dirty);
    file->commit();
    reactor->run();
    ASSERT_EQ(update([](LogHeader& header) { header.fresh = false; }), 0);
    for (int round = 0; round < 2; ++round) {  // and it stays so
        ASSERT_TRUE(open(kLarge));
        EXPECT_FALSE(file->created());
        EXPECT_TRUE(file->found().valid);
        EXPECT_FALSE(file->header().fresh);
        EXPECT_EQ(file->header().volume_bytes, kLarge);
        EXPECT_TRUE(log->dirty().test(42));
        EXPECT_FALSE(log->dirty().test(kBlocksPerPage - 4));
        EXPECT_EQ(log->dirty().next(43), kBlocksPerPage - 3);
        EXPECT_EQ(log->dirty().count(), 1 + 2 * kBlocksPerPage + 100 - (kBlocksPerPage - 3));
        EXPECT_EQ(log->mark(2 * kBlocksPerPage * kBlockBytes, 4096, IntentLog::As::recent),
                  IntentLog::kDurable);
    }
    EXPECT_EQ(std::filesystem::file_size(path), log_format::kBitmapOffset + 3 * kMapPageBytes);
    EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

// Spec: REP-307
TEST_F(LogFileTest, AVolumeThatHasShrunkLosesTheBitsBehindItsEnd) {
    ASSERT_TRUE(open());
    log->mark(7 * kBlockBytes, 4096, IntentLog::As::dirty);
    log->mark(80 * kBlockBytes, 4096, IntentLog::As::dirty);
    file->commit();
    reactor->run();
    ASSERT_TRUE(open(kVolume / 2));
    EXPECT_EQ(log->dirty().count(), 1U);
    EXPECT_TRUE(log->dirty().test(7));
    // What comes back later is new: the old bit of block 80 says nothing about it.
    ASSERT_TRUE(open(kVolume));
    EXPECT_EQ(log->dirty().count(), 1 + log->blocks() / 2);
}

// Spec: REP-064, REP-307
TEST_F(LogFileTest, AWorthlessLogOfAnotherSizeMakesEverythingDirty) {
    ASSERT_TRUE(open());
    EXPECT_EQ(update([](LogHeader& header) { header.valid = false; }), 0);
    ASSERT_TRUE(open(kVolume * 3));
    EXPECT_FALSE(file->found().valid);
    EXPECT_EQ(log->dirty().count(), log->blocks());
    ASSERT_TRUE(open(kVolume * 3));
    EXPECT_EQ(log->dirty().count(), log->blocks());
}

// Spec: REP-176, REP-307
TEST_F(LogFileTest, WithoutSpaceForTheNewSizeTheOldLogStays) {
    ASSERT_TRUE(open());
    log->mark(42 * kBlockBytes, 4096, IntentLog::As::dirty);
    file->commit();
    reactor->run();
    rlimit former{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &former), 0);
    rlimit small = former;
    small.rlim_cur = log_format::kBitmapOffset + kMapPageBytes;  // stands for a full disk
    auto* handler = std::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto refused = open(3 * kBlocksPerPage * kBlockBytes);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &former), 0);
    std::signal(SIGXFSZ, handler);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find(path), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(path + ".new"));
    ASSERT_TRUE(open());
    EXPECT_TRUE(file->found().valid);
    EXPECT_EQ(log->dirty().count(), 1U);
    EXPECT_TRUE(log->dirty().test(42));
}

TEST_F(LogFileTest, AFileThatIsNoLogIsRefusedAndLeftAlone) {
    std::ofstream(path) << std::string(20000, 'x');
    const auto refused = open();
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("not an intent log"), std::string::npos);
    EXPECT_EQ(std::filesystem::file_size(path), 20000U);
}

TEST_F(LogFileTest, ALogInUseIsRefused) {
    ASSERT_TRUE(open());
    IntentLog other(kVolume, 65536);
    EXPECT_FALSE(LogFile::open(*reactor, path, kUuid, kVolume, other));
}

// Spec: REP-063
TEST_F(LogFileTest, NoSpaceForTheLogIsSaidAndNothingIsLeftBehind) {
    rlimit former{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &former), 0);
    rlimit small = former;
    small.rlim_cur = 4096;  // stands for a full disk: the file cannot grow
    auto* handler = std::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto refused = open();
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &former), 0);
    std::signal(SIGXFSZ, handler);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find(path), std::string::npos);
    EXPECT_TRUE(std::filesystem::is_empty(directory));
    EXPECT_TRUE(open());
}

/// Two hosts' regions of one device, with something else before and behind them.
class LogRegionTest : public LogFileTest {
  protected:
    void SetUp() override {
        LogFileTest::SetUp();
        device = directory + "/device";
        std::ofstream(device) << std::string(kEnd, 'x');
        std::fstream stream(device, std::ios::in | std::ios::out | std::ios::binary);
        stream.seekp(kFirst);
        stream << std::string(2 * kBytes, '\0');
        stream.close();
        use(kFirst);
    }
    void use(std::uint64_t offset) { path = LogRegion{device, offset, kBytes}.path(); }
    std::string bytes(std::uint64_t from, std::uint64_t count) {
        std::string out(count, '\0');
        std::ifstream stream(device, std::ios::binary);
        stream.seekg(static_cast<std::streamoff>(from));
        stream.read(out.data(), static_cast<std::streamsize>(count));
        return out;
    }
    void put(std::uint64_t to, const std::string& text) {
        std::fstream stream(device, std::ios::in | std::ios::out | std::ios::binary);
        stream.seekp(static_cast<std::streamoff>(to));
        stream << text;
    }
    static constexpr std::uint64_t kFirst = 65536, kBytes = 65536, kEnd = 4 * 65536;
    std::string device;
};

// Spec: REP-058, MOP-067
TEST_F(LogRegionTest, TheNextOwnerFindsTheBitsInACopyAndNothingBesideTheRegionIsTouched) {
    ASSERT_TRUE(open());
    EXPECT_TRUE(file->created());
    log->mark(42 * kBlockBytes, 4096, IntentLog::As::dirty);
    file->commit();
    reactor->run();
    ASSERT_EQ(commit_result, 0);
    put(kFirst + kBytes, bytes(kFirst, kBytes));
    use(kFirst + kBytes);
    ASSERT_TRUE(open());
    EXPECT_FALSE(file->created());
    EXPECT_TRUE(file->found().valid);
    EXPECT_EQ(log->dirty().count(), 1U);
    EXPECT_TRUE(log->dirty().test(42));
    EXPECT_EQ(update([](LogHeader& header) { header.clean = true; }), 0);
    ASSERT_TRUE(open());
    EXPECT_TRUE(file->found().clean);
    EXPECT_EQ(bytes(0, kFirst), std::string(kFirst, 'x'));
    EXPECT_EQ(bytes(kFirst + 2 * kBytes, kFirst), std::string(kFirst, 'x'));
}

// Spec: REP-055, REP-187
TEST_F(LogRegionTest, ATornHeaderMakesEverythingDirtyAndAnotherMirrorsLogBeginsAnew) {
    ASSERT_TRUE(open());
    file.reset();
    put(kFirst + log_format::kHeaderOffset[0] + 100, "x");
    put(kFirst + log_format::kHeaderOffset[1] + 100, "x");
    ASSERT_TRUE(open());
    EXPECT_FALSE(file->found().valid);
    EXPECT_EQ(log->dirty().count(), log->blocks());
    ASSERT_TRUE(open());  // and it stays so
    EXPECT_EQ(log->dirty().count(), log->blocks());
    ASSERT_TRUE(open(kVolume, {1}));
    EXPECT_TRUE(file->created());
    EXPECT_EQ(log->dirty().count(), 0U);
}

// Spec: REP-307
TEST_F(LogRegionTest, AVolumeMayGrowAsFarAsTheRegionGoes) {
    ASSERT_TRUE(open());
    log->mark(42 * kBlockBytes, 4096, IntentLog::As::dirty);
    file->commit();
    reactor->run();
    constexpr std::uint64_t kPages = (kBytes - log_format::kBitmapOffset) / kMapPageBytes;
    ASSERT_TRUE(open(kPages * kBlocksPerPage * kBlockBytes));
    EXPECT_TRUE(file->found().valid);
    EXPECT_TRUE(log->dirty().test(42));
    EXPECT_FALSE(log->dirty().test(41));
    EXPECT_EQ(log->dirty().next(43), 100U);
    const auto refused = open((kPages * kBlocksPerPage + 1) * kBlockBytes);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("does not fit"), std::string::npos) << refused.error().text;
    EXPECT_EQ(log_bytes(kPages * kBlocksPerPage * kBlockBytes), kBytes);
}

TEST(LogRegion, PathsOfFilesAreNone) {
    const LogRegion region{"/dev/disk/by-id/x@1", 1 << 20, 65536};
    EXPECT_EQ(parse_region(region.path()), region);
    for (const auto* path : {"/var/lib/understudy/Bitmaps/E@right.bitmap", "/dev/x@4096+0", "/dev/x@1+4096",
                             "/dev/x@4096+", "@0+4096", "/dev/x+4096@0", ""})
        EXPECT_FALSE(parse_region(path)) << path;
}

}  // namespace
}  // namespace understudy::mirror
