#pragma once
// Child processes by pidfd: the loop waits for exits and output, nothing blocks, no SIGCHLD handler is
// needed.

#include "runtime/posix/event_loop.h"
#include "runtime/posix/unfinished.h"
#include "runtime/processes.h"

#include <memory>
#include <unordered_map>

namespace understudy::runtime {

/// A longer line is delivered in pieces of this size.
inline constexpr std::size_t kMaxLineBytes = 64UL << 10;
/// A killed process that cannot die (stuck in the kernel on a dead disk) is reported after this as if it had.
inline constexpr Duration kKillGrace = std::chrono::seconds(10);

class PosixProcesses final : public Processes {
  public:
    /// `records`: see UnfinishedProcesses.
    explicit PosixProcesses(EventLoop& loop, Duration kill_grace = kKillGrace, std::string records = {});
    PosixProcesses(const PosixProcesses&) = delete;
    PosixProcesses& operator=(const PosixProcesses&) = delete;
    /// Running processes go on; their handlers do not run any more.
    ~PosixProcesses() override;

    /// Ends what was running when the process before this one died; the command lines. Blocks, before the
    /// first start().
    std::vector<std::string> end_unfinished() { return unfinished_.end_all(kill_grace_); }

    ProcessHandle start(const ProcessSpec& spec, LineHandler on_line, ExitHandler on_exit) override;
    void kill(ProcessHandle process) override;
    [[nodiscard]] int pid(ProcessHandle process) const override;
    /// A zombie counts as gone: it holds nothing any more.
    [[nodiscard]] bool alive(int pid) const override;

  private:
    class Child;

    EventLoop& loop_;
    Duration kill_grace_;
    UnfinishedProcesses unfinished_;
    std::uint64_t last_handle_ = 0;
    std::unordered_map<ProcessHandle, std::shared_ptr<Child>> children_;
};

}  // namespace understudy::runtime
