// Cluster-wide locks: the order of service, who agrees to what, and that never two are held, whatever becomes
// of the messages.

#include "config/locks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace understudy::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const NodeName kA("nodeA");
const NodeName kB("nodeB");

/// Two nodes that hear each other at once.
struct Pair {
    LockTable a{kA, 1};
    LockTable b{kB, 1};
    void exchange() {
        // Twice: an answer may depend on what the other told in the same round.
        for (int i = 0; i < 2; ++i) {
            a.answered(kB, b.hear(kA, a.notice()));
            b.answered(kA, a.hear(kB, b.notice()));
        }
    }
};

// Spec: CLU-213, CMD-100
TEST(LockFlagTest, ItHasTheManualsForm) {
    const LockRequest request{{701120147, NodeName("cindy"), 1525}, "Create_Hierarchy", true};
    EXPECT_EQ(lock_flag(request).str(), "!action!01525!701120147!cindy:Create_Hierarchy");
    EXPECT_TRUE(is_lock_flag(lock_flag(request)));
    EXPECT_FALSE(is_lock_flag(FlagName("!nofailover!cindy")));
}

TEST(LockTableTest, ALoneNodeGetsTheLockAtOnceAndTheNextWaits) {
    LockTable table(kA, 1);
    const auto first = table.request(10, "x", 100).value();
    const auto second = table.request(11, "x", 100).value();
    EXPECT_LT(first, second);
    ASSERT_EQ(table.grantable({}), first);
    table.grant(first);
    EXPECT_EQ(table.grantable({}), std::nullopt);
    table.release(first);
    EXPECT_EQ(table.grantable({}), second);
}

TEST(LockTableTest, ItIsNotGrantedBeforeEveryLivingPeerAgreed) {
    Pair pair;
    const auto id = pair.a.request(10, "x", 100).value();
    EXPECT_EQ(pair.a.grantable({kB}), std::nullopt);
    pair.exchange();
    EXPECT_EQ(pair.a.grantable({kB}), id);
    EXPECT_EQ(pair.a.grantable({kB, NodeName("nodeC")}), std::nullopt);
}

// Spec: CLU-214
TEST(LockTableTest, WaitersAreServedByTimestampThenNodeThenProcess) {
    Pair pair;
    const auto late = pair.a.request(10, "x", 200).value();
    const auto early = pair.b.request(11, "x", 100).value();
    pair.exchange();
    EXPECT_EQ(pair.a.grantable({kB}), std::nullopt);
    ASSERT_EQ(pair.b.grantable({kA}), early);
    pair.b.grant(early);
    const auto all = pair.a.all();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].id, early);
    EXPECT_EQ(all[1].id, late);
    pair.b.release(early);
    pair.exchange();
    EXPECT_EQ(pair.a.grantable({kB}), late);
    const LockId one{5, kA, 1};
    EXPECT_LT(one, (LockId{5, kA, 2}));
    EXPECT_LT((LockId{5, kA, 2}), (LockId{5, kB, 1}));
}

