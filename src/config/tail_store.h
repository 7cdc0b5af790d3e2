#pragma once
// Commits that no kill of this process loses, whatever the disk does.
//
// What a daemon started on a host ends with the host's boot, and so do the files of the run directory. The
// store below writes to a disk, which may be slow or full: a daemon that is killed meanwhile would not know
// at its next start what it has started and stopped. So every commit is in the run directory too before
// write() returns:
//
//   write(change) --> run/config.tail   outlives the process, not the boot: as what runs does
//                 --> the store below   outlives both, once the disk has it
//   load()        <-- the store below, moved on by what the tail has beyond it
//
// The file is a sequence of records: length of the payload and its CRC32C (4 bytes each, little-endian), then
// the payload: 'h' and an encoded HistoryEntry, or 'c' and the encoded Change that those before it belong to.
// A length of zero, or the end of the file, ends it: what follows is room, or old. It is emptied now and then
// while the disk has everything, and gone after an orderly end.
//
// The run directory may be full too. So the file has room ahead of what is in it, from the daemon's start on
// and as it grows: kReservedTailBytes, up to kMaxTailBytes. When a full run directory gives it no more and
// what it has is used up, outlives_kill() says so until the disk has everything, and nothing may follow from
// what was committed meanwhile (recovery::Engine, outlive_kill()).
//
// Not in it: cached copies of peers, which are pulled again, and the journal.
//
// Threading: as Store.

#include "config/database.h"
#include "runtime/reserved_file.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

/// With this much in it the tail is emptied as soon as the disk has everything.
inline constexpr std::size_t kTidyTailBytes = 64 * 1024;
/// The room that the file has ahead of what is in it: for a thousand changes of a state at least.
inline constexpr std::size_t kReservedTailBytes = 1024 * 1024;
/// The tail does not grow beyond this: some ten thousands of commits that the disk does not take.
inline constexpr std::size_t kMaxTailBytes = 16 * 1024 * 1024;

/// What continues a database.
struct Tail {
    struct Entry {
        Change change;
        std::vector<HistoryEntry> history;
    };
    std::vector<Entry> entries;   // each the generation after the one before it
    std::size_t sound_bytes = 0;  // what follows was not written to its end
    bool fits = true;             // false: there are changes, and one before them is missing
};

/// What of the file's `bytes` continues `owner`'s database at `generation`. Pure.
Tail parse_tail(std::string_view bytes, const NodeName& owner, std::uint64_t generation);

/// Moves `config` on by the tail's changes.
void apply(NodeConfig& config, const Tail& tail);

class TailStore final : public Store {
  public:
    /// `below` outlives it. `same_boot`: the host has not booted since the file was written. `reserved`:
    /// bytes.
    TailStore(Store& below, std::unique_ptr<runtime::ReservedFile> file, bool same_boot,
              std::size_t reserved = kReservedTailBytes);
    TailStore(const TailStore&) = delete;
    TailStore& operator=(const TailStore&) = delete;
    ~TailStore() override;

    /// A tail that cannot be read or does not fit is said in the log, and left out.
    Result<Loaded> load(const NodeName& self) override;
    void write(const Change& change, std::function<void(Result<>)> durable) override;
    [[nodiscard]] bool outlives_kill() const override { return !broken_ || on_disk_ == newest_; }

    void write_replica(const NodeName& owner, const NodeConfig& config) override {
        below_.write_replica(owner, config);
    }
    void drop_replica(const NodeName& owner) override { below_.drop_replica(owner); }
    void advance_replica(const Change& change) override { below_.advance_replica(change); }
    void append(const JournalEntry& entry) override { below_.append(entry); }
    void append_history(const HistoryEntry& entry) override;
    void read_history(const HistoryQuery& query,
                      std::function<void(Result<std::vector<HistoryEntry>>)> done) override {
        below_.read_history(query, std::move(done));
    }
    void read_journal(std::size_t limit, std::function<void(std::vector<JournalEntry>)> done) override {
        below_.read_journal(limit, std::move(done));
    }

  private:
    void write_below(const Change& change, std::function<void(Result<>)> durable);
    void keep(const std::string& records);
    void reserve();
    void empty();
    void give_up(const std::string& why);
    [[nodiscard]] Tail read(const NodeName& self, std::uint64_t generation);

    Store& below_;
    std::unique_ptr<runtime::ReservedFile> file_;
    bool same_boot_;
    std::size_t reserve_;
    std::string history_;  // records of what the next change brings along
    std::size_t bytes_ = 0;
    std::size_t room_ = 0;       // so much of the file has its room
    std::string told_;           // why not
    bool broken_ = false;        // a commit is missing in it
    std::uint64_t newest_ = 0;   // generation
    std::uint64_t on_disk_ = 0;  // generation
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy::config
