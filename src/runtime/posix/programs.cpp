#include "runtime/posix/programs.h"

#include "base/text.h"
#include "runtime/posix/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

namespace understudy::runtime {
namespace {

constexpr const char* kAdministratorsPath = "/usr/local/sbin:/usr/sbin:/sbin";
constexpr int kCannotEnter = 126;  // exit codes as a shell's
constexpr int kCannotRun = 127;
constexpr int kSignalExitBase = 128;
/// Read at most of what is left when the program has ended: a daemon that it started may write on.
constexpr std::size_t kDrainBytes = 1UL << 20;

struct Pipe {
    Descriptor read_end;
    Descriptor write_end;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(Code::failure, "no pipe: {}", strerror(errno));
    // Only our end: the program expects an ordinary, blocking output.
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return Pipe{Descriptor(ends[0]), Descriptor(ends[1])};
}

/// A file in memory: the program takes of it what it likes, when it likes, and nobody waits.
Result<Descriptor> memory_file(std::string_view content) {
    Descriptor file(::memfd_create("understudy-input", MFD_CLOEXEC));
    while (file && !content.empty()) {
        const auto count = ::write(file.get(), content.data(), content.size());
        if (count < 0) return fail(Code::failure, "no room for its input: {}", strerror(errno));
        content.remove_prefix(static_cast<std::size_t>(count));
    }
    if (!file) return fail(Code::failure, "no room for its input: {}", strerror(errno));
    ::lseek(file.get(), 0, SEEK_SET);
    return file;
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
    std::vector<char*> out;
    out.reserve(words.size() + 1);
    for (const auto& word : words)
        out.push_back(const_cast<char*>(word.c_str()));
    out.push_back(nullptr);
    return out;
}

void become(const std::string& user) {
    const auto* account = getpwnam(user.c_str());
    if (account == nullptr || initgroups(user.c_str(), account->pw_gid) != 0 ||
        setgid(account->pw_gid) != 0 || setuid(account->pw_uid) != 0)
        _exit(kCannotEnter);
    setenv("HOME", account->pw_dir, 1);
    setenv("USER", user.c_str(), 1);
}

/// In the child. `failure` closes as the program begins; otherwise it gets why there is none, an errno.
[[noreturn]] void run_in_child(const Program& program, const std::string& path, char* const* arguments,
                               int input, int output, int errors, int failure) {
    ::setsid();
    ::dup2(input, STDIN_FILENO);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(errors, STDERR_FILENO);
    for (const auto& [key, value] : program.environment)
        setenv(key.c_str(), value.c_str(), 1);
    ::signal(SIGPIPE, SIG_DFL);  // we may ignore it; it must not
    if (!program.user.empty()) become(program.user);
    if (::chdir(program.directory.c_str()) != 0) _exit(kCannotEnter);
    ::execvp(path.c_str(), arguments);
    const int why = errno;
    (void)!::write(failure, &why, sizeof why);
    _exit(kCannotRun);
}

/// What the program has written and we keep.
class Stream {
  public:
    Stream(Descriptor pipe, std::size_t most) : pipe_(std::move(pipe)), most_(most) {}
    [[nodiscard]] pollfd wait() const { return {pipe_.get(), POLLIN, 0}; }
    /// Takes what is there, at most `limit` bytes of it.
    void take(std::size_t limit, bool& truncated) {
        std::array<char, 65536> piece;
        for (std::size_t taken = 0; pipe_ && taken < limit;) {
            const auto count = ::read(pipe_.get(), piece.data(), piece.size());
            if (count < 0 && errno == EINTR) continue;
            if (count < 0 && errno == EAGAIN) return;
            if (count <= 0) return pipe_.reset();
            taken += static_cast<std::size_t>(count);
            const auto kept = std::min(static_cast<std::size_t>(count), most_ - text.size());
            if (kept < static_cast<std::size_t>(count)) truncated = true;
            text.append(piece.data(), kept);
        }
    }
    std::string text;

