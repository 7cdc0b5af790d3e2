// NBD over TCP: who is let in, by real clients and by hand. The clients verify the server as well.

#include "mirror/export/nbd_export_testing.h"
#include "runtime/posix/posix_files.h"
#include "runtime/posix/test_support.h"

#include <gmock/gmock.h>
#include <netinet/in.h>

#include <fstream>
#include <mutex>

namespace understudy::mirror {
namespace {

using namespace testing_support;
using runtime::testing::TemporaryDirectory;
using runtime::testing::TestCa;
using ::testing::Contains;
using ::testing::HasSubstr;

/// A port of the loopback that is free at the moment.
std::uint16_t free_port() {
    const Descriptor probe(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(probe.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    return ntohs(address.sin_port);
}

class NbdTlsTest : public NbdExportTest {
  protected:
    std::optional<NbdTcpOptions> tcp() override {
        auto paths = cluster_.issue(credentials_, "localhost");
        paths.clients = clients();
        const auto server = runtime::load_tls_server(paths, runtime::PosixFiles());
        EXPECT_TRUE(server) << server.error().text;
        NbdTcpOptions options;
        options.address = "127.0.0.1";
        options.port = port_;
        options.plain = plain();
        options.begin_tls = [server = *server] { return server->accept(); };
        options.report = [this](const std::string& text) {
            const std::lock_guard lock(mutex_);
            reports_.push_back(text);
        };
        return options;
    }
    [[nodiscard]] virtual std::string clients() const { return {}; }
    [[nodiscard]] virtual bool plain() const { return false; }

    /// A directory as libnbd and QEMU want it: what the client trusts, and what it shows.
    std::string client_of(const TestCa& shown, bool shows = true) {
        const std::string directory = credentials_.path("client" + std::to_string(++clients_made_));
        std::filesystem::create_directory(directory);
        const TemporaryDirectory issued;
        const auto paths = shown.issue(issued, "client");
        std::filesystem::copy_file(credentials_.path("ca.pem"), directory + "/ca-cert.pem");
        if (!shows) return directory;
        std::filesystem::copy_file(paths.certificate, directory + "/client-cert.pem");
        std::filesystem::copy_file(paths.private_key, directory + "/client-key.pem");
        return directory;
    }
    [[nodiscard]] std::string uri(const std::string& directory) const {
        return "nbds://localhost:" + std::to_string(port_) + "/data?tls-certificates=" + directory;
    }
    [[nodiscard]] std::string plain_uri() const {
        return "nbd://localhost:" + std::to_string(port_) + "/data";
    }
    static int size_of(const std::string& uri) { return run_program({"nbdinfo", "--size", uri}); }
    static bool has_clients() { return run_program({"nbdinfo", "--version"}) == 0; }
    Descriptor connect_tcp() const {
        Descriptor client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port_);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        timeval limit{.tv_sec = 20, .tv_usec = 0};
        setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        return client;
    }
    std::vector<std::string> reports() {
        const std::lock_guard lock(mutex_);
        return reports_;
    }

    TemporaryDirectory credentials_;
    TestCa cluster_{"cluster"}, others_{"others"};
    const std::uint16_t port_ = free_port();
    int clients_made_ = 0;
    std::mutex mutex_;
    std::vector<std::string> reports_;
};

TEST_F(NbdTlsTest, CopiesAnImageOverSeveralConnectionsBothWays) {
    if (!has_clients()) GTEST_SKIP() << "needs libnbd-bin";
    const std::string source = place_.root + "/source", back = place_.root + "/back";
    {
        std::ofstream file(source, std::ios::binary);
        for (std::uint64_t i = 0; i < kSize / 8; ++i) {
            const std::uint64_t word = i / (1 << 16) % 2 == 0 ? i : 0;  // with holes
            file.write(reinterpret_cast<const char*>(&word), sizeof word);
        }
    }
    const std::string there = uri(client_of(cluster_));
    ASSERT_EQ(size_of(there), 0);
    ASSERT_EQ(run_program({"nbdcopy", "--connections=4", source, there}), 0);
    EXPECT_EQ(run_program({"cmp", source, place_.file}), 0);
    ASSERT_EQ(run_program({"nbdcopy", "--connections=4", there, back}), 0);
    EXPECT_EQ(run_program({"cmp", source, back}), 0);
    EXPECT_EQ(run_program({"nbdinfo", "--can", "multi-conn", there}), 0);
    EXPECT_EQ(run_program({"sh", "-c", "nbdinfo --map '" + there + "' | grep -q data"}), 0);
    EXPECT_EQ(reports(), std::vector<std::string>());
}

TEST_F(NbdTlsTest, QemuWritesAndReads) {
    if (run_program({"qemu-io", "--version"}) != 0) GTEST_SKIP() << "needs qemu-io (qemu-utils)";
    const std::string tls = "tls-creds-x509,id=tls,endpoint=client,dir=" + client_of(cluster_);
    const std::string image =
        "driver=nbd,host=localhost,port=" + std::to_string(port_) + ",export=data,tls-creds=tls";
    EXPECT_EQ(run_program({"qemu-io", "--object", tls, "--image-opts", image, "-c", "write -P 7 64k 1M", "-c",
                           "write -z 128k 64k", "-c", "discard 256k 64k", "-c", "flush", "-c",
                           "read -P 7 64k 64k", "-c", "read -P 0 128k 64k", "-c", "read -P 7 512k 64k"}),
              0);
    EXPECT_EQ(run_program({"qemu-img", "map", "--object", tls, "--image-opts", image}), 0);
}

TEST_F(NbdTlsTest, StrangersAreRefusedAndNamed) {
    if (!has_clients()) GTEST_SKIP() << "needs libnbd-bin";
    EXPECT_NE(size_of(plain_uri()), 0) << "without TLS";
    EXPECT_NE(size_of(uri(client_of(others_))), 0) << "a certificate of somebody else's CA";
    EXPECT_NE(size_of(uri(client_of(cluster_, false))), 0) << "no certificate";
    EXPECT_THAT(reports(), Contains(HasSubstr("volume data: NBD client 127.0.0.1 is refused: ")).Times(2));
    EXPECT_EQ(size_of(uri(client_of(cluster_))), 0) << "the others do not suffer";
}

TEST_F(NbdTlsTest, WhatIsSentBehindTheWishForTlsEndsTheConnection) {
    const Descriptor client = connect_tcp();
    ASSERT_EQ(receive(client, 18).size(), 18U);
    const auto option = [](std::uint32_t code) {
        return "IHAVEOPT" + big_endian(code) + big_endian(std::uint32_t{0});
    };
    // An attacker on the way puts an option where the server might take it for the client's own.
    send_text(client, big_endian(std::uint32_t{3}) + option(5) + option(3));
    EXPECT_EQ(receive(client, 20).size(), 20U) << "TLS may begin";
    EXPECT_EQ(receive(client, 1), "") << "but not like this";
    EXPECT_THAT(reports(), Contains(HasSubstr("sent more before TLS")));
}

TEST_F(NbdTlsTest, NonsenseInThePlaceOfTlsEndsTheConnectionAndDoesNotFillTheLog) {
    for (int turn = 0; turn < 30; ++turn) {
        const Descriptor client = connect_tcp();
        ASSERT_EQ(receive(client, 18).size(), 18U);
        send_text(client, big_endian(std::uint32_t{3}) + "IHAVEOPT" + big_endian(std::uint32_t{5}) +
                              big_endian(std::uint32_t{0}));
        ASSERT_EQ(receive(client, 20).size(), 20U);
        send_text(client, std::string(4096, 'n'));
        while (!receive(client, 1).empty()) {  // an alert, then the end
        }
        if (turn == 0) {
            EXPECT_THAT(reports(), Contains(HasSubstr("does not speak TLS")));
        }
    }
    ASSERT_EQ(reports().size(), 20U);
    EXPECT_THAT(reports().back(), HasSubstr("; others are not named for a minute"));
}

class NbdOwnClientsTest : public NbdTlsTest {
  protected:
    [[nodiscard]] std::string clients() const override {
        (void)others_.issue(trusted_, "unused");
        return trusted_.path("ca.pem");
    }
    TemporaryDirectory trusted_;
};

TEST_F(NbdOwnClientsTest, ClientsOfTheirOwnCaAreServedAndNobodyElse) {
    if (!has_clients()) GTEST_SKIP() << "needs libnbd-bin";
    EXPECT_EQ(size_of(uri(client_of(others_))), 0);
    EXPECT_NE(size_of(uri(client_of(cluster_))), 0);
}

class NbdPlainTest : public NbdTlsTest {
  protected:
    [[nodiscard]] bool plain() const override { return true; }
};

TEST_F(NbdPlainTest, WhereItIsAllowedClientsMayChoose) {
    if (!has_clients()) GTEST_SKIP() << "needs libnbd-bin";
    EXPECT_EQ(size_of(plain_uri()), 0);
    EXPECT_EQ(size_of(uri(client_of(cluster_))), 0);
    EXPECT_NE(size_of(uri(client_of(others_))), 0);
}

TEST_F(NbdTlsTest, APortThatIsTakenIsReportedAndTheSocketServes) {
    std::promise<Result<>> second;
    std::unique_ptr<Export> other;
    NbdOptions options{.volume = VolumeId("more"), .socket_path = place_.root + "/more.socket"};
    options.tcp = tcp();
    reactor_->post([&] {
        make_nbd_export(*reactor_, *backend_, options, [&](Result<std::unique_ptr<Export>> made) {
            if (made) other = std::move(*made);
            second.set_value(made ? Result<>() : Result<>(fail(made.error())));
        });
    });
    EXPECT_TRUE(second.get_future().get());
    EXPECT_THAT(reports(),
                Contains(HasSubstr("volume more: no NBD clients by TCP: cannot listen at 127.0.0.1")));
    std::promise<void> stopped;
    reactor_->post([&] { other->stop(StopMode::orderly, [&](const Result<>&) { stopped.set_value(); }); });
    stopped.get_future().get();
    on_reactor([&] {
        other.reset();
        return true;
    });
}

}  // namespace
}  // namespace understudy::mirror
