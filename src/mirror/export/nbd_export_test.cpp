#include "mirror/export/export_testing.h"
#include "mirror/io/raw_backend.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <fstream>
#include <future>

namespace understudy::mirror {
namespace {

using namespace testing_support;

constexpr std::uint64_t kSize = 16 << 20;
constexpr std::uint32_t kMaxRequest = 1 << 18;  // nbdcopy sends that much without asking

/// A server on a thread of its own; the test is its client.
class NbdExportTest : public ::testing::Test {
  protected:
    NbdExportTest() : place_(kSize), socket_(place_.root + "/nbd.socket") {}
    void SetUp() override {
        reactor_ = std::move(*Reactor::create());
        auto backend = RawBackend::open(*reactor_, {.path = place_.file});
        ASSERT_TRUE(backend) << backend.error().text;
        backend_ = std::move(*backend);
        NbdOptions options{.volume = VolumeId("data"), .socket_path = socket_};
        options.max_request = kMaxRequest;
        std::promise<std::string> ready;
        make_nbd_export(*reactor_, *backend_, options, [&](Result<std::unique_ptr<Export>> made) {
            if (made) export_ = std::move(*made);
            ready.set_value(made ? "" : made.error().text);
        });
        thread_ = std::thread([this] { reactor_->run(); });
        ASSERT_EQ(ready.get_future().get(), "");
    }
    void TearDown() override {
        if (export_) {
            std::promise<bool> stopped;
            reactor_->post([&] {
                export_->stop(StopMode::forced,
                              [&](const Result<>& result) { stopped.set_value(result.has_value()); });
            });
            auto future = stopped.get_future();
            EXPECT_EQ(future.wait_for(kTestLimit), std::future_status::ready);
            EXPECT_TRUE(future.get());
        }
        reactor_->stop();
        thread_.join();
        export_.reset();
        EXPECT_FALSE(std::filesystem::exists(socket_));
        backend_.reset();
        reactor_.reset();
    }
    /// Runs `function` on the reactor's thread and waits for it.
    template <class F>
    auto on_reactor(F function) {
        std::promise<decltype(function())> done;
        reactor_->post([&] { done.set_value(function()); });
        return done.get_future().get();
    }
    Descriptor connect_client() {
        Descriptor client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        socket_.copy(address.sun_path, sizeof address.sun_path - 1);
        EXPECT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        timeval limit{.tv_sec = 20, .tv_usec = 0};
        setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        return client;
    }
    static std::string receive(const Descriptor& client, std::size_t size) {
        std::string data(size, '\0');
        std::size_t have = 0;
        while (have < size) {
            const ssize_t got = recv(client.get(), data.data() + have, size - have, 0);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) break;
            have += static_cast<std::size_t>(got);
        }
        data.resize(have);
        return data;
    }
    static void send_text(const Descriptor& client, std::string_view data) {
        ASSERT_EQ(send(client.get(), data.data(), data.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(data.size()));
    }
    template <class T>
    static std::string big_endian(T value) {
        std::string text;
        for (std::size_t i = sizeof(T); i-- > 0;)
            text += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i));
        return text;
    }
    /// A client in the transmission phase.
    Descriptor negotiated() {
        Descriptor client = connect_client();
        EXPECT_EQ(receive(client, 18).size(), 18U);
        send_text(client, big_endian(std::uint32_t{3}) + "IHAVEOPT" + big_endian(std::uint32_t{1}) +
                              big_endian(std::uint32_t{0}));
        EXPECT_EQ(receive(client, 10).size(), 10U);
        return client;
    }
    static std::string request(std::uint16_t command, std::uint64_t cookie, std::uint64_t offset,
                               std::uint32_t length, std::uint16_t flags = 0) {
        return big_endian(std::uint32_t{0x25609513}) + big_endian(flags) + big_endian(command) +
               big_endian(cookie) + big_endian(offset) + big_endian(length);
    }
    static std::string reply(std::uint32_t error, std::uint64_t cookie) {
        return big_endian(std::uint32_t{0x67446698}) + big_endian(error) + big_endian(cookie);
    }

