// Free space that a full copy leaves out: control decides when the file system is asked and what follows.

#include "mirror/control/test_pair.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

/// Blocks of both ends that differ.
std::set<std::size_t> differing(const Host& one, const Host& other) {
    std::set<std::size_t> out;
    for (std::size_t block = 0; block < kBlocks; ++block)
        if (one.disk.blocks[block] != other.disk.blocks[block]) out.insert(block);
    return out;
}

class FreeSpaceTest : public ::testing::Test {
  protected:
    FreeSpaceTest() {
        for (std::size_t block = 0; block < kBlocks; ++block)
            pair.left.disk.blocks[block] = 100 + static_cast<int>(block);
        pair.left.disk.free = {{4, 4}, {10, 2}};
    }
    void create() {
        const config::Reply made = pair.create();
        ASSERT_EQ(made.exit_code, 0) << made.err;
        ASSERT_TRUE(pair.wait_in_sync());
    }
    const std::set<std::size_t> free{4, 5, 6, 7, 10, 11};
    Pair pair;
};

// Spec: REP-029, REP-110, REP-153, MOP-046
TEST_F(FreeSpaceTest, ANewMirrorCopiesWhatItsFileSystemUses) {
    create();
    EXPECT_EQ(differing(pair.left, pair.right), free);
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks - free.size());
    // Before the volume was offered, so without freezing anything.
    EXPECT_EQ(pair.left.disk.asked, std::vector<std::string>{""});
    EXPECT_TRUE(pair.record(pair.left).free_left_out && pair.record(pair.right).free_left_out);
}

TEST_F(FreeSpaceTest, AnUnknownFileSystemIsCopiedAsAWhole) {
    pair.left.disk.free.reset();
    create();
    EXPECT_TRUE(differing(pair.left, pair.right).empty());
    EXPECT_FALSE(pair.record(pair.left).free_left_out);
}

TEST_F(FreeSpaceTest, TheParameterCopiesFreeSpaceToo) {
    pair.kill(pair.left);
    pair.left.settings = "CopyFreeSpace=1\n";
    pair.start(pair.left);
    create();
    EXPECT_TRUE(differing(pair.left, pair.right).empty());
    EXPECT_TRUE(pair.left.disk.asked.empty());
}

TEST_F(FreeSpaceTest, AVirtualMachinesDiskIsNotLookedInto) {
    const config::Reply made = pair.create({{"export", "nbd"}});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_TRUE(pair.left.disk.asked.empty());
    EXPECT_TRUE(differing(pair.left, pair.right).empty());
}

// Spec: REP-109, REP-162
TEST_F(FreeSpaceTest, ALaterFullResyncAsksTheFileSystemInUseAndSendsWhatIsWrittenMeanwhile) {
    create();
    const std::uint64_t before = pair.wire.blocks_sent;
    bool written = false;
    pair.left.disk.while_asked = [&] {
        pair.left.disk.while_asked = nullptr;
        pair.left.daemon->host->write(5, 555, &written);
    };
    const config::Reply resync = pair.run(pair.left, {"resync", "R"});
    ASSERT_EQ(resync.exit_code, 0) << resync.err;
    ASSERT_TRUE(pair.wait_in_sync());
    ASSERT_EQ(pair.left.disk.asked.size(), 2U);
    EXPECT_FALSE(pair.left.disk.asked.back().empty()) << "the export's device, to find the mount";
    auto left_out = free;
    left_out.erase(5);
    EXPECT_EQ(differing(pair.left, pair.right), left_out);
    EXPECT_EQ(pair.wire.blocks_sent - before, kBlocks - left_out.size());
    EXPECT_TRUE(pair.until([&] { return written; }));
}

// What the file system says of a moment is of no use when this end has played another role since.
TEST_F(FreeSpaceTest, AnAnswerFromBeforeAChangeOfRolesIsNotUsed) {
    create();
    pair.left.disk.while_asked = [&] {
        pair.left.disk.while_asked = nullptr;
        pair.left.daemon->host->become_source("right", MirrorState::pending, PauseCause::none, true);
    };
    ASSERT_EQ(pair.run(pair.left, {"resync", "R"}).exit_code, 0);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_TRUE(differing(pair.left, pair.right).empty());
}

TEST_F(FreeSpaceTest, APartialResyncAsksNobody) {
    create();
    ASSERT_EQ(pair.run(pair.left, {"pause", "R"}).exit_code, 0);
    ASSERT_TRUE(pair.write(pair.left, 3, 33));
    ASSERT_EQ(pair.run(pair.left, {"continue", "R"}).exit_code, 0);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.left.disk.asked.size(), 1U);
    EXPECT_EQ(differing(pair.left, pair.right), free);
}

// A copy that was begun anew after the loss of its link still sends everything that is in use.
TEST_F(FreeSpaceTest, ACopyThatIsInterruptedLeavesNothingOutButFreeSpace) {
    pair.wire.resync_takes = 500ms;
    const config::Reply made = pair.create();
    ASSERT_EQ(made.exit_code, 0) << made.err;
    ASSERT_TRUE(pair.until([&] { return pair.left.daemon->host->linked(); }));
    pair.cut();
    bool written = false;
    pair.left.daemon->host->write(6, 666, &written);
    pair.left.disk.free = {{4, 2}, {7, 1}, {10, 2}};
    pair.sim.run_for(1s);
    pair.heal();
    ASSERT_TRUE(pair.wait_in_sync());
    auto most = free;
    most.erase(6);
    for (const std::size_t block : differing(pair.left, pair.right))
        EXPECT_TRUE(most.contains(block)) << block;
}

// Spec: MOP-096
TEST_F(FreeSpaceTest, TheViewOfASplitNamesFiles) {
    create();
    pair.left.disk.files = {"/var/data/a", "/var/data/b"};
    ASSERT_EQ(pair.run(pair.left, {"pause", "R"}).exit_code, 0);
    ASSERT_TRUE(pair.write(pair.left, 3, 33));
    const config::Reply sides = pair.run(pair.left, {"split-brain", "R"});
    EXPECT_EQ(sides.exit_code, 0) << sides.err;
    EXPECT_NE(sides.out.find("2 files and directories lie there"), std::string::npos) << sides.out;
    EXPECT_NE(sides.out.find("/var/data/b"), std::string::npos) << sides.out;
    // The other side's, too; it has changed nothing.
    const config::Reply there = pair.run(pair.right, {"split-brain", "R"});
    EXPECT_NE(there.out.find("/var/data/a"), std::string::npos) << there.out << there.err;
    pair.left.disk.files.clear();
    const config::Reply unknown = pair.run(pair.left, {"split-brain", "R"});
    EXPECT_NE(unknown.out.find("not known: no known file system"), std::string::npos) << unknown.out;
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
