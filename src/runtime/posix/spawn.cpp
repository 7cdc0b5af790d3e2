#include "runtime/posix/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

namespace understudy::runtime {

namespace {

/// posix_spawn's parameters, freed at the end.
struct SpawnParameters {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    SpawnParameters() {
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawnattr_init(&attributes);
    }
    SpawnParameters(const SpawnParameters&) = delete;
    SpawnParameters& operator=(const SpawnParameters&) = delete;
    ~SpawnParameters() {
        ::posix_spawnattr_destroy(&attributes);
        ::posix_spawn_file_actions_destroy(&actions);
    }
};

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> out;
    out.reserve(strings.size() + 1);
    for (auto& one : strings)
        out.push_back(one.data());
    out.push_back(nullptr);
    return out;
}

Error start_error(const ProcessSpec& spec, const std::string& directory, int error) {
    struct stat about {};
    if (::stat(directory.c_str(), &about) != 0 || !S_ISDIR(about.st_mode))
        return {Code::failure,
                fmt::format("cannot run {}: its working directory {} does not exist", spec.path, directory)};
    if (error == ENOENT && ::access(spec.path.c_str(), F_OK) == 0)
        return {Code::failure,
                fmt::format("cannot run {}: the interpreter its first line names does not exist", spec.path)};
    if (error == EACCES)
        return {Code::failure, fmt::format("cannot run {}: it is not executable", spec.path)};
    const Code code = error == ENOENT ? Code::not_found : Code::failure;
    return {code, fmt::format("cannot run {}: {}", spec.path, strerror(error))};
}

/// A child inherits our protection from the out-of-memory killer; what it starts (a database server, say)
/// must be an ordinary process again. Spec: CLU-029.
void reset_oom_protection(int pid) {
    const Descriptor own(::open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC));
    char sign = 0;
    if (!own || ::read(own.get(), &sign, 1) != 1 || sign != '-') return;
    const Descriptor its(::open(fmt::format("/proc/{}/oom_score_adj", pid).c_str(), O_WRONLY | O_CLOEXEC));
    if (its) (void)!::write(its.get(), "0", 1);  // gone already: nothing to protect
}

/// The limit on real-time computing is ours alone (daemon_protection.h).
void reset_real_time_limit(int pid) {
    rlimit limit{};
    if (::prlimit(pid, RLIMIT_RTTIME, nullptr, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)::prlimit(pid, RLIMIT_RTTIME, &limit, nullptr);
}

struct Pipe {
    Descriptor read_end;
    Descriptor write_end;
};

Result<Pipe> make_pipe(const ProcessSpec& spec) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
        return fail(Code::failure, "cannot run {}: no pipe for its output: {}", spec.path, strerror(errno));
    // Only our end: the program expects an ordinary, blocking stdout.
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return Pipe{Descriptor(ends[0]), Descriptor(ends[1])};
}

}  // namespace

Result<SpawnedProcess> spawn(const ProcessSpec& spec) {
    const std::string directory = spec.directory.empty() ? "/" : spec.directory;
    UNDERSTUDY_TRY(auto output, make_pipe(spec));
    Pipe errors;
    if (spec.separate_errors) {
        UNDERSTUDY_TRY(errors, make_pipe(spec));
    }
    const auto& error_end = spec.separate_errors ? errors.write_end : output.write_end;

    SpawnParameters p;
    ::posix_spawn_file_actions_addopen(&p.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&p.actions, output.write_end.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&p.actions, error_end.get(), STDERR_FILENO);
    ::posix_spawn_file_actions_addclosefrom_np(&p.actions, STDERR_FILENO + 1);
    ::posix_spawn_file_actions_addchdir_np(&p.actions, directory.c_str());
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    ::posix_spawnattr_setsigmask(&p.attributes, &none);
    ::posix_spawnattr_setsigdefault(&p.attributes, &all);  // we ignore SIGPIPE; it must not
    ::posix_spawnattr_setflags(&p.attributes,
                               POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

    std::vector<std::string> arguments{spec.path};
    arguments.insert(arguments.end(), spec.arguments.begin(), spec.arguments.end());
    std::vector<std::string> environment;
    for (const auto& [name, value] : spec.environment)
        environment.push_back(name + "=" + value);

    SpawnedProcess out;
    const int error = ::posix_spawn(&out.pid, spec.path.c_str(), &p.actions, &p.attributes,
                                    pointers(arguments).data(), pointers(environment).data());
    if (error != 0) return fail(start_error(spec, directory, error));
    reset_oom_protection(out.pid);
    reset_real_time_limit(out.pid);
    // The pid is ours until we have waited for it, so this cannot name another process.
    out.exit = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, out.pid, 0)));
    if (!out.exit) {
        const int why = errno;
        ::kill(-out.pid, SIGKILL);
        ::waitpid(out.pid, nullptr, 0);
        return fail(Code::failure, "cannot watch {}: {}", spec.path, strerror(why));
    }
    out.output = std::move(output.read_end);
    out.errors = std::move(errors.read_end);
    return out;
}

}  // namespace understudy::runtime
