// What the network must survive and explain: peers of other clusters, garbage, silence, taken ports, missing
// credentials.
#include "runtime/certificate_refusal.h"
#include "runtime/posix/network_test_support.h"
#include "runtime/posix/sockets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using testing::bytes_of;
using testing::closed_by_peer;
using ::testing::HasSubstr;
using testing::Inbox;
using testing::NetworkTest;
using testing::raw_connect;
using testing::run_for;
using testing::run_until;
using testing::TestCa;
using testing::write_file;

class NetworkFaultTest : public NetworkTest {
  protected:
    /// The listener still serves honest peers.
    void expect_still_serving(const Listener& listener) {
        const auto honest = connect(left, connect_options(listener, Security::cluster));
        EXPECT_TRUE(honest) << honest.error().text;
    }
    bool wait_for_refusal() {
        return run_until(loop, [&] { return !refused.empty(); });
    }
};

// Spec: CLU-099
TEST_F(NetworkFaultTest, NodeOfAnotherClusterIsRefusedByBothSides) {
    TemporaryDirectory other_directory;
    const TestCa other_ca("cluster-two");
    PosixNetwork stranger(loop, other_ca.issue(other_directory, "left"), files);
    ASSERT_TRUE(stranger.reload_credentials());
    const auto listener = listen(right, Security::cluster);
    const auto client = connect(stranger, connect_options(*listener, Security::cluster));
    ASSERT_FALSE(client);
    EXPECT_THAT(client.error().text,
                AllOf(HasSubstr(to_string(listener->endpoint())), HasSubstr("belongs to another cluster")));
    ASSERT_TRUE(wait_for_refusal());
    EXPECT_THAT(refused[0].why.text, HasSubstr("belongs to another cluster"));
    EXPECT_TRUE(is_certificate_refusal(client.error()) && is_certificate_refusal(refused[0].why));
    EXPECT_TRUE(accepted.empty());
    expect_still_serving(*listener);
}

// Spec: CLU-099
TEST_F(NetworkFaultTest, CaWithTheSameNameIsNotTheSameCa) {
    TemporaryDirectory other_directory;
    const TestCa impostor("cluster-one");
    PosixNetwork stranger(loop, impostor.issue(other_directory, "left"), files);
    ASSERT_TRUE(stranger.reload_credentials());
    const auto listener = listen(right, Security::cluster);
    EXPECT_FALSE(connect(stranger, connect_options(*listener, Security::cluster)));
    ASSERT_TRUE(wait_for_refusal());
    EXPECT_TRUE(accepted.empty());
}

// Spec: CLU-099
TEST_F(NetworkFaultTest, PeerWithoutACertificateIsRefused) {
    const auto listener = listen(right, Security::cluster);
    auto options = connect_options(*listener, Security::enrolment);
    const auto client = connect(left, options);  // shows none
    // In TLS 1.3 the client is done before the server judges it: it learns its fate from the closed channel.
    ASSERT_TRUE(client);
    Inbox inbox;
    (*client)->start(inbox.frames(), inbox.closes());
    ASSERT_TRUE(run_until(loop, [&] { return inbox.closed.has_value(); }));
    EXPECT_THAT(inbox.closed->text, HasSubstr("refused this node's certificate"));
    ASSERT_TRUE(wait_for_refusal());
    EXPECT_THAT(refused[0].why.text, HasSubstr("showed no certificate"));
    EXPECT_TRUE(is_certificate_refusal(*inbox.closed) && is_certificate_refusal(refused[0].why));
    EXPECT_TRUE(accepted.empty());
}

TEST_F(NetworkFaultTest, TheCasOwnCertificateNamesNoNode) {
    TemporaryDirectory other;
    PosixNetwork as_ca(loop, ca.issue(other, "thief", {.shows_ca_itself = true}), files);
    ASSERT_TRUE(as_ca.reload_credentials());
    const auto listener = listen(as_ca, Security::cluster);
    const auto client = connect(left, connect_options(*listener, Security::cluster));
    EXPECT_FALSE(client);
}

