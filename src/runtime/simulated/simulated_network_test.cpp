// Channels, cuts and connection losses of simulated nodes; the trace of a whole run.

#include "runtime/simulated/simulated_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}
std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// One end of a conversation: what it got, and how it ended.
struct Talker {
    std::unique_ptr<Channel> channel;
    std::unique_ptr<Listener> listener;
    std::vector<std::string> got;
    std::string closed;  // why, empty while open
    std::string failed;  // why the connect failed

    void take(std::unique_ptr<Channel> taken) {
        channel = std::move(taken);
        channel->start([this](std::span<const std::byte> frame) { got.push_back(text_of(frame)); },
                       [this](const Error& why) { closed = why.text; });
    }
    void listen(World w, const Endpoint& at, Security security = Security::cluster) {
        auto made =
            w.network.listen(at, security, [this](std::unique_ptr<Channel> c) { take(std::move(c)); });
        if (made)
            listener = std::move(*made);
        else
            failed = made.error().text;
    }
    void connect(World w, const ConnectOptions& options) {
        w.network.connect(options, [this](Result<std::unique_ptr<Channel>> result) {
            if (result)
                take(std::move(*result));
            else
                failed = result.error().text;
        });
    }
    bool send(std::string_view text) const { return channel->send(bytes_of(text)); }
};

class SimulatedNetworkTest : public testing::Test {
  protected:
    SimulatedNetworkTest() {
        boot(a, left, world_a);
        boot(b, right, world_b);
    }
    static void boot(SimulatedNode& node, Talker*& talker, std::unique_ptr<World>& world) {
        node.boot([&](World w) {
            auto owned = std::make_unique<Talker>();
            talker = owned.get();
            world = std::make_unique<World>(w);
            return owned;
        });
    }
    void connect() {
        right->listen(*world_b, {"10.0.0.2", 1500});
        left->connect(*world_a, {.remote = {"10.0.0.2", 1500}});
        ASSERT_TRUE(sim.run_until([&] { return left->channel && right->channel; }, 1s));
    }
    Simulation sim{3};
    SimulatedNode& a = sim.add_node("A", {"10.0.0.1", "10.1.0.1"});
    SimulatedNode& b = sim.add_node("B", {"10.0.0.2", "10.1.0.2"});
    Talker* left = nullptr;
    Talker* right = nullptr;
    std::unique_ptr<World> world_a;
    std::unique_ptr<World> world_b;
};

TEST_F(SimulatedNetworkTest, FramesArriveWholeAndInOrderWhateverTheirDelays) {
    sim.set_delay(0ms, 50ms);
    connect();
    std::vector<std::string> sent;
    for (int i = 0; i < 100; ++i) {
        sent.push_back("frame " + std::to_string(i));
        ASSERT_TRUE(left->send(sent.back()));
        sim.run_for(1ms);
    }
    EXPECT_LT(right->got.size(), sent.size());
    sim.run_for(1s);
    EXPECT_EQ(right->got, sent);
}

TEST_F(SimulatedNetworkTest, PeersKnowEachOtherByCertificate) {
    connect();
    EXPECT_EQ(left->channel->peer().common_name, "B");
    EXPECT_EQ(right->channel->peer().common_name, "A");
    EXPECT_EQ(right->channel->peer().ca_fingerprint, "simulated-ca");
    EXPECT_EQ(left->channel->remote_endpoint(), (Endpoint{"10.0.0.2", 1500}));
    EXPECT_EQ(left->channel->local_endpoint(), right->channel->remote_endpoint());
    EXPECT_EQ(left->channel->local_endpoint().address, "10.0.0.1");
}

TEST_F(SimulatedNetworkTest, NodeOfAnotherClusterIsRefused) {
    a.set_ca_fingerprint("other-ca");
    right->listen(*world_b, {"10.0.0.2", 1500});
    left->connect(*world_a, {.remote = {"10.0.0.2", 1500}});
    sim.run_for(10s);
    EXPECT_THAT(left->failed, testing::HasSubstr("another cluster"));
    EXPECT_FALSE(right->channel);
}

