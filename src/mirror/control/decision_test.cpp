#include "mirror/control/decision.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

EndSummary end(const char* node, Role role, GenerationId current, std::vector<GenerationId> history = {},
               GenerationId sync_base = 0) {
    EndSummary made;
    made.node = node;
    made.volume = VolumeId("R");
    made.uuid[0] = 7;
    made.role = role;
    made.generations.current = current;
    made.generations.history = std::move(history);
    made.generations.sync_base = sync_base;
    made.size = 1U << 20;
    made.sector_size = 512;
    return made;
}

struct Row {
    const char* name;
    EndSummary self, peer;
    Verdict verdict;
    ResyncKind resync = ResyncKind::none;
    const char* says = "";
};

template <class Change>
EndSummary with(EndSummary base, Change change) {
    change(base);
    return base;
}

constexpr auto kSource = Role::source;
constexpr auto kTarget = Role::target;

std::vector<Row> rows() {
    const auto serving = [](EndSummary& e) { e.serving = true; };
    return {
        {"fresh target", end("a", kSource, 5, {}, 0), end("b", kTarget, 0), Verdict::attach,
         ResyncKind::full},
        {"equal ids, source serves", with(end("a", kSource, 5, {}, 5), serving), end("b", kTarget, 5),
         Verdict::attach, ResyncKind::partial},
        {"equal, clean and nobody writes", end("a", kSource, 5, {}, 5), end("b", kTarget, 5), Verdict::attach,
         ResyncKind::none},
        {"promoted peer of a planned switchover", end("a", kSource, 6, {5}, 5), end("b", kTarget, 5),
         Verdict::attach, ResyncKind::none},
        {"dirty bits on the source", with(end("a", kSource, 5, {}, 5), [](auto& e) { e.dirty_blocks = 1; }),
         end("b", kTarget, 5), Verdict::attach, ResyncKind::partial},
        {"dirty bits on the old source", end("a", kSource, 6, {5}, 5),
         with(end("b", kTarget, 5), [](auto& e) { e.dirty_blocks = 3; }), Verdict::attach,
         ResyncKind::partial},
        {"interrupted resync goes on", end("a", kSource, 6, {5}, 5),
         with(end("b", kTarget, 5), [](auto& e) { e.consistent = false; }), Verdict::attach,
         ResyncKind::partial},
        {"source went on alone", with(end("a", kSource, 6, {5}, 5), serving), end("b", kTarget, 5),
         Verdict::attach, ResyncKind::partial},
        {"target older than the log", end("a", kSource, 7, {6, 5}, 6), end("b", kTarget, 5), Verdict::attach,
         ResyncKind::full},
        {"source log lost", with(end("a", kSource, 5, {}, 5), [](auto& e) { e.log_valid = false; }),
         end("b", kTarget, 5), Verdict::attach, ResyncKind::full},
        {"target log lost", end("a", kSource, 5, {}, 5),
         with(end("b", kTarget, 5), [](auto& e) { e.log_valid = false; }), Verdict::attach, ResyncKind::full},
        {"target is newer and the source serves", with(end("a", kSource, 5, {}, 5), serving),
         end("b", kTarget, 6, {5}, 5), Verdict::refuse, ResyncKind::none, "newer data"},
        {"source comes back and finds a follower of the new one", end("a", kSource, 5, {}, 5),
         end("c", kTarget, 6, {5}, 5), Verdict::become_target, ResyncKind::none, "newer data"},
        {"follower sees the old source", end("c", kTarget, 6, {5}, 5), end("a", kSource, 5, {}, 5),
         Verdict::wait},
        {"follower whose resync from the new source has not finished", end("a", kSource, 5, {}, 5),
         with(end("c", kTarget, 5), [](auto& e) { e.role_epoch = 1; }), Verdict::become_target},
        {"loser of a split brain has a later promotion behind it",
         with(end("a", kSource, 6, {5}, 5), serving),
         with(end("b", kTarget, 8, {5}, 5),
              [](auto& e) {
                  e.yielded = true;
                  e.role_epoch = 1;
              }),
         Verdict::attach, ResyncKind::partial},
        {"another target, what it may lack is known on both ends", end("b", kSource, 6, {5}, 5),
         with(end("c", kTarget, 5), [](auto& e) { e.dirty_blocks = 2; }), Verdict::attach,
         ResyncKind::partial},
        {"another target, the new source does not know", end("b", kSource, 6, {5}, 0), end("c", kTarget, 5),
         Verdict::attach, ResyncKind::full},
        {"another target does not know, the old source's log was copied",
         with(end("b", kSource, 6, {5}, 5), [](auto& e) { e.log_complete = true; }),
         with(end("c", kTarget, 5), [](auto& e) { e.log_valid = false; }), Verdict::attach, ResyncKind::none},
        {"paused target under a new source with the old one's log",
         with(end("b", kSource, 7, {6, 5}, 5),
              [](auto& e) {
                  e.log_complete = true;
                  e.dirty_blocks = 3;
              }),
         with(end("c", kTarget, 5), [](auto& e) { e.log_valid = false; }), Verdict::attach,
         ResyncKind::partial},
        {"no common history", end("a", kSource, 5), end("b", kTarget, 9), Verdict::refuse, ResyncKind::none,
         "no common history"},
        {"loser of a split brain", with(end("a", kSource, 6, {5}, 5), serving),
         with(end("b", kTarget, 8, {5}, 5), [](auto& e) { e.yielded = true; }), Verdict::attach,
         ResyncKind::partial},
        {"loser of a split brain without a common base", end("a", kSource, 6, {5}, 5),
         with(end("b", kTarget, 8, {7}, 7), [](auto& e) { e.yielded = true; }), Verdict::attach,
         ResyncKind::full},
        {"loser of a split brain is not treated as equal", end("a", kSource, 6, {5}, 5),
         with(end("b", kTarget, 8, {6, 5}, 6), [](auto& e) { e.yielded = true; }), Verdict::attach,
         ResyncKind::partial},
        {"target too small", end("a", kSource, 5), with(end("b", kTarget, 0), [](auto& e) { e.size = 512; }),
         Verdict::refuse, ResyncKind::none, "less than source"},
        {"larger target", end("a", kSource, 5), with(end("b", kTarget, 0), [](auto& e) { e.size *= 2; }),
         Verdict::attach, ResyncKind::full},
        {"sector sizes", end("a", kSource, 5),
         with(end("b", kTarget, 0), [](auto& e) { e.sector_size = 4096; }), Verdict::refuse, ResyncKind::none,
         "sector sizes differ"},
        {"unlocked target", end("a", kSource, 5),
         with(end("b", kTarget, 5), [](auto& e) { e.unlocked = true; }), Verdict::refuse, ResyncKind::none,
         "unlocked"},
        {"another mirror", end("a", kSource, 5), with(end("b", kTarget, 5), [](auto& e) { e.uuid[0] = 8; }),
         Verdict::refuse, ResyncKind::none, "another mirror"},
        {"another mirror, both source", end("a", kSource, 5),
         with(end("b", kSource, 5), [](auto& e) { e.uuid[0] = 8; }), Verdict::refuse, ResyncKind::none,
         "another mirror"},
        {"another volume", end("a", kSource, 5),
         with(end("b", kTarget, 5), [](auto& e) { e.volume = VolumeId("S"); }), Verdict::refuse},
        {"no role", end("a", kSource, 5), end("b", Role::none, 5), Verdict::refuse},
        {"two targets", end("a", kTarget, 5), end("b", kTarget, 5), Verdict::wait},
        {"old source comes back", end("a", kSource, 5, {}, 5), with(end("b", kSource, 6, {5}, 5), serving),
         Verdict::become_target},
        {"promoted end sees the old source", with(end("b", kSource, 6, {5}, 5), serving),
         end("a", kSource, 5, {}, 5), Verdict::wait},
        {"old source still serves", with(end("a", kSource, 5, {}, 5), serving),
         with(end("b", kSource, 6, {5}, 5), serving), Verdict::split_brain},
        {"old source went on alone, then crashed", end("a", kSource, 7, {5}, 5),
         with(end("b", kSource, 6, {5}, 5), serving), Verdict::split_brain},
        {"split brain is remembered",
         with(end("a", kSource, 5, {}, 5), [](auto& e) { e.split_brain = true; }),
         end("b", kSource, 6, {5}, 5), Verdict::split_brain},
        {"same id on two sources", end("a", kSource, 5), end("b", kSource, 5), Verdict::split_brain},
        {"each knows the other's id", end("a", kSource, 5, {6}), end("b", kSource, 6, {5}),
         Verdict::split_brain},
    };
}

