// The PostgreSQL kit: one data directory is one resource. Spec: APP-176 to APP-220.
//
// id: the port. info: data=DIR [bin=DIR] [user=ACCOUNT] [admin=ROLE]
// restore: start unless it runs, wait until it answers a query. remove: fast shutdown, then immediate, then
// kill. quickchk: it accepts a connection. deepchk: it answers a query. recover: remove and restore.

#include "base/text.h"
#include "kits/postgres/configure.h"
#include "kits/postgres/server.h"
#include "messages/kits.h"

#include <filesystem>

namespace understudy::kits {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kPerRetry{5};
constexpr auto kQueryLimit = seconds(6);  // libpq's own limit for a connection is 5 s

/// Whether the server answers: its query's result, or at least that it turned us away. Spec: APP-216.
Result<> answers(const PgServer& server, const std::string& sql, milliseconds limit) {
    UNDERSTUDY_TRY(const auto outcome, query(server, sql, limit));
    if (outcome.exit_code == 0 && !outcome.timed_out) return {};
    const std::string why(outcome.timed_out ? "no answer in time" : text::trim(outcome.output));
    if (verdict(outcome.exit_code, outcome.timed_out, outcome.output, is_ready(server)) ==
        Verdict::undetermined) {
        say(messages::text(messages::kit_login_failed, server.admin, why));
        return {};
    }
    return fail(Code::failure, "PostgreSQL on port {} does not answer within {} ms: {}", server.port,
                limit.count(), why);
}

/// Brings the server up and proves it. Nothing half-started stays: neither lock file nor open volume.
/// Spec: APP-204, APP-208, APP-210.
Result<> bring_up(const Instance& instance, const PgServer& server) {
    const auto connect_limit = kPerRetry * instance.setting("LKPGSQL_RESTORE_CONNECT_RETRIES", 2, 2);
    const auto give_up = [&](Error error) {
        if (const auto stopped = stop_server(server.data, instance); !stopped) say(stopped.error().text);
        return fail(std::move(error));
    };
    if (postmaster_of(server.data) != 0) {
        const auto file = pid_file(server.data);
        if (file && file->port != server.port)
            return fail(Code::failure, "PostgreSQL in {} runs on port {}, not on {}; stop it first",
                        server.data, file->port, server.port);
        say("PostgreSQL runs already");
    } else if (const auto started = start_server(server, instance); !started) {
        return give_up(started.error());
    }
    Result<> answer;
    if (wait_until(connect_limit,
                   [&] { return (answer = answers(server, "SELECT 1", kQueryLimit)).has_value(); }))
        return {};
    return give_up(answer.error());
}

Result<> restore(const Instance& instance) {
    UNDERSTUDY_TRY(const auto server, server_of(instance));
    return bring_up(instance, server);
}

/// Also where the data directory cannot be read any more, because its volume failed.
Result<> remove(const Instance& instance) {
    UNDERSTUDY_TRY(const auto data, instance.required("data"));
    return stop_server(data, instance);
}

/// Spec: APP-217.
Result<> recover(const Instance& instance) {
    UNDERSTUDY_TRY(const auto server, server_of(instance));
    UNDERSTUDY_CHECK(stop_server(server.data, instance));
    UNDERSTUDY_CHECK(bring_up(instance, server));
    say(fmt::format("PostgreSQL on port {} was restarted", server.port));
    return {};
}

Result<> quick_check(const Instance& instance) {
    UNDERSTUDY_TRY(const auto server, server_of(instance));
    if (postmaster_of(server.data) == 0)
        return fail(Code::failure, "PostgreSQL on port {} does not run", server.port);
    const auto file = pid_file(server.data);
    if (file && (file->status == "starting" || file->status == "stopping")) {
        say("check is undetermined: PostgreSQL is " + file->status);  // Spec: APP-212
        return {};
    }
    if (is_ready(server) == 2)
        return fail(Code::failure, "PostgreSQL on port {} takes no connections", server.port);
    return {};
}

Result<> deep_check(const Instance& instance) {
    UNDERSTUDY_TRY(const auto server, server_of(instance));
    const auto limit = seconds(instance.setting("LKPGSQL_CHECK_TIMEOUT", 30, 1));
    if (postmaster_of(server.data) == 0)
        return fail(Code::failure, "PostgreSQL on port {} does not run", server.port);
    UNDERSTUDY_CHECK(answers(server, "SELECT datname FROM pg_database LIMIT 1", limit));
    warn_about_places(instance, server.data);
    return {};
}

int run_kit(int argc, char** argv) {
    return run(argc, argv,
               {{"restore", restore},
                {"remove", remove},
                {"quickchk", quick_check},
                {"deepchk", deep_check},
                {"recover", recover},
                {"create", create_postgres},
                {"canextend", can_extend_postgres},
                {"extend", extend_postgres}});
}

}  // namespace
}  // namespace understudy::kits

int main(int argc, char** argv) {
    return understudy::kits::run_kit(argc, argv);
}