TEST_F(SimulatedNetworkTest, EnrolmentPinsTheServersClusterAndShowsNoClientName) {
    a.set_ca_fingerprint("");
    right->listen(*world_b, {"10.0.0.2", 1501}, Security::enrolment);
    ConnectOptions options{.remote = {"10.0.0.2", 1501}, .security = Security::enrolment};
    options.expected_ca_fingerprint = "wrong";
    left->connect(*world_a, options);
    sim.run_for(1s);
    EXPECT_THAT(left->failed, testing::HasSubstr("simulated-ca, not wrong"));
    options.expected_ca_fingerprint = "simulated-ca";
    left->connect(*world_a, options);
    sim.run_for(1s);
    ASSERT_TRUE(right->channel);
    EXPECT_EQ(right->channel->peer().common_name, "");
    EXPECT_EQ(left->channel->peer().common_name, "B");
}

TEST_F(SimulatedNetworkTest, ConnectWithoutAListenerIsRefusedAtOnce) {
    left->connect(*world_a, {.remote = {"10.0.0.2", 1500}});
    EXPECT_TRUE(left->failed.empty()) << "never on the caller's stack";
    sim.run_for(10ms);
    EXPECT_THAT(left->failed, testing::HasSubstr("refused"));
}

TEST_F(SimulatedNetworkTest, ConnectToAHostThatIsOffOrCutOffFailsAtItsTimeout) {
    right->listen(*world_b, {"10.0.0.2", 1500});
    sim.cut_one_way("10.0.0.2", "10.0.0.1");
    left->connect(*world_a, {.remote = {"10.0.0.2", 1500}, .timeout = 2s});
    sim.run_for(1999ms);
    EXPECT_TRUE(left->failed.empty());
    sim.run_for(1ms);
    EXPECT_THAT(left->failed, testing::HasSubstr("no answer in time"));
    EXPECT_FALSE(right->channel);

    left->failed.clear();
    sim.heal_all();
    b.power_off();
    left->connect(*world_a, {.remote = {"10.0.0.2", 1500}, .timeout = 1s});
    sim.run_for(1s);
    EXPECT_FALSE(left->failed.empty());
}

TEST_F(SimulatedNetworkTest, ConnectSucceedsWhenTheCutHealsWithinItsTimeout) {
    right->listen(*world_b, {"10.0.0.2", 1500});
    sim.partition("A", "B");
    left->connect(*world_a, {.remote = {"10.0.0.2", 1500}, .timeout = 5s});
    sim.run_for(3s);
    sim.heal("A", "B");
    sim.run_for(1s);
    EXPECT_TRUE(left->channel);
}

TEST_F(SimulatedNetworkTest, TakenPortAndForeignAddressAreRefusedAndAFreedPortIsFree) {
    right->listen(*world_b, {"0.0.0.0", 1500});
    Talker other;
    other.listen(*world_b, {"10.0.0.2", 1500});
    EXPECT_THAT(other.failed, testing::HasSubstr("taken"));
    other.listen(*world_b, {"10.0.0.1", 1600});
    EXPECT_THAT(other.failed, testing::HasSubstr("does not have this address"));
    other.failed.clear();
    right->listener.reset();
    other.listen(*world_b, {"10.0.0.2", 1500});
    EXPECT_EQ(other.failed, "");
}

TEST_F(SimulatedNetworkTest, ClosedChannelDeliversWhatWasSentAndThenItsEnd) {
    connect();
    left->send("last words");
    left->channel->close();
    EXPECT_FALSE(left->send("too late"));
    sim.run_for(1s);
    EXPECT_EQ(right->got, std::vector<std::string>{"last words"});
    EXPECT_THAT(right->closed, testing::HasSubstr("closed by the peer"));
    EXPECT_EQ(left->closed, "") << "no handler runs after close()";
    EXPECT_FALSE(right->send("to nobody"));
}

