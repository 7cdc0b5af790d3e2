// What the next process knows of commits that the disk did not take.

#include "config/tail_store.h"

#include "config/test_support.h"

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

/// The run directory; full when told so.
class RunDirectory final : public runtime::Files {
  public:
    std::map<std::string, std::string> files;
    std::map<std::string, int> modes;
    bool full = false;

    [[nodiscard]] Result<std::string> read(const std::string& path) const override {
        const auto at = files.find(path);
        if (at == files.end()) return fail(Code::not_found, "{}: no such file", path);
        return at->second;
    }
    Result<> write_atomic(const std::string& path, std::string_view content, int mode) override {
        if (full) return fail(Code::failure, "cannot write {}: no space left", path);
        files[path] = content;
        modes[path] = mode;
        return {};
    }
    Result<> append(const std::string& path, std::string_view text, std::size_t) override {
        if (full) return fail(Code::failure, "cannot write {}: no space left", path);
        files[path] += text;
        return {};
    }
    Result<> remove(const std::string& path) override {
        files.erase(path);
        return {};
    }
    Result<> make_directories(const std::string&, int) override { return {}; }
    [[nodiscard]] bool exists(const std::string& path) const override { return files.contains(path); }
    [[nodiscard]] bool executable(const std::string&) const override { return false; }
    [[nodiscard]] std::vector<std::string> list(const std::string&) const override { return {}; }
};

class TailStoreTest : public ::testing::Test {
  protected:
    TailStoreTest() { begin(); }

    runtime::World world() {
        return {base.clock, base.tasks, base.network, base.processes, run, base.random};
    }
    /// A daemon; what the disk took of the last one's commits is what `below` has loaded.
    void begin(bool same_boot = true) {
        below = std::make_unique<MemoryStore>();
        below->loaded = on_disk;
        below->automatic = false;
        store = std::make_unique<TailStore>(world(), *below, kPath, same_boot);
        database = std::move(*Database::open(world(), *store, kSelf));
    }
    /// kill -9: nothing is tidied up.
    void kill() {
        const auto left = run.files;
        database.reset();
        store.reset();
        run.files = left;
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
    RunDirectory run;
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
    EXPECT_FALSE(run.exists(kPath));
}

TEST_F(TailStoreTest, WhatTheDiskHasIsNotAppliedTwice) {
    database->set_flag(FlagName("mark"), true);
    database->set_flag(FlagName("mark"), false);
    disk_takes(3);
    next_life();
    EXPECT_FALSE(database->has_flag(FlagName("mark")));
    EXPECT_EQ(database->own().generation, 3U);
    EXPECT_EQ(run.files.at(kPath), "");
}

TEST_F(TailStoreTest, ARecordThatWasNotWrittenToItsEndIsLeftOutAndThoseAfterItArriveAgain) {
    disk_takes(1);
    database->set_flag(FlagName("whole"), true);
    database->set_flag(FlagName("torn"), true);
    kill();
    run.files.at(kPath).resize(run.files.at(kPath).size() - 1);
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
    const auto bytes = run.files.at(kPath);
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
    const auto first = run.files.at(kPath).size();
    database->set_flag(FlagName("a"), true);
    database->set_flag(FlagName("b"), true);
    const auto bytes = run.files.at(kPath).substr(first);
    EXPECT_EQ(parse_tail(bytes, kSelf, 1).entries.size(), 2U);
    EXPECT_THAT(parse_tail(bytes, NodeName("nodeB"), 1).entries, IsEmpty());
    EXPECT_FALSE(parse_tail(bytes, kSelf, 0).fits) << "the first generation is missing";
    on_disk.own = {};
    run.files.at(kPath) = bytes;
    next_life();
    EXPECT_FALSE(database->has_flag(FlagName("a")));
    EXPECT_EQ(database->own().generation, 1U) << "only the node itself";
}

TEST_F(TailStoreTest, AFullRunDirectoryIsSaidUntilTheDiskHasEverything) {
    disk_takes(1);
    run.full = true;
    database->set_flag(FlagName("a"), true);
    EXPECT_FALSE(database->outlives_kill());
    run.full = false;
    database->set_flag(FlagName("b"), true);
    EXPECT_FALSE(database->outlives_kill()) << "the one before it is missing";
    disk_takes(2);
    EXPECT_TRUE(database->outlives_kill());
    database->set_flag(FlagName("c"), true);
    EXPECT_TRUE(database->outlives_kill());
    next_life();
    EXPECT_TRUE(database->has_flag(FlagName("c")));
}

TEST_F(TailStoreTest, ItIsEmptiedWhenTheDiskHasEverythingAndBoundedWhenNot) {
    disk_takes(1);
    auto large = instance("app");
    large.info = std::string(kTidyTailBytes, 'x');
    database->commit({PutInstance{large}});
    EXPECT_GT(run.files.at(kPath).size(), kTidyTailBytes);
    disk_takes(1);
    EXPECT_EQ(run.files.at(kPath), "");
    large.info = std::string(kMaxTailBytes, 'x');
    database->commit({PutInstance{large}});
    EXPECT_FALSE(database->outlives_kill());
    EXPECT_EQ(run.files.at(kPath), "");
}

TEST_F(TailStoreTest, OnlyItsOwnerReadsItAndAnOrderlyEndRemovesIt) {
    EXPECT_EQ(run.modes.at(kPath), 0600);
    disk_takes(1);
    database.reset();
    store.reset();
    EXPECT_FALSE(run.exists(kPath));
    begin();
    database->set_flag(FlagName("not on the disk"), true);
    database.reset();
    store.reset();
    EXPECT_TRUE(run.exists(kPath)) << "the disk does not have it";
}

}  // namespace
}  // namespace understudy::config
