#include "kits/postgres/server.h"

#include "base/text.h"
#include "messages/kits.h"

#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

namespace understudy::kits {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

// The manual polls every 5 s; the same total limits hold here, polled as often as wait_until does.
constexpr seconds kPerRetry{5};
constexpr seconds kConnectLimit{5};
constexpr seconds kOrphanLimit{10};
constexpr seconds kZombieLimit{10};
constexpr seconds kAppearLimit{5};  // until a started server has its first file or process
constexpr auto kScanInterval = milliseconds(500);
constexpr std::size_t kMaxLogTail = 1500;
constexpr std::uintmax_t kMaxLog = 16UL << 20;  // then it becomes FILE.1

std::string content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

struct ProcessStatus {
    char state = 'X';
    int parent = 0;
};
std::optional<ProcessStatus> status_of(const std::string& pid) {
    // The name in brackets may hold anything, so fields are counted from its end.
    const auto text = content_of("/proc/" + pid + "/stat");
    const auto close = text.rfind(')');
    if (close == std::string::npos) return std::nullopt;
    const auto fields = text::words(std::string_view(text).substr(close + 1));
    if (fields.size() < 2) return std::nullopt;
    return ProcessStatus{fields[0][0], static_cast<int>(text::to_int(fields[1]).value_or(0))};
}

bool is_zombie(int pid) {
    const auto status = status_of(std::to_string(pid));
    return status && (status->state == 'Z' || status->state == 'X');
}

bool is_postgres(const std::string& pid) {
    std::error_code error;
    auto name = fs::read_symlink("/proc/" + pid + "/exe", error).filename().string();
    if (error) return false;  // a zombie has none
    if (const auto at = name.find(" (deleted)"); at != std::string::npos)
        name.resize(at);  // upgraded meanwhile
    return name == "postgres" || name == "postmaster";
}

bool works_in(const std::string& pid, const std::string& data) {
    std::error_code error;
    return fs::equivalent("/proc/" + pid + "/cwd", data, error) && !error;
}

/// postgres -D DATA, which stays true when DATA's volume is gone.
bool was_started_for(const std::string& pid, const std::string& data) {
    const auto words = text::split(content_of("/proc/" + pid + "/cmdline"), '\0');
    for (std::size_t i = 0; i + 1 < words.size(); ++i)
        if (words[i] == "-D" && words[i + 1] == data) return true;
    return false;
}

bool is_server_process(const std::string& pid, const std::string& data) {
    return is_postgres(pid) && (works_in(pid, data) || was_started_for(pid, data));
}

/// Backends that outlived a killed postmaster keep its shared memory and block every start. Spec: APP-206.
bool end_orphans(const std::string& data) {
    return wait_until(kOrphanLimit, [&] {
        if (postmaster_of(data) != 0) return true;
        const auto left = server_processes(data);
        for (const auto pid : left) {
            say(fmt::format("ending orphaned server process {}", pid));
            kill(pid, SIGKILL);
        }
        return left.empty();
    });
}

/// A lock file whose process is gone, or has become another program's, would stop the server from starting.
/// Called when no process of this data directory lives. Spec: APP-205.
Result<> clear_stale_lock(const std::string& data) {
    const auto file = pid_file(data);
    if (!file) return {};
    if (!wait_until(kZombieLimit, [&] { return !is_zombie(file->pid); }))
        return fail(Code::failure, "the ended postmaster {} of {} is still a zombie; its parent must reap it",
                    file->pid, data);
    if (postmaster_of(data) != 0) return {};
    std::error_code error;
    fs::remove(data + "/postmaster.pid", error);
    if (error) return fail(Code::failure, "stale {}/postmaster.pid stays: {}", data, error.message());
    say(fmt::format("stale postmaster.pid of process {} removed", file->pid));
    return {};
}

std::string log_since(const std::string& path, std::uintmax_t start) {
    std::ifstream file(path);
    file.seekg(static_cast<std::streamoff>(start));
    std::string content{std::istreambuf_iterator<char>(file), {}};
    if (content.size() > kMaxLogTail) content.erase(0, content.size() - kMaxLogTail);
    return std::string(text::trim(content));
}

/// The server's log, ready to be appended to by its account; its size now.
Result<std::uintmax_t> prepare_log(const std::string& path, const PgServer& server) {
    std::error_code error;
    auto size = fs::file_size(path, error);
    if (error) size = 0;
    if (size > kMaxLog) {
        fs::rename(path, path + ".1", error);
        size = 0;
    }
    std::ofstream(path, std::ios::app);
    const auto* account = getpwnam(server.user.c_str());
    if (account == nullptr) return fail(Code::failure, "there is no account {} on this host", server.user);
    if (chown(path.c_str(), account->pw_uid, account->pw_gid) != 0) say("the server's log stays root's");
    return size;
}

enum class Progress { ready, starting, ended, silent };

/// Waits for a server that was just started; who died is not waited for.
Progress wait_for_start(const PgServer& server, milliseconds limit) {
    using Clock = std::chrono::steady_clock;
    auto progress = Progress::silent;
    bool seen = false;
    auto next_scan = Clock::now() + kAppearLimit;
    wait_until(limit, [&] {
        const auto file = pid_file(server.data);
        const bool alive = file && is_server_process(std::to_string(file->pid), server.data);
        seen = seen || alive;
        if (alive && (file->status == "ready" || file->status == "standby")) {
            progress = Progress::ready;
            return true;
        }
        if (alive) {
            progress = Progress::starting;
            return false;
        }
        if (!seen && Clock::now() < next_scan) return false;
        next_scan = Clock::now() + kScanInterval;
        if (!seen && !server_processes(server.data).empty()) return false;
        progress = Progress::ended;
        return true;
    });
    return progress;
}

}  // namespace

