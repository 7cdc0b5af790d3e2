// What the next process knows of commits that the disk did not take.

#include "config/tail_store.h"

#include "config/test_support.h"
#include "runtime/simulated/reserved_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

namespace understudy::config {
namespace {

using ::testing::ElementsAre;
using testing::instance;
using ::testing::IsEmpty;
using testing::MemoryStore;
using testing::TestWorld;

const std::string kPath = "/run/config.tail";
const NodeName kSelf("nodeA");

constexpr std::size_t kRoom = 1024;

class TailStoreTest : public ::testing::Test {
  protected:
    TailStoreTest() { begin(); }

    runtime::World world() { return base.world(); }
    /// What was written, without the room behind it.
    [[nodiscard]] std::string written() const {
        return run.bytes->substr(0, parse_tail(*run.bytes, kSelf, 0).sound_bytes);
    }
    /// A daemon; what the disk took of the last one's commits is what `below` has loaded.
    void begin(bool same_boot = true) {
        below = std::make_unique<MemoryStore>();
        below->loaded = on_disk;
        below->automatic = false;
        store = std::make_unique<TailStore>(
            *below, std::make_unique<runtime::SimulatedReservedFile>(run, kPath), same_boot, kRoom);
        database = std::move(*Database::open(world(), *store, kSelf));
    }
    /// kill -9: nothing is tidied up.
    void kill() {
        const auto left = run;
        database.reset();
        store.reset();
        run = left;
    }
    /// The disk takes the next `count` of what it was asked to write.
    void disk_takes(std::size_t count) {
        for (; count > 0; --count) {
            const auto& change = below->written.at(taken++);
            for (const auto& edit : change.edits)
                apply(on_disk.own, edit);
            on_disk.own.generation = std::max(on_disk.own.generation, change.generation);
            below->confirm({});
        }
    }
    void next_life(bool same_boot = true) {
        kill();
        taken = 0;
        begin(same_boot);
    }

