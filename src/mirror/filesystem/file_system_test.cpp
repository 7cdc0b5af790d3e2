// Real ext4 and XFS file systems on loop devices. Skipped without root, loop devices or mkfs.

#include "mirror/core/block_map.h"
#include "mirror/filesystem/changed_files.h"
#include "mirror/filesystem/free_space.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace understudy::mirror::filesystem {
namespace {

namespace fs = std::filesystem;

/// Output of a shell command without its last newline; fails the test when the command fails.
std::string sh(const std::string& command) {
    std::string out;
    FILE* pipe = popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return {};
    char buffer[4096];
    for (std::size_t got = 0; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;)
        out.append(buffer, got);
    EXPECT_EQ(pclose(pipe), 0) << command << "\n" << out;
    while (out.ends_with('\n'))
        out.pop_back();
    return out;
}

class FileSystemTest : public ::testing::TestWithParam<std::string> {
  protected:
    /// Mounts of its own: a namespace that somebody else makes meanwhile would keep copies of them.
    static void SetUpTestSuite() {
        if (unshare(CLONE_NEWNS) == 0) ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    }
    void SetUp() override {
        if (geteuid() != 0 || access("/dev/loop-control", R_OK | W_OK) != 0)
            GTEST_SKIP() << "needs root and loop";
        if (system(("command -v mkfs." + GetParam() + " >/dev/null").c_str()) != 0)
            GTEST_SKIP() << "no mkfs." << GetParam();
        char name[] = "/tmp/understudy-fs.XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        top_ = name;
        fs::create_directory(mount());
        std::ofstream(image()).close();
        fs::resize_file(image(), 320UL << 20);  // mkfs.xfs makes none below 300 MiB
        sh("mkfs." + GetParam() + " -q " + image());
    }
    void TearDown() override {
        if (top_.empty()) return;
        if (mounted_) unmount();
        fs::remove_all(top_);
    }
    [[nodiscard]] std::string image() const { return top_ + "/image"; }
    [[nodiscard]] std::string mount() const { return top_ + "/mnt"; }
    /// Gives the loop device, as a volume's export is one.
    std::string mount_it(const std::string& of) {
        const std::string loop = sh("losetup --find --show " + of);
        sh("mount -t " + GetParam() + " " + loop + " " + mount());
        mounted_ = loop;
        return loop;
    }
    void unmount() {
        // A helper that outlives the one that was killed may still have it open.
        sh("for i in $(seq 200); do umount " + mount() + " && exit 0; sleep 0.05; done; exit 1");
        sh("losetup -d " + *mounted_);
        mounted_.reset();
    }
    /// Files of all sizes, some of them deleted, one with space that was reserved and not written.
    void fill() {
        sh("cd " + mount() +
           " && mkdir a b && for i in $(seq 200); do head -c $((i * 3001)) /dev/urandom > a/$i; done"
           " && head -c 40000000 /dev/urandom > b/large && fallocate -l 30000000 b/reserved"
           " && for i in $(seq 1 3 200); do rm a/$i; done && head -c 20000000 /dev/urandom > b/gone && sync"
           " && rm b/gone");
    }
    [[nodiscard]] std::string sums() {
        return sh("cd " + mount() + " && find . -type f | sort | xargs sha256sum");
    }
    void check(const std::string& of) {
        sh(GetParam() == "xfs" ? "xfs_repair -n " + of : "e2fsck -fn " + of);
    }