std::string data_version(const std::string& data) {
    std::string version;
    std::ifstream file(data + "/PG_VERSION");
    std::getline(file, version);
    return version;
}

std::string default_bin(const std::string& version) {
    return "/usr/lib/postgresql/" + version + "/bin";
}

Result<PgServer> server_of(const Instance& instance) {
    PgServer server;
    UNDERSTUDY_TRY(server.data, instance.required("data"));
    server.port = instance.id.str();
    const auto port = text::to_int(server.port);
    if (!port || *port < 1 || *port > 65535)
        return fail(Code::bad_argument, "the id of {} must be PostgreSQL's port, not \"{}\"",
                    instance.tag.str(), server.port);
    struct stat status {};
    if (stat((server.data + "/PG_VERSION").c_str(), &status) != 0)
        return fail(Code::failure,
                    "{} holds no PostgreSQL data (PG_VERSION is missing); is its volume in service?",
                    server.data);
    const auto* owner = getpwuid(status.st_uid);
    server.user = instance.optional("user", owner == nullptr ? "postgres" : owner->pw_name);
    server.admin = instance.optional("admin", server.user);
    if (server.user == "root")
        return fail(Code::bad_argument, "{} belongs to root; PostgreSQL refuses to run as root", server.data);
    const auto version = data_version(server.data);
    server.bin = instance.optional("bin", default_bin(version));
    std::error_code error;
    if (!fs::exists(server.bin + "/pg_ctl", error))
        return messages::fail(Code::failure, messages::pg_version, server.data, version, server.bin);
    return server;
}

std::optional<PidFile> pid_file(const std::string& data) {
    return parse_pid_file(content_of(data + "/postmaster.pid"));
}

std::vector<int> server_processes(const std::string& data) {
    std::vector<int> pids;
    std::vector<std::pair<int, int>> others;  // pid, parent
    std::error_code error;
    for (fs::directory_iterator process("/proc", error), end; !error && process != end;
         process.increment(error)) {
        const auto name = process->path().filename().string();
        const auto pid = text::to_int(name);
        if (!pid || !is_postgres(name)) continue;
        if (works_in(name, data) || was_started_for(name, data))
            pids.push_back(static_cast<int>(*pid));
        else if (const auto status = status_of(name))
            others.emplace_back(static_cast<int>(*pid), status->parent);
    }
    // When the volume is gone, only a postmaster can be told by its arguments, and the others by it.
    const std::set<int> known(pids.begin(), pids.end());
    for (const auto& [pid, parent] : others)
        if (known.contains(parent)) pids.push_back(pid);
    return pids;
}

int postmaster_of(const std::string& data) {
    const auto file = pid_file(data);
    if (file && is_server_process(std::to_string(file->pid), data)) return file->pid;
    for (const auto pid : server_processes(data))
        if (was_started_for(std::to_string(pid), data)) return pid;
    return 0;
}