TEST_F(SimulatedNetworkTest, CutHoldsFramesAndHealingDeliversThemInOrder) {
    connect();
    left->send("in flight");
    sim.partition("A", "B");
    left->send("one");
    sim.run_for(5s);
    left->send("two");
    sim.run_for(5s);
    EXPECT_TRUE(right->got.empty());
    sim.heal("A", "B");
    left->send("three");
    sim.run_for(1s);
    EXPECT_EQ(right->got, (std::vector<std::string>{"in flight", "one", "two", "three"}));
    EXPECT_EQ(left->closed + right->closed, "");
    sim.run_for(60s);
    EXPECT_EQ(left->closed + right->closed, "") << "the timers of the cut are gone";
}

TEST_F(SimulatedNetworkTest, EachEndNoticesALongCutAtItsOwnTime) {
    connect();
    TimePoint when_left{};
    TimePoint when_right{};
    sim.after_each_event([&] {
        if (!left->closed.empty() && when_left == TimePoint{}) when_left = sim.now();
        if (!right->closed.empty() && when_right == TimePoint{}) when_right = sim.now();
    });
    const auto cut = sim.now();
    sim.partition("A", "B");
    sim.run_for(kConnectionTimeout);
    EXPECT_EQ(left->closed + right->closed, "");
    sim.run_for(kConnectionTimeout / 5);
    EXPECT_GE(when_left - cut, kConnectionTimeout);
    EXPECT_GE(when_right - cut, kConnectionTimeout);
    EXPECT_NE(when_left, when_right);
}

TEST_F(SimulatedNetworkTest, OneWayCutLetsTheOtherDirectionThroughButBreaksBothEndsInTheEnd) {
    connect();
    sim.cut_one_way("10.0.0.1", "10.0.0.2");
    left->send("lost");
    right->send("arrives");
    sim.run_for(1s);
    EXPECT_EQ(left->got, std::vector<std::string>{"arrives"});
    EXPECT_TRUE(right->got.empty());
    sim.run_for(kConnectionTimeout * 6 / 5);
    EXPECT_NE(left->closed, "");
    EXPECT_NE(right->closed, "");
    EXPECT_TRUE(right->got.empty());
}

TEST_F(SimulatedNetworkTest, CutOfOneAddressLeavesTheOtherPathAlone) {
    connect();
    sim.cut_one_way("10.1.0.1", "10.1.0.2");
    left->send("by the other way");
    sim.run_for(10ms);
    EXPECT_EQ(right->got.size(), 1U);
}

TEST_F(SimulatedNetworkTest, PowerOffIsNoticedOnlyByTimeoutButAKilledProgramAtOnce) {
    connect();
    b.kill_program();
    sim.run_for(10ms);
    EXPECT_NE(left->closed, "");

    left->closed.clear();
    boot(b, right, world_b);
    connect();
    b.power_off();
    sim.run_for(kConnectionTimeout - 1s);
    EXPECT_EQ(left->closed, "");
    sim.run_for(kConnectionTimeout);
    EXPECT_THAT(left->closed, testing::HasSubstr("timed out"));
}

TEST_F(SimulatedNetworkTest, RebootedPeerResetsTheConnectionOfItsFormerLife) {
    connect();
    b.power_off();
    sim.run_for(1s);
    left->send("to the former life");
    boot(b, right, world_b);
    sim.run_for(2s);
    EXPECT_THAT(left->closed, testing::HasSubstr("reset"));
    EXPECT_TRUE(right->got.empty());
}

