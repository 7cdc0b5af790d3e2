// The database on a disk that dies: at every single operation that changes a file, with what was not synced
// lost, kept or torn; and on one that fails once, or has a sector that cannot be read.

#include "config/sqlite_fault_disk.h"
#include "config/sqlite_file.h"
#include "config/sqlite_store.h"
#include "config/sqlite_test_support.h"
#include "messages/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace understudy::config {
namespace {

namespace fs = std::filesystem;
using testing::FaultDisk;
using testing::MemoryDirectory;
using testing::TestWorld;
using testing::Unsynced;

const NodeName kSelf("nodeA");
constexpr std::uint64_t kCommits = 14;
constexpr const char* kDamageOneRecord = "UPDATE record SET data=x'ff' WHERE CAST(key AS TEXT)='it3'";

/// Some records fill several pages, so that the log is copied into the file now and then.
std::vector<Edit> edits_of_commit(std::uint64_t n) {
    return testing::numbered_commit(n, 5,
                                    std::string(n % 4 == 0 ? 6'000 : 10, static_cast<char>('a' + n % 26)));
}

NodeConfig state_after(std::uint64_t commits) {
    return testing::state_after_commits(commits, edits_of_commit);
}

class StoreOnAFaultyDisk : public ::testing::Test {
  protected:
    void SetUp() override {
        messages::configure({.process = "test", .file = "", .least = messages::Severity::critical});
    }
    void start_afresh() {
        store.reset();
        fs::remove_all(directory);
        fs::create_directories(directory);
    }
    Result<Store::Loaded> open() {
        store.reset();
        SqliteStoreOptions options;
        options.checkpoint_pages = 8;
        options.backup_interval = std::chrono::hours(1);  // a copy is made when the store goes
        UNDERSTUDY_TRY(store, SqliteStore::open(world.world(), path, options));
        return store->load(kSelf);
    }
    Result<> commit(std::uint64_t n) {
        std::optional<Result<>> answer;
        store->append({n, 0, kSelf, 0, "engine", "s", fmt::format("entry {}", n)});
        HistoryEntry entry;
        entry.id = n;
        entry.items = {{"instance", "t", "", fmt::format("commit {}", n)}};
        store->append_history(entry);
        store->write({kSelf, n, edits_of_commit(n)}, [&](Result<> result) { answer = std::move(result); });
        EXPECT_TRUE(world.tasks.run_until([&] { return answer.has_value(); }));
        return answer.value_or(fail(Code::internal, "no answer"));
    }
    /// One life of a daemon from an empty disk, to its orderly end or to its death. The last acknowledged
    /// commit and the last one tried.
    struct Life {
        std::uint64_t acknowledged = 0;
        std::uint64_t tried = 0;
    };
    Life live(bool goes_on_after_errors) {
        Life life;
        auto loaded = open();
        if (!loaded && goes_on_after_errors) loaded = open();
        if (loaded) {
            for (std::uint64_t n = 1; n <= kCommits; ++n) {
                life.tried = n;
                if (commit(n))
                    life.acknowledged = n;
                else if (!goes_on_after_errors)
                    break;
            }
        }
        store.reset();
        return life;
    }
    void expect_nothing_lost(const Life& life, const std::string& where) {
        const auto loaded = open();
        ASSERT_TRUE(loaded) << where << ": " << loaded.error().text;
        EXPECT_EQ(loaded->damage, "") << where;
        const auto found = loaded->own.generation;
        ASSERT_GE(found, life.acknowledged) << where;
        ASSERT_LE(found, life.tried) << where;
        ASSERT_EQ(loaded->own, state_after(found)) << where;
        ASSERT_EQ(loaded->last_history_id, found) << where << ": history and configuration belong together";
        ASSERT_TRUE(commit(found + 1)) << where;
        ASSERT_EQ(open()->own, state_after(found + 1)) << where;
    }

    FaultDisk disk;
    const MemoryDirectory home;
    const std::string directory = home.path();
    const std::string path = directory + "/config.db";
    TestWorld world;
    std::unique_ptr<SqliteStore> store;
};

// Spec: CLU-090, CLU-089
TEST_F(StoreOnAFaultyDisk, APowerCutAtEveryOperationLosesNothingThatWasAcknowledged) {
    live(false);
    const auto operations = disk.operations();
    ASSERT_GT(operations, 100U);
    disk.cut_power(Unsynced::kept, 0);
    std::uint64_t deaths = 0;
    for (std::uint64_t at = 1; at <= operations; ++at)
        for (const auto unsynced : {Unsynced::lost, Unsynced::kept, Unsynced::torn}) {
            start_afresh();
            disk.die_at(at);
            const auto life = live(false);
            deaths += disk.dead() ? 1 : 0;
            disk.cut_power(unsynced, at);
            expect_nothing_lost(life, fmt::format("operation {} of {}, unsynced writes {}", at, operations,
                                                  static_cast<int>(unsynced)));
            if (HasFatalFailure()) return;
            store.reset();
            disk.cut_power(Unsynced::kept, 0);
        }
    EXPECT_GE(deaths, operations * 3 * 9 / 10) << "the runs are not alike";
}

// Spec: CLU-090
TEST_F(StoreOnAFaultyDisk, AnOperationThatFailsOnceCostsNothingThatWasAcknowledgedLater) {
    live(false);
    const auto operations = disk.operations();
    disk.cut_power(Unsynced::kept, 0);
    for (std::uint64_t at = 1; at <= operations; ++at) {
        start_afresh();
        disk.fail_once_at(at);
        const auto life = live(true);
        ASSERT_GE(life.acknowledged, kCommits - 1) << "operation " << at;
        disk.cut_power(Unsynced::lost, at);
        expect_nothing_lost(life, fmt::format("operation {} failed once", at));
        if (HasFatalFailure()) return;
        store.reset();
        disk.cut_power(Unsynced::kept, 0);
    }
}

// Spec: CLU-090
TEST_F(StoreOnAFaultyDisk, ASectorThatCannotBeReadNeverKeepsTheNodeFromStarting) {
    live(false);
    disk.cut_power(Unsynced::kept, 0);
    const auto size = static_cast<std::int64_t>(fs::file_size(path));
    fs::create_directories(directory + "/kept");
    for (const auto* name : {"config.db", "config.db.backup"})
        fs::copy_file(directory + "/" + name, directory + "/kept/" + name);
    int noticed = 0;
    for (std::int64_t offset = 0; offset < size; offset += 512) {
        store.reset();
        disk.cut_power(Unsynced::kept, 0);
        for (const auto& entry : fs::directory_iterator(directory))
            if (entry.is_regular_file()) fs::remove(entry.path());
        for (const auto* name : {"config.db", "config.db.backup"})
            fs::copy_file(directory + "/kept/" + name, directory + "/" + name);
        disk.break_sector(path, offset, 512);
        const auto loaded = open();
        ASSERT_TRUE(loaded) << "offset " << offset << ": " << loaded.error().text;
        if (loaded->damage.empty()) {
            ASSERT_EQ(loaded->own, state_after(kCommits)) << "offset " << offset;
            continue;
        }
        ++noticed;
        ASSERT_EQ(loaded->own.instances.size(), 5U) << "offset " << offset << ": " << loaded->damage;
    }
    EXPECT_GT(noticed, 0);
}

// Spec: CLU-090
TEST_F(StoreOnAFaultyDisk, APowerCutDuringTheRepairOfADamagedFileLosesNothingThatCouldBeRead) {
    live(false);
    disk.cut_power(Unsynced::kept, 0);
    const auto kept = directory + "/kept";
    fs::create_directories(kept);
    fs::copy_file(path, kept + "/config.db");
    // One record is wrong, there is no copy of the database: all else must come through.
    const auto damage = [&] {
        store.reset();
        for (const auto& entry : fs::directory_iterator(directory))
            if (entry.is_regular_file()) fs::remove(entry.path());
        fs::copy_file(kept + "/config.db", path);
        auto file = SqliteFile::open(path, SqliteFile::Mode::create);
        ASSERT_TRUE(file);
        ASSERT_TRUE((*file)->execute(kDamageOneRecord));
    };
    damage();
    const auto before = disk.operations();
    ASSERT_TRUE(open());
    store.reset();
    const auto operations = disk.operations() - before;
    ASSERT_GT(operations, 10U);
    for (std::uint64_t at = 1; at <= operations; ++at)
        for (const auto unsynced : {Unsynced::lost, Unsynced::kept, Unsynced::torn}) {
            disk.cut_power(Unsynced::kept, 0);
            damage();
            disk.die_at(disk.operations() + at);
            (void)open();
            store.reset();
            disk.cut_power(unsynced, at);
            const auto loaded = open();
            ASSERT_TRUE(loaded) << "operation " << at << ": " << loaded.error().text;
            ASSERT_EQ(loaded->own.instances.size(), 5U) << "operation " << at << ": " << loaded->damage;
            ASSERT_GT(loaded->own.generation, kCommits) << "operation " << at;
        }
}

}  // namespace
}  // namespace understudy::config
