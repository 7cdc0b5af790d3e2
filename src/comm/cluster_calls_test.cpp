// Calls and notices over paths that fail.

#include "comm/cluster_test_world.h"

namespace understudy::comm::testing {
namespace {

using ClusterCalls = TwoNodes;

// Spec: CLU-091
TEST_F(ClusterCalls, AreAnsweredByThePeersMethod) {
    start();
    EXPECT_EQ(call(a, kB, "echo", "hello").value_or("failed"), "hello");
    EXPECT_EQ(call(b, kA, "echo", std::string(1UL << 20, 'x')).value_or("failed").size(), 1UL << 20);
    const auto refused = call(a, kB, "fail", "");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error(), (Error{Code::has_dependents, "no, A", 424}));
}

TEST_F(ClusterCalls, OfUnknownMethodsAndForgetfulOnesAreAnsweredToo) {
    start();
    EXPECT_EQ(call(a, kB, "nothing", "").error(),
              (Error{Code::not_found, "B (software 1.0) does not support \"nothing\"", 0}));
    EXPECT_EQ(call(a, kB, "drop", "").error().text, "method \"drop\" ended without an answer");
}

TEST_F(ClusterCalls, ToThisNodeRunHere) {
    start();
    EXPECT_EQ(call(a, kA, "echo", "me").value_or("failed"), "me");
    EXPECT_EQ(a.runs["me"], 1);
    EXPECT_EQ(call(a, kA, "nothing", "").error().code, Code::not_found);
    a.answer_after = 10s;
    EXPECT_EQ(call(a, kA, "echo", "late", 100ms).error().code, Code::unreachable);
}

// Spec: CLU-091
TEST_F(ClusterCalls, FailWithCode9WhenNoPathIsAlive) {
    boot(kA, a);
    sim.run_for(1s);
    EXPECT_EQ(call(a, kB, "echo", "").error(),
              (Error{Code::unreachable, "no communication path to B is ALIVE", 0}));
    EXPECT_EQ(call(a, kC, "echo", "").error().code, Code::unreachable);
}

TEST_F(ClusterCalls, EndAtTheirDeadline) {
    start();
    b.answer_after = 10s;
    const auto begin = sim.now();
    const auto answer = call(a, kB, "echo", "slow", 300ms);
    EXPECT_EQ(sim.now() - begin, 300ms);
    EXPECT_EQ(answer.error(), (Error{Code::unreachable, "B did not answer \"echo\" within 300 ms", 0}));
    sim.run_for(20s);  // the late answer finds nobody
}

TEST_F(ClusterCalls, FailWhenThePeerDies) {
    start();
    b.answer_after = 60s;
    sim.after(50ms, [&] { sim.node("B").power_off(); });
    const auto begin = sim.now();
    const auto answer = call(a, kB, "echo", "x", 30s);
    EXPECT_LE(sim.now() - begin, 700ms);
    EXPECT_EQ(answer.error().code, Code::unreachable);
    EXPECT_EQ(answer.error().text, "call \"echo\": B died or became unreachable meanwhile");
}

TEST_F(ClusterCalls, FailWhenThePeersDaemonRestarts) {
    start();
    b.answer_after = 60s;
    sim.after(50ms, [&] {
        sim.node("B").kill_program();
        boot(kB, b);
    });
    const auto answer = call(a, kB, "echo", "x", 30s);
    EXPECT_EQ(answer.error().text, "call \"echo\": B restarted while it ran a call; its outcome is unknown");
    EXPECT_EQ(b.runs["x"], 1);
}

// Spec: CLU-068
TEST_F(ClusterCalls, MoveToTheNextPathAndRunOnce) {
    start();
    b.answer_after = 100ms;
    sim.after(50ms, [&] { cut_first_network(); });  // the request got through, the answer does not
    EXPECT_EQ(call(a, kB, "echo", "once", 30s).value_or("failed"), "once");
    EXPECT_EQ(b.runs["once"], 1);
}

TEST_F(ClusterCalls, ThatNeverGotThroughRunOnTheNextPath) {
    start();
    cut_first_network();
    EXPECT_EQ(call(a, kB, "echo", "moved", 30s).value_or("failed"), "moved");
    sim.run_for(20s);
    heal_first_network();
    sim.run_for(20s);
    EXPECT_EQ(b.runs["moved"], 1);
}

TEST_F(ClusterCalls, SurviveAResetConnection) {
    start();
    b.answer_after = 100ms;
    sim.after(50ms, [&] { sim.break_connections("A", "B"); });
    EXPECT_EQ(call(a, kB, "echo", "x").value_or("failed"), "x");
    EXPECT_EQ(b.runs["x"], 1);
}

// Spec: CLU-048
TEST_F(ClusterCalls, UseThePathOfTheHighestPriority) {
    // Only the second network is quick: its priority decides, not its order.
    a.paths[0].priority = 9;
    start();
    cut_first_network();
    const auto begin = sim.now();
    EXPECT_TRUE(call(a, kB, "echo", "x"));
    EXPECT_LE(sim.now() - begin, 10ms);
}

// The two ends may give their paths different priorities.
TEST_F(ClusterCalls, AreAnsweredOverThePathOnWhichTheyCame) {
    b.paths[1].priority = 99;
    a.paths[0].priority = 98;
    start();
    b.answer_after = 50ms;
    sim.after(25ms, [&] { cut_first_network(); });
    const auto begin = sim.now();
    EXPECT_TRUE(call(a, kB, "echo", "x"));
    EXPECT_LE(sim.now() - begin, 60ms);
}

TEST_F(ClusterCalls, InFlightAreBounded) {
    start();
    b.answer_after = 1s;
    std::vector<Result<std::string>> answers;
    for (int i = 0; i < 6; ++i)
        a.cluster->call(kB, "echo", std::to_string(i), 5s, [&](auto answer) { answers.push_back(answer); });
    sim.run_for(100ms);
    ASSERT_EQ(answers.size(), 2U);
    EXPECT_EQ(answers[0].error(), (Error{Code::failure, "4 calls to B are in flight already", 0}));
    sim.run_for(2s);
    EXPECT_EQ(answers.size(), 6U);
    EXPECT_TRUE(answers.back());
}

TEST_F(ClusterCalls, TooLargeRequestsAndAnswersAreErrors) {
    start();
    EXPECT_EQ(call(a, kB, "echo", std::string(16UL << 20, 'x')).error().code, Code::failure);
    b.cluster->serve("huge", [](const NodeName&, std::string_view, const Cluster::Answer& answer) {
        answer(std::string(16UL << 20, 'x'));
    });
    EXPECT_EQ(call(a, kB, "huge", "").error().code, Code::failure);
    EXPECT_TRUE(all_alive());
}

TEST_F(ClusterCalls, WhoseMethodDeletesThePathsDoNotCrash) {
    start();
    b.cluster->serve("leave", [&](const NodeName&, std::string_view, const Cluster::Answer& answer) {
        b.cluster->set_paths({});
        answer(std::string());
    });
    EXPECT_EQ(call(a, kB, "leave", "", 30s).error().code, Code::unreachable);
}

TEST_F(ClusterCalls, AreNotConfusedWithThoseBeforeThePathsWereMadeAnew) {
    start();
    EXPECT_EQ(call(a, kB, "echo", "before").value_or("failed"), "before");
    a.cluster->set_paths({});
    sim.run_for(100ms);
    a.cluster->set_paths(a.paths);
    ASSERT_TRUE(sim.run_until([&] { return all_alive(); }, 5s));
    EXPECT_EQ(call(a, kB, "echo", "after").value_or("failed"), "after");
}

TEST_F(ClusterCalls, RunOnceEvenIfTheCalleesPathsAreMadeAnewMeanwhile) {
    start();
    b.answer_after = 300ms;
    sim.after(50ms, [&] { b.cluster->set_paths({}); });
    sim.after(60ms, [&] { b.cluster->set_paths(b.paths); });
    EXPECT_EQ(call(a, kB, "echo", "x").value_or("failed"), "x");
    EXPECT_EQ(b.runs["x"], 1);
}

TEST_F(ClusterCalls, NoticesArrive) {
    start();
    a.cluster->notify(kB, "notice", "one");
    a.cluster->notify(kA, "notice", "self");
    a.cluster->notify(kC, "notice", "nobody");
    b.cluster->notify(kA, "no such method", "");
    sim.run_for(10ms);
    EXPECT_EQ(b.notices, std::vector<std::string>{"A:one"});
    EXPECT_EQ(a.notices, std::vector<std::string>{"A:self"});
}

runtime::Task<void> call_in_turn(Cluster& cluster, std::vector<std::string>& answers) {
    for (int i = 0; i < 3; ++i) {
        auto answer = co_await cluster.call(kB, "echo", std::to_string(i), 1s);
        answers.push_back(answer.value_or("failed"));
    }
}

TEST_F(ClusterCalls, CanBeAwaited) {
    start();
    std::vector<std::string> answers;
    runtime::TaskScope scope;
    scope.spawn(call_in_turn(*a.cluster, answers));
    sim.run_for(100ms);
    EXPECT_EQ(answers, (std::vector<std::string>{"0", "1", "2"}));
}

// Under any sequence of cuts, resets, pauses and restarts each call is answered once and runs at most once
// (as long as its callee's daemon lives), and all paths come back when the faults end.
class UnderFaults : public TwoNodes, public ::testing::WithParamInterface<int> {
  protected:
    UnderFaults() : TwoNodes(static_cast<std::uint64_t>(GetParam())) {}

