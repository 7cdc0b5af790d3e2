#pragma once
// An NBD server on a thread of its own, and what a test needs to be its client.

#include "mirror/export/export_testing.h"
#include "mirror/io/raw_backend.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <thread>

namespace understudy::mirror::testing_support {

inline constexpr std::uint64_t kSize = 16 << 20;
inline constexpr std::uint32_t kMaxRequest = 1 << 18;  // nbdcopy sends that much without asking

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
        options.tcp = tcp();
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
    /// How the server is reached besides.
    virtual std::optional<NbdTcpOptions> tcp() { return std::nullopt; }
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
    /// The same, with structured replies.
    Descriptor negotiated_structured() {
        Descriptor client = connect_client();
        EXPECT_EQ(receive(client, 18).size(), 18U);
        send_text(client, big_endian(std::uint32_t{3}) + "IHAVEOPT" + big_endian(std::uint32_t{8}) +
                              big_endian(std::uint32_t{0}));
        EXPECT_EQ(receive(client, 20).size(), 20U);
        send_text(client, "IHAVEOPT" + big_endian(std::uint32_t{1}) + big_endian(std::uint32_t{0}));
        EXPECT_EQ(receive(client, 10).size(), 10U);
        return client;
    }
    static std::string chunk(bool last, std::uint16_t type, std::uint64_t cookie,
                             const std::string& payload) {
        return big_endian(std::uint32_t{0x668e33ef}) + big_endian(std::uint16_t{last}) + big_endian(type) +
               big_endian(cookie) + big_endian(static_cast<std::uint32_t>(payload.size())) + payload;
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

}  // namespace understudy::mirror::testing_support
