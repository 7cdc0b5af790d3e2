// Channels over TLS and unix sockets: delivery, order, ends. Refused peers are in
// posix_network_fault_test.cpp.
#include "runtime/posix/posix_network.h"

#include "runtime/posix/network_test_support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;
using testing::bytes_of;
using ::testing::HasSubstr;
using testing::Inbox;
using testing::NetworkTest;
using testing::run_for;
using testing::run_until;

using testing::write_file;

class ChannelTest : public NetworkTest, public ::testing::WithParamInterface<Security> {
  protected:
    void SetUp() override {
        pair = GetParam() == Security::plain ? connect_unix_pair() : connect_tls_pair(GetParam());
        ASSERT_TRUE(pair.client && pair.server);
    }
    void start_both() {
        pair.client->start(at_client.frames(), at_client.closes());
        pair.server->start(at_server.frames(), at_server.closes());
    }

    Pair pair;
    Inbox at_client;
    Inbox at_server;
};

INSTANTIATE_TEST_SUITE_P(Kinds, ChannelTest,
                         ::testing::Values(Security::plain, Security::cluster, Security::enrolment),
                         [](const auto& kind) {
                             return kind.param == Security::plain     ? "Unix"
                                    : kind.param == Security::cluster ? "Cluster"
                                                                      : "Enrolment";
                         });

TEST_P(ChannelTest, DeliversFramesWholeAndInOrderBothWays) {
    start_both();
    std::vector<std::string> sent;
    for (std::size_t size : {0UL, 1UL, 3UL, 4UL, 5UL, 1'000UL, 16'379UL, 16'380UL, 16'381UL, 100'000UL, 0UL,
                             kMaxFrameBytes, 7UL})
        sent.push_back(std::string(size, static_cast<char>('a' + sent.size())));
    for (const auto& one : sent) {
        ASSERT_TRUE(pair.client->send(bytes_of(one)));
        ASSERT_TRUE(pair.server->send(bytes_of(one)));
    }
    ASSERT_TRUE(run_until(loop, [&] {
        return at_server.received.size() == sent.size() && at_client.received.size() == sent.size();
    }));
    EXPECT_TRUE(at_server.received == sent);
    EXPECT_TRUE(at_client.received == sent);
}

TEST_P(ChannelTest, KeepsFramesThatComeBeforeStart) {
    ASSERT_TRUE(pair.client->send(bytes_of("early")));
    run_for(loop, 5ms);
    pair.server->start(at_server.frames(), at_server.closes());
    ASSERT_TRUE(run_until(loop, [&] { return at_server.received.size() == 1; }));
    EXPECT_EQ(at_server.received[0], "early");
}

TEST_P(ChannelTest, CloseSendsWhatIsQueuedAndThePeerSeesTheEndAfterIt) {
    pair.server->start(at_server.frames(), at_server.closes());
    const std::string large(8UL << 20, 'x');
    ASSERT_TRUE(pair.client->send(bytes_of(large)));
    ASSERT_TRUE(pair.client->send(bytes_of("last")));
    pair.client->close();
    EXPECT_FALSE(pair.client->send(bytes_of("after")));
    ASSERT_TRUE(run_until(loop, [&] { return at_server.closed.has_value(); }));
    ASSERT_EQ(at_server.received.size(), 2U);
    EXPECT_EQ(at_server.received[0].size(), large.size());
    EXPECT_EQ(at_server.received[1], "last");
    EXPECT_THAT(at_server.closed->text, HasSubstr("closed the connection"));
    EXPECT_EQ(at_server.closed->code, Code::unreachable);
}

TEST_P(ChannelTest, DestructionAlsoSendsWhatIsQueued) {
    pair.server->start(at_server.frames(), at_server.closes());
    ASSERT_TRUE(pair.client->send(bytes_of("reply, then gone")));
    pair.client.reset();
    ASSERT_TRUE(run_until(loop, [&] { return at_server.closed.has_value(); }));
    EXPECT_EQ(at_server.received, std::vector<std::string>{"reply, then gone"});
}

