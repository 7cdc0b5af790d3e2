// A cluster begins and nodes enter it, in a simulated world.

#include "comm/enrolment.h"

#include "comm/pki.h"
#include "comm/wire.h"
#include "runtime/simulated/simulated_world.h"

#include <gtest/gtest.h>

namespace understudy::comm {
namespace {

using namespace std::chrono_literals;
const NodeName kLeft("left");
const NodeName kRight("right");
const std::string kPki = "/etc/understudy/pki";
const std::string kNotValid =
    "this token is not valid: it is wrong, was used already or has expired; make a new one with `understudy "
    "token` on "
    "a member of the cluster";

struct Member {
    Member(runtime::World world, std::set<NodeName>& known, std::vector<config::Path>& created,
           std::string& refuse)
        : service(world, {kLeft, "1.0", kPki},
                  {[&known](const NodeName& node) { return known.contains(node); },
                   [&created, &refuse](const NodeName&,
                                       std::vector<config::Path> paths) -> Result<std::vector<config::Path>> {
                       if (!refuse.empty()) return fail(Code::exists, "{}", refuse);
                       created = paths;
                       return paths;
                   }}) {
        const auto listening = service.listen("10.0.0.1");
        EXPECT_TRUE(listening) << listening.error().text;
    }
    EnrolmentService service;
};

runtime::Task<void> run_join(runtime::World world, JoinOptions options,
                             std::optional<Result<Joined>>& result) {
    auto joined = co_await join(world, options);
    result = joined;
}

class Enrolment : public ::testing::Test {
  protected:
    void SetUp() override {
        sim.set_trace_detail(runtime::TraceDetail::none);
        sim.add_node("left", {"10.0.0.1"}).boot([this](runtime::World world) {
            const auto made = make_cluster(world, kPki, kLeft, "blue");
            EXPECT_TRUE(made) << made.error().text;
            sim.node("left").set_ca_fingerprint(
                fingerprint(world.files.read(kPki + "/ca.pem").value()).value());
            auto program = std::make_unique<Member>(world, known, created, refuse);
            member = program.get();
            return program;
        });
        auto& right = sim.add_node("right", {"10.0.0.2"});
        right.set_ca_fingerprint("");
        right.boot([this](runtime::World world) {
            joiner.emplace(world);
            return std::make_unique<int>(0);
        });
    }
    Result<Joined> join_with(const std::string& token, JoinOptions options = {}) {
        options.self = options.self.empty() ? kRight : options.self;
        if (options.software_version.empty()) options.software_version = "1.0";
        options.token = token;
        if (options.address.empty()) options.address = "10.0.0.1";
        std::optional<Result<Joined>> result;
        runtime::TaskScope scope;
        scope.spawn(run_join(*joiner, options, result));
        EXPECT_TRUE(sim.run_until([&] { return result.has_value(); }, 70s));
        return result ? *result : fail(Code::internal, "join did not end");
    }
    std::string token(runtime::Duration lifetime = 1h, const std::optional<NodeName>& replaces = {}) {
        auto made = member->service.create_token(lifetime, replaces);
        EXPECT_TRUE(made) << made.error().text;
        return made.value_or("");
    }

