#pragma once
// A disk for tests of the store: an SQLite VFS over real files that counts every operation which changes a
// file, can die at any of them, and knows what a power cut at that moment would leave: what was synced for
// certain, of the rest any part, whole writes or sectors of them.

#include <cstdint>
#include <memory>
#include <string>

namespace understudy::config::testing {

/// What becomes of writes that were not synced when the power goes.
enum class Unsynced { lost, kept, torn };

class FaultDisk {
  public:
    /// Becomes SQLite's default for its life. One at a time.
    FaultDisk();
    FaultDisk(const FaultDisk&) = delete;
    FaultDisk& operator=(const FaultDisk&) = delete;
    ~FaultDisk();

    /// The operation with this number (from 1) and all that follow fail: the process is as good as dead.
    void die_at(std::uint64_t operation);
    /// Only the operation with this number fails, without effect.
    void fail_once_at(std::uint64_t operation);
    /// Reads of this part of the file that is there now fail, also when it is renamed.
    void break_sector(const std::string& path, std::int64_t offset, std::int64_t size);
    [[nodiscard]] std::uint64_t operations() const;
    [[nodiscard]] bool dead() const;
    /// Makes the files what they are after a power cut now, and the disk whole again.
    void cut_power(Unsynced unsynced, std::uint64_t seed);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::config::testing
