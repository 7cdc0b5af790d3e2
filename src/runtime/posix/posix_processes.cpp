#include "runtime/posix/posix_processes.h"

#include "runtime/posix/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <optional>

namespace understudy::runtime {

namespace {

constexpr std::size_t kReadBytes = 64UL << 10;
/// At exit at most this much is read from the pipe: what the process itself wrote fits, and a daemon that it
/// started and that writes on cannot hold up the end.
constexpr std::size_t kDrainBytes = 1UL << 20;
constexpr int kSignalExitBase = 128;

}  // namespace

/// One process from start to exit. Waits hold it; `forget` takes it out of the owner's table.
class PosixProcesses::Child : public std::enable_shared_from_this<Child> {
  public:
    Child(EventLoop& loop, SpawnedProcess process, const ProcessSpec& spec, LineHandler on_line,
          ExitHandler on_exit, Duration kill_grace, std::function<void()> forget)
        : loop_(loop),
          process_(std::move(process)),
          max_output_(spec.max_output),
          kill_grace_(kill_grace),
          on_line_(on_line ? std::make_shared<LineHandler>(std::move(on_line)) : nullptr),
          on_exit_(std::move(on_exit)),
          forget_(std::move(forget)),
          exit_watch_(loop.watch(process_.exit.get())),
          output_watch_(loop.watch(process_.output.get())) {
        if (process_.errors) error_watch_ = loop.watch(process_.errors.get());
    }

    void begin(std::optional<Duration> limit) {
        if (limit) {
            timer_ = loop_.after(*limit, [self = shared_from_this()] {
                self->timer_.reset();
                self->result_.timed_out = true;
                self->kill();
            });
        }
        wait_for_output();
        if (error_watch_) wait_for_errors();
        wait_for_exit();
    }

    void kill() {
        if (killed_ || reaped_) return;
        killed_ = true;
        // The group, so that what a script started goes with it. The pid is not reaped yet, hence still ours.
        ::kill(-process_.pid, SIGKILL);
        stop_timer();
        timer_ = loop_.after(kill_grace_, [self = shared_from_this()] {
            self->timer_.reset();
            self->result_.exit_code = kSignalExitBase + SIGKILL;
            self->report();
        });
    }

    [[nodiscard]] int pid() const { return reaped_ ? 0 : process_.pid; }

    /// No handler runs any more; the process is left alone.
    void abandon() {
        stop_timer();
        output_watch_.reset();
        error_watch_.reset();
        exit_watch_.reset();
        on_line_ = {};
        on_exit_ = {};
        forget_ = {};
        reported_ = true;
    }

  private:
    void wait_for_exit() {
        exit_watch_->wait_readable([self = shared_from_this()] { self->exited(); });
    }

    void wait_for_output() {
        output_watch_->wait_readable([self = shared_from_this()] { self->output_ready(); });
    }

    void output_ready() {
        if (read_once() != 0 && output_watch_) wait_for_output();
    }

    void wait_for_errors() {
        error_watch_->wait_readable([self = shared_from_this()] {
            if (self->read_errors() != 0 && self->error_watch_) self->wait_for_errors();
        });
    }

    /// Bytes read into `text`; 0: the end of the stream; -1: nothing now.
    static ssize_t read_from(const Descriptor& pipe, std::string_view& text) {
        static thread_local std::array<char, kReadBytes> buffer;
        ssize_t got;
        do {
            got = ::read(pipe.get(), buffer.data(), buffer.size());
        } while (got < 0 && errno == EINTR);
        if (got < 0) return errno == EAGAIN ? -1 : 0;
        text = std::string_view(buffer.data(), static_cast<std::size_t>(got));
        return got;
    }

    ssize_t read_once() {
        std::string_view text;
        const auto got = read_from(process_.output, text);
        if (got > 0) take(text);
        return got;
    }

    ssize_t read_errors() {
        std::string_view text;
        const auto got = read_from(process_.errors, text);
        if (got > 0) keep(result_.errors, text);
        return got;
    }

    void keep(std::string& kept, std::string_view text) {
        const std::size_t space = max_output_ - std::min(max_output_, kept.size());
        if (text.size() > space) result_.truncated = true;
        kept.append(text.substr(0, space));
    }

    void take(std::string_view text) {
        keep(result_.output, text);
        if (!on_line_) return;
        while (!text.empty()) {
            const auto newline = text.find('\n');
            line_.append(text.substr(0, newline));
            while (line_.size() > kMaxLineBytes) {
                emit(std::string_view(line_).substr(0, kMaxLineBytes));
                line_.erase(0, kMaxLineBytes);
            }
            if (newline == std::string_view::npos) return;
            emit(line_);
            line_.clear();
            text.remove_prefix(newline + 1);
        }
    }

