// The PostgreSQL kit: one data directory is one resource. Spec: APP-176 to APP-220.
//
// id: the port. info: data=DIR [bin=DIR] [user=ACCOUNT] [admin=ROLE]
// restore: start unless it runs, wait until it answers a query. remove: fast shutdown, then immediate, then
// kill. quickchk: it accepts a connection. deepchk: it answers a query.

#include "base/text.h"
#include "kits/sdk/kit.h"

#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace understudy::kits {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

// The manual polls every 5 s; the same total limits hold here, polled as often as wait_until does.
constexpr seconds kPerRetry{5};
constexpr std::size_t kMaxLogTail = 1500;
constexpr auto kConnectLimit = seconds(5);

struct Server {
    std::string data;
    std::string bin;
    std::string user;   // account that runs the server, never root (APP-221)
    std::string admin;  // database role used for checks
    std::string port;
};

struct PidFile {
    int pid = 0;
    std::string socket_directory;
    std::string listen_address;
    std::string status;
};

Result<Server> server_of(const Instance& instance) {
    Server server;
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
    server.bin = instance.optional("bin", "");
    if (server.bin.empty()) {
        std::string version;
        std::getline(std::ifstream(server.data + "/PG_VERSION"), version);
        server.bin = "/usr/lib/postgresql/" + version + "/bin";
    }
    if (!fs::exists(server.bin + "/pg_ctl"))
        return fail(Code::failure,
                    "{}/pg_ctl is not installed on this host; the data needs this version (bin=DIR names "
                    "another place)",
                    server.bin);
    return server;
}

std::optional<PidFile> pid_file(const Server& server) {
    std::ifstream file(server.data + "/postmaster.pid");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);)
        lines.emplace_back(text::trim(line));
    if (lines.empty()) return std::nullopt;
    lines.resize(8);
    return PidFile{static_cast<int>(text::to_int(lines[0]).value_or(0)), lines[4], lines[5], lines[7]};
}

/// Whether this process is a live (not zombie) postgres that works in our data directory.
bool is_server_process(const Server& server, const std::string& pid) {
    std::error_code error;
    const auto executable = fs::read_symlink("/proc/" + pid + "/exe", error).filename();
    if (error || (executable != "postgres" && executable != "postmaster")) return false;
    return fs::equivalent("/proc/" + pid + "/cwd", server.data, error) && !error;
}

bool running(const Server& server) {
    const auto file = pid_file(server);
    return file && file->pid > 0 && is_server_process(server, std::to_string(file->pid));
}

std::vector<int> server_processes(const Server& server) {
    std::vector<int> pids;
    std::error_code error;
    for (fs::directory_iterator process("/proc", error), end; !error && process != end;
         process.increment(error)) {
        const auto name = process->path().filename().string();
        const auto pid = text::to_int(name);
        if (pid && is_server_process(server, name)) pids.push_back(static_cast<int>(*pid));
    }
    return pids;
}

/// Backends that outlived a killed postmaster keep its shared memory and block every start. Spec: APP-206.
bool end_orphans(const Server& server) {
    return wait_until(seconds(10), [&] {
        if (running(server)) return true;
        const auto left = server_processes(server);
        for (const auto pid : left) {
            say(fmt::format("ending orphaned server process {}", pid));
            kill(pid, SIGKILL);
        }
        return left.empty();
    });
}

/// Spec: APP-214: whatever the server listens on, beginning with its socket.
std::string host_to_ask(const PidFile& file) {
    if (!file.socket_directory.empty()) return file.socket_directory;
    if (!file.listen_address.empty() && file.listen_address != "*") return file.listen_address;
    return "127.0.0.1";
}

Result<> ask(const Server& server, const std::string& query, milliseconds limit) {
    const auto file = pid_file(server);
    if (!file) return fail(Code::failure, "PostgreSQL on port {} does not run", server.port);
    return must_run({{"env", fmt::format("PGCONNECT_TIMEOUT={}", kConnectLimit.count()), server.bin + "/psql",
                      "-X", "-w", "-A", "-t", "-h", host_to_ask(*file), "-p", server.port, "-U", server.admin,
                      "-d", "template1", "-c", query},
                     server.user,
                     "/",
                     limit});
}

std::string log_tail(const std::string& path) {
    std::ifstream file(path);
    std::string content{std::istreambuf_iterator<char>(file), {}};
    if (content.size() > kMaxLogTail) content.erase(0, content.size() - kMaxLogTail);
    return std::string(text::trim(content));
}

Result<> stop(const Server& server, const Instance& instance) {
    const auto retries = instance.setting("LKPGSQL_STOP_RETRIES", 12, 12);
    const auto limit = kPerRetry * retries;
    const auto ended = [&] { return !running(server); };
    const auto signal_postmaster = [&](int number) {
        if (const auto file = pid_file(server); file && file->pid > 0 && running(server))
            kill(file->pid, number);
    };
    if (running(server)) {
        signal_postmaster(SIGINT);  // fast shutdown. Spec: APP-211
        if (!wait_until(limit / 2, ended)) {
            say("fast shutdown takes too long; immediate shutdown");
            signal_postmaster(SIGQUIT);
            if (!wait_until(limit / 2, ended)) {
                say("immediate shutdown takes too long; killing the server");
                signal_postmaster(SIGKILL);
            }
        }
    }
    if (!end_orphans(server) || running(server))
        return fail(Code::failure, "PostgreSQL on port {} could not be stopped", server.port);
    return {};
}