TEST_P(ChannelTest, NoHandlerRunsAfterClose) {
    start_both();
    ASSERT_TRUE(pair.server->send(bytes_of("to nobody")));
    pair.client->close();
    ASSERT_TRUE(run_until(loop, [&] { return at_server.closed.has_value(); }));
    EXPECT_TRUE(at_client.received.empty());
    EXPECT_FALSE(at_client.closed);
}

TEST_P(ChannelTest, CloseHandlerRunsOnceAndNeverInsideSendOrClose) {
    start_both();
    pair.server.reset();
    // The peer is gone; sending finds out, but later.
    bool inside = false;
    int closes = 0;
    auto other = GetParam() == Security::plain ? connect_unix_pair() : connect_tls_pair(GetParam());
    other.client->start([](auto) {},
                        [&](const Error&) {
                            EXPECT_FALSE(inside);
                            ++closes;
                        });
    other.server.reset();
    inside = true;
    for (int i = 0; i < 100; ++i)
        (void)other.client->send(bytes_of(std::string(100'000, 'x')));
    inside = false;
    ASSERT_TRUE(run_until(loop, [&] { return closes > 0; }));
    EXPECT_FALSE(other.client->send(bytes_of("x")));
    other.client->close();
    run_for(loop, 5ms);
    EXPECT_EQ(closes, 1);
}

TEST_P(ChannelTest, MayBeDestroyedInsideItsFrameHandler) {
    auto guard = std::make_shared<int>(0);  // dies with the handler
    int frames = 0;
    pair.server->start(
        [this, guard, &frames](std::span<const std::byte>) {
            ++frames;
            pair.server.reset();
            ASSERT_EQ(*guard, 0) << "the handler's captures must outlive its call";
        },
        [](const Error&) { FAIL() << "no handler runs after destruction"; });
    pair.client->start(at_client.frames(), at_client.closes());
    ASSERT_TRUE(pair.client->send(bytes_of("one")));
    ASSERT_TRUE(pair.client->send(bytes_of("two")));
    ASSERT_TRUE(run_until(loop, [&] { return at_client.closed.has_value(); }));
    EXPECT_EQ(frames, 1);
    EXPECT_EQ(guard.use_count(), 1);
}

TEST_P(ChannelTest, MayBeDestroyedInsideItsCloseHandler) {
    bool closed = false;
    pair.server->start([](auto) {},
                       [&](const Error&) {
                           pair.server.reset();
                           closed = true;
                       });
    pair.client.reset();
    EXPECT_TRUE(run_until(loop, [&] { return closed; }));
}

TEST_P(ChannelTest, RefusesWhatItCannotCarryAndStaysOpen) {
    start_both();
    const std::string too_large(kMaxFrameBytes + 1, 'x');
    EXPECT_FALSE(pair.client->send(bytes_of(too_large)));
    EXPECT_TRUE(pair.client->send(bytes_of("small")));
    ASSERT_TRUE(run_until(loop, [&] { return at_server.received.size() == 1; }));
    EXPECT_EQ(at_server.received[0], "small");
}

TEST_P(ChannelTest, PeerThatDoesNotReadCannotGrowTheQueueForEver) {
    const std::string frame(1UL << 20, 'x');
    std::size_t taken = 0;
    // The server has not started: it reads nothing. Some goes into the kernel's buffers.
    for (int round = 0; round < 100; ++round) {
        while (pair.client->send(bytes_of(frame)))
            ++taken;
        run_for(loop, 1ms);
    }
    EXPECT_GE(taken, (kMaxQueuedBytes >> 20) - 1);
    EXPECT_LE(taken, (kMaxQueuedBytes >> 20) + 32);
    // What was taken arrives, all of it, once the peer reads.
    pair.server->start(at_server.frames(), at_server.closes());
    ASSERT_TRUE(run_until(
        loop, [&] { return at_server.received.size() == taken; }, 60s));
    EXPECT_TRUE(pair.client->send(bytes_of(frame)));
}

TEST_P(ChannelTest, FramesSentBeforeThePeerWentAreDeliveredBeforeTheEnd) {
    ASSERT_TRUE(pair.client->send(bytes_of("why I go")));
    pair.client.reset();
    run_for(loop, 10ms);
    // The server writes into the closed connection first, then looks.
    (void)pair.server->send(bytes_of("are you there?"));
    run_for(loop, 10ms);
    pair.server->start(at_server.frames(), at_server.closes());
    ASSERT_TRUE(run_until(loop, [&] { return at_server.closed.has_value(); }));
    EXPECT_EQ(at_server.received, std::vector<std::string>{"why I go"});
}

TEST_P(ChannelTest, LargeTrafficLeavesTurnsToTheRestOfTheLoop) {
    start_both();
    bool all = false;
    int turns = 0;
    std::function<void()> count = [&] {
        ++turns;
        if (!all) loop.after(0ms, count);
    };
    count();
    for (int i = 0; i < 60; ++i)
        ASSERT_TRUE(pair.client->send(bytes_of(std::string(1UL << 20, 'x'))));
    ASSERT_TRUE(run_until(loop, [&] { return all = at_server.received.size() == 60; }));
    EXPECT_GT(turns, 20);
}

class TlsNetworkTest : public NetworkTest {};

// Spec: CLU-099
TEST_F(TlsNetworkTest, BothEndsKnowTheOthersNameAndCa) {
    const auto pair = connect_tls_pair(Security::cluster);
    ASSERT_TRUE(pair.client && pair.server);
    EXPECT_EQ(pair.client->peer().common_name, "right");
    EXPECT_EQ(pair.server->peer().common_name, "left");
    EXPECT_EQ(pair.client->peer().ca_fingerprint, ca.fingerprint());
    EXPECT_EQ(pair.server->peer().ca_fingerprint, ca.fingerprint());
    EXPECT_EQ(pair.client->remote_endpoint(), pair.server->local_endpoint());
    EXPECT_EQ(pair.server->remote_endpoint(), pair.client->local_endpoint());
}

TEST_F(TlsNetworkTest, EnrolmentProvesTheServerOnly) {
    const auto pair = connect_tls_pair(Security::enrolment);
    ASSERT_TRUE(pair.client && pair.server);
    EXPECT_EQ(pair.client->peer().common_name, "right");
    EXPECT_EQ(pair.client->peer().ca_fingerprint, ca.fingerprint());
    EXPECT_EQ(pair.server->peer().common_name, "");
    EXPECT_EQ(pair.server->peer().ca_fingerprint, "");
}

TEST_F(TlsNetworkTest, ConnectsFromTheAddressAskedFor) {
    const auto listener = listen(right, Security::cluster);
    auto options = connect_options(*listener, Security::cluster);
    options.local_address = "127.0.0.2";
    const auto client = connect(left, options);
    ASSERT_TRUE(client) << client.error().text;
    ASSERT_TRUE(run_until(loop, [&] { return !accepted.empty(); }));
    EXPECT_EQ(accepted[0]->remote_endpoint().address, "127.0.0.2");
    EXPECT_EQ((*client)->local_endpoint().address, "127.0.0.2");
}

TEST_F(TlsNetworkTest, WorksOverIpv6) {
    auto listener = right.listen({"::1", 0}, Security::cluster, accept());
    if (!listener) GTEST_SKIP() << listener.error().text;
    EXPECT_EQ((*listener)->endpoint().address, "::1");
    const auto client = connect(left, connect_options(**listener, Security::cluster));
    ASSERT_TRUE(client) << client.error().text;
    EXPECT_EQ((*client)->remote_endpoint().address, "::1");
}

TEST_F(TlsNetworkTest, StopsListeningWhenTheListenerGoes) {
    auto listener = listen(right, Security::cluster);
    const auto options = connect_options(*listener, Security::cluster);
    listener.reset();
    const auto client = connect(left, options);
    ASSERT_FALSE(client);
    EXPECT_THAT(client.error().text, HasSubstr("nothing listens there"));
}

TEST_F(TlsNetworkTest, ListenerMayBeDestroyedInsideItsAcceptHandler) {
    std::unique_ptr<Listener> listener;
    std::unique_ptr<Channel> channel;
    auto made = right.listen({"127.0.0.1", 0}, Security::cluster, [&](std::unique_ptr<Channel> c) {
        channel = std::move(c);
        listener.reset();
    });
    ASSERT_TRUE(made);
    listener = std::move(*made);
    ASSERT_TRUE(connect(left, connect_options(*listener, Security::cluster)));
    EXPECT_TRUE(run_until(loop, [&] { return channel && !listener; }));
}

// Spec: CLU-067, DEP-098
TEST_F(TlsNetworkTest, ClockFarOffDoesNotCutTheCluster) {
    TemporaryDirectory other;
    PosixNetwork expired(loop, ca.issue(other, "old", {.expired = true}), files);
    ASSERT_TRUE(expired.reload_credentials());
    const auto listener = listen(expired, Security::cluster);
    const auto client = connect(left, connect_options(*listener, Security::cluster));
    ASSERT_TRUE(client) << client.error().text;
    EXPECT_EQ((*client)->peer().common_name, "old");
}

class UnixNetworkTest : public NetworkTest {};

TEST_F(UnixNetworkTest, TellsWhoIsAtTheOtherEnd) {
    const auto pair = connect_unix_pair();
    ASSERT_TRUE(pair.server);
    EXPECT_EQ(pair.server->peer().uid, ::geteuid());
    EXPECT_EQ(pair.server->peer().gid, ::getegid());
    EXPECT_EQ(pair.server->peer().pid, ::getpid());
    EXPECT_EQ(pair.client->remote_endpoint(), socket_path);
}

TEST_F(UnixNetworkTest, AnyUserMayConnectAndTheFileGoesWithTheListener) {
    auto listener = left.listen(socket_path, Security::plain, accept());
    ASSERT_TRUE(listener);
    struct stat about {};
    ASSERT_EQ(::stat(socket_path.address.c_str(), &about), 0);
    EXPECT_TRUE(S_ISSOCK(about.st_mode));
    EXPECT_EQ(about.st_mode & 0777, 0666U);
    listener->reset();
    EXPECT_FALSE(files.exists(socket_path.address));
}

TEST_F(UnixNetworkTest, SecondListenerIsToldThatOneIsRunning) {
    const auto first = left.listen(socket_path, Security::plain, accept());
    ASSERT_TRUE(first);
    const auto second = right.listen(socket_path, Security::plain, accept());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::exists);
    EXPECT_THAT(second.error().text, HasSubstr("already running"));
    EXPECT_THAT(second.error().text, HasSubstr(fmt::format("process {}", ::getpid())));
    EXPECT_TRUE(files.exists(socket_path.address));
}

TEST_F(UnixNetworkTest, SocketOfADeadProcessIsReplaced) {
    const Descriptor dead = testing::bind_unix_without_listening(socket_path.address);
    ASSERT_TRUE(dead);
    const auto listener = left.listen(socket_path, Security::plain, accept());
    ASSERT_TRUE(listener) << listener.error().text;
    EXPECT_TRUE(connect(right, {.remote = socket_path, .security = Security::plain}));
}

TEST_F(UnixNetworkTest, AFileThatIsNoSocketIsLeftAlone) {
    write_file(socket_path.address, "precious");
    const auto listener = left.listen(socket_path, Security::plain, accept());
    ASSERT_FALSE(listener);
    EXPECT_THAT(listener.error().text, HasSubstr("not a socket"));
    EXPECT_EQ(files.read(socket_path.address), "precious");
}

TEST_F(UnixNetworkTest, ConnectSaysThatNoDaemonRuns) {
    const auto client = connect(left, {.remote = socket_path, .security = Security::plain});
    ASSERT_FALSE(client);
    EXPECT_THAT(client.error().text, HasSubstr("not running"));
    EXPECT_THAT(client.error().text, HasSubstr(socket_path.address));
}

}  // namespace
}  // namespace understudy::runtime
