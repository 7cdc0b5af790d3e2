#include "kits/postgres/files.h"

#include <gtest/gtest.h>

namespace understudy::kits {
namespace {

TEST(PostmasterPid, HasPidPortSocketAndState) {
    const auto file =
        parse_pid_file("4711\n/srv/pg\n1700000000\n5433\n/run/postgresql\n*\n  5433001  3\nready   \n");
    ASSERT_TRUE(file);
    EXPECT_EQ(file->pid, 4711);
    EXPECT_EQ(file->data, "/srv/pg");
    EXPECT_EQ(file->port, "5433");
    EXPECT_EQ(file->status, "ready");
}

TEST(PostmasterPid, AFileThatIsBeingWrittenHasNoState) {
    const auto file = parse_pid_file("4711\n/srv/pg\n");
    ASSERT_TRUE(file);
    EXPECT_EQ(file->status, "");
    EXPECT_FALSE(parse_pid_file(""));
    EXPECT_FALSE(parse_pid_file("-5\n/srv/pg\n"));
}

// Spec: APP-192
TEST(PostmasterOptions, PortInEverySpelling) {
    EXPECT_EQ(port_argument("/usr/lib/postgresql/15/bin/postgres \"-D\" \"/srv/pg\" \"-p\" \"5432\"\n"),
              "5432");
    EXPECT_EQ(port_argument("postgres \"-p5433\""), "5433");
    EXPECT_EQ(port_argument("postgres \"--port=5434\""), "5434");
    EXPECT_EQ(port_argument("postgres \"-c\" \"port=5435\""), "5435");
    EXPECT_EQ(port_argument("postgres \"-p\" \"1\" \"-p\" \"2\""), "2");
    EXPECT_EQ(port_argument("postgres \"-D\" \"/srv/my pg -p 7\" \"-c\" \"config_file=/etc/p.conf\""),
              std::nullopt);
}

// Spec: APP-214
TEST(PostgresHost, IsTheSocketElseWhatItListensOn) {
    PidFile file;
    file.socket_directory = "/run/postgresql";
    file.listen_address = "10.0.0.1";
    EXPECT_EQ(host_to_ask(file), "/run/postgresql");
    file.socket_directory.clear();
    EXPECT_EQ(host_to_ask(file), "10.0.0.1");
    file.listen_address = "*";
    EXPECT_EQ(host_to_ask(file), "127.0.0.1");
    file.listen_address = "::";
    EXPECT_EQ(host_to_ask(file), "::1");
}

// Spec: APP-215, APP-216
TEST(PostgresVerdict, AServerThatTurnsUsAwayIsNotAFailedOne) {
    EXPECT_EQ(verdict(2, false, "FATAL:  sorry, too many clients already", 0), Verdict::undetermined);
    EXPECT_EQ(verdict(2, false, "fe_sendauth: no password supplied", 0), Verdict::undetermined);
    EXPECT_EQ(verdict(2, false, "FATAL:  the database system is starting up", 1), Verdict::undetermined);
    // In the server's own language.
    EXPECT_EQ(verdict(2, false, "FATAL:  ユーザー", 0), Verdict::undetermined);
}

// Spec: APP-216
TEST(PostgresVerdict, SilenceALostSessionAndAFailedQueryAreFailures) {
    EXPECT_EQ(verdict(2, false, "Connection refused", 2), Verdict::failed);
    EXPECT_EQ(verdict(-1, true, "", 0), Verdict::failed);
    EXPECT_EQ(verdict(2, false, "server closed the connection unexpectedly", 0), Verdict::failed);
    EXPECT_EQ(verdict(1, false, "ERROR:  could not read block 0", 0), Verdict::failed);
}

}  // namespace
}  // namespace understudy::kits