// Spec: REP-021 REP-023 REP-123 REP-145 REP-182 REP-183 REP-224 REP-226 REP-228 REP-237 REP-308 MOP-144
TEST(Decision, EveryRowOfTheTableHolds) {
    for (const Row& row : rows()) {
        SCOPED_TRACE(row.name);
        const Decision made = decide(row.self, row.peer);
        EXPECT_EQ(to_string(made.verdict), to_string(row.verdict)) << made.why;
        EXPECT_EQ(made.resync, row.resync) << made.why;
        EXPECT_NE(made.why.find(row.says), std::string::npos) << made.why;
    }
}

// Two ends that judge the same facts must never both give way, nor one attach while the other waits.
TEST(Decision, BothEndsComeToComplementaryResults) {
    std::size_t pairs = 0;
    std::vector<Generations> generations;
    for (const GenerationId current : {0, 1, 2, 3})
        for (const std::vector<GenerationId>& history :
             {std::vector<GenerationId>{}, {1}, {2}, {2, 1}, {3, 1}})
            for (const GenerationId base : {0, 1, 2})
                generations.push_back({current, history, base, false});
    for (const Generations& left : generations) {
        for (const Generations& right : generations) {
            for (int bits = 0; bits < 256; ++bits) {
                EndSummary a = end("a", (bits & 1) ? kSource : kTarget, 0);
                EndSummary b = end("b", (bits & 2) ? kSource : kTarget, 0);
                a.generations = left;
                b.generations = right;
                a.serving = (bits & 4) != 0;
                b.serving = (bits & 8) != 0;
                a.split_brain = (bits & 16) != 0;
                b.yielded = (bits & 32) != 0;
                a.role_epoch = (bits & 64) != 0 ? 1 : 0;
                a.log_complete = b.log_complete = (bits & 128) != 0;
                const Decision here = decide(a, b);
                const Decision there = decide(b, a);
                ++pairs;
                ASSERT_EQ(here.resync, there.resync);
                if (here.verdict == Verdict::become_target) {
                    ASSERT_EQ(there.verdict, Verdict::wait);
                    ASSERT_FALSE(a.serving);
                } else if (here.verdict == Verdict::wait) {
                    ASSERT_TRUE(there.verdict == Verdict::become_target ||
                                (there.verdict == Verdict::wait && a.role == kTarget && b.role == kTarget));
                } else {
                    ASSERT_EQ(here.verdict, there.verdict);
                }
            }
        }
    }
    EXPECT_EQ(pairs, generations.size() * generations.size() * 256);
}