TEST(LockTableTest, ANodeWhoseClockIsBehindDoesNotOvertakeWhatItHasAgreedTo) {
    Pair pair;
    const auto first = pair.a.request(10, "x", 1'000).value();
    pair.exchange();
    const auto second = pair.b.request(11, "x", 5).value();
    EXPECT_GT(second, first);
    pair.exchange();
    EXPECT_EQ(pair.b.grantable({kA}), std::nullopt);
    EXPECT_EQ(pair.a.grantable({kB}), first);
}

TEST(LockTableTest, AHeldLockIsNotOvertakenByAnEarlierRequest) {
    Pair pair;
    const auto held = pair.a.request(10, "x", 1'000).value();
    pair.a.grant(held);  // nodeB was not there yet
    ASSERT_TRUE(pair.b.request(11, "x", 5));
    pair.exchange();
    EXPECT_EQ(pair.b.grantable({kA}), std::nullopt);
    EXPECT_TRUE(pair.b.all().front().held);
}

// Spec: CLU-214
TEST(LockTableTest, WhatADeadNodeHeldIsFree) {
    Pair pair;
    const auto held = pair.b.request(11, "x", 5).value();
    pair.exchange();
    pair.b.grant(held);
    const auto waiting = pair.a.request(10, "x", 100).value();
    pair.exchange();
    EXPECT_EQ(pair.a.grantable({kB}), std::nullopt);
    pair.a.forget(kB);
    EXPECT_EQ(pair.a.grantable({}), waiting);
}

TEST(LockTableTest, AnotherLifeOfANodeHasNoneOfItsRequests) {
    Pair pair;
    ASSERT_TRUE(pair.b.request(11, "x", 5));
    const auto waiting = pair.a.request(10, "x", 100).value();
    pair.exchange();
    pair.b = LockTable(kB, 2);
    pair.exchange();
    EXPECT_EQ(pair.a.all().size(), 1U);
    EXPECT_EQ(pair.a.grantable({kB}), waiting);
}

TEST(LockTableTest, ALockRestoredAfterARestartKeepsOthersOut) {
    Pair pair;
    const auto held = pair.b.request(11, "x", 5).value();
    pair.exchange();
    pair.b.grant(held);
    const auto request = *pair.b.find(held);
    ASSERT_TRUE(pair.a.request(10, "x", 100));
    pair.b = LockTable(kB, 2);
    pair.b.restore(request);
    pair.exchange();
    EXPECT_EQ(pair.a.grantable({kB}), std::nullopt);
}

TEST(LockTableTest, AnOvertakenNoticeBringsNothingBack) {
    Pair pair;
    const auto id = pair.b.request(11, "x", 5).value();
    const auto old = pair.b.notice();
    pair.b.release(id);
    pair.a.hear(kB, pair.b.notice());
    EXPECT_THAT(pair.a.hear(kB, old).agreed, ElementsAre());
    EXPECT_THAT(pair.a.all(), ElementsAre());
}

TEST(LockTableTest, NodesThatWereApartFindThatBothHold) {
    Pair pair;
    const auto ours = pair.a.request(10, "x", 1).value();
    pair.a.grant(ours);
    pair.b.grant(pair.b.request(11, "x", 2).value());
    const auto answer = pair.a.hear(kB, pair.b.notice());
    ASSERT_TRUE(answer.conflict);
    EXPECT_EQ(answer.conflict->id, ours);
}

TEST(LockTableTest, ANodeSpeaksOnlyForItself) {
    LockTable table(kA, 1);
    table.hear(kB, {1, 1, {{{5, NodeName("nodeC"), 1}, "x", true}}});
    EXPECT_THAT(table.all(), ElementsAre());
}

TEST(LockTableTest, IllegalIdentifiersAndTooManyRequestsAreRefused) {
    LockTable table(kA, 1);
    for (const auto* bad : {"", "two words", "a!b", "line\nend"})
        EXPECT_EQ(table.request(1, bad, 1).error().code, Code::bad_argument) << bad;
    EXPECT_FALSE(table.request(1, std::string(kMaxLockTextBytes + 1, 'x'), 1));
    for (std::size_t i = 0; i < kMaxLockRequests; ++i)
        ASSERT_TRUE(table.request(static_cast<int>(i), "x", 1));
    EXPECT_THAT(table.request(1, "x", 1).error().text, HasSubstr("flg_list"));
}

TEST(LockTableTest, NoticesAndAnswersSurviveTheirByteForm) {
    const LockRequest request{{5, kA, 7}, "x", true};
    const auto notice = decode_lock_notice(encode(LockNotice{3, 4, {request}}));
    ASSERT_TRUE(notice);
    EXPECT_EQ(notice->incarnation, 3U);
    EXPECT_EQ(notice->number, 4U);
    EXPECT_THAT(notice->requests, ElementsAre(request));
    const auto answer = decode_lock_answer(encode(LockAnswer{{request.id}, request}));
    ASSERT_TRUE(answer);
    EXPECT_THAT(answer->agreed, ElementsAre(request.id));
    EXPECT_EQ(answer->conflict, request);
    EXPECT_FALSE(decode_lock_answer(encode(LockAnswer{}))->conflict);
    EXPECT_FALSE(decode_lock_notice("\xff"));
}

/// Nodes with clocks of their own whose messages are lost, delayed, doubled and overtaken, and which restart.
/// A restart of a node in this model ends its locks; peers learn of it by its next notice.
class LockModel {
  public:
    LockModel(std::uint64_t seed, int count) : random_(seed) {
        for (int i = 0; i < count; ++i) {
            names_.emplace_back(fmt::format("n{}", i));
            clocks_.push_back(static_cast<std::int64_t>(random_() % 50));
            nodes_.emplace_back(names_.back(), ++lives_);
        }
    }
    void step() {
        const auto i = random_() % nodes_.size();
        auto& node = nodes_[i];
        clocks_[i] += static_cast<std::int64_t>(random_() % 2);
        switch (random_() % 8) {
            case 0:
                if (node.own().size() < 3)
                    (void)node.request(static_cast<int>(random_() % 9), "x", clocks_[i]);
                break;
            case 1:
                for (const auto& request : node.own())
                    if (request.held || random_() % 4 == 0) {
                        node.release(request.id);
                        break;
                    }
                break;
            case 2:
                if (random_() % 20 == 0 && none_held(node)) node = LockTable(names_[i], ++lives_);
                break;
            case 3:
            case 4:
                for (std::size_t to = 0; to < nodes_.size(); ++to)
                    if (to != i) wire_.push_back({i, to, node.notice(), {}, false});
                break;
            default:
                deliver();
        }
        grant(i);
    }
    /// Everyone tells everyone, nothing is lost; who holds lets go.
    void calm_step() {
        for (std::size_t from = 0; from < nodes_.size(); ++from)
            for (std::size_t to = 0; to < nodes_.size(); ++to)
                if (to != from)
                    nodes_[from].answered(names_[to], nodes_[to].hear(names_[from], nodes_[from].notice()));
        for (std::size_t i = 0; i < nodes_.size(); ++i)
            grant(i);
        for (auto& node : nodes_)
            for (const auto& request : node.own())
                if (request.held) node.release(request.id);
    }
    [[nodiscard]] int held() const {
        int count = 0;
        for (const auto& node : nodes_)
            for (const auto& request : node.own())
                count += request.held ? 1 : 0;
        return count;
    }
    [[nodiscard]] std::size_t waiting() const {
        std::size_t count = 0;
        for (const auto& node : nodes_)
            count += node.own().size();
        return count;
    }
    int grants = 0;

  private:
    struct Message {
        std::size_t from;
        std::size_t to;
        LockNotice notice;
        LockAnswer answer;
        bool is_answer;
    };
    static bool none_held(const LockTable& node) {
        const auto own = node.own();
        return std::none_of(own.begin(), own.end(), [](const LockRequest& each) { return each.held; });
    }
    void grant(std::size_t i) {
        std::vector<NodeName> peers;
        for (const auto& name : names_)
            if (name != names_[i]) peers.push_back(name);
        if (const auto id = nodes_[i].grantable(peers)) {
            nodes_[i].grant(*id);
            ++grants;
        }
    }
    void deliver() {
        if (wire_.empty()) return;
        const auto at = wire_.begin() + static_cast<std::ptrdiff_t>(random_() % wire_.size());
        const auto message = *at;
        if (random_() % 10 != 0) wire_.erase(at);  // else it comes twice
        if (random_() % 5 == 0) return;            // lost
        auto& to = nodes_[message.to];
        const auto& from = names_[message.from];
        if (message.is_answer) return to.answered(from, message.answer);
        wire_.push_back({message.to, message.from, {}, to.hear(from, message.notice), true});
        if (wire_.size() > 200) wire_.erase(wire_.begin());
    }
    std::mt19937_64 random_;
    std::vector<NodeName> names_;
    std::vector<std::int64_t> clocks_;
    std::vector<LockTable> nodes_;
    std::vector<Message> wire_;
    std::uint64_t lives_ = 0;
};

// Spec: CLU-213, CLU-214
TEST(LockTableTest, NeverTwoAreHeldAndNoneIsForgottenWhateverBecomesOfTheMessages) {
    int grants = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        LockModel model(seed, 2 + static_cast<int>(seed % 4));
        for (int i = 0; i < 2'000; ++i) {
            model.step();
            ASSERT_LE(model.held(), 1) << "seed " << seed << " step " << i;
        }
        for (int i = 0; i < 40 && model.waiting() > 0; ++i)
            model.calm_step();
        ASSERT_EQ(model.waiting(), 0U) << "seed " << seed;
        grants += model.grants;
    }
    EXPECT_GT(grants, 1'000);
}

}  // namespace
}  // namespace understudy::config
