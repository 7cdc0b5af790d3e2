#pragma once
// A PostgreSQL server of this host: its data directory, its processes, starting and stopping it. Blocking.

#include "base/result.h"
#include "kits/postgres/files.h"
#include "kits/sdk/kit.h"

#include <optional>
#include <string>
#include <vector>

namespace understudy::kits {

struct PgServer {
    std::string data;
    std::string bin;
    std::string user;   // account that runs the server, never root (APP-221)
    std::string admin;  // database role used for checks
    std::string port;
};

/// From the instance and the data directory. Errors: the data is not there, no programs of its version here.
Result<PgServer> server_of(const Instance& instance);
/// The version in PG_VERSION, empty when it cannot be read.
std::string data_version(const std::string& data);
/// "/usr/lib/postgresql/15/bin", Debian's place for a version's programs.
std::string default_bin(const std::string& version);

std::optional<PidFile> pid_file(const std::string& data);
/// The live postmaster of this data directory, 0 when there is none; also found when the directory itself
/// can no longer be read. Spec: APP-050.
int postmaster_of(const std::string& data);
/// Every live server process of this data directory.
std::vector<int> server_processes(const std::string& data);

/// Starts the server and waits until it is ready. Spec: APP-205 to APP-207, APP-209.
Result<> start_server(const PgServer& server, const Instance& instance);
/// Fast shutdown, then an immediate one, then a kill; ends with no process of this data directory.
/// Spec: APP-206, APP-211.
Result<> stop_server(const std::string& data, const Instance& instance);

/// psql's outcome for a query on template1, without a prompt. Spec: APP-191, APP-213.
Result<Outcome> query(const PgServer& server, const std::string& sql, std::chrono::milliseconds limit);
/// pg_isready's exit code: 0 accepts connections, 1 rejects them, 2 does not answer.
int is_ready(const PgServer& server);

}  // namespace understudy::kits