    runtime::Simulation sim{7};
    std::set<NodeName> known{kLeft};
    std::vector<config::Path> created;
    std::string refuse;
    Member* member = nullptr;
    std::optional<runtime::World> joiner;
};

// Spec: DEP-216, CLU-099
TEST_F(Enrolment, ANodeJoinsWithAToken) {
    const auto joined = join_with(token());
    ASSERT_TRUE(joined) << joined.error().text;
    EXPECT_EQ(joined->cluster, "blue");
    EXPECT_EQ(joined->member, kLeft);
    EXPECT_TRUE(
        check_node_certificate(joined->certificate, joined->private_key, joined->ca_certificate, kRight));
    ASSERT_TRUE(store_joined(*joiner, kPki, *joined));
    EXPECT_EQ(joiner->files.read(kPki + "/node.pem").value(), joined->certificate);
    EXPECT_FALSE(joiner->files.exists(kPki + "/ca.key"));
}

// Spec: CLU-059
TEST_F(Enrolment, WithoutProposalsOnePathIsMadeOverTheEnrolmentsAddresses) {
    const auto joined = join_with(token());
    ASSERT_TRUE(joined);
    ASSERT_EQ(created.size(), 1U);
    EXPECT_EQ(created[0].remote, kRight);
    EXPECT_EQ(created[0].device, "TCP:1500");
    EXPECT_EQ(created[0].transport, "TLI");
    EXPECT_EQ(created[0].local_address, "10.0.0.1");
    EXPECT_EQ(created[0].remote_address, "10.0.0.2");
    EXPECT_EQ(created[0].interval_ms, 6000);
    EXPECT_EQ(created[0].misses, 5);
    ASSERT_EQ(joined->paths.size(), 1U);
    EXPECT_EQ(joined->paths[0].remote, kLeft);
    EXPECT_EQ(joined->paths[0].local_address, "10.0.0.2");
    EXPECT_EQ(joined->paths[0].remote_address, "10.0.0.1");
}

TEST_F(Enrolment, ProposedPathsAreCreatedAtBothEnds) {
    JoinOptions options;
    for (int i = 0; i < 2; ++i) {
        config::Path path;
        path.device = i == 0 ? "TCP:1500" : "TCP:1510";
        path.transport = "TLI";
        path.priority = i + 1;
        path.interval_ms = 200;
        path.misses = 3;
        path.local_address = fmt::format("10.{}.0.2", i);
        path.remote_address = fmt::format("10.{}.0.1", i);
        options.paths.push_back(path);
    }
    const auto joined = join_with(token(), options);
    ASSERT_TRUE(joined) << joined.error().text;
    for (auto& path : options.paths)
        path.remote = kLeft;
    EXPECT_EQ(joined->paths, options.paths);
    ASSERT_EQ(created.size(), 2U);
    EXPECT_EQ(created[1].local_address, "10.1.0.1");
    EXPECT_EQ(created[1].priority, 2);
}

// Spec: DEP-216
TEST_F(Enrolment, AUsedTokenIsRefused) {
    const auto once = token();
    ASSERT_TRUE(join_with(once));
    const auto again = join_with(once, {.self = NodeName("third")});
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Code::bad_argument);
    EXPECT_EQ(again.error().text, kNotValid);
}

TEST_F(Enrolment, AWrongTokenIsRefusedAndGuessingIsSlowedDown) {
    auto wrong = token();
    wrong[6] = wrong[6] == 'A' ? 'B' : 'A';
    for (int i = 0; i < 5; ++i)
        EXPECT_EQ(join_with(wrong).error().text, kNotValid);
    EXPECT_NE(join_with(wrong).error().text.find("too many wrong tokens"), std::string::npos);
    EXPECT_FALSE(join_with(token()));
    sim.run_for(61s);
    EXPECT_TRUE(join_with(token()));
}

TEST_F(Enrolment, AnExpiredTokenIsRefused) {
    const auto old = token(10s);
    sim.run_for(20s);
    EXPECT_EQ(join_with(old).error().text, kNotValid);
}

TEST_F(Enrolment, ATextThatIsNoTokenIsRefusedBeforeAnythingIsSent) {
    EXPECT_NE(join_with("hello").error().text.find("this is no token"), std::string::npos);
}

TEST_F(Enrolment, AClusterOfAnotherCaIsRefusedBeforeTheSecretIsSaid) {
    auto other = token();
    other[40] = other[40] == '0' ? '1' : '0';
    const auto joined = join_with(other);
    ASSERT_FALSE(joined);
    EXPECT_EQ(joined.error().code, Code::bad_argument);
    EXPECT_EQ(joined.error().text,
              "10.0.0.1 port 3278 belongs to another cluster than the one that gave the token: check the "
              "address and the "
              "token");
}

TEST_F(Enrolment, AHostThatDoesNotAnswerIsUnreachable) {
    JoinOptions options;
    options.address = "10.0.0.77";
    const auto joined = join_with(token(), options);
    ASSERT_FALSE(joined);
    EXPECT_EQ(joined.error().code, Code::unreachable);
    EXPECT_NE(joined.error().text.find("cannot reach 10.0.0.77 port 3278"), std::string::npos)
        << joined.error().text;
    sim.node("left").pause();
    EXPECT_EQ(join_with(token()).error().code, Code::unreachable);
}

// Spec: DEP-216
TEST_F(Enrolment, ATakenNameIsRefusedAndTheTokenStaysGood) {
    known.insert(kRight);
    const auto good = token();
    const auto joined = join_with(good);
    ASSERT_FALSE(joined);
    EXPECT_EQ(joined.error().code, Code::exists);
    EXPECT_NE(joined.error().text.find("has a node named right already"), std::string::npos);
    EXPECT_EQ(join_with(good, {.self = kLeft}).error().code, Code::exists);
    EXPECT_TRUE(join_with(good, {.self = NodeName("third")}));
}

TEST_F(Enrolment, AReplacingTokenLetsAKnownNodeInAgainAndNoOther) {
    known.insert(kRight);
    const auto replacing = token(1h, kRight);
    EXPECT_NE(
        join_with(replacing, {.self = NodeName("third")}).error().text.find("for setting up right anew"),
        std::string::npos);
    EXPECT_TRUE(join_with(replacing));
}

// Spec: DEP-216
TEST_F(Enrolment, ClocksFarApartAreRefused) {
    sim.node("right").jump_wall_clock(61s);
    EXPECT_NE(join_with(token()).error().text.find("clocks of right and left are more than 60 s apart"),
              std::string::npos);
}

// Spec: DEP-216
TEST_F(Enrolment, VersionsMoreThanOneMajorApartAreRefused) {
    const auto good = token();
    for (const auto* version : {"3.0", "three", "99999999999999999999.1"}) {
        const auto refused = join_with(good, {.self = kRight, .software_version = version});
        ASSERT_FALSE(refused) << version;
        EXPECT_NE(refused.error().text.find("which do not work together"), std::string::npos);
    }
    EXPECT_TRUE(join_with(good, {.self = kRight, .software_version = "2.7"}));
}

TEST_F(Enrolment, PathsThatTheMemberRefusesLeaveTheTokenGood) {
    refuse = "port 1500 is taken on left";
    const auto good = token();
    EXPECT_EQ(join_with(good).error(), (Error{Code::exists, refuse, 0}));
    refuse.clear();
    EXPECT_TRUE(join_with(good));
}

TEST_F(Enrolment, ATokenThatCannotBeMarkedUsedLetsNobodyIn) {
    const auto good = token();
    sim.node("left").set_disk_full(true);
    EXPECT_FALSE(join_with(good));
    EXPECT_TRUE(created.empty());
    sim.node("left").set_disk_full(false);
    EXPECT_TRUE(join_with(good));
}

TEST_F(Enrolment, GarbageIsAnsweredAndDoesNoHarm) {
    std::unique_ptr<runtime::Channel> channel;
    std::optional<wire::Frame> answer;
    runtime::ConnectOptions to;
    to.remote = {"10.0.0.1", kEnrolmentPort};
    to.security = runtime::Security::enrolment;
    joiner->network.connect(to, [&](Result<std::unique_ptr<runtime::Channel>> result) {
        channel = std::move(result).value();
        channel->start([&](std::span<const std::byte> bytes) { answer = wire::decode(bytes).value(); },
                       [](const Error&) {});
        channel->send(std::as_bytes(std::span("garbage")));
    });
    ASSERT_TRUE(sim.run_until([&] { return answer.has_value(); }, 5s));
    EXPECT_EQ(std::get<wire::JoinReply>(*answer).code, Code::internal);
    EXPECT_TRUE(join_with(token()));
}

TEST_F(Enrolment, SilentConnectionsMakeRoomAfterAWhile) {
    std::vector<std::unique_ptr<runtime::Channel>> silent;
    runtime::ConnectOptions to;
    to.remote = {"10.0.0.1", kEnrolmentPort};
    to.security = runtime::Security::enrolment;
    for (std::size_t i = 0; i < EnrolmentService::kMaxWaiting; ++i)
        joiner->network.connect(to, [&](auto result) { silent.push_back(std::move(result).value()); });
    sim.run_for(1s);
    EXPECT_EQ(silent.size(), EnrolmentService::kMaxWaiting);
    EXPECT_EQ(join_with(token()).error().code, Code::unreachable);
    sim.run_for(11s);
    EXPECT_TRUE(join_with(token()));
}

TEST_F(Enrolment, ANodeWithoutTheCaKeyMakesNoTokens) {
    ASSERT_TRUE(sim.node("left").files().remove(kPki + "/ca.key"));
    const auto made = member->service.create_token(1h);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::not_found);
    EXPECT_NE(made.error().text.find("does not hold the key of the cluster's certificate authority"),
              std::string::npos);
}

