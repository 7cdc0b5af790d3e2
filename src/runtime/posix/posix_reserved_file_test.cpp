// The run directory's file with room of its own, on a tmpfs that is really full.

#include "runtime/posix/posix_reserved_file.h"

#include "runtime/posix/test_support.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <fstream>

namespace understudy::runtime {
namespace {

using testing::TemporaryDirectory;

constexpr std::size_t kRoom = 256 * 1024;

/// A tmpfs of one megabyte; needs root.
class FullTmpfs : public ::testing::Test {
  protected:
    void SetUp() override {
        if (::mount("tmpfs", directory.root().c_str(), "tmpfs", 0, "size=1m,mode=0700") != 0)
            GTEST_SKIP() << "needs root to mount a tmpfs";
        mounted = true;
    }
    void TearDown() override {
        if (mounted) ::umount2(directory.root().c_str(), MNT_DETACH);
    }
    /// Until nothing more has room.
    void fill() {
        std::ofstream filler(directory.path("filler"), std::ios::binary | std::ios::app);
        const std::string piece(4096, 'f');
        while (filler.write(piece.data(), static_cast<std::streamsize>(piece.size())).flush())
            ;
    }
    [[nodiscard]] std::string file() const { return directory.path("config.tail"); }

    TemporaryDirectory directory;
    bool mounted = false;
};

// Spec: CLU-089
TEST_F(FullTmpfs, WhatIsReservedCanBeWrittenAndWhatIsNotCannot) {
    PosixReservedFile reserved(file());
    ASSERT_TRUE(reserved.reserve(kRoom));
    fill();
    EXPECT_FALSE(PosixReservedFile(directory.path("other")).reserve(kRoom));
    const std::string text(kRoom, 'x');
    ASSERT_TRUE(reserved.write(0, text));
    const auto beyond = reserved.write(kRoom, std::string(8192, 'y'));
    ASSERT_FALSE(beyond);
    EXPECT_NE(beyond.error().text.find("no space left"), std::string::npos) << beyond.error().text;
    const auto content = PosixReservedFile(file()).read();
    ASSERT_TRUE(content);
    EXPECT_EQ(content->substr(0, kRoom), text);
}

// The next process, while the file system is full still.
TEST_F(FullTmpfs, WhatWasReservedIsKeptByTheNextProcessAndItsContentToo) {
    {
        PosixReservedFile reserved(file());
        ASSERT_TRUE(reserved.reserve(kRoom));
        ASSERT_TRUE(reserved.write(0, "first"));
    }
    fill();
    PosixReservedFile next(file());
    EXPECT_TRUE(next.reserve(kRoom));
    EXPECT_EQ(next.read()->substr(0, 6), std::string("first\0", 6));
    EXPECT_TRUE(next.write(kRoom - 4, "last"));
    EXPECT_TRUE(next.shrink(kRoom));
    EXPECT_EQ(next.read()->size(), kRoom);
}

TEST(PosixReservedFile, IsForItsOwnerOnlyAndGoneWhenRemoved) {
    const TemporaryDirectory directory;
    const auto path = directory.path("file");
    PosixReservedFile file(path);
    EXPECT_EQ(file.read().error().code, Code::not_found);
    ASSERT_TRUE(file.reserve(4096));
    struct stat about {};
    ASSERT_EQ(::stat(path.c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 0777, 0600U);
    ASSERT_TRUE(file.write(4096, "beyond"));
    EXPECT_EQ(file.read()->size(), 4102U);
    ASSERT_TRUE(file.shrink(4096));
    EXPECT_EQ(*file.read(), std::string(4096, '\0'));
    ASSERT_TRUE(file.remove());
    EXPECT_NE(::stat(path.c_str(), &about), 0);
    ASSERT_TRUE(file.remove()) << "it is gone already";
}

// What is written would be lost to the next process.
TEST(PosixReservedFile, SaysThatSomebodyHasRemovedItAndIsMadeAnew) {
    const TemporaryDirectory directory;
    const auto path = directory.path("file");
    PosixReservedFile file(path);
    ASSERT_TRUE(file.reserve(4096));
    ASSERT_EQ(::unlink(path.c_str()), 0);
    EXPECT_FALSE(file.write(0, "text"));
    ASSERT_TRUE(file.reserve(4096));
    ASSERT_TRUE(file.write(0, "text"));
    EXPECT_EQ(PosixReservedFile(path).read()->substr(0, 4), "text");
}

}  // namespace
}  // namespace understudy::runtime
