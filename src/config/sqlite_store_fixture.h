#pragma once
// The fixture of the store's tests.

#include "config/sqlite_store.h"
#include "config/sqlite_test_support.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace understudy::config::testing {

namespace fs = std::filesystem;

inline const NodeName kSelf("nodeA");

inline std::vector<Edit> edits_of_commit(std::uint64_t n) {
    return numbered_commit(n, 7);
}
inline NodeConfig state_after(std::uint64_t commits) {
    return state_after_commits(commits, edits_of_commit);
}

/// A store of nodeA's in memory.
class SqliteStoreTest : public ::testing::Test {
  protected:
    Store::Loaded open(SqliteStoreOptions options = {}) {
        store.reset();
        auto opened = SqliteStore::open(world.world(), path, options);
        EXPECT_TRUE(opened) << opened.error().text;
        store = std::move(*opened);
        auto loaded = store->load(kSelf);
        EXPECT_TRUE(loaded) << loaded.error().text;
        return std::move(*loaded);
    }
    Result<> write(const Change& change) {
        std::optional<Result<>> answer;
        store->write(change, [&](Result<> result) { answer = std::move(result); });
        EXPECT_TRUE(world.tasks.run_until([&] { return answer.has_value(); }));
        return answer.value_or(fail(Code::internal, "no answer"));
    }
    Result<> commit(std::uint64_t n) { return write({kSelf, n, edits_of_commit(n)}); }
    std::vector<JournalEntry> journal(std::size_t limit) {
        std::optional<std::vector<JournalEntry>> answer;
        store->read_journal(limit, [&](std::vector<JournalEntry> entries) { answer = std::move(entries); });
        EXPECT_TRUE(world.tasks.run_until([&] { return answer.has_value(); }));
        return answer.value_or(std::vector<JournalEntry>{});
    }
    /// Runs SQL on a file that no store has open.
    static void sql(const std::string& file, const std::string& text);
    [[nodiscard]] std::vector<std::string> files_like(const std::string& part) const {
        std::vector<std::string> found;
        for (const auto& entry : fs::directory_iterator(fs::path(path).parent_path()))
            if (entry.path().filename().string().find(part) != std::string::npos)
                found.push_back(entry.path().filename().string());
        return found;
    }
    void overwrite(const std::string& file, std::uint64_t at, const std::string& bytes) {
        std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
        stream.seekp(static_cast<std::streamoff>(at));
        stream << bytes;
        ASSERT_TRUE(stream.good());
    }

    const MemoryDirectory home;
    const std::string directory = home.path();
    const std::string path = directory + "/state/config.db";
    TestWorld world;
    std::unique_ptr<SqliteStore> store;
};

}  // namespace understudy::config::testing