TEST_F(Enrolment, AHostThatBelongsToAClusterBeginsOrEntersNoOther) {
    auto joined = join_with(token());
    ASSERT_TRUE(joined);
    ASSERT_TRUE(store_joined(*joiner, kPki, *joined));
    const std::string text =
        "this host belongs to cluster \"blue\" already (/etc/understudy/pki/node.pem exists)";
    EXPECT_EQ(store_joined(*joiner, kPki, *joined).error(), (Error{Code::exists, text, 0}));
    EXPECT_EQ(make_cluster(*joiner, kPki, kRight, "red").error(), (Error{Code::exists, text, 0}));
    EXPECT_EQ(check_no_cluster(*joiner, kPki).error().text, text);
}

// One power-off at each write: afterwards the same command completes, and no second CA appears.
TEST(MakeCluster, GoesOnAfterACrashAtAnyWrite) {
    for (int crash_at = 0; crash_at < 4; ++crash_at) {
        runtime::Simulation sim(static_cast<std::uint64_t>(crash_at) + 1);
        auto& node = sim.add_node("left", {"10.0.0.1"});
        std::optional<runtime::World> world;
        const auto boot = [&] {
            node.boot([&](runtime::World booted) {
                world.emplace(booted);
                return std::make_unique<int>(0);
            });
        };
        boot();
        const std::vector<std::string> order{"ca.key", "ca.pem", "node.key", "node.pem"};
        ASSERT_TRUE(make_cluster(*world, kPki, kLeft, "blue"));
        // What a crash between two writes leaves: the files written before it.
        for (std::size_t i = static_cast<std::size_t>(crash_at); i < order.size(); ++i)
            ASSERT_TRUE(node.files().remove(kPki + "/" + order[i]));
        const auto before = node.files().read(kPki + "/ca.pem");
        ASSERT_TRUE(make_cluster(*world, kPki, kLeft, "blue"));
        const auto ca = node.files().read(kPki + "/ca.pem").value();
        EXPECT_EQ(before.value_or(ca), ca);
        EXPECT_TRUE(check_pair({node.files().read(kPki + "/ca.key").value(), ca}));
        EXPECT_TRUE(check_node_certificate(node.files().read(kPki + "/node.pem").value(),
                                           node.files().read(kPki + "/node.key").value(), ca, kLeft));
    }
}

TEST(MakeCluster, LeavesTheCaOfAnotherClusterAlone) {
    runtime::Simulation sim(1);
    auto& node = sim.add_node("left", {"10.0.0.1"});
    std::optional<runtime::World> world;
    node.boot([&](runtime::World booted) {
        world.emplace(booted);
        return std::make_unique<int>(0);
    });
    ASSERT_TRUE(make_cluster(*world, kPki, kLeft, "blue"));
    ASSERT_TRUE(node.files().remove(kPki + "/node.pem"));
    const auto before = node.files().read(kPki + "/ca.pem").value();
    EXPECT_EQ(make_cluster(*world, kPki, kLeft, "red").error().code, Code::exists);
    EXPECT_FALSE(make_cluster(*world, kPki, NodeName("bad name"), "blue"));
    EXPECT_EQ(node.files().read(kPki + "/ca.pem").value(), before);
}

}  // namespace
}  // namespace understudy::comm