Result<> start_server(const PgServer& server, const Instance& instance) {
    if (!end_orphans(server.data))
        return fail(Code::failure, "orphaned processes of {} cannot be ended", server.data);
    UNDERSTUDY_CHECK(clear_stale_lock(server.data));
    const auto log = instance.layout.log() + "/postgres-" + server.port + ".log";
    UNDERSTUDY_TRY(const auto log_start, prepare_log(log, server));
    // pg_ctl would poll ten times a second; the server is started without waiting and watched here.
    UNDERSTUDY_CHECK(must_run({{server.bin + "/pg_ctl", "start", "-W", "-s", "-D", server.data, "-l", log,
                                "-o", "-p " + server.port},
                               server.user,
                               "/",
                               seconds(30)}));
    const auto limit = kPerRetry * instance.setting("LKPGSQL_START_RETRIES", 12, 12);
    auto progress = wait_for_start(server, limit);
    auto waited = limit;
    if (progress == Progress::starting) {
        // Crash recovery goes on from where it is; giving up would begin it anew each time. Spec: APP-209.
        const auto more = seconds(instance.setting("LKPGSQL_RECOVERY_WAIT", 600, 0));
        say(fmt::format("PostgreSQL still recovers after {} s; it gets up to {} s more", limit.count(),
                        more.count()));
        progress = wait_for_start(server, more);
        waited += more;
    }
    switch (progress) {
        case Progress::ready:
            return {};
        case Progress::starting:
            return messages::fail(Code::failure, messages::pg_recovering, server.port, waited.count());
        case Progress::ended:
            return fail(Code::failure, "PostgreSQL on port {} ended while it started: {}", server.port,
                        log_since(log, log_start));
        case Progress::silent:
            break;
    }
    return fail(Code::failure, "PostgreSQL on port {} is not ready after {} s: {}", server.port,
                waited.count(), log_since(log, log_start));
}

Result<> stop_server(const std::string& data, const Instance& instance) {
    const auto limit = kPerRetry * instance.setting("LKPGSQL_STOP_RETRIES", 12, 12);
    int postmaster = postmaster_of(data);
    const auto ended = [&] { return !is_server_process(std::to_string(postmaster), data); };
    const auto tell = [&](int number) {
        kill(postmaster, number);
        kill(postmaster, SIGCONT);  // one that somebody has stopped must hear it too
    };
    if (postmaster != 0) {
        tell(SIGINT);  // fast shutdown. Spec: APP-211
        if (!wait_until(limit / 2, ended)) {
            say("fast shutdown takes too long; immediate shutdown");
            tell(SIGQUIT);
            if (!wait_until(limit / 2, ended)) {
                say("immediate shutdown takes too long; killing the server");
                tell(SIGKILL);
                wait_until(kOrphanLimit, ended);
            }
        }
    }
    if (!end_orphans(data) || postmaster_of(data) != 0)
        return fail(Code::failure, "PostgreSQL on port {} could not be stopped; its processes are {}",
                    instance.id.str(), fmt::join(server_processes(data), ", "));
    // Somebody else there will keep the volume busy; its remove decides. Spec: APP-051.
    if (const auto holders = holders_of(data); !holders.empty())
        say(messages::text(messages::kit_volume_held, data, holders));
    return {};
}

Result<Outcome> query(const PgServer& server, const std::string& sql, milliseconds limit) {
    const auto file = pid_file(server.data);
    if (!file) return fail(Code::failure, "PostgreSQL on port {} does not run", server.port);
    Program program;
    program.words = {server.bin + "/psql", "-X", "-w",        "-A", "-t",         "-h",
                     host_to_ask(*file),   "-p", server.port, "-U", server.admin, "-d",
                     "template1",          "-c", sql};
    program.user = server.user;
    program.limit = limit;
    program.environment = {{"PGCONNECT_TIMEOUT", std::to_string(kConnectLimit.count())}};
    if (const auto* passwords = std::getenv("LKPGSQL_PGPASSFILE"); passwords != nullptr && *passwords != '\0')
        program.environment["PGPASSFILE"] = passwords;  // Spec: APP-189
    return run_program(program);
}

int is_ready(const PgServer& server) {
    const auto file = pid_file(server.data);
    if (!file) return 2;
    const auto outcome = run_program({{server.bin + "/pg_isready", "-q", "-h", host_to_ask(*file), "-p",
                                       server.port, "-t", std::to_string(kConnectLimit.count())},
                                      server.user,
                                      "/",
                                      2 * kConnectLimit});
    return outcome && !outcome->timed_out ? outcome->exit_code : 2;
}

}  // namespace understudy::kits
