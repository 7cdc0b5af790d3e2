#pragma once
// What PostgreSQL's own files and programs say, as values. Pure.

#include <optional>
#include <string>
#include <string_view>

namespace understudy::kits {

/// postmaster.pid; a line that is not there is empty.
struct PidFile {
    int pid = 0;
    std::string data;
    std::string port;
    std::string socket_directory;
    std::string listen_address;
    std::string status;  // starting, ready, standby, stopping
};
/// nullopt when there is no pid in it.
std::optional<PidFile> parse_pid_file(std::string_view text);

/// The port argument of postmaster.opts in any of PostgreSQL's spellings; nullopt when there is none.
/// Spec: APP-192.
std::optional<std::string> port_argument(std::string_view options);

/// Where to connect to: the socket, else the first address the server listens on, else loopback.
/// Spec: APP-214.
std::string host_to_ask(const PidFile& file);

/// What a failed query of a check means. Spec: APP-215, APP-216.
enum class Verdict { failed, undetermined };
/// `psql` is psql's exit code (2: the connection failed), `is_ready` pg_isready's right after it (0 accepts,
/// 1 rejects, 2 does not answer). A server that answers but turns this client away (no slot, no password,
/// starting) is not a failed one.
Verdict verdict(int psql, bool timed_out, std::string_view output, int is_ready);

}  // namespace understudy::kits
