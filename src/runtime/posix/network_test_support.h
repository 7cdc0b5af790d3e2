#pragma once
// Two hosts of one cluster, `left` and `right`, on one loop, for the network's tests.

#include "runtime/posix/descriptor.h"
#include "runtime/posix/posix_files.h"
#include "runtime/posix/posix_network.h"
#include "runtime/posix/test_support.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace understudy::runtime::testing {

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Collects what a channel delivers.
struct Inbox {
    std::vector<std::string> received;
    std::optional<Error> closed;
    Channel::FrameHandler frames() {
        return [this](std::span<const std::byte> frame) {
            EXPECT_FALSE(closed) << "a frame after the end";
            received.push_back(text_of(frame));
        };
    }
    Channel::CloseHandler closes() {
        return [this](const Error& why) {
            EXPECT_FALSE(closed) << "closed twice";
            closed = why;
        };
    }
};

class NetworkTest : public ::testing::Test {
  protected:
    using TemporaryDirectory = runtime::testing::TemporaryDirectory;
    struct Pair {
        std::unique_ptr<Channel> client;  // of `left`
        std::unique_ptr<Channel> server;  // of `right`
        std::unique_ptr<Listener> listener;
    };
    /// Short, so that the tests of its end are quick; still long for a handshake on a busy machine.
    static constexpr Duration kTestHandshakeLimit = std::chrono::seconds(1);

    NetworkTest();
    ~NetworkTest() override;

    /// Puts accepted channels into `accepted`.
    Network::AcceptHandler accept();
    std::unique_ptr<Listener> listen(PosixNetwork& on, Security security);
    static ConnectOptions connect_options(const Listener& to, Security security);
    /// Connects and waits for the answer.
    Result<std::unique_ptr<Channel>> connect(PosixNetwork& from, const ConnectOptions& options);
    Pair connect_tls_pair(Security security);
    Pair connect_unix_pair();

    TemporaryDirectory directory;
    TestCa ca{"cluster-one"};
    EventLoop loop;
    PosixFiles files;
    PosixNetwork left{loop, ca.issue(directory, "left"), files, kTestHandshakeLimit};
    PosixNetwork right{loop, ca.issue(directory, "right"), files, kTestHandshakeLimit};
    Endpoint socket_path{directory.path("api.sock"), 0};
    std::vector<std::unique_ptr<Channel>> accepted;
    struct Refusal {
        Endpoint from;
        Error why;
    };
    std::vector<Refusal> refused;  // by `right`
};

/// A socket file as a killed daemon leaves it.
Descriptor bind_unix_without_listening(const std::string& path);
/// A blocking TCP connection without TLS.
Descriptor raw_connect(const Endpoint& to);
/// Whether the other end has closed `fd`; waits `limit` at most, reading and dropping what comes.
bool closed_by_peer(EventLoop& loop, const Descriptor& fd, Duration limit);

}  // namespace understudy::runtime::testing