    void emit(std::string_view line) {
        // Held: the handler may destroy what owns this process.
        if (const auto handler = on_line_) (*handler)(line);
    }

    void exited() {
        siginfo_t info{};
        // P_PIDFD has no name in older headers; the pid is as good before it is reaped.
        if (::waitid(P_PID, static_cast<id_t>(process_.pid), &info, WEXITED | WNOHANG) == 0) {
            // The descriptor's number may have belonged to a process that ended just before: its readiness
            // can still be delivered, and says nothing about this one.
            if (info.si_pid == 0) return wait_for_exit();
            result_.exit_code =
                info.si_code == CLD_EXITED ? info.si_status : kSignalExitBase + info.si_status;
        }
        reaped_ = true;
        stop_timer();
        std::size_t drained = 0;
        while (output_watch_ && drained < kDrainBytes) {
            const ssize_t got = read_once();
            if (got <= 0) break;
            drained += static_cast<std::size_t>(got);
        }
        drained = 0;
        while (error_watch_ && drained < kDrainBytes) {
            const ssize_t got = read_errors();
            if (got <= 0) break;
            drained += static_cast<std::size_t>(got);
        }
        report();
    }

    /// Ends the child's life here: the rest of the line, the result, and out of the table.
    void report() {
        if (reported_) return;  // when it could not be killed, or abandoned
        if (!line_.empty()) emit(std::exchange(line_, {}));
        if (std::exchange(reported_, true)) return;
        output_watch_.reset();
        error_watch_.reset();
        process_.output.reset();
        process_.errors.reset();
        on_line_.reset();
        const auto on_exit = std::exchange(on_exit_, nullptr);
        std::exchange(forget_, nullptr)();
        if (on_exit) on_exit(std::move(result_));
    }

    void stop_timer() {
        if (timer_) loop_.cancel(*timer_);
        timer_.reset();
    }

    EventLoop& loop_;
    SpawnedProcess process_;
    std::size_t max_output_;
    Duration kill_grace_;
    std::shared_ptr<LineHandler> on_line_;
    ExitHandler on_exit_;
    std::function<void()> forget_;
    std::unique_ptr<Watch> exit_watch_;  // the watches go before their descriptors
    std::unique_ptr<Watch> output_watch_;
    std::unique_ptr<Watch> error_watch_;  // null unless standard error is separate
    std::optional<TimerId> timer_;
    ProcessResult result_;
    std::string line_;
    bool killed_ = false;
    bool reaped_ = false;
    bool reported_ = false;
};

PosixProcesses::PosixProcesses(EventLoop& loop, Duration kill_grace, std::string records)
    : loop_(loop), kill_grace_(kill_grace), unfinished_(std::move(records)) {}

PosixProcesses::~PosixProcesses() {
    for (auto& [handle, child] : children_)
        child->abandon();
}

ProcessHandle PosixProcesses::start(const ProcessSpec& spec, LineHandler on_line, ExitHandler on_exit) {
    const ProcessHandle handle{++last_handle_};
    auto process = spawn(spec);
    if (!process) {
        loop_.post([why = process.error(), on_exit = std::move(on_exit)] { on_exit(fail(why)); });
        return handle;
    }
    const int pid = process->pid;
    unfinished_.began(pid, spec);
    auto child = std::make_shared<Child>(loop_, std::move(*process), spec, std::move(on_line),
                                         std::move(on_exit), kill_grace_, [this, handle, pid] {
                                             unfinished_.ended(pid);
                                             children_.erase(handle);
                                         });
    children_.emplace(handle, child);
    child->begin(spec.limit);
    return handle;
}

void PosixProcesses::kill(ProcessHandle process) {
    const auto found = children_.find(process);
    if (found == children_.end()) return;
    const auto child = found->second;
    child->kill();
}

int PosixProcesses::pid(ProcessHandle process) const {
    const auto found = children_.find(process);
    return found == children_.end() ? 0 : found->second->pid();
}

bool PosixProcesses::alive(int pid) const {
    if (pid <= 0 || (::kill(pid, 0) != 0 && errno != EPERM)) return false;
    const std::unique_ptr<FILE, int (*)(FILE*)> stat(::fopen(fmt::format("/proc/{}/stat", pid).c_str(), "re"),
                                                     ::fclose);
    if (!stat) return errno != ENOENT;
    std::array<char, 512> text{};
    const std::size_t length = ::fread(text.data(), 1, text.size(), stat.get());
    // "pid (name) S ...": the name may hold parentheses, so look from the end.
    const std::string_view view(text.data(), length);
    const auto close = view.rfind(')');
    if (close == std::string_view::npos || close + 2 >= view.size()) return true;
    const char state = view[close + 2];
    return state != 'Z' && state != 'X';
}

}  // namespace understudy::runtime