    std::string top_;
    std::optional<std::string> mounted_;
};

std::uint64_t count(const BlockRanges& ranges) {
    std::uint64_t out = 0;
    for (const BlockRange& range : ranges)
        out += range.count;
    return out;
}

/// What a target holds where nothing was copied.
void spoil(const std::string& file, const BlockRanges& ranges) {
    const std::vector<char> rubbish(kBlockBytes, '\xa5');
    const int fd = open(file.c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    for (const BlockRange& range : ranges)
        for (std::uint64_t block = range.first; block < range.first + range.count; ++block)
            ASSERT_EQ(pwrite(fd, rubbish.data(), rubbish.size(), static_cast<off_t>(block * kBlockBytes)),
                      static_cast<ssize_t>(rubbish.size()));
    close(fd);
}

// Spec: REP-029, REP-110
TEST_P(FileSystemTest, NothingThatIsInUseIsCalledFree) {
    mount_it(image());
    fill();
    const std::string before = sums();
    unmount();
    const auto space = free_space(image(), "", top_);
    ASSERT_TRUE(space) << space.error().text;
    EXPECT_EQ(space->type, GetParam());
    const std::uint64_t blocks = fs::file_size(image()) / kBlockBytes;
    EXPECT_GT(count(space->free), blocks / 3);
    EXPECT_LT(count(space->free), blocks * 2 / 3);
    spoil(image(), space->free);
    check(image());
    mount_it(image());
    EXPECT_EQ(sums(), before);
    // And it is of use: what was rubbish is allocated.
    sh("head -c 60000000 /dev/urandom > " + mount() + "/more && sync");
    unmount();
    check(image());
}

// Spec: REP-110
TEST_P(FileSystemTest, AMountedOneIsFrozenForAMomentAndTellsTheSame) {
    const std::string loop = mount_it(image());
    fill();
    const std::string before = sums();
    const auto space = free_space(image(), loop, top_);
    ASSERT_TRUE(space) << space.error().text;
    sh("sync");
    // As the target has it at this moment: everything but what is free. The journal need not be replayed
    // for what was told to be true.
    const std::string copy = top_ + "/copy";
    sh("cp --sparse=always " + image() + " " + copy);
    spoil(copy, space->free);
    sh("timeout 20 touch " + mount() + "/still-alive");
    unmount();
    mount_it(copy);
    EXPECT_EQ(sums(), before);
    unmount();
    check(copy);
}

TEST_P(FileSystemTest, WhoeverIsKilledLeavesNoFileSystemFrozen) {
    const std::string loop = mount_it(image());
    for (int round = 0; round < 20; ++round) {
        const pid_t child = fork();
        if (child == 0) {
            (void)free_space(image(), loop, top_);
            _exit(0);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(round));
        kill(child, SIGKILL);
        ASSERT_EQ(waitpid(child, nullptr, 0), child);
        sh("timeout 20 dd if=/dev/zero of=" + mount() + "/f bs=4k count=1 conv=fsync status=none");
    }
}

TEST_P(FileSystemTest, OneThatWasNotUnmountedOrIsNotMountedWhereItShouldBeIsNotAsked) {
    const std::string loop = mount_it(image());
    sh("echo text > " + mount() + "/file && sync");
    const std::string copy = top_ + "/copy";
    sh("cp --sparse=always " + image() + " " + copy);
    auto space = free_space(copy, "", top_);
    EXPECT_FALSE(space) << "its journal must be replayed first";
    unmount();
    space = free_space(image(), loop, top_);
    EXPECT_FALSE(space) << "offered, so somebody may use it unseen";
    space = free_space(top_ + "/missing", "", top_);
    EXPECT_FALSE(space);
    sh("head -c 1000000 /dev/zero > " + top_ + "/empty");
    EXPECT_FALSE(free_space(top_ + "/empty", "", top_));
}

/// Blocks of 64 KiB in which the two files differ.
BlockRanges differing(const std::string& one, const std::string& other) {
    BlockRanges out;
    std::ifstream a(one, std::ios::binary), b(other, std::ios::binary);
    std::vector<char> left(kBlockBytes), right(kBlockBytes);
    for (std::uint64_t block = 0;
         a.read(left.data(), kBlockBytes).gcount() > 0 && b.read(right.data(), kBlockBytes).gcount() > 0;
         ++block)
        if (left != right) out.push_back({block, 1});
    return out;
}

// Spec: MOP-096
TEST_P(FileSystemTest, FilesInChangedBlocksAreNamed) {
    mount_it(image());
    fill();
    unmount();
    const std::string before = top_ + "/before";
    sh("cp --sparse=always " + image() + " " + before);
    const std::string loop = mount_it(image());
    sh("cd " + mount() +
       " && dd if=/dev/urandom of=b/large bs=4096 count=1 seek=2000 conv=notrunc,fsync status=none"
       " && head -c 5000000 /dev/urandom > 'b/new file' && sync");
    const auto names = [&](const OpenFileSystem& open, const BlockRanges& blocks) {
        const ChangedFiles found = changed_files(open, blocks, std::chrono::seconds(20), 100);
        EXPECT_TRUE(found.complete);
        return found.names;
    };
    const auto has = [](const std::vector<std::string>& found, const char* name) {
        return std::find(found.begin(), found.end(), name) != found.end();
    };
    {
        const auto mounted = open_mounted(loop);
        ASSERT_TRUE(mounted) << mounted.error().text;
        const auto found = names(*mounted, differing(before, image()));
        EXPECT_TRUE(has(found, "/b/large") && has(found, "/b/new file"));
        EXPECT_FALSE(has(found, "/b/reserved"));
        EXPECT_LT(found.size(), 60U);
        EXPECT_TRUE(names(*mounted, {}).empty());
        const ChangedFiles few = changed_files(*mounted, {{0, 1UL << 20}}, std::chrono::seconds(20), 3);
        EXPECT_EQ(few.names.size(), 3U);
        EXPECT_GT(few.found, 130U);
        const ChangedFiles late = changed_files(*mounted, {{0, 1UL << 20}}, std::chrono::seconds(0), 3);
        EXPECT_FALSE(late.complete);
    }
    // Whether it was unmounted or not: names are all that is wanted.
    for (const bool clean : {false, true}) {
        if (clean) unmount();
        const auto alone = mount_privately(image(), top_, true);
        ASSERT_TRUE(alone) << alone.error().text;
        const auto found = names(*alone, differing(before, image()));
        EXPECT_TRUE(has(found, "/b/large"));
        // What only the journal knows is not seen without it.
        EXPECT_TRUE(has(found, "/b/new file") || !clean);
    }
    EXPECT_EQ(sh("losetup --list --noheadings --output BACK-FILE | grep -c " + top_ + " || true"), "0");
}

INSTANTIATE_TEST_SUITE_P(Kinds, FileSystemTest, ::testing::Values("ext4", "xfs"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace understudy::mirror::filesystem
