#pragma once
// A node's files and what of them survives a power-off.
//
// Below /run lies memory: it is lost at every power-off, and is full for itself. The rest is a disk.
//
// write_atomic is durable when it returns, so only two things can be lost: a removal whose directory was not
// synced (the file may come back), and a write that the power-off hits in the middle (old or new content,
// whole).

#include "runtime/files.h"
#include "runtime/simulated/random_stream.h"
#include "runtime/tasks.h"

#include <functional>
#include <map>
#include <set>
#include <string>

namespace understudy::runtime::simulated {

class Disk : public Files {
  public:
    Disk(RandomStream& random, std::function<TimePoint()> now) : random_(random), now_(std::move(now)) {}

    // Files, as seen from outside the program.
    [[nodiscard]] Result<std::string> read(const std::string& path) const override;
    Result<> write_atomic(const std::string& path, std::string_view content, int mode = 0644) override;
    Result<> remove(const std::string& path) override;
    Result<> make_directories(const std::string& path, int mode = 0755) override;
    [[nodiscard]] bool exists(const std::string& path) const override;
    [[nodiscard]] bool executable(const std::string& path) const override;
    [[nodiscard]] std::vector<std::string> list(const std::string& directory) const override;

    /// The program's write: fails without the directory and on a full disk; `power_off` is called when the
    /// write is the one that the power-off hits.
    Result<> write_as_program(const std::string& path, std::string_view content, int mode,
                              const std::function<void()>& power_off);
    /// The program's addition to a file below /run.
    Result<> append_in_memory(const std::string& path, std::string_view text);
    static bool is_memory(std::string_view path) { return path.starts_with("/run/"); }
    void lose_unsynced();

    void install(const std::string& path);
    void power_off_in_next_write() { power_off_in_next_write_ = true; }
    void set_full(bool full) { full_ = full; }
    void set_run_full(bool full) { run_full_ = full; }

  private:
    struct File {
        std::string content;
        int mode = 0644;
    };
    struct Removal {
        File file;
        TimePoint at;
    };
    [[nodiscard]] bool is_directory(const std::string& path) const;
    [[nodiscard]] Result<> can_write(const std::string& path) const;
    void sync_directory(const std::string& path);

    RandomStream& random_;
    std::function<TimePoint()> now_;
    std::map<std::string, File> files_;
    std::map<std::string, Removal> unsynced_removals_;
    std::set<std::string> directories_;
    bool power_off_in_next_write_ = false;
    bool full_ = false;
    bool run_full_ = false;
};

}  // namespace understudy::runtime::simulated
