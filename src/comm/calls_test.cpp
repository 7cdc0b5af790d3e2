#include "comm/calls.h"

#include <gtest/gtest.h>

namespace understudy::comm {
namespace {

using namespace std::chrono_literals;
using Verdict = ServedCalls::Verdict;
const runtime::TimePoint kNow{10s};

std::uint64_t add(OutgoingCalls& calls) {
    static std::uint64_t next_id = 0;
    EXPECT_TRUE(calls.add(++next_id, "m", "p", kNow + 5s, 5s, [](const auto&) {}));
    return next_id;
}

wire::Call request(std::uint64_t id, std::uint64_t oldest = 1, std::uint32_t attempt = 1) {
    return wire::Call{id, oldest, attempt, 1000, "m", "p"};
}

TEST(OutgoingCalls, AreBounded) {
    OutgoingCalls calls(2);
    add(calls);
    const auto second = add(calls);
    EXPECT_FALSE(calls.add(1000, "m", "", kNow, 1s, {}));
    calls.take(second);
    EXPECT_TRUE(calls.add(1000, "m", "", kNow, 1s, {}));
}

TEST(OutgoingCalls, TellTheCalleeWhatIsSettledAndHowLongTheyWait) {
    OutgoingCalls calls(8);
    const auto a = add(calls);
    const auto b = add(calls);
    const auto frame = calls.send(b, 77, 5, kNow + 2s);
    EXPECT_EQ(frame.oldest, a);
    EXPECT_EQ(frame.id, b);
    EXPECT_EQ(frame.deadline_ms, 3000);
    EXPECT_EQ(frame.attempt, 1U);
    EXPECT_EQ(calls.unsent(), std::vector{a});
}

TEST(OutgoingCalls, GoOutAgainAfterTheirConnectionIsLost) {
    OutgoingCalls calls(8);
    const auto a = add(calls);
    const auto b = add(calls);
    calls.send(a, 1, 5, kNow);
    calls.send(b, 2, 5, kNow);
    calls.connection_lost(1);
    EXPECT_EQ(calls.unsent(), std::vector{a});
    EXPECT_EQ(calls.send(a, 2, 5, kNow).attempt, 2U);
}

TEST(OutgoingCalls, SentToAFormerIncarnationAreTakenOut) {
    OutgoingCalls calls(8);
    const auto sent = add(calls);
    const auto waiting = add(calls);
    calls.send(sent, 1, 5, kNow);
    EXPECT_TRUE(calls.take_sent_to_others(5).empty());
    EXPECT_EQ(calls.take_sent_to_others(6).size(), 1U);
    EXPECT_EQ(calls.unsent(), std::vector{waiting});
}

TEST(OutgoingCalls, AreSettledOnce) {
    OutgoingCalls calls(8);
    const auto id = add(calls);
    EXPECT_TRUE(calls.take(id));
    EXPECT_FALSE(calls.take(id));
}

TEST(ServedCalls, RunAnIdOnce) {
    ServedCalls served;
    EXPECT_EQ(served.on_call(1, request(1), 70).verdict, Verdict::run);
    EXPECT_EQ(served.on_call(1, request(1, 1, 2), 70).verdict, Verdict::running);
    EXPECT_TRUE(served.on_answer(1, 1, "answer"));
    const auto again = served.on_call(1, request(1, 1, 3), 70);
    EXPECT_EQ(again.verdict, Verdict::answered);
    EXPECT_EQ(again.answer, "answer");
}

TEST(ServedCalls, AnswerOnTheConnectionOfTheLatestAttempt) {
    ServedCalls served;
    served.on_call(1, request(1), 70);
    served.on_call(1, request(1, 1, 2), 80);
    EXPECT_EQ(served.on_answer(1, 1, "answer"), 80U);
}

TEST(ServedCalls, AnotherIncarnationOfTheCallerStartsAfresh) {
    ServedCalls served;
    served.on_call(1, request(1), 70);
    EXPECT_EQ(served.on_call(2, request(1), 70).verdict, Verdict::run);
    EXPECT_FALSE(served.on_answer(1, 1, "for nobody"));
    EXPECT_TRUE(served.on_answer(2, 1, "answer"));
}

TEST(ServedCalls, ForgetWhatTheCallerHasSettledAndNeverRunItAgain) {
    ServedCalls served;
    served.on_call(1, request(1), 70);
    served.on_answer(1, 1, "answer");
    EXPECT_EQ(served.remembered(), 1U);
    served.on_call(1, request(2, 2), 70);
    EXPECT_EQ(served.remembered(), 0U);
    EXPECT_EQ(served.on_call(1, request(1, 1, 1), 70).verdict, Verdict::forgotten);
}

TEST(ServedCalls, RefuseWhatTheyHadToForget) {
    ServedCalls served;
    for (std::uint64_t id = 1; id <= ServedCalls::kMaxAnswers + 1; ++id) {
        ASSERT_EQ(served.on_call(1, request(id), 70).verdict, Verdict::run);
        ASSERT_TRUE(served.on_answer(1, id, "a"));
    }
    EXPECT_EQ(served.remembered(), ServedCalls::kMaxAnswers);
    EXPECT_EQ(served.on_call(1, request(1, 1, 2), 70).verdict, Verdict::forgotten);
    EXPECT_EQ(served.on_call(1, request(2, 1, 2), 70).verdict, Verdict::answered);
}

TEST(ServedCalls, RememberedBytesAreBounded) {
    ServedCalls served;
    const std::string large(10UL << 20, 'x');
    for (std::uint64_t id = 1; id <= 5; ++id) {
        served.on_call(1, request(id), 70);
        served.on_answer(1, id, large);
    }
    EXPECT_EQ(served.remembered(), 3U);
    EXPECT_EQ(served.on_call(1, request(5, 1, 2), 70).verdict, Verdict::answered);
}

TEST(ServedCalls, RunningOnesAreBounded) {
    ServedCalls served;
    for (std::uint64_t id = 1; id <= ServedCalls::kMaxRunning; ++id)
        ASSERT_EQ(served.on_call(1, request(id), 70).verdict, Verdict::run);
    EXPECT_EQ(served.on_call(1, request(ServedCalls::kMaxRunning + 1), 70).verdict, Verdict::busy);
    served.on_answer(1, 1, "a");
    EXPECT_EQ(served.on_call(1, request(ServedCalls::kMaxRunning + 1), 70).verdict, Verdict::run);
}

}  // namespace
}  // namespace understudy::comm
