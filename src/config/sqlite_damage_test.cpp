// A database that is damaged: what comes back, and that the node says so.

#include "config/sqlite_store_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>

namespace understudy::config {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::kSelf;
using testing::SqliteStoreTest;
using testing::state_after;

class DamagedStore : public SqliteStoreTest {
  protected:
    /// Twelve commits, of which the copy has ten, and a clean end.
    void fill() {
        SqliteStoreOptions rarely;
        rarely.backup_interval = std::chrono::hours(1);
        open(rarely);
        for (std::uint64_t n = 1; n <= 10; ++n)
            ASSERT_TRUE(commit(n));
        store->append({7, 5, kSelf, 0, "engine", "t", "before"});
        open(rarely);  // closing made a copy
        for (std::uint64_t n = 11; n <= 12; ++n)
            ASSERT_TRUE(commit(n));
        // A child that is killed leaves the newer file beside the older copy.
        fs::copy_file(path + ".backup", path + ".kept");
        store.reset();
        fs::rename(path + ".kept", path + ".backup");
        fs::remove(path + ".backup.1");
    }
    void expect_moved_aside(const Store::Loaded& loaded) {
        EXPECT_THAT(loaded.damage, HasSubstr("the configuration database was damaged"));
        EXPECT_EQ(files_like("config.db.damaged-1700000000").size(), 1U);
        EXPECT_GT(loaded.own.generation, kRecoveryLeap);
        EXPECT_GT(loaded.last_journal_id, kRecoveryLeap);
        // It works from now on.
        const auto next = loaded.own.generation + 1;
        EXPECT_TRUE(write({kSelf, next, {PutFlag{FlagName("works")}}}));
        const auto again = open();
        EXPECT_EQ(again.damage, "");
        EXPECT_EQ(again.own.generation, next);
        EXPECT_TRUE(again.own.flags.contains(FlagName("works")));
    }
    static void expect_all_uncertain(const NodeConfig& own) {
        EXPECT_EQ(own.instances.size(), 7U);
        for (const auto& [tag, each] : own.instances)
            EXPECT_EQ(each.state, State::illstate) << tag.str();
    }
};

// Spec: CLU-090
TEST_F(DamagedStore, RubbishIsReplacedByTheCopy) {
    fill();
    overwrite(path, 0, std::string(8192, '\xa5'));
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr(".backup of generation 10"));
    expect_all_uncertain(loaded.own);
    EXPECT_EQ(loaded.own.flags, state_after(10).flags);
    ASSERT_FALSE(journal(10).empty());
    EXPECT_EQ(journal(10).front().text, "before");
    expect_moved_aside(loaded);
}

// Spec: CLU-090
TEST_F(DamagedStore, AMissingFileIsReplacedByTheCopy) {
    fill();
    fs::remove(path);
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr("was missing or empty"));
    expect_all_uncertain(loaded.own);
}

// Spec: CLU-090
TEST_F(DamagedStore, ARecordWithAWrongChecksumIsTakenFromTheCopyAndTheOthersStay) {
    fill();
    // t3 was last changed by commit 10, which the copy has too; t5 by commit 12, which it has not.
    sql(path,
        "UPDATE record SET data=CAST(replace(CAST(data AS TEXT), 'commit 10', 'commit 90') AS BLOB) "
        "WHERE CAST(key AS TEXT)='it3'");
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr("1 records have a wrong checksum"));
    const auto* mended = loaded.own.find(Tag("t3"));
    ASSERT_NE(mended, nullptr);
    EXPECT_EQ(mended->state, State::illstate);
    EXPECT_EQ(mended->app, AppName("gen"));
    const auto* other = loaded.own.find(Tag("t5"));
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(other->reason, "commit 12");
    EXPECT_EQ(other->state, State::osu);
    expect_moved_aside(loaded);
}

// Spec: CLU-090
TEST_F(DamagedStore, AnUnreadableInstanceWithoutACopyStaysVisible) {
    fill();
    fs::remove(path + ".backup");
    sql(path, "UPDATE record SET data=x'ff' WHERE CAST(key AS TEXT)='it3'");
    const auto loaded = open();
    const auto* placeholder = loaded.own.find(Tag("t3"));
    ASSERT_NE(placeholder, nullptr);
    EXPECT_EQ(placeholder->state, State::illstate);
    EXPECT_THAT(placeholder->reason, HasSubstr("was damaged"));
    EXPECT_EQ(loaded.own.instances.size(), 7U);
    expect_moved_aside(loaded);
}