    struct Tally {
        int answers = 0;
        bool ok = false;
    };
    void call_now(Host& from, const NodeName& to) {
        if (from.cluster == nullptr) return;
        const auto payload = fmt::format("{}-{}", to.str(), tally.size());
        auto& mine = tally[payload];
        from.cluster->call(to, "echo", payload, 3s, [&mine](const Result<std::string>& answer) {
            ++mine.answers;
            mine.ok = answer.has_value();
        });
    }
    void random_fault() {
        switch (sim.random_below(7)) {
            case 0:
                return cut_first_network();
            case 1:
                return heal_first_network();
            case 2:
                return sim.partition("A", "B");
            case 3:
                return sim.heal_all();
            case 4:
                return sim.break_connections("A", "B");
            case 5:
                return sim.cut_one_way("10.0.0.1", "10.0.0.2");
            default:
                if (sim.node("B").paused()) return sim.node("B").resume();
                return sim.node("B").pause();
        }
    }
    std::map<std::string, Tally> tally;
};

TEST_P(UnderFaults, CallsRunAtMostOnceAndPathsComeBack) {
    start();
    a.answer_after = b.answer_after = 30ms;
    sim.set_connection_loss(0.005);
    for (int step = 0; step < 200; ++step) {
        if (step % 4 == 0) random_fault();
        call_now(a, kB);
        if (!sim.node("B").paused()) call_now(b, kA);
        sim.run_for(sim.random_duration(1ms, 200ms));
    }
    sim.set_connection_loss(0);
    sim.heal_all();
    if (sim.node("B").paused()) sim.node("B").resume();
    EXPECT_TRUE(sim.run_until([&] { return all_alive(); }, 10s));
    sim.run_for(10s);
    for (const auto& [payload, result] : tally) {
        EXPECT_EQ(result.answers, 1) << payload;
        const int runs = a.runs[payload] + b.runs[payload];
        EXPECT_LE(runs, 1) << payload;
        EXPECT_TRUE(!result.ok || runs == 1) << payload;
    }
    EXPECT_EQ(call(a, kB, "echo", "after all").value_or("failed"), "after all");
}

INSTANTIATE_TEST_SUITE_P(Seeds, UnderFaults, ::testing::Range(1, 41));

}  // namespace
}  // namespace understudy::comm::testing
