#pragma once
// The intent log's file: creates and loads it, writes commits and header changes through the reactor.
// Lives on the reactor's thread. open() makes ordinary blocking calls; everything later is asynchronous.

#include "base/result.h"
#include "mirror/io/reactor.h"
#include "mirror/log/intent_log.h"
#include "mirror/log/log_header.h"
#include "mirror/log/log_region.h"

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace understudy::mirror {

class LogFile {
  public:
    /// Opens the log of the mirror `uuid` for a volume of `volume_bytes`, or creates it with all bits clear,
    /// and loads it into `log`. The clean mark is taken off before it returns. A log whose bits cannot be
    /// trusted is loaded with every bit set. One of another size is laid out anew, at once or not at all: its
    /// bits stay, those of what the volume has grown by are set. Errors: a log of another mirror (never
    /// overwritten), no space (nothing is left behind, what was there is as it was), no access. Spec:
    /// REP-055, REP-063, REP-307. A part of a device (log_region.h) is written in place: a log of another
    /// mirror that stands there is of no use to anybody, and who may write there the caller sees to.
    static Result<std::unique_ptr<LogFile>> open(Reactor& reactor, std::string path,
                                                 const std::array<std::uint8_t, 16>& uuid,
                                                 std::uint64_t volume_bytes, IntentLog& log);
    /// A log without a file, for a mirror that there is no room for one: `log` goes on in memory, as it does
    /// after a file could not be written, and found() says that nothing is known. Error: no memory.
    static Result<std::unique_ptr<LogFile>> in_memory(Reactor& reactor, std::string path,
                                                      const std::array<std::uint8_t, 16>& uuid,
                                                      std::uint64_t volume_bytes, IntentLog& log);
    ~LogFile();
    LogFile(const LogFile&) = delete;
    LogFile& operator=(const LogFile&) = delete;

    [[nodiscard]] bool created() const { return created_; }
    /// What the file said when it was opened.
    [[nodiscard]] const LogHeader& found() const { return found_; }
    [[nodiscard]] const LogHeader& header() const { return header_; }

    /// Starts the commit that the log wants, if any; log.finish_commit() and then `finished` follow.
    void commit();
    /// Called after each commit with its outcome, a negative errno or 0.
    std::function<void(int error)> finished;

    /// Changes the header durably, then calls `done` with 0 or a negative errno. One after the other.
    void update_header(std::function<void(LogHeader&)> change, std::function<void(int error)> done);

    [[nodiscard]] bool idle() const { return runs_left_ == 0 && updates_.empty(); }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    struct RunWrite : IoOperation {
        std::uint64_t at = 0, end = 0;  // bytes of the image
    };
    struct Update {
        std::function<void(LogHeader&)> change;
        std::function<void(int)> done;
    };

    LogFile(Reactor& reactor, std::string path, int fd, std::optional<LogRegion> region, IntentLog& log);
    static Result<std::unique_ptr<LogFile>> open_region(Reactor& reactor, std::string path, LogRegion region,
                                                        const std::array<std::uint8_t, 16>& uuid,
                                                        std::uint64_t volume_bytes, IntentLog& log);
    [[nodiscard]] Result<> check_room() const;
    [[nodiscard]] std::uint64_t base() const { return region_ ? region_->offset : 0; }
    Result<> create_content(const std::array<std::uint8_t, 16>& uuid, std::uint64_t volume_bytes);
    Result<> load(const std::array<std::uint8_t, 16>& uuid, std::uint64_t volume_bytes);
    Result<> lay_out_anew();
    Result<> write_image();
    Result<> replace(const std::string& temporary);
    Result<> write_header_now();
    void issue(RunWrite& run);
    void run_done(RunWrite& run, int result);
    void next_update();
    void update_done(int result);

    Reactor& reactor_;
    std::string path_;
    int fd_;
    std::optional<LogRegion> region_;
    IntentLog& log_;
    bool created_ = false;
    LogHeader found_, header_;
    std::deque<RunWrite> runs_;  // stable addresses; grows to the largest commit seen
    std::size_t runs_left_ = 0;
    int commit_error_ = 0;
    IoOperation header_write_;
    std::deque<Update> updates_;
    std::byte* page_ = nullptr;  // one aligned page for headers
};

}  // namespace understudy::mirror