TEST_F(NetworkFaultTest, WrongPinIsRefusedAtEnrolment) {
    const auto listener = listen(right, Security::enrolment);
    auto options = connect_options(*listener, Security::enrolment);
    options.expected_ca_fingerprint = TestCa("another").fingerprint();
    const auto client = connect(left, options);
    ASSERT_FALSE(client);
    EXPECT_THAT(client.error().text, HasSubstr("does not match the pinned CA"));
    EXPECT_TRUE(accepted.empty());
}

TEST_F(NetworkFaultTest, RightPinIsAcceptedInAnyCaseOfItsDigits) {
    const auto listener = listen(right, Security::enrolment);
    auto options = connect_options(*listener, Security::enrolment);
    options.expected_ca_fingerprint = ca.fingerprint();
    EXPECT_TRUE(connect(left, options));
    for (auto& digit : options.expected_ca_fingerprint)
        digit = static_cast<char>(::toupper(digit));
    EXPECT_TRUE(connect(left, options));
}

TEST_F(NetworkFaultTest, PinnedCaMustHaveIssuedTheCertificateNotOnlyBeShown) {
    // A man in the middle shows the real CA's certificate next to a leaf of his own CA.
    TemporaryDirectory evil_directory;
    const TestCa evil("cluster-one");
    const auto paths = evil.issue(evil_directory, "right");
    std::string both = *files.read(paths.ca_certificate) + *files.read(directory.path("ca.pem"));
    write_file(paths.ca_certificate, both);
    PosixNetwork middle(loop, paths, files);
    ASSERT_TRUE(middle.reload_credentials());
    const auto listener = listen(middle, Security::enrolment);
    auto options = connect_options(*listener, Security::enrolment);
    options.expected_ca_fingerprint = ca.fingerprint();
    EXPECT_FALSE(connect(left, options));
}

