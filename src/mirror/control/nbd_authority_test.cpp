// Certificates of NBD clients, and the authority that issues them.

#include "mirror/control/nbd_authority.h"

#include "comm/pki.h"
#include "runtime/posix/posix_files.h"
#include "runtime/posix/test_support.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

namespace understudy::mirror::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct NbdAuthority : testing::Test {
    NbdAuthority() {
        cluster = comm::make_ca("a cluster").value();
        EXPECT_TRUE(files.make_directories(layout.pki()));
        EXPECT_TRUE(files.write_atomic(layout.pki() + "/ca.pem", cluster.certificate));
    }
    config::Reply run(const std::string& client, const std::string& to) {
        config::Command command;
        command.name = "understudy nbd certificate";
        command.arguments = {client};
        command.options = {{"directory", to}};
        command.uid = 0;
        return run_nbd_certificate(files, layout, command);
    }
    std::string text(const std::string& path) { return files.read(path).value_or(""); }
    static auto mode(const std::string& path) {
        return std::filesystem::status(path).permissions() & std::filesystem::perms::mask;
    }

    runtime::testing::TemporaryDirectory directory;
    config::Layout layout{directory.path("host")};
    runtime::PosixFiles disk;
    runtime::Files& files = disk;
    comm::KeyAndCertificate cluster;
};

TEST_F(NbdAuthority, GivesEachClientACertificateThatIsNoNodes) {
    const std::string backup = directory.path("backup"), desk = directory.path("desk");
    const auto first = run("backup", backup);
    ASSERT_EQ(first.exit_code, 0) << first.err;
    EXPECT_THAT(first.out, HasSubstr("NbdClientCa=" + nbd_authority_file(layout)));
    const std::string authority = text(nbd_authority_file(layout));
    const std::string certificate = text(backup + "/client-cert.pem");
    EXPECT_TRUE(comm::check_node_certificate(certificate, text(backup + "/client-key.pem"), authority,
                                             NodeName("backup")));
    EXPECT_FALSE(comm::check_node_certificate(certificate, text(backup + "/client-key.pem"),
                                              cluster.certificate, NodeName("backup")))
        << "nothing of the cluster takes it";
    EXPECT_EQ(text(backup + "/ca-cert.pem"), cluster.certificate);
    for (const std::string& secret : {backup + "/client-key.pem", layout.etc() + "/nbd-clients.key"})
        EXPECT_EQ(mode(secret), std::filesystem::perms(0600)) << secret;

    // The second one comes from the same authority.
    ASSERT_TRUE(files.make_directories(layout.root + "/etc/default"));
    ASSERT_TRUE(files.write_atomic(layout.settings(), "NbdClientCa=" + nbd_authority_file(layout) + "\n"));
    const auto second = run("desk", desk);
    EXPECT_EQ(second.exit_code, 0) << second.err;
    EXPECT_THAT(second.out, Not(HasSubstr("NbdClientCa=")));
    EXPECT_EQ(text(nbd_authority_file(layout)), authority);
    EXPECT_TRUE(comm::check_node_certificate(text(desk + "/client-cert.pem"), text(desk + "/client-key.pem"),
                                             authority, NodeName("desk")));
}

TEST_F(NbdAuthority, RefusesWhatWouldDestroyOrHelpNobody) {
    const std::string backup = directory.path("backup");
    ASSERT_EQ(run("backup", backup).exit_code, 0);
    const std::string before = text(backup + "/client-key.pem");
    EXPECT_THAT(run("other", backup).err, HasSubstr("a directory of its own"));
    EXPECT_EQ(text(backup + "/client-key.pem"), before);
    EXPECT_THAT(run("desk", "desk").err, HasSubstr("no absolute path"));
    EXPECT_THAT(run("not a name", directory.path("x")).err, HasSubstr("name"));
    EXPECT_FALSE(files.exists(directory.path("x")));

    // On a host that has only the authority's certificate, as a copy.
    ASSERT_TRUE(files.remove(layout.etc() + "/nbd-clients.key"));
    EXPECT_THAT(run("desk", directory.path("desk")).err, HasSubstr("issue certificates where it is"));
    EXPECT_FALSE(files.exists(directory.path("desk")));

    ASSERT_TRUE(files.remove(layout.pki() + "/ca.pem"));
    EXPECT_THAT(run("desk", directory.path("desk")).err, HasSubstr("in no cluster yet"));

    config::Command command;
    command.arguments = {"desk"};
    command.options = {{"directory", directory.path("desk")}};
    command.uid = 1000;
    EXPECT_THAT(run_nbd_certificate(files, layout, command).err, HasSubstr("needs root"));
}

}  // namespace
}  // namespace understudy::mirror::control
