// Two ends of a session on real sockets.

#include "mirror/control/posix/data_sockets.h"

#include "mirror/control/posix/socket_io.h"
#include "runtime/posix/posix_world.h"

#include <gtest/gtest.h>

#include <array>

namespace understudy::mirror::control {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kBase = 21000;

struct DataSockets : testing::Test {
    runtime::PosixWorld posix{runtime::CredentialPaths{}};
    runtime::World world = posix.world();
    TcpDataLinks target{world, kBase};
    TcpDataLinks source{world, kBase};
    runtime::TaskScope tasks;
    SessionId session{};
    SessionKey key{};
    std::optional<LinkResult> at_target, at_source;

    static runtime::Task<> connect(DataSockets* self, std::uint16_t port, SessionKey used) {
        const runtime::Endpoint remote{"127.0.0.1", port};
        LinkResult made = co_await self->source.connect(remote, "127.0.0.1", self->session, used);
        self->at_source = made;
        self->stop_when_both();
    }
    Result<std::uint16_t> expect() {
        return target.expect(VolumeId("R"), "127.0.0.1", session, key, [this](LinkResult links) {
            at_target = links;
            stop_when_both();
        });
    }
    void stop_when_both() {
        if (at_target && at_source) posix.stop();
    }
    void run() {
        world.tasks.after(20s, [this] { posix.stop(); });
        posix.run();
    }
};

TEST_F(DataSockets, BothEndsGetTheSameTwoLinks) {
    key[0] = std::byte{5};
    const auto port = expect();
    ASSERT_TRUE(port) << port.error().text;
    tasks.spawn(connect(this, *port, key));
    run();
    ASSERT_TRUE(at_target && *at_target) << at_target->error().text;
    ASSERT_TRUE(at_source && *at_source) << at_source->error().text;
    const auto [target_data, target_resync] = (**at_target)->take();
    const auto [source_data, source_resync] = (**at_source)->take();
    const Socket keep[] = {Socket(target_data), Socket(target_resync), Socket(source_data),
                           Socket(source_resync)};
    const std::array<char, 2> sent{'d', 'r'};
    ASSERT_EQ(write(source_data, sent.data(), 1), 1);
    ASSERT_EQ(write(source_resync, sent.data() + 1, 1), 1);
    char got = 0;
    ASSERT_EQ(read(target_data, &got, 1), 1);
    EXPECT_EQ(got, 'd');
    ASSERT_EQ(read(target_resync, &got, 1), 1);
    EXPECT_EQ(got, 'r');
}

// Spec: REP-040
TEST_F(DataSockets, ATakenPortIsPassedOver) {
    const std::uint16_t first = data_port(VolumeId("R"), 0, kBase);
    const auto squatter = listen_socket({"127.0.0.1", first});
    ASSERT_TRUE(squatter) << squatter.error().text;
    const auto port = expect();
    ASSERT_TRUE(port) << port.error().text;
    EXPECT_EQ(*port, first + 256);
    tasks.spawn(connect(this, *port, key));
    run();
    EXPECT_TRUE(at_target && *at_target);
}

// Spec: EMC-231
TEST_F(DataSockets, ChangedPortsAreOfTheNextSessionAndTheOneThatWaitsKeepsIts) {
    const auto first = expect();
    ASSERT_TRUE(first) << first.error().text;
    EXPECT_EQ(*first, data_port(VolumeId("R"), 0, kBase));
    target.set_ports(kBase + 300, 256);
    const auto next = target.expect(VolumeId("S"), "127.0.0.1", session, key, [](const LinkResult&) {});
    ASSERT_TRUE(next) << next.error().text;
    EXPECT_EQ(*next, data_port(VolumeId("S"), 0, kBase + 300));
    tasks.spawn(connect(this, *first, key));
    run();
    EXPECT_TRUE(at_target && *at_target);
    EXPECT_TRUE(at_source && *at_source);
}

TEST_F(DataSockets, ASourceWithAnotherKeyGetsNothingAndTheRightOneStillDoes) {
    const auto port = expect();
    ASSERT_TRUE(port) << port.error().text;
    SessionKey wrong{};
    wrong[7] = std::byte{1};
    struct Twice {
        static runtime::Task<> run(DataSockets* self, std::uint16_t at, SessionKey bad, bool* refused) {
            const runtime::Endpoint remote{"127.0.0.1", at};
            LinkResult made = co_await self->source.connect(remote, "127.0.0.1", self->session, bad);
            *refused = !made;
            co_await connect(self, at, self->key);
        }
    };
    bool refused = false;
    tasks.spawn(Twice::run(this, *port, wrong, &refused));
    run();
    EXPECT_TRUE(refused);
    ASSERT_TRUE(at_source && *at_source) << at_source->error().text;
    EXPECT_TRUE(at_target && *at_target);
}

TEST_F(DataSockets, AnAddressThatIsNotOursIsAnError) {
    const auto port = target.expect(VolumeId("R"), "192.0.2.1", session, key, [](const LinkResult&) {});
    ASSERT_FALSE(port);
    EXPECT_NE(port.error().text.find("192.0.2.1"), std::string::npos);
}

TEST_F(DataSockets, AForgottenSessionFreesItsPort) {
    const auto first = expect();
    ASSERT_TRUE(first) << first.error().text;
    target.forget(VolumeId("R"));
    const auto second = expect();
    ASSERT_TRUE(second) << second.error().text;
    EXPECT_EQ(*first, *second);
}

}  // namespace
}  // namespace understudy::mirror::control