TEST_F(SimulatedNetworkTest, LostConnectionIsSeenByBothEnds) {
    connect();
    sim.set_connection_loss(1);
    const auto before = sim.now();
    EXPECT_EQ(sim.connections_lost("A", "B", before, sim.now()), 0);
    EXPECT_TRUE(left->send("breaks it"));
    sim.run_for(1s);
    EXPECT_NE(left->closed, "");
    EXPECT_NE(right->closed, "");
    EXPECT_TRUE(right->got.empty());
    EXPECT_EQ(sim.connections_lost("B", "A", before, sim.now()), 1);
    EXPECT_EQ(sim.connections_lost("A", "B", sim.now(), sim.now()), 0);
}

TEST_F(SimulatedNetworkTest, StoppedReceiverGetsItsFramesAtResumeAndFloodingItIsRefused) {
    connect();
    b.pause();
    const std::string block(kMaxFrameBytes, 'x');
    std::size_t accepted = 0;
    while (left->send(block))
        ++accepted;
    EXPECT_EQ(accepted, kMaxQueuedBytes / kMaxFrameBytes);
    sim.run_for(60s);
    EXPECT_TRUE(right->got.empty());
    EXPECT_EQ(left->closed, "") << "the kernel of a stopped program acknowledges";
    b.resume();
    sim.run_for(1s);
    EXPECT_EQ(right->got.size(), accepted);
    EXPECT_TRUE(left->send("goes again"));
    EXPECT_FALSE(left->send(std::string(kMaxFrameBytes + 1, 'x')));
}

TEST_F(SimulatedNetworkTest, FrozenHostLosesItsConnectionsToPeersThatGaveUp) {
    connect();
    b.pause(Pause::host);
    sim.run_for(kConnectionTimeout * 6 / 5);
    EXPECT_NE(left->closed, "");
    EXPECT_EQ(right->closed, "");
    b.resume();
    sim.run_for(2s);
    EXPECT_THAT(right->closed, testing::HasSubstr("reset"));
}

TEST_F(SimulatedNetworkTest, UnixSocketsAreLocalToANodeAndCarryTheCallersUid) {
    right->listen(*world_b, {"/run/x.sock"}, Security::plain);
    left->connect(*world_a, {.remote = {"/run/x.sock"}, .security = Security::plain});
    Talker client;
    client.connect(*world_b, {.remote = {"/run/x.sock"}, .security = Security::plain});
    sim.partition("A", "B");
    sim.run_for(1s);
    EXPECT_THAT(left->failed, testing::HasSubstr("refused"));
    ASSERT_TRUE(client.channel);
    EXPECT_EQ(right->channel->peer().uid, 0U);
    EXPECT_TRUE(client.send("hello"));
    sim.run_for(1ms);
    EXPECT_EQ(right->got, std::vector<std::string>{"hello"});
}

TEST_F(SimulatedNetworkTest, FramesThatCameBeforeStartAreDeliveredThen) {
    std::unique_ptr<Channel> waiting;
    auto listener = world_b->network.listen({"10.0.0.2", 1500}, Security::cluster,
                                            [&](std::unique_ptr<Channel> c) { waiting = std::move(c); });
    left->connect(*world_a, {.remote = {"10.0.0.2", 1500}});
    ASSERT_TRUE(sim.run_until([&] { return left->channel && waiting; }, 1s));
    left->send("early");
    left->channel.reset();
    sim.run_for(1s);
    right->take(std::move(waiting));
    sim.run_for(1s);
    EXPECT_EQ(right->got, std::vector<std::string>{"early"});
    EXPECT_NE(right->closed, "");
}

TEST_F(SimulatedNetworkTest, ChannelMayBeDestroyedInItsOwnHandler) {
    std::unique_ptr<Channel> server;
    auto listener =
        world_b->network.listen({"10.0.0.2", 1500}, Security::cluster, [&](std::unique_ptr<Channel> c) {
            server = std::move(c);
            server->start([&](std::span<const std::byte>) { server.reset(); },
                          [](const Error&) { FAIL() << "no handler after destruction"; });
        });
    left->connect(*world_a, {.remote = {"10.0.0.2", 1500}});
    ASSERT_TRUE(sim.run_until([&] { return left->channel != nullptr; }, 1s));
    left->send("one");
    left->send("two");
    sim.run_for(1s);
    EXPECT_FALSE(server);
    EXPECT_NE(left->closed, "");
}

