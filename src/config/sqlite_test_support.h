#pragma once
// What the tests of the database on disk share: commits whose result is known, and where they are kept.

#include "config/test_support.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace understudy::config::testing {

/// Commit n changes one of `tags` instances, and sets or drops a flag: all of it follows from n.
inline std::vector<Edit> numbered_commit(std::uint64_t n, std::uint64_t tags, const std::string& info = {}) {
    auto each = instance(fmt::format("t{}", n % tags));
    each.info = info;
    each.reason = fmt::format("commit {}", n);
    each.order = n % tags + 1;
    std::vector<Edit> edits{PutInstance{each}};
    if (n % 3 == 0) edits.emplace_back(PutFlag{FlagName(fmt::format("f{}", n % 5))});
    if (n % 3 == 1) edits.emplace_back(DropFlag{FlagName(fmt::format("f{}", n % 5))});
    return edits;
}

/// What a node has after its n-th commit.
template <class EditsOfCommit>
NodeConfig state_after_commits(std::uint64_t n, EditsOfCommit edits_of_commit) {
    NodeConfig config;
    for (std::uint64_t each = 1; each <= n; ++each)
        for (const auto& edit : edits_of_commit(each))
            apply(config, edit);
    config.generation = n;
    return config;
}

/// Processes die in these tests, hosts do not: memory is as good as a disk, and quick. Removed at the end.
class MemoryDirectory {
  public:
    MemoryDirectory() {
        const auto* parent = std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp";
        path_ = fmt::format("{}/understudy-store-XXXXXX", parent);
        if (mkdtemp(path_.data()) == nullptr) std::abort();
    }
    MemoryDirectory(const MemoryDirectory&) = delete;
    MemoryDirectory& operator=(const MemoryDirectory&) = delete;
    ~MemoryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace understudy::config::testing