    TestWorld base;
    runtime::SimulatedReservedFile::Content run;
    Store::Loaded on_disk;
    std::size_t taken = 0;
    std::unique_ptr<MemoryStore> below;
    std::unique_ptr<TailStore> store;
    std::unique_ptr<Database> database;
};

// Spec: CLU-089
TEST_F(TailStoreTest, WhatTheDiskDidNotTakeIsKnownAfterAKillAndWrittenThen) {
    database->commit({PutInstance{instance("app")}});
    disk_takes(2);  // the node itself, the resource
    database->set_state(Tag("app"), State::isp, "started");
    database->set_flag(FlagName("mark"), true);
    const auto before = database->own();
    EXPECT_TRUE(database->outlives_kill());

    next_life();
    EXPECT_EQ(database->own(), before);
    EXPECT_EQ(below->written.size(), 2U) << "the disk gets what it lacks";
    EXPECT_EQ(below->history.size(), 2U) << "and who did it";
    disk_takes(2);
    EXPECT_EQ(on_disk.own, before);
    next_life();
    EXPECT_EQ(database->own(), before);
    EXPECT_THAT(below->written, IsEmpty());
}

TEST_F(TailStoreTest, ABootEndsItAsItEndsWhatRan) {
    disk_takes(1);
    database->set_flag(FlagName("mark"), true);
    next_life(false);
    EXPECT_FALSE(database->has_flag(FlagName("mark")));
    EXPECT_EQ(written(), "") << "it has its room, and nothing in it";
    EXPECT_EQ(run.bytes->size(), kRoom);
}

TEST_F(TailStoreTest, WhatTheDiskHasIsNotAppliedTwice) {
    database->set_flag(FlagName("mark"), true);
    database->set_flag(FlagName("mark"), false);
    disk_takes(3);
    next_life();
    EXPECT_FALSE(database->has_flag(FlagName("mark")));
    EXPECT_EQ(database->own().generation, 3U);
    EXPECT_EQ(written(), "");
}

TEST_F(TailStoreTest, ARecordThatWasNotWrittenToItsEndIsLeftOutAndThoseAfterItArriveAgain) {
    disk_takes(1);
    database->set_flag(FlagName("whole"), true);
    database->set_flag(FlagName("torn"), true);
    kill();
    run.bytes->at(written().size() - 1) ^= 1;
    taken = 0;
    begin();
    EXPECT_TRUE(database->has_flag(FlagName("whole")));
    EXPECT_FALSE(database->has_flag(FlagName("torn")));
    database->set_flag(FlagName("later"), true);
    next_life();
    EXPECT_TRUE(database->has_flag(FlagName("whole")));
    EXPECT_TRUE(database->has_flag(FlagName("later")));
}

TEST_F(TailStoreTest, EveryFlippedByteIsNoticed) {
    disk_takes(1);
    database->set_flag(FlagName("a"), true);
    database->set_flag(FlagName("b"), true);
    const auto bytes = written();
    const auto whole = parse_tail(bytes, kSelf, 1);
    ASSERT_EQ(whole.entries.size(), 2U);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        auto damaged = bytes;
        damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
        const auto tail = parse_tail(damaged, kSelf, 1);
        EXPECT_LT(tail.entries.size(), 2U) << "byte " << i;
        EXPECT_LE(tail.sound_bytes, i) << "byte " << i;
    }
}

TEST_F(TailStoreTest, AnotherDatabasesTailIsLeftOut) {
    disk_takes(1);
    const auto first = written().size();
    database->set_flag(FlagName("a"), true);
    database->set_flag(FlagName("b"), true);
    const auto bytes = written().substr(first);
    EXPECT_EQ(parse_tail(bytes, kSelf, 1).entries.size(), 2U);
    EXPECT_THAT(parse_tail(bytes, NodeName("nodeB"), 1).entries, IsEmpty());
    EXPECT_FALSE(parse_tail(bytes, kSelf, 0).fits) << "the first generation is missing";
    on_disk.own = {};
    run.bytes = bytes;
    next_life();
    EXPECT_FALSE(database->has_flag(FlagName("a")));
    EXPECT_EQ(database->own().generation, 1U) << "only the node itself";
}

// Spec: CLU-089
TEST_F(TailStoreTest, AFullRunDirectoryTakesWhatHasItsRoom) {
    disk_takes(1);
    run.full = true;
    database->set_flag(FlagName("a"), true);
    EXPECT_TRUE(database->outlives_kill());
    next_life();
    EXPECT_TRUE(database->has_flag(FlagName("a")));
    EXPECT_TRUE(database->outlives_kill());
}

// Spec: CLU-089
TEST_F(TailStoreTest, WithItsRoomUsedUpItSaysThatItForgetsUntilTheDiskHasEverything) {
    disk_takes(1);
    run.full = true;
    std::uint64_t last = 1;
    for (int i = 0; database->outlives_kill(); ++i) {
        ASSERT_LT(i, 100);
        database->set_flag(FlagName(fmt::format("mark {}", i)), true);
        if (database->outlives_kill()) last = database->own().generation;
    }
    EXPECT_GT(last, 5U) << "its room is for more than a few";
    run.full = false;
    database->set_flag(FlagName("later"), true);
    EXPECT_FALSE(database->outlives_kill()) << "the one before it is missing";
    const auto left = run;
    kill();
    run = left;
    taken = 0;
    begin();
    EXPECT_EQ(database->own().generation, last) << "nothing after a gap";
    disk_takes(below->written.size());
    run.full = true;
    database->set_flag(FlagName("once more"), true);
    EXPECT_TRUE(database->outlives_kill()) << "it was emptied, and has its room again";
}

TEST_F(TailStoreTest, AFullRunDirectoryWithoutTheFileIsSaidUntilTheDiskHasEverything) {
    kill();
    run.bytes.reset();
    run.full = true;
    taken = 0;
    begin();
    EXPECT_FALSE(database->outlives_kill());
    disk_takes(below->written.size());
    EXPECT_TRUE(database->outlives_kill());
    database->set_flag(FlagName("a"), true);
    EXPECT_FALSE(database->outlives_kill());
    run.full = false;
    disk_takes(1);
    run.full = true;
    database->set_flag(FlagName("b"), true);
    EXPECT_TRUE(database->outlives_kill()) << "there was room for it meanwhile";
    next_life();
    EXPECT_TRUE(database->has_flag(FlagName("b")));
}

TEST_F(TailStoreTest, ItsRoomIsForAThousandChangesOfAState) {
    database->commit({PutInstance{instance("app")}});
    for (int i = 0; i < 1000; ++i)
        database->set_state(Tag("app"), i % 2 == 0 ? State::isp : State::osu, "restore action has succeeded");
    EXPECT_LT(written().size(), kReservedTailBytes / 2) << "it is at least half empty, see keep()";
}

// Spec: CLU-089
TEST_F(TailStoreTest, ItsRoomGrowsAheadOfIt) {
    disk_takes(1);
    for (int i = 0; i < 100; ++i)
        database->set_flag(FlagName(fmt::format("mark {}", i)), true);
    EXPECT_GT(written().size(), kRoom);
    run.full = true;
    database->set_flag(FlagName("last"), true);
    EXPECT_TRUE(database->outlives_kill());
    next_life();
    EXPECT_TRUE(database->has_flag(FlagName("last")));
}

TEST_F(TailStoreTest, WhatFollowsItsEndIsOldAndNotRead) {
    disk_takes(1);
    auto large = instance("app");
    large.info = std::string(kTidyTailBytes, 'x');
    database->set_flag(FlagName("a"), true);
    database->commit({PutInstance{large}});
    database->set_flag(FlagName("b"), true);
    disk_takes(3);
    database->set_flag(FlagName("a"), false);
    next_life();
    EXPECT_FALSE(database->has_flag(FlagName("a")));
    EXPECT_TRUE(database->has_flag(FlagName("b")));
    EXPECT_EQ(below->written.size(), 1U);
}

TEST_F(TailStoreTest, ItIsEmptiedWhenTheDiskHasEverythingAndBoundedWhenNot) {
    disk_takes(1);
    auto large = instance("app");
    large.info = std::string(kTidyTailBytes, 'x');
    database->commit({PutInstance{large}});
    EXPECT_GT(written().size(), kTidyTailBytes);
    disk_takes(1);
    EXPECT_EQ(written(), "");
    EXPECT_EQ(run.bytes->size(), kRoom) << "what it does not need it gives back";
    large.info = std::string(kMaxTailBytes, 'x');
    database->commit({PutInstance{large}});
    EXPECT_FALSE(database->outlives_kill());
    EXPECT_EQ(written(), "");
}

TEST_F(TailStoreTest, AnOrderlyEndRemovesItUnlessTheDiskLacksSomething) {
    disk_takes(1);
    database.reset();
    store.reset();
    EXPECT_FALSE(run.bytes);
    begin();
    database->set_flag(FlagName("not on the disk"), true);
    database.reset();
    store.reset();
    EXPECT_TRUE(run.bytes) << "the disk does not have it";
}

}  // namespace
}  // namespace understudy::config