  private:
    Descriptor pipe_;
    std::size_t most_;
};

}  // namespace

std::string find_program(const std::string& name) {
    if (name.find('/') != std::string::npos) return name;
    const auto* set = std::getenv("PATH");
    const auto directories =
        fmt::format("{}:{}", set == nullptr ? "/usr/bin:/bin" : set, kAdministratorsPath);
    for (const auto& directory : text::split(directories, ':'))
        if (auto path = fmt::format("{}/{}", directory, name); ::access(path.c_str(), X_OK) == 0) return path;
    return {};
}

Result<ProcessResult> run_program(const Program& program) {
    const auto& name = program.words.at(0);
    const auto not_run = [&name](const Error& why) {
        return with_context(why, fmt::format("cannot run {}", name));
    };
    const auto path = find_program(name);
    if (path.empty()) return fail(Code::failure, "{} is not installed on this host", name);
    auto input = memory_file(program.input);
    if (!input) return not_run(input.error());
    auto output = make_pipe();
    if (!output) return not_run(output.error());
    auto failure = make_pipe();
    if (!failure) return not_run(failure.error());
    Pipe errors;
    if (program.errors == StandardError::separate) {
        auto made = make_pipe();
        if (!made) return not_run(made.error());
        errors = std::move(*made);
    } else if (program.errors == StandardError::dropped) {
        errors.write_end = Descriptor(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    }
    const int error_end = errors.write_end ? errors.write_end.get() : output->write_end.get();
    const auto arguments = pointers(program.words);
    const auto child = ::fork();
    if (child == 0)
        run_in_child(program, path, arguments.data(), input->get(), output->write_end.get(), error_end,
                     failure->write_end.get());
    if (child < 0) return not_run({Code::failure, strerror(errno), 0});
    // The pid is ours until we have waited for it, so this cannot name another process.
    const Descriptor process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    int status = 0;
    if (!process) {
        const int why = errno;
        ::kill(-child, SIGKILL);
        ::waitpid(child, &status, 0);
        return not_run({Code::failure, strerror(why), 0});
    }
    output->write_end.reset();
    errors.write_end.reset();
    Stream out(std::move(output->read_end), program.max_output);
    Stream err(std::move(errors.read_end), program.max_output);

    ProcessResult result;
    const auto deadline = std::chrono::steady_clock::now() + program.limit;
    for (bool ended = false; !ended;) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0 && !std::exchange(result.timed_out, true)) ::kill(-child, SIGKILL);
        std::array<pollfd, 3> waits{{{process.get(), POLLIN, 0}, out.wait(), err.wait()}};
        ::poll(waits.data(), waits.size(), result.timed_out ? -1 : static_cast<int>(left.count()));
        ended = waits[0].revents != 0;
        out.take(kDrainBytes, result.truncated);
        err.take(kDrainBytes, result.truncated);
    }
    ::waitpid(child, &status, 0);
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : kSignalExitBase + WTERMSIG(status);
    result.output = std::move(out.text);
    result.errors = std::move(err.text);
    if (int why = 0; ::read(failure->read_end.get(), &why, sizeof why) == sizeof why) {
        if (why == ENOENT) return fail(Code::failure, "{} is not installed on this host", name);
        return not_run({Code::failure, strerror(why), 0});
    }
    return result;
}

Result<> start_detached(const std::vector<std::string>& words, const std::string& log) {
    const auto arguments = pointers(words);
    const auto child = ::fork();
    if (child < 0) return fail(Code::failure, "cannot start {}: {}", words.at(0), strerror(errno));
    if (child == 0) {
        ::setsid();
        if (::fork() != 0) _exit(0);  // it belongs to init, not to us
        const int null = ::open("/dev/null", O_RDWR);
        const int out = log.empty() ? null : ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0640);
        ::dup2(null, STDIN_FILENO);
        ::dup2(out, STDOUT_FILENO);
        ::dup2(out, STDERR_FILENO);
        if (::chdir("/") != 0) _exit(kCannotEnter);
        ::execv(arguments[0], arguments.data());
        _exit(kCannotRun);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return {};
}

}  // namespace understudy::runtime