/// Chats at random: connects, sends, closes, answers, writes files.
class Chatter {
  public:
    Chatter(World world, std::string self, std::string other)
        : w_(world), self_(std::move(self)), other_(std::move(other)) {
        listener_ = std::move(*w_.network.listen({self_, 1500}, Security::cluster,
                                                 [this](std::unique_ptr<Channel> c) { add(std::move(c)); }));
        tick();
    }

  private:
    void add(std::unique_ptr<Channel> channel) {
        const auto key = next_++;
        auto& kept = channels_[key] = std::move(channel);
        kept->start(
            [this, key](std::span<const std::byte> frame) {
                if (frame.size() > 1) channels_.at(key)->send(frame.subspan(1));
            },
            [this, key](const Error&) { channels_.erase(key); });
    }
    void tick() {
        const auto dice = w_.random.next() % 8;
        if (channels_.size() < 3)
            w_.network.connect({.remote = {other_, 1500}, .timeout = 1s},
                               [this](Result<std::unique_ptr<Channel>> made) {
                                   if (made) add(std::move(*made));
                               });
        else if (dice == 0)
            channels_.erase(channels_.begin());
        for (auto& [key, channel] : channels_) {
            std::vector<std::byte> frame(1 + w_.random.next() % 20);
            w_.random.fill(frame);
            channel->send(frame);
        }
        if (dice == 1) static_cast<void>(w_.files.write_atomic("/diary", std::to_string(next_)));
        w_.tasks.after(std::chrono::milliseconds(1 + w_.random.next() % 300), [this] { tick(); });
    }
    World w_;
    std::string self_;
    std::string other_;
    std::unique_ptr<Listener> listener_;
    std::map<int, std::unique_ptr<Channel>> channels_;
    int next_ = 0;
};

std::string trace_of_a_chat(std::uint64_t seed) {
    Simulation sim(seed);
    auto& a = sim.add_node("A", {"10.0.0.1"});
    auto& b = sim.add_node("B", {"10.0.0.2"});
    a.boot([](World w) { return std::make_unique<Chatter>(w, "10.0.0.1", "10.0.0.2"); });
    b.boot([](World w) { return std::make_unique<Chatter>(w, "10.0.0.2", "10.0.0.1"); });
    sim.set_connection_loss(0.01);
    for (int i = 0; i < 30; ++i) {
        sim.run_for(sim.random_duration(1s, 10s));
        switch (sim.random_below(6)) {
            case 0:
                sim.partition("A", "B");
                break;
            case 1:
                sim.cut_one_way("10.0.0.1", "10.0.0.2");
                break;
            case 2:
                b.pause(sim.chance(0.5) ? Pause::program : Pause::host);
                break;
            case 3:
                b.power_off();
                break;
            case 4:
                b.kill_program();
                break;
            case 5:
                b.power_off_in_next_write();
                break;
        }
        sim.run_for(sim.random_duration(1s, 40s));
        sim.heal_all();
        b.resume();
        if (!b.running())
            b.boot([](World w) { return std::make_unique<Chatter>(w, "10.0.0.2", "10.0.0.1"); });
    }
    return sim.trace();
}

TEST(SimulatedRun, SameSeedGivesTheSameTraceByteForByteAndAnotherSeedAnother) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        const auto trace = trace_of_a_chat(seed);
        EXPECT_GT(trace.size(), 100'000U);
        EXPECT_EQ(trace, trace_of_a_chat(seed)) << "seed " << seed;
        EXPECT_NE(trace, trace_of_a_chat(seed + 1000)) << "seed " << seed;
    }
}

}  // namespace
}  // namespace understudy::runtime