    Place place_;
    std::string socket_;
    std::unique_ptr<Reactor> reactor_;
    std::unique_ptr<RawBackend> backend_;
    std::unique_ptr<Export> export_;
    std::thread thread_;
};

TEST_F(NbdExportTest, WritesAndReadsThroughASocketInPieces) {
    const Descriptor client = negotiated();
    const std::string data(8192, 'd');
    const std::string message = request(1, 7, 4096, 8192, 1) + data + request(0, 8, 0, 16384);
    for (std::size_t at = 0; at < message.size(); at += 1000)
        send_text(client, std::string_view(message).substr(at, 1000));
    // Answers may come in any order; these two are told apart by their cookies.
    std::string answers = receive(client, 16 + 16 + 16384);
    EXPECT_NE(answers.find(reply(0, 7)), std::string::npos);
    ASSERT_NE(answers.find(reply(0, 8)), std::string::npos);
    send_text(client, request(0, 9, 0, 16384));
    EXPECT_EQ(receive(client, 16 + 16384),
              reply(0, 9) + std::string(4096, '\0') + data + std::string(4096, '\0'));
    const auto statistics = on_reactor([this] { return export_->statistics(); });
    EXPECT_EQ(statistics.writes, 1U);
    EXPECT_EQ(statistics.read_bytes, 32768U);
}

TEST_F(NbdExportTest, AnswersARefusedWriteAndUnderstandsWhatFollows) {
    const Descriptor client = negotiated();
    send_text(client, request(1, 1, kSize, 4096) + std::string(4096, 'x') + request(3, 2, 0, 0));
    const std::string answers = receive(client, 32);
    EXPECT_NE(answers.find(reply(28, 1)), std::string::npos);
    EXPECT_NE(answers.find(reply(0, 2)), std::string::npos);
    send_text(client, request(99, 3, 0, 4096));
    EXPECT_EQ(receive(client, 16), reply(22, 3));
    send_text(client, request(0, 4, 100, 4096));
    EXPECT_EQ(receive(client, 16), reply(22, 4));
}

TEST_F(NbdExportTest, TrimsAndZeroesDurably) {
    const Descriptor client = negotiated();
    send_text(client, request(1, 1, 0, 65536) + std::string(65536, 'x'));
    ASSERT_EQ(receive(client, 16), reply(0, 1));
    send_text(client, request(6, 2, 4096, 4096, 3));
    ASSERT_EQ(receive(client, 16), reply(0, 2));
    send_text(client, request(4, 3, 32768, 4096, 1));
    ASSERT_EQ(receive(client, 16), reply(0, 3));
    send_text(client, request(0, 4, 0, 12288));
    EXPECT_EQ(receive(client, 16 + 12288),
              reply(0, 4) + std::string(4096, 'x') + std::string(4096, '\0') + std::string(4096, 'x'));
}

TEST_F(NbdExportTest, ClosesTheConnectionOfAClientThatSendsNonsenseAndServesTheOthers) {
    const Descriptor good = negotiated();
    for (const std::string& nonsense :
         {std::string(28, 'n'), request(1, 1, 0, 0x7fffffff), request(1, 1, 0, kMaxRequest + 4096)}) {
        const Descriptor bad = negotiated();
        send_text(bad, nonsense);
        EXPECT_EQ(receive(bad, 1), "");
    }
    const Descriptor stranger = connect_client();
    send_text(stranger, "GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n");
    EXPECT_EQ(receive(stranger, 100).size(), 18U);
    send_text(good, request(3, 5, 0, 0));
    EXPECT_EQ(receive(good, 16), reply(0, 5));
}