TEST_F(NetworkFaultTest, GarbageOnATlsPortIsRefused) {
    const auto listener = listen(right, Security::cluster);
    const Descriptor garbage = raw_connect(listener->endpoint());
    ASSERT_GT(::send(garbage.get(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, MSG_NOSIGNAL), 0);
    EXPECT_TRUE(closed_by_peer(loop, garbage, 5s));
    ASSERT_TRUE(wait_for_refusal());
    EXPECT_THAT(refused[0].why.text, HasSubstr("does not speak TLS"));
    expect_still_serving(*listener);
}

TEST_F(NetworkFaultTest, ServerThatDoesNotSpeakTlsIsNamed) {
    auto plain = listen_tcp({"127.0.0.1", 0});
    ASSERT_TRUE(plain);
    Descriptor peer;
    const auto watch = loop.watch(plain->get());
    watch->wait_readable([&] {
        peer = Descriptor(::accept(plain->get(), nullptr, nullptr));
        (void)!::send(peer.get(), "SSH-2.0-OpenSSH_9.2\r\n", 21, MSG_NOSIGNAL);
    });
    ConnectOptions options;
    options.remote = local_endpoint_of(plain->get());
    const auto client = connect(left, options);
    ASSERT_FALSE(client);
    EXPECT_THAT(client.error().text,
                AllOf(HasSubstr(to_string(options.remote)), HasSubstr("does not speak TLS")));
}

TEST_F(NetworkFaultTest, OldTlsVersionsAreRefused) {
    const auto listener = listen(right, Security::cluster);
    const Descriptor socket = raw_connect(listener->endpoint());
    const SslContextPtr context(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
    const SslPtr session(SSL_new(context.get()));
    SSL_set_fd(session.get(), socket.get());
    EXPECT_LE(SSL_connect(session.get()), 0);
    EXPECT_TRUE(wait_for_refusal());
    EXPECT_TRUE(accepted.empty());
}

TEST_F(NetworkFaultTest, ConnectTimesOutOnAServerThatSaysNothing) {
    const auto silent = listen_tcp({"127.0.0.1", 0});
    ASSERT_TRUE(silent);
    ConnectOptions options;
    options.remote = local_endpoint_of(silent->get());
    options.timeout = 50ms;
    const TimePoint before = loop.now();
    const auto client = connect(left, options);
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, Code::unreachable);
    EXPECT_THAT(client.error().text, HasSubstr("TLS handshake within 50 ms"));
    EXPECT_GE(loop.now() - before, 50ms);
}

TEST_F(NetworkFaultTest, HalfOpenHandshakeIsDroppedAfterItsLimit) {
    const auto listener = listen(right, Security::cluster);
    const Descriptor silent = raw_connect(listener->endpoint());
    const TimePoint before = loop.now();
    EXPECT_TRUE(closed_by_peer(loop, silent, 20s));
    EXPECT_GE(loop.now() - before, kTestHandshakeLimit - 10ms);
    ASSERT_TRUE(wait_for_refusal());
    EXPECT_THAT(refused[0].why.text, HasSubstr("did not complete the TLS handshake"));
}

TEST_F(NetworkFaultTest, SilentConnectionsCannotKeepOthersOut) {
    const auto listener = listen(right, Security::cluster);
    std::vector<Descriptor> silent;
    for (std::size_t i = 0; i < kMaxUnfinishedHandshakes + 8; ++i) {
        silent.push_back(raw_connect(listener->endpoint()));
        ASSERT_TRUE(silent.back());
    }
    expect_still_serving(*listener);
    EXPECT_TRUE(closed_by_peer(loop, silent.front(), 200ms)) << "the oldest makes room";
}

TEST_F(NetworkFaultTest, OversizedFrameClosesTheChannelWithAnError) {
    const auto listener = right.listen(socket_path, Security::plain, accept());
    ASSERT_TRUE(listener);
    bool busy = false;
    const Descriptor raw(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto address = to_socket_address(socket_path);
    ASSERT_EQ(::connect(raw.get(), address->get(), address->length), 0) << busy;
    ASSERT_TRUE(run_until(loop, [&] { return !accepted.empty(); }));
    Inbox inbox;
    accepted[0]->start(inbox.frames(), inbox.closes());
    const std::string frames("\x02\0\0\0ok\x01\0\0\x01more", 14);  // 2 bytes, then 16 MiB + 1
    ASSERT_EQ(::send(raw.get(), frames.data(), frames.size(), MSG_NOSIGNAL), 14);
    ASSERT_TRUE(run_until(loop, [&] { return inbox.closed.has_value(); }));
    EXPECT_EQ(inbox.received, std::vector<std::string>{"ok"});
    EXPECT_THAT(inbox.closed->text, HasSubstr("16777217 bytes"));
    EXPECT_FALSE(accepted[0]->send(bytes_of("x")));
}

TEST_F(NetworkFaultTest, FrameCutInTheMiddleIsNotDelivered) {
    const auto listener = right.listen(socket_path, Security::plain, accept());
    ASSERT_TRUE(listener);
    Descriptor raw(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto address = to_socket_address(socket_path);
    ASSERT_EQ(::connect(raw.get(), address->get(), address->length), 0);
    ASSERT_TRUE(run_until(loop, [&] { return !accepted.empty(); }));
    Inbox inbox;
    accepted[0]->start(inbox.frames(), inbox.closes());
    ASSERT_EQ(::send(raw.get(), "\x08\0\0\0half", 8, MSG_NOSIGNAL), 8);
    run_for(loop, 5ms);
    raw.reset();
    ASSERT_TRUE(run_until(loop, [&] { return inbox.closed.has_value(); }));
    EXPECT_TRUE(inbox.received.empty());
}

TEST_F(NetworkFaultTest, TakenPortIsNamedWithItsAddress) {
    const auto first = listen(right, Security::cluster);
    const auto second = left.listen(first->endpoint(), Security::cluster, accept());
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().text, HasSubstr(to_string(first->endpoint()) + " is in use"));
}

TEST_F(NetworkFaultTest, AddressOfAnotherHostIsNamed) {
    const auto listener = left.listen({"192.0.2.1", 0}, Security::cluster, accept());
    ASSERT_FALSE(listener);
    EXPECT_THAT(listener.error().text, HasSubstr("192.0.2.1 is not an address of this host"));
    const auto open = listen(right, Security::cluster);
    auto options = connect_options(*open, Security::cluster);
    options.local_address = "192.0.2.1";
    const auto client = connect(left, options);
    ASSERT_FALSE(client);
    EXPECT_THAT(client.error().text, HasSubstr("192.0.2.1 is not an address of this host"));
}

// Spec: CLU-040
TEST_F(NetworkFaultTest, NamesAreNotResolved) {
    const auto client = connect(left, {.remote = {"localhost", 1500}});
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, Code::bad_argument);
    EXPECT_THAT(client.error().text, HasSubstr("\"localhost\" is not a numeric"));
}

TEST_F(NetworkFaultTest, SecurityMustFitTheKindOfAddress) {
    EXPECT_FALSE(left.listen({"127.0.0.1", 0}, Security::plain, accept()));
    EXPECT_FALSE(left.listen(socket_path, Security::cluster, accept()));
    EXPECT_FALSE(connect(left, {.remote = {"127.0.0.1", 1}, .security = Security::plain}));
}

TEST_F(NetworkFaultTest, WithoutCredentialsItSaysWhatToRunAndWorksOnceTheyAreThere) {
    TemporaryDirectory fresh;
    const CredentialPaths paths{fresh.path("ca.pem"), fresh.path("new.pem"), fresh.path("new.key")};
    PosixNetwork node(loop, paths, files);
    const auto told = [](const Error& error) {
        EXPECT_EQ(error.code, Code::failure);
        EXPECT_THAT(error.text, AllOf(HasSubstr("`understudy init`"), HasSubstr("`understudy join`")));
    };
    told(node.reload_credentials().error());
    told(node.listen({"127.0.0.1", 0}, Security::cluster, accept()).error());
    told(node.listen({"127.0.0.1", 0}, Security::enrolment, accept()).error());
    told(connect(node, {.remote = {"127.0.0.1", 1}}).error());
    // Enrolment is how it gets them.
    const auto enrolment = listen(right, Security::enrolment);
    EXPECT_TRUE(connect(node, connect_options(*enrolment, Security::enrolment)));

    (void)ca.issue(fresh, "new");
    ASSERT_TRUE(node.reload_credentials());
    EXPECT_TRUE(listen(node, Security::cluster));
}

TEST_F(NetworkFaultTest, BadCredentialFilesAreNamedAndTheOldOnesStay) {
    const auto listener = listen(right, Security::cluster);
    const auto paths = ca.issue(directory, "left");
    ASSERT_TRUE(left.reload_credentials());

    write_file(paths.private_key, "not a key");
    EXPECT_THAT(left.reload_credentials().error().text, HasSubstr(paths.private_key));
    write_file(paths.private_key, *files.read(directory.path("right.key")));
    EXPECT_THAT(left.reload_credentials().error().text, HasSubstr("does not belong to"));
    (void)ca.issue(directory, "left");
    TemporaryDirectory other;
    const auto foreign = TestCa("cluster-two").issue(other, "left");
    write_file(paths.certificate, *files.read(foreign.certificate));
    write_file(paths.private_key, *files.read(foreign.private_key));
    EXPECT_THAT(left.reload_credentials().error().text, HasSubstr("was not accepted by the CA"));
    ASSERT_TRUE(files.remove(paths.certificate));
    EXPECT_THAT(left.reload_credentials().error().text, HasSubstr("incomplete: " + paths.certificate));

    expect_still_serving(*listener);
}

TEST_F(NetworkFaultTest, DamagedCredentialsAreNotTakenForMissingOnes) {
    TemporaryDirectory damaged;
    const auto paths = ca.issue(damaged, "left");
    write_file(paths.certificate, "");
    PosixNetwork node(loop, paths, files);
    EXPECT_FALSE(node.reload_credentials());
    const auto listener = node.listen({"127.0.0.1", 0}, Security::cluster, accept());
    ASSERT_FALSE(listener);
    EXPECT_THAT(listener.error().text, HasSubstr(paths.certificate + " holds no certificate"));
    const auto there = listen(right, Security::cluster);
    const auto client = connect(node, connect_options(*there, Security::cluster));
    ASSERT_FALSE(client);
    EXPECT_FALSE(is_certificate_refusal(client.error())) << "nobody there has refused anything";
}

TEST_F(NetworkFaultTest, ListenerThatGoesDropsUnfinishedHandshakes) {
    auto listener = listen(right, Security::cluster);
    const Descriptor silent = raw_connect(listener->endpoint());
    run_for(loop, 5ms);
    listener.reset();
    EXPECT_TRUE(closed_by_peer(loop, silent, 200ms));
    EXPECT_TRUE(refused.empty());
}

}  // namespace
}  // namespace understudy::runtime