Result<> start(const Server& server, const Instance& instance) {
    if (!end_orphans(server))
        return fail(Code::failure, "orphaned processes of {} cannot be ended", server.data);
    const auto log = instance.layout.log() + "/postgres-" + server.port + ".log";
    const auto limit = kPerRetry * instance.setting("LKPGSQL_START_RETRIES", 12, 12);
    std::ofstream(log, std::ios::trunc);
    const auto* account = getpwnam(server.user.c_str());
    if (account == nullptr) return fail(Code::failure, "there is no account {} on this host", server.user);
    if (chown(log.c_str(), account->pw_uid, account->pw_gid) != 0) say("the server's log stays root's");
    // pg_ctl would poll ten times a second; the server is started without waiting and watched here.
    UNDERSTUDY_CHECK(must_run({{server.bin + "/pg_ctl", "start", "-W", "-s", "-D", server.data, "-l", log,
                                "-o", "-p " + server.port},
                               server.user,
                               "/",
                               seconds(30)}));
    const bool ready = wait_until(limit, [&] {
        const auto file = pid_file(server);
        return file && file->status == "ready";
    });
    if (!ready)
        return fail(Code::failure, "PostgreSQL on port {} is not ready after {} s: {}", server.port,
                    limit.count(), log_tail(log));
    return {};
}

Result<> restore(const Instance& instance) {
    UNDERSTUDY_TRY(const auto server, server_of(instance));
    const auto connect_limit = kPerRetry * instance.setting("LKPGSQL_RESTORE_CONNECT_RETRIES", 2, 2);
    if (running(server)) {
        say("PostgreSQL runs already");  // Spec: APP-204
    } else if (const auto started = start(server, instance); !started) {
        // Nothing half-started may stay: neither lock file nor open volume. Spec: APP-210.
        if (const auto stopped = stop(server, instance); !stopped) say(stopped.error().text);
        return started;
    }
    Result<> answer;
    if (wait_until(connect_limit,
                   [&] { return (answer = ask(server, "SELECT 1", kConnectLimit)).has_value(); }))
        return {};
    if (const auto stopped = stop(server, instance); !stopped) say(stopped.error().text);
    return with_context(
        answer.error(),
        fmt::format("PostgreSQL on port {} started, but does not answer as {}", server.port, server.admin));
}

Result<> remove(const Instance& instance) {
    auto server = server_of(instance);
    if (!server) {
        // The volume is not there, so neither is the server.
        if (const auto data = instance.required("data"); data && !fs::exists(*data + "/PG_VERSION"))
            return {};
        return fail(server.error());
    }
    return stop(*server, instance);
}

Result<> quick_check(const Instance& instance) {
    if (instance.state != "ISP") return {};
    UNDERSTUDY_TRY(const auto server, server_of(instance));
    if (!running(server)) return fail(Code::failure, "PostgreSQL on port {} does not run", server.port);
    UNDERSTUDY_TRY(const auto outcome,
                   run_program({{server.bin + "/pg_isready", "-q", "-h", host_to_ask(*pid_file(server)), "-p",
                                 server.port, "-t", "5"},
                                server.user,
                                "/",
                                seconds(10)}));
    if (outcome.exit_code == 0 || outcome.exit_code == 1)
        return {};  // 1: starting or stopping, which is not failed (APP-212)
    return fail(Code::failure, "PostgreSQL on port {} takes no connections", server.port);
}

Result<> deep_check(const Instance& instance) {
    if (instance.state != "ISP") return {};
    UNDERSTUDY_TRY(const auto server, server_of(instance));
    const auto limit = seconds(instance.setting("LKPGSQL_CHECK_TIMEOUT", 30, 1));
    const auto answer = ask(server, "SELECT datname FROM pg_database LIMIT 1", limit);
    if (answer) return {};
    // The server demonstrably lives in these cases: not a reason to fail over. Spec: APP-216.
    for (const auto* alive : {"too many clients", "remaining connection slots", "authentication failed",
                              "no password supplied", "starting up", "shutting down"})
        if (answer.error().text.find(alive) != std::string::npos) {
            say("check is undetermined: " + answer.error().text);
            return {};
        }
    return answer;
}

int run_kit(int argc, char** argv) {
    return run(
        argc, argv,
        {{"restore", restore}, {"remove", remove}, {"quickchk", quick_check}, {"deepchk", deep_check}});
}

}  // namespace
}  // namespace understudy::kits

int main(int argc, char** argv) {
    return understudy::kits::run_kit(argc, argv);
}