TEST_F(DamagedStore, ALostRowIsFoundByTheDigest) {
    fill();
    sql(path, "DELETE FROM record WHERE CAST(key AS TEXT)='it3'");
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr("records are missing or do not belong together"));
    expect_all_uncertain(loaded.own);  // those of the copy
    expect_moved_aside(loaded);
}

// Spec: CLU-090
TEST_F(DamagedStore, ATableOfAnotherFormCountsAsDamage) {
    for (const auto* table : {"node", "record", "journal", "history", "meta"}) {
        SCOPED_TRACE(table);
        store.reset();
        fs::remove_all(fs::path(path).parent_path());
        fill();
        sql(path, fmt::format("PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql=replace(sql, 'crc', "
                              "'crd') WHERE name='{}';",
                              table));
        const auto loaded = open();
        EXPECT_NE(loaded.damage, "");
        EXPECT_EQ(loaded.own.instances.size(), 7U);
    }
}

TEST_F(DamagedStore, AnOlderCopyServesWhenTheNewerIsDamagedToo) {
    fill();
    fs::copy_file(path + ".backup", path + ".backup.1");
    overwrite(path, 0, std::string(4096, '\0'));
    overwrite(path + ".backup", 100, std::string(4096, '\x11'));
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr(".backup.1 of generation 10"));
    expect_all_uncertain(loaded.own);
}

TEST_F(DamagedStore, WithNothingLeftTheNodeStartsEmptyAndSaysSo) {
    fill();
    fs::remove(path + ".backup");
    overwrite(path, 0, std::string(8192, '\xa5'));
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr("an empty database, because there is no valid copy"));
    EXPECT_TRUE(loaded.own.instances.empty());
    EXPECT_EQ(files_like("config.db.damaged-").size(), 1U);
}

TEST_F(DamagedStore, ALogWithoutItsFileIsNotTakenForThatOfANewOne) {
    fill();
    fs::remove(path);
    fs::remove(path + ".backup");
    std::ofstream(path + "-wal") << std::string(5000, 'w');
    const auto loaded = open();
    EXPECT_TRUE(loaded.own.instances.empty());
    EXPECT_EQ(files_like("config.db.damaged-1700000000-wal").size(), 1U);
}

TEST_F(DamagedStore, AtMostTenDamagedFilesAreKept) {
    fill();
    for (int i = 10; i < 30; ++i)
        std::ofstream(fmt::format("{}.damaged-16000000{}", path, i)) << "old";
    overwrite(path, 0, std::string(8192, '\xa5'));
    open();
    EXPECT_EQ(files_like("config.db.damaged-").size(), 10U);
    EXPECT_EQ(files_like("config.db.damaged-1700000000").size(), 1U);
}

// Spec: CLU-090
TEST_F(DamagedStore, NoFlippedByteKeepsTheNodeFromStartingOrGoesUnnoticedInARecord) {
    fill();
    const auto before = [this] {
        auto loaded = open();
        store.reset();
        return loaded.own;
    }();
    const auto size = fs::file_size(path);
    fs::copy_file(path, directory + "/good");
    fs::copy_file(path + ".backup", directory + "/good.backup");
    std::mt19937 random(4);
    for (int round = 0; round < 400; ++round) {
        fs::remove_all(fs::path(path).parent_path());
        fs::create_directories(fs::path(path).parent_path());
        fs::copy_file(directory + "/good", path);
        fs::copy_file(directory + "/good.backup", path + ".backup");
        const auto at = random() % size;
        overwrite(path, at, std::string(1 + random() % 64, static_cast<char>(random())));
        const auto loaded = open();
        if (loaded.damage.empty())
            ASSERT_EQ(loaded.own, before) << "offset " << at;
        else
            ASSERT_EQ(loaded.own.instances.size(), 7U) << "offset " << at << ": " << loaded.damage;
        ASSERT_TRUE(write({kSelf, loaded.own.generation + 1, {}}));
        store.reset();
    }
}

}  // namespace
}  // namespace understudy::config
