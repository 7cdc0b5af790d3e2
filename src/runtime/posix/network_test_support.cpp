#include "runtime/posix/network_test_support.h"

#include "runtime/posix/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <array>

namespace understudy::runtime::testing {

NetworkTest::NetworkTest() {
    EXPECT_TRUE(left.reload_credentials());
    EXPECT_TRUE(right.reload_credentials());
    right.on_refused([this](const Endpoint&, const Endpoint& from, const Error& why) {
        refused.push_back({from, why});
    });
}

NetworkTest::~NetworkTest() = default;

Network::AcceptHandler NetworkTest::accept() {
    return [this](std::unique_ptr<Channel> channel) { accepted.push_back(std::move(channel)); };
}

std::unique_ptr<Listener> NetworkTest::listen(PosixNetwork& on, Security security) {
    auto listener = on.listen({"127.0.0.1", 0}, security, accept());
    EXPECT_TRUE(listener) << listener.error().text;
    return listener ? std::move(*listener) : nullptr;
}

ConnectOptions NetworkTest::connect_options(const Listener& to, Security security) {
    ConnectOptions options;
    options.remote = to.endpoint();
    options.security = security;
    options.timeout = std::chrono::seconds(10);
    return options;
}

Result<std::unique_ptr<Channel>> NetworkTest::connect(PosixNetwork& from, const ConnectOptions& options) {
    std::optional<Result<std::unique_ptr<Channel>>> answer;
    from.connect(options, [&](Result<std::unique_ptr<Channel>> result) {
        EXPECT_FALSE(answer) << "the handler ran twice";
        answer = std::move(result);
    });
    EXPECT_FALSE(answer) << "the handler ran on the caller's stack";
    EXPECT_TRUE(run_until(loop, [&] { return answer.has_value(); }));
    if (!answer) return fail(Code::internal, "connect never answered");
    return std::move(*answer);
}

NetworkTest::Pair NetworkTest::connect_tls_pair(Security security) {
    Pair pair;
    pair.listener = listen(right, security);
    auto client = connect(left, connect_options(*pair.listener, security));
    EXPECT_TRUE(client) << client.error().text;
    EXPECT_TRUE(run_until(loop, [&] { return !accepted.empty(); }));
    if (!client || accepted.empty()) return pair;
    pair.client = std::move(*client);
    pair.server = std::move(accepted.back());
    accepted.clear();
    return pair;
}

NetworkTest::Pair NetworkTest::connect_unix_pair() {
    Pair pair;
    auto listener = right.listen(socket_path, Security::plain, accept());
    if (listener) pair.listener = std::move(*listener);  // else one of an earlier pair listens
    auto client = connect(left, {.remote = socket_path, .security = Security::plain});
    EXPECT_TRUE(client) << client.error().text;
    EXPECT_TRUE(run_until(loop, [&] { return !accepted.empty(); }));
    if (!client || accepted.empty()) return pair;
    pair.client = std::move(*client);
    // A refused second listener has knocked too; its connection is the older one.
    pair.server = std::move(accepted.back());
    accepted.clear();
    return pair;
}

Descriptor bind_unix_without_listening(const std::string& path) {
    const auto address = to_socket_address({path, 0});
    Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!address || !fd || ::bind(fd.get(), address->get(), address->length) != 0) return {};
    return fd;
}

Descriptor raw_connect(const Endpoint& to) {
    const auto address = to_socket_address(to);
    Descriptor fd(::socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd || ::connect(fd.get(), address->get(), address->length) != 0) return {};
    ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
    return fd;
}

bool closed_by_peer(EventLoop& loop, const Descriptor& fd, Duration limit) {
    return run_until(
        loop,
        [&] {
            std::array<char, 4096> dropped;
            const ssize_t got = ::recv(fd.get(), dropped.data(), dropped.size(), 0);
            return got == 0 || (got < 0 && errno != EAGAIN);
        },
        limit);
}

}  // namespace understudy::runtime::testing