// Spec: REP-118
TEST(Decision, AnInconsistentTargetIsNotPromoted) {
    EXPECT_EQ(promotion_problem(end("b", kTarget, 5)), "");
    EXPECT_NE(promotion_problem(with(end("b", kTarget, 5), [](auto& e) { e.consistent = false; })), "");
    EXPECT_NE(promotion_problem(end("b", kTarget, 0)), "");
    EXPECT_NE(promotion_problem(with(end("b", kTarget, 5), [](auto& e) { e.unlocked = true; })), "");
    EXPECT_NE(promotion_problem(with(end("b", kTarget, 5), [](auto& e) { e.yielded = true; })), "");
    EXPECT_NE(promotion_problem(end("b", kSource, 5)), "");
}

Lineage lineage(GenerationId current, std::map<std::string, PeerBase> peers) {
    Lineage made;
    made.current = current;
    made.peers = std::move(peers);
    return made;
}

TEST(Lineage, AFlappingLinkNeverForgetsWhatATargetHolds) {
    Lineage source = lineage(5, {{"b", {5, 5, true}}, {"c", {4, 4, false}}});
    source.history = {4};
    for (GenerationId id = 100; id < 300; ++id) {
        source.begin_alone(id, {});
        ASSERT_TRUE(source.with("b").log_covers(5));
        ASSERT_TRUE(source.with("c").log_covers(4));
        ASSERT_LE(source.history.size(), kMaxGenerationHistory);
        source.begin_session("b", 5);
    }
}

TEST(Lineage, ATargetThatFinishedUnseenByTheSourceNeedsAPartialResync) {
    Lineage source = lineage(6, {{"b", {5, 5, false}}});
    source.history = {5};
    source.begin_session("b", 5);
    Lineage target = lineage(5, {});
    target.adopt("a", source.current, source.history);  // its acknowledgement is lost with the link
    source.begin_alone(7, {});
    EXPECT_TRUE(source.with("b").log_covers(target.current));
    EXPECT_FALSE(target.knows(source.current));
}

TEST(Lineage, AfterSyncOlderCopiesAreOlderThanTheLog) {
    Lineage source = lineage(6, {{"b", {5, 6, true}}});
    source.history = {5};
    source.in_sync("b", 6);
    EXPECT_TRUE(source.with("b").log_covers(6));
    EXPECT_FALSE(source.with("b").log_covers(5));
    EXPECT_FALSE(source.with("b").log_covers(0));
    EXPECT_FALSE(source.with("b").log_covers(99));
}

// Spec: REP-079, REP-238
TEST(Lineage, TheLossOfOneTargetLeavesTheOtherInSession) {
    Lineage source = lineage(5, {{"b", {5, 5, true}}, {"c", {5, 5, true}}});
    source.begin_alone(6, {"c"});
    EXPECT_FALSE(source.with("b").peer_may_hold_current);
    EXPECT_TRUE(source.with("c").peer_may_hold_current);
    EXPECT_TRUE(source.with("b").log_covers(5));
    // Until it has confirmed the new id it may hold either.
    EXPECT_TRUE(source.with("c").log_covers(5));
    source.confirmed("c");
    EXPECT_TRUE(source.with("c").log_covers(6));
    EXPECT_FALSE(source.with("c").log_covers(5));
    EXPECT_TRUE(source.with("b").log_covers(5));
}

TEST(Lineage, AResyncThatEndsBeforeTheTargetHasHeardOfTheNewestIdCoversWhatItHolds) {
    Lineage source = lineage(5, {{"b", {5, 5, true}}, {"c", {0, 5, true}}});
    source.begin_alone(6, {"c"});
    source.in_sync("c", 5);
    EXPECT_TRUE(source.with("c").log_covers(5));
    EXPECT_TRUE(source.with("c").log_covers(6));
}

}  // namespace
}  // namespace understudy::mirror::control