TEST_F(NbdExportTest, ServesManyMoreRequestsThanItHasSlots) {
    const Descriptor client = negotiated();
    constexpr std::uint64_t kMany = 1000;
    std::thread sender([&] {
        for (std::uint64_t i = 0; i < kMany; ++i)
            send_text(client,
                      request(1, i, (i % 4096) * 4096, 4096) + std::string(4096, static_cast<char>(i)));
    });
    std::vector<bool> answered(kMany);
    for (std::uint64_t i = 0; i < kMany; ++i) {
        const std::string answer = receive(client, 16);
        ASSERT_EQ(answer.substr(0, 8), reply(0, 0).substr(0, 8));
        std::uint64_t cookie = 0;
        for (char c : answer.substr(8))
            cookie = cookie << 8 | static_cast<unsigned char>(c);
        ASSERT_LT(cookie, kMany);
        ASSERT_FALSE(answered[cookie]);
        answered[cookie] = true;
    }
    sender.join();
}

TEST_F(NbdExportTest, AClientThatGoesAwayWithRequestsInFlightLeavesNothingBehind) {
    {
        const Descriptor client = negotiated();
        for (std::uint64_t i = 0; i < 20; ++i)
            send_text(client, request(0, i, 0, kMaxRequest));
        send_text(client, request(1, 99, 0, kMaxRequest) + "only the beginning");
    }
    EXPECT_TRUE(wait_until([this] {
        return on_reactor([this] {
            const auto statistics = export_->statistics();
            return statistics.in_backend == 0 && statistics.waiting == 0;
        });
    }));
    const Descriptor next = negotiated();
    send_text(next, request(0, 1, 0, 4096));
    EXPECT_EQ(receive(next, 16 + 4096).size(), 16U + 4096);
}

TEST_F(NbdExportTest, SuspendedRequestsWaitForResume) {
    const Descriptor client = negotiated();
    on_reactor([this] {
        export_->suspend(1h);
        return true;
    });
    send_text(client, request(0, 1, 0, 4096));
    ASSERT_TRUE(
        wait_until([this] { return on_reactor([this] { return export_->statistics().waiting; }) == 1; }));
    char byte = 0;
    EXPECT_EQ(recv(client.get(), &byte, 1, MSG_DONTWAIT), -1);
    on_reactor([this] {
        export_->resume();
        return true;
    });
    EXPECT_EQ(receive(client, 16 + 4096).size(), 16U + 4096);
}

TEST_F(NbdExportTest, AnOrderlyStopIsRefusedWhileAClientIsConnected) {
    const Descriptor client = negotiated();
    std::promise<Result<>> refused;
    reactor_->post([&] {
        export_->stop(StopMode::orderly, [&](Result<> result) { refused.set_value(std::move(result)); });
    });
    const auto result = refused.get_future().get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::has_dependents);
    send_text(client, request(3, 1, 0, 0));
    EXPECT_EQ(receive(client, 16), reply(0, 1));
}

TEST_F(NbdExportTest, ASecondServerOnTheSameSocketIsRefused) {
    std::promise<Result<>> second;
    reactor_->post([&] {
        make_nbd_export(*reactor_, *backend_, {.volume = VolumeId("data"), .socket_path = socket_},
                        [&](Result<std::unique_ptr<Export>> made) {
                            second.set_value(made ? Result<>() : Result<>(fail(made.error())));
                        });
    });
    const auto result = second.get_future().get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::exists);
}

TEST_F(NbdExportTest, CopiesAWholeImageWithNbdcopy) {
    if (run_program({"nbdcopy", "--version"}) != 0) GTEST_SKIP() << "needs nbdcopy (libnbd-bin)";
    const std::string source = place_.root + "/source", back = place_.root + "/back";
    {
        std::ofstream file(source, std::ios::binary);
        for (std::uint64_t i = 0; i < kSize / 8; ++i)
            file.write(reinterpret_cast<const char*>(&i), sizeof i);
    }
    const std::string uri = "nbd+unix:///data?socket=" + socket_;
    ASSERT_EQ(run_program({"nbdcopy", "--connections=4", source, uri}), 0);
    ASSERT_EQ(run_program({"nbdcopy", "--connections=4", uri, back}), 0);
    EXPECT_EQ(run_program({"cmp", source, back}), 0);
    EXPECT_EQ(run_program({"cmp", source, place_.file}), 0);
}

}  // namespace
}  // namespace understudy::mirror
