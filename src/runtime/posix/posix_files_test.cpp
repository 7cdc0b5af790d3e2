#include "runtime/posix/posix_files.h"

#include "runtime/posix/test_support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace understudy::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TemporaryDirectory;
using testing::write_file;

class PosixFilesTest : public ::testing::Test {
  protected:
    TemporaryDirectory directory;
    PosixFiles files;
};

TEST_F(PosixFilesTest, ReadsBackWhatWasWritten) {
    const std::string content("with a \0 inside\n", 16);
    ASSERT_TRUE(files.write_atomic(directory.path("a"), content, 0644));
    EXPECT_EQ(files.read(directory.path("a")), content);
    ASSERT_TRUE(files.write_atomic(directory.path("a"), "", 0644));
    EXPECT_EQ(files.read(directory.path("a")), "");
}

TEST_F(PosixFilesTest, WritesWithExactlyTheModeAskedFor) {
    const mode_t before = ::umask(077);
    ASSERT_TRUE(files.write_atomic(directory.path("public"), "x", 0644));
    ASSERT_TRUE(files.write_atomic(directory.path("key"), "x", 0600));
    ::umask(before);
    struct stat about {};
    ASSERT_EQ(::stat(directory.path("public").c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 0777, 0644U);
    ASSERT_EQ(::stat(directory.path("key").c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 0777, 0600U);
}

TEST_F(PosixFilesTest, MissingFileIsNotFound) {
    const auto missing = files.read(directory.path("nothing"));
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::not_found);
    EXPECT_THAT(missing.error().text, HasSubstr(directory.path("nothing")));
    EXPECT_TRUE(files.remove(directory.path("nothing")));
}

TEST_F(PosixFilesTest, ALogThatWouldGrowBeyondItsLimitBeginsAnew) {
    const auto log = directory.path("log");
    ASSERT_TRUE(files.append(log, "first\n", 12));
    ASSERT_TRUE(files.append(log, "more\n", 12));
    EXPECT_EQ(files.read(log), "first\nmore\n");
    ASSERT_TRUE(files.append(log, "third\n", 12));
    EXPECT_EQ(files.read(log), "third\n");
    EXPECT_EQ(files.read(log + ".1"), "first\nmore\n");
    EXPECT_FALSE(files.append(directory.path("no/such/log"), "x", 12));
}

TEST_F(PosixFilesTest, WritingIntoAMissingDirectorySaysSo) {
    const auto result = files.write_atomic(directory.path("no/such/file"), "x", 0644);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::not_found);
}

TEST_F(PosixFilesTest, DirectoriesAndPipesAreNotFiles) {
    EXPECT_FALSE(files.read(directory.root()));
    ASSERT_EQ(::mkfifo(directory.path("pipe").c_str(), 0600), 0);
    const auto result = files.read(directory.path("pipe"));  // must not wait for a writer
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().text, HasSubstr("not a file"));
}

TEST_F(PosixFilesTest, HugeFileIsRefusedWithoutReadingIt) {
    write_file(directory.path("huge"), "");
    ASSERT_EQ(::truncate(directory.path("huge").c_str(), 1LL << 40), 0);
    const auto result = files.read(directory.path("huge"));
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().text, HasSubstr("larger than"));
}

TEST_F(PosixFilesTest, ReadsFilesWithoutASize) {
    const auto status = files.read("/proc/self/status");
    ASSERT_TRUE(status);
    EXPECT_THAT(*status, HasSubstr("Pid:"));
}

TEST_F(PosixFilesTest, ReplacementThatFailsLeavesTheOldContentAndNoTemporaryFile) {
    // A directory in place of the file: the rename fails after everything was written.
    ASSERT_TRUE(files.make_directories(directory.path("taken"), 0755));
    write_file(directory.path("taken/inside"), "kept");
    EXPECT_FALSE(files.write_atomic(directory.path("taken"), "x", 0644));
    EXPECT_EQ(files.read(directory.path("taken/inside")), "kept");
    EXPECT_EQ(::system(fmt::format("test $(ls -A {} | wc -l) = 1", directory.root()).c_str()), 0);
}

TEST_F(PosixFilesTest, DiskFullKeepsTheOldContentAndSaysNoSpace) {
    const std::string small = directory.path("small");
    ASSERT_TRUE(files.make_directories(small, 0755));
    if (::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=64k") != 0)
        GTEST_SKIP() << "needs the right to mount a tmpfs";
    EXPECT_TRUE(files.write_atomic(small + "/state", "old", 0644));
    const auto result = files.write_atomic(small + "/state", std::string(1 << 20, 'x'), 0644);
    const auto kept = files.read(small + "/state");
    const auto again = files.write_atomic(small + "/state", "new", 0644);  // no temporary file eats the space
    ::umount2(small.c_str(), MNT_DETACH);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::failure);
    EXPECT_THAT(result.error().text, HasSubstr("no space left"));
    EXPECT_EQ(kept, "old");
    EXPECT_TRUE(again);
}

TEST_F(PosixFilesTest, MakesAllMissingDirectoriesAndAcceptsExistingOnes) {
    ASSERT_TRUE(files.make_directories(directory.path("a/b/c"), 0750));
    ASSERT_TRUE(files.make_directories(directory.path("a/b/c/"), 0750));
    struct stat about {};
    ASSERT_EQ(::stat(directory.path("a/b").c_str(), &about), 0);
    EXPECT_TRUE(S_ISDIR(about.st_mode));
    EXPECT_EQ(about.st_mode & 0777, 0750U);
}

TEST_F(PosixFilesTest, AFileInTheWayOfADirectoryIsNamed) {
    write_file(directory.path("file"), "x");
    const auto result = files.make_directories(directory.path("file/sub"), 0755);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::exists);
    EXPECT_THAT(result.error().text, HasSubstr(directory.path("file")));
}

TEST_F(PosixFilesTest, ListsNamesSortedWithoutLeftoversOfACrash) {
    write_file(directory.path("b"), "");
    write_file(directory.path("a"), "");
    write_file(directory.path(".understudy-tmp-Ab12Cd"), "half");
    EXPECT_THAT(files.list(directory.root()), ElementsAre("a", "b"));
    EXPECT_THAT(files.list(directory.path("missing")), IsEmpty());
}

TEST_F(PosixFilesTest, ExecutableMeansAFileThatMayBeRun) {
    write_file(directory.path("plain"), "");
    write_file(directory.path("tool"), "");
    ASSERT_EQ(::chmod(directory.path("tool").c_str(), 0755), 0);
    EXPECT_TRUE(files.exists(directory.path("plain")));
    EXPECT_FALSE(files.executable(directory.path("plain")));
    EXPECT_TRUE(files.executable(directory.path("tool")));
    EXPECT_FALSE(files.executable(directory.root()));
    EXPECT_FALSE(files.exists(directory.path("missing")));
}

}  // namespace
}  // namespace understudy::runtime
