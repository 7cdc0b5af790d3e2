#include "mirror/export/control_process.h"

#include "mirror/export/descriptor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

namespace understudy::mirror {
namespace {

constexpr int kFirstOwnDescriptor = 3;
constexpr std::size_t kTextSize = 1000;

/// What the child writes into the pipe, in one piece.
struct Outcome {
    std::int32_t code = 0;
    std::int64_t value = 0;
    std::array<char, kTextSize> text{};
};
static_assert(sizeof(Outcome) < 4096, "one atomic write to a pipe");

[[noreturn]] void be_the_child(int pipe_end, pid_t parent,
                               const std::function<Result<std::int64_t>()>& work) {
    // The pipe goes to the first place, everything after it is closed: the child holds nothing of the
    // parent's.
    if (pipe_end != kFirstOwnDescriptor) dup2(pipe_end, kFirstOwnDescriptor);
    syscall(SYS_close_range, kFirstOwnDescriptor + 1, ~0U, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    Outcome outcome;
    if (auto result = work()) {
        outcome.value = *result;
    } else {
        outcome.code = static_cast<std::int32_t>(result.error().code);
        result.error().text.copy(outcome.text.data(), outcome.text.size() - 1);
    }
    const auto written = ::write(kFirstOwnDescriptor, &outcome, sizeof outcome);
    _exit(written == sizeof outcome ? 0 : 1);
}

/// Lives until the child is reaped.
class Child {
  public:
    Child(Reactor& reactor, pid_t pid, Descriptor pipe, Descriptor pidfd,
          std::function<void(Result<std::int64_t>)> done)
        : reactor_(reactor),
          pid_(pid),
          pipe_(std::move(pipe)),
          pidfd_(std::move(pidfd)),
          done_(std::move(done)) {}

    void watch(std::chrono::milliseconds limit) {
        for (auto* op : {&read_, &timer_, &exit_})
            op->owner = this;
        read_.done = [](IoOperation& op, int result) { self(op).reported(result); };
        timer_.done = [](IoOperation& op, int result) { self(op).timed_out(result); };
        exit_.done = [](IoOperation& op, int) { self(op).exited(); };
        limit_ = limit;
        reactor_.read(read_, pipe_.get(), std::as_writable_bytes(std::span(&outcome_, 1)), 0);
        reactor_.timeout(timer_, limit);
        reactor_.poll_in(exit_, pidfd_.get());
    }

  private:
    static Child& self(IoOperation& op) { return *static_cast<Child*>(op.owner); }

    void reported(int result) {
        if (result != sizeof outcome_)
            result_ = fail(Code::failure, "a helper process for the export died");
        else if (outcome_.code != 0)
            result_ = fail(static_cast<Code>(outcome_.code), "{}", outcome_.text.data());
        else
            result_ = outcome_.value;
        leave();
    }
    /// A child that waits in the kernel may outlive its SIGKILL for as long as the kernel likes: the caller
    /// is told now, the child is reaped when it goes.
    void timed_out(int result) {
        if (result == 0) {
            kill(pid_, SIGKILL);
            reactor_.cancel(read_);
            finish(fail(Code::failure, "the kernel did not finish a change of the export within {} s",
                        std::chrono::duration_cast<std::chrono::seconds>(limit_).count()));
        }
        leave();
    }
    void exited() {
        siginfo_t info{};
        waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED);
        reactor_.cancel(timer_);
        leave();
    }
    void finish(Result<std::int64_t> result) {
        if (auto done = std::exchange(done_, {})) done(std::move(result));
    }
    void leave() {
        if (read_.in_flight || timer_.in_flight || exit_.in_flight) return;
        const std::unique_ptr<Child> self_owned(this);
        finish(std::move(result_));
    }

    Reactor& reactor_;
    pid_t pid_;
    Descriptor pipe_, pidfd_;
    std::chrono::milliseconds limit_{};
    Outcome outcome_;
    Result<std::int64_t> result_;
    IoOperation read_, timer_, exit_;
    std::function<void(Result<std::int64_t>)> done_;
};

}  // namespace

void run_in_child(Reactor& reactor, std::chrono::milliseconds limit,
                  std::function<Result<std::int64_t>()> work,
                  std::function<void(Result<std::int64_t>)> done) {
    std::array<int, 2> ends{-1, -1};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
        reactor.post([done = std::move(done), error = errno] {
            done(fail(Code::failure, "cannot make a pipe: {}", std::strerror(error)));
        });
        return;
    }
    Descriptor read_end(ends[0]), write_end(ends[1]);
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) be_the_child(write_end.get(), parent, work);
    Descriptor pidfd(pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
    if (!pidfd.valid()) {
        const int error = errno;
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, nullptr, 0);
        }
        reactor.post([done = std::move(done), error] {
            done(fail(Code::failure, "cannot start a helper process: {}", std::strerror(error)));
        });
        return;
    }
    write_end.reset();
    // Deletes itself when the child is reaped.
    auto child =
        std::make_unique<Child>(reactor, pid, std::move(read_end), std::move(pidfd), std::move(done));
    child.release()->watch(limit);
}

}  // namespace understudy::mirror
