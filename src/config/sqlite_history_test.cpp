// Changes with who made them, kept beside the configuration.

#include "config/sqlite_store_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::config {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::kSelf;
using testing::SqliteStoreTest;
using testing::state_after;

HistoryEntry history_entry(std::uint64_t id, std::int64_t wall_us, const std::string& after) {
    return {id, wall_us, kSelf, id, {"root", kSelf, "ins_setst"}, {{"instance", "t", "", after}}, 0};
}

class StoredHistory : public SqliteStoreTest {
  protected:
    std::vector<std::uint64_t> ids(const HistoryQuery& query = {}) {
        std::optional<Result<std::vector<HistoryEntry>>> answer;
        store->read_history(query, [&](Result<std::vector<HistoryEntry>> entries) { answer = entries; });
        EXPECT_TRUE(world.tasks.run_until([&] { return answer.has_value(); }));
        std::vector<std::uint64_t> found;
        if (answer && *answer)
            for (const auto& entry : **answer)
                found.push_back(entry.id);
        return found;
    }
    void commit_with(const HistoryEntry& entry) {
        store->append_history(entry);
        ASSERT_TRUE(commit(entry.id));
    }
};

TEST_F(StoredHistory, EntriesComeBackAfterARestartAndIdsGoOn) {
    EXPECT_EQ(open().last_history_id, 0U);
    commit_with(history_entry(1, 100, "state=ISP"));
    commit_with(history_entry(2, 200, "state=OSU"));
    EXPECT_EQ(open().last_history_id, 2U);
    EXPECT_THAT(ids(), ElementsAre(1, 2));
    EXPECT_THAT(ids({.text = "osu"}), ElementsAre(2));
    EXPECT_THAT(ids({.until_us = 150}), ElementsAre(1));
    EXPECT_THAT(ids({.limit = 1}), ElementsAre(2)) << "the newest";
}

TEST_F(StoredHistory, AnEntryWithoutItsCommitIsNotKept) {
    open();
    commit_with(history_entry(1, 100, "state=ISP"));
    store->append_history(history_entry(2, 200, "state=OSU"));
    open();
    EXPECT_THAT(ids(), ElementsAre(1));
}

TEST_F(StoredHistory, OldEntriesGo) {
    SqliteStoreOptions options;
    options.history_age = std::chrono::hours(1);
    open(options);
    const std::int64_t hour = 3'600'000'000;
    commit_with(history_entry(1, 0, "a"));
    commit_with(history_entry(2, hour, "b"));
    EXPECT_THAT(ids(), ElementsAre(1, 2));
    commit_with(history_entry(3, hour + 1, "c"));
    EXPECT_THAT(ids(), ElementsAre(2, 3));
}

TEST_F(StoredHistory, ItsSizeIsBounded) {
    open();
    const std::uint64_t each = 1 << 20;
    const auto count = kMaxHistoryBytes / each + 8;
    for (std::uint64_t id = 1; id <= count; ++id)
        commit_with(history_entry(id, 0, std::string(each, 'x')));
    const auto kept = ids();
    EXPECT_EQ(kept.back(), count);
    EXPECT_LE(kept.size() * each, kMaxHistoryBytes);
    EXPECT_GE(kept.size() * each, kMaxHistoryBytes - 2 * each);
}

TEST_F(StoredHistory, AFileOfTheFirstFormatGetsAHistory) {
    open();
    ASSERT_TRUE(commit(1));
    store.reset();
    sql(path, "DROP TABLE history; PRAGMA user_version=1");
    const auto loaded = open();
    EXPECT_EQ(loaded.damage, "");
    EXPECT_EQ(loaded.own, state_after(1));
    commit_with(history_entry(2, 100, "state=ISP"));
    EXPECT_THAT(ids(), ElementsAre(2));
}

TEST_F(StoredHistory, ItOutlivesDamageOfTheRecords) {
    open();
    commit_with(history_entry(1, 100, "state=ISP"));
    store.reset();
    fs::remove(path + ".backup");
    sql(path, "UPDATE record SET data=x'ff' WHERE CAST(key AS TEXT)='it1'");
    EXPECT_NE(open().damage, "");
    EXPECT_THAT(ids(), ElementsAre(1));
}

}  // namespace
}  // namespace understudy::config
