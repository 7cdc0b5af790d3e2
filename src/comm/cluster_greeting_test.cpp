// Who is let in over a path, and what a peer may send.

#include "comm/cluster.pb.h"
#include "comm/cluster_test_world.h"

namespace understudy::comm::testing {
namespace {

class Greeting : public TwoNodes {
  protected:
    // A and a peer by hand on B.
    void start_scripted() {
        a.paths.pop_back();
        sim.node("B").boot([this](runtime::World world) {
            auto program = std::make_unique<ScriptedPeer>(world);
            peer = program.get();
            return program;
        });
        boot(kA, a);
        ASSERT_TRUE(sim.run_until([&] { return peer->connections == 1; }, 1s));
    }
    ScriptedPeer* peer = nullptr;
};

TEST_F(Greeting, APeerWithoutACommonVersionIsRefusedWithTheReasonOnBothSides) {
    start_scripted();
    auto hello = ScriptedPeer::hello();
    hello.major = 2;
    hello.highest = 3;
    hello.software = "9.0";
    peer->send(hello);
    sim.run_for(100ms);
    const std::string reason =
        "B speaks protocol versions 2 to 3 (software 9.0), A versions 1 to 1 (software 1.0), and none is "
        "common: upgrade the older one, by way of a release between the two";
    EXPECT_EQ(a.problem(), reason);
    ASSERT_EQ(peer->received<wire::Refusal>().size(), 1U);
    EXPECT_EQ(peer->received<wire::Refusal>()[0].reason, reason);
    EXPECT_EQ(peer->closed, 1);
    EXPECT_EQ(a.state(), PathState::dead);
}

TEST_F(Greeting, TheReasonOfTheOtherSideIsShown) {
    start_scripted();
    peer->send(wire::Refusal{"not today"});
    sim.run_for(100ms);
    EXPECT_EQ(a.problem(), "B refuses: not today");
}

TEST_F(Greeting, ANodeMustCallItselfAsItsCertificateDoes) {
    start_scripted();
    auto hello = ScriptedPeer::hello();
    hello.node = "M";
    peer->send(hello);
    sim.run_for(100ms);
    EXPECT_EQ(a.problem(), "the certificate there is of \"B\", but the node calls itself \"M\"");
    EXPECT_EQ(peer->closed, 1);
}

TEST_F(Greeting, APathThatLeadsToAnotherNodeIsRefused) {
    sim.add_node("C", {"10.0.0.3"});
    a.paths = {path(kC, "TCP:1500", "10.0.0.2", "10.0.0.1")};
    b.paths = {path(kA, "TCP:1500", "10.0.0.1", "10.0.0.2")};
    boot_both();
    sim.run_for(1s);
    EXPECT_EQ(a.problem(),
              "path TCP:1500 of A is defined to lead to \"C\", but \"B\" answers there: correct its address "
              "or its node");
    EXPECT_EQ(a.cluster->peer_state(kC), PeerState::unknown);
    EXPECT_EQ(b.cluster->peer_state(kA), PeerState::unknown);
    EXPECT_NE(b.problem().find("A refuses: path TCP:1500 of A"), std::string::npos) << b.problem();
}

TEST_F(Greeting, ANodeWithoutAPathIsTurnedAway) {
    sim.add_node("AA", {"10.0.0.9"});
    auto& stranger = c;
    stranger.paths = {path(kB, "TCP:1500", "10.0.0.2", "10.0.0.9")};
    boot(kB, b);
    boot(NodeName("AA"), stranger);
    sim.run_for(1s);
    EXPECT_EQ(stranger.problem(),
              "B refuses: B has no path to \"AA\" at 10.0.0.2 port 1500: define both ends");
}

TEST_F(Greeting, DifferentDevicesAreRefused) {
    start_scripted();
    auto hello = ScriptedPeer::hello();
    hello.device = "TCP:1999";
    peer->send(hello);
    sim.run_for(100ms);
    EXPECT_EQ(a.problem(), "the path is TCP:1500 on A and TCP:1999 on B: define both ends alike");
}

TEST_F(Greeting, FramesBeforeTheGreetingAreRefused) {
    start_scripted();
    peer->send(wire::Heartbeat{1, 0, wire::View::heard});
    sim.run_for(100ms);
    EXPECT_EQ(a.problem(), "B sent a frame before its greeting");
    EXPECT_EQ(a.state(), PathState::dead);
}

TEST_F(Greeting, MalformedFramesCloseTheConnectionAndThePathDialsAgain) {
    start_scripted();
    peer->send(ScriptedPeer::hello());
    sim.run_for(10ms);
    peer->send_bytes("\xff\xff nonsense");
    sim.run_for(100ms);
    EXPECT_EQ(peer->closed, 1);
    EXPECT_NE(a.problem().find("malformed frame"), std::string::npos) << a.problem();
    EXPECT_TRUE(sim.run_until([&] { return peer->connections == 2; }, 1s));
}

TEST_F(Greeting, FramesOfAnotherVersionAfterTheGreetingAreRefused) {
    start_scripted();
    peer->send(ScriptedPeer::hello());
    wire::pb::Envelope envelope;
    envelope.set_major(7);
    envelope.mutable_notice()->set_method("x");
    peer->send_bytes(envelope.SerializeAsString());
    sim.run_for(50ms);
    ASSERT_EQ(peer->received<wire::Refusal>().size(), 1U);
    EXPECT_EQ(a.problem(), "frame of protocol version 7; this node speaks versions 1 to 1");
}

TEST_F(Greeting, EnrolmentMessagesAndSecondGreetingsAreRefused) {
    start_scripted();
    peer->send(ScriptedPeer::hello());
    peer->send(wire::JoinRequest{});
    sim.run_for(50ms);
    EXPECT_EQ(a.problem(), "B sent an enrolment message on a path");
    ASSERT_TRUE(sim.run_until([&] { return peer->connections == 2; }, 1s));
    peer->send(ScriptedPeer::hello());
    peer->send(ScriptedPeer::hello());
    sim.run_for(50ms);
    EXPECT_EQ(a.problem(), "B greeted twice");
}

TEST_F(Greeting, APeerThatSaysNothingIsGivenUp) {
    start_scripted();
    sim.run_for(6s);
    EXPECT_EQ(a.problem(), "B accepted the connection but says nothing");
    EXPECT_EQ(a.state(), PathState::dead);
}

// Spec: CLU-067
TEST_F(Greeting, ARefusedPathIsTriedOncePerInterval) {
    a.paths[0].interval_ms = 1000;
    start_scripted();
    peer->on_connect = [&] { peer->send(wire::Refusal{"no"}); };
    peer->send(wire::Refusal{"no"});
    sim.run_for(10s);
    EXPECT_GE(peer->connections, 9);
    EXPECT_LE(peer->connections, 11);
}

TEST_F(Greeting, TheFirstHeartbeatFollowsTheGreetingAtOnce) {
    start_scripted();
    const auto greeted = sim.now();
    peer->send(ScriptedPeer::hello());
    ASSERT_TRUE(sim.run_until([&] { return !peer->received<wire::Heartbeat>().empty(); }, 1s));
    EXPECT_LE(sim.now() - greeted, 3ms);
    EXPECT_EQ(peer->received<wire::Hello>().at(0).interval_ms, 200U);
    EXPECT_EQ(peer->received<wire::Heartbeat>()[0].view, wire::View::unknown);
}

/// Two nodes of different releases.
class Releases : public TwoNodes {
  protected:
    static Protocol first_release() { return {1, 1, 0}; }
    static Protocol later_release() { return {1, 2, kFeatures | (1ULL << 40), true}; }
    void begin(const Protocol& one, const Protocol& other) {
        a.protocol = one;
        b.protocol = other;
        start();
    }
};

TEST_F(Releases, AnOldAndALaterNodeWorkTogether) {
    begin(first_release(), later_release());
    EXPECT_EQ(a.cluster->agreed_with(kB), (Agreed{1, 0}));
    EXPECT_EQ(b.cluster->agreed_with(kA), (Agreed{1, 0}));
    EXPECT_EQ(call(a, kB, "echo", "x").value_or(""), "x");
    EXPECT_EQ(call(b, kA, "echo", "y").value_or(""), "y");
    sim.run_for(10s);
    EXPECT_TRUE(all_alive());
    EXPECT_EQ(a.count(Kind::path_down) + b.count(Kind::path_down), 0) << "what it does not know is ignored";
}

TEST_F(Releases, TwoLaterNodesSpeakTheLaterVersionAndKnowTheirCommonParts) {
    begin(later_release(), {2, 7, 1ULL << 40});
    EXPECT_EQ(a.cluster->agreed_with(kB), (Agreed{2, 1ULL << 40}));
    EXPECT_EQ(call(b, kA, "echo", "y").value_or(""), "y");
    EXPECT_FALSE(a.cluster->has_feature(kB, Feature::credentials));
    sim.run_for(5s);
    EXPECT_TRUE(all_alive());
}

// Spec: CLU-256
TEST_F(Releases, AClusterIsUpgradedNodeByNodeWithoutLosingAPath) {
    begin(first_release(), first_release());
    for (auto* host : {&a, &b}) {
        const auto& name = host == &a ? kA : kB;
        host->protocol = later_release();
        sim.node(name.str()).kill_program();
        boot(name, *host);
        ASSERT_TRUE(sim.run_until([&] { return all_alive(); }, 2s));
        EXPECT_EQ(call(a, kB, "echo", name.str()).value_or(""), name.str());
    }
    EXPECT_EQ(a.cluster->agreed_with(kB)->version, 2U);
    EXPECT_EQ(a.count(Kind::comm_down) + b.count(Kind::comm_down), 0);
}

TEST_F(Releases, ACallThatAPeerDoesNotKnowIsAnsweredWithThat) {
    begin(later_release(), first_release());
    const auto answer = call(a, kB, "invented.later", "x");
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::not_found);
    EXPECT_EQ(answer.error().text, "B (software 1.0) does not support \"invented.later\"");
}

// Spec: CLU-099
TEST_F(Releases, ACertificateThatIsNotAcceptedAnyMoreEndsItsConnections) {
    start();
    bool removed = false;
    a.cluster->judge_certificates([&](const runtime::PeerIdentity& peer) {
        return removed && peer.common_name == "B" ? std::string("B was removed") : std::string();
    });
    a.cluster->recheck_certificates();
    sim.run_for(2s);
    EXPECT_TRUE(all_alive());
    removed = true;
    a.cluster->recheck_certificates();
    sim.run_for(5s);
    EXPECT_EQ(a.cluster->peer_state(kB), PeerState::dead);
    EXPECT_EQ(b.problem(), "A refuses: B was removed");
    EXPECT_FALSE(call(b, kA, "echo", "x"));
}

}  // namespace
}  // namespace understudy::comm::testing
