#include "quorum/decisions.h"

#include "quorum/fence.h"

#include <gtest/gtest.h>

namespace understudy::quorum {
namespace {

using namespace std::chrono_literals;
using Answers = std::vector<Opinion>;

runtime::TimePoint at(runtime::Duration since_start) {
    return runtime::TimePoint(since_start);
}

// Spec: QUO-038, QUO-023
TEST(MajorityArithmetic, IsStrictForEveryNumberOfNodes) {
    struct Row {
        std::size_t known;
        std::size_t needed;
    };
    for (const auto& [known, needed] : {Row{3, 2}, Row{4, 3}, Row{5, 3}, Row{6, 4}, Row{7, 4}}) {
        EXPECT_EQ(majority_of(known), needed) << known;
        for (std::size_t reachable = 1; reachable <= known; ++reachable)
            EXPECT_EQ(majority_check(known, reachable), reachable >= needed ? Quorum::have : Quorum::lost)
                << reachable << " of " << known;
    }
    EXPECT_EQ(majority_check(4, 2), Quorum::lost) << "a tie is not quorum";
}

// Spec: QUO-046, QUO-026, QUO-028
TEST(RemoteVerify, EverybodyMustSayDeadBeforeTheDeadline) {
    EXPECT_EQ(remote_verdict(Quorum::have, Answers{Opinion::dead, Opinion::dead}, false), Witness::peer_down);
    EXPECT_EQ(remote_verdict(Quorum::have, Answers{Opinion::dead, Opinion::alive}, false), std::nullopt);
    EXPECT_EQ(remote_verdict(Quorum::have, Answers{Opinion::dead, Opinion::alive}, true), Witness::peer_up);
    EXPECT_EQ(remote_verdict(Quorum::lost, Answers{Opinion::dead}, false), Witness::quorum_lost);
}

// Spec: QUO-047
TEST(RemoteVerify, NoOpinionNeitherConfirmsNorDenies) {
    EXPECT_EQ(remote_verdict(Quorum::have, Answers{Opinion::dead, Opinion::unknown}, false), std::nullopt);
    EXPECT_EQ(remote_verdict(Quorum::have, Answers{Opinion::dead, Opinion::unknown}, true),
              Witness::peer_down);
    EXPECT_EQ(remote_verdict(Quorum::have, Answers{Opinion::unknown}, true), Witness::no_verdict);
    EXPECT_EQ(remote_verdict(Quorum::have, {}, false), Witness::no_verdict) << "nobody to ask";
}

// Spec: QUO-050, QUO-054
TEST(StorageWitness, ItsFourVerdicts) {
    StorageLook look{Quorum::have, 7, 7, 5s, 24s, 3s};
    EXPECT_EQ(storage_verdict(look), std::nullopt);
    look.sequence = 8;
    EXPECT_EQ(storage_verdict(look), Witness::peer_up) << "updated since the check began";
    look.sequence = 7;
    look.quiet = 24s;
    EXPECT_EQ(storage_verdict(look), Witness::peer_down) << "quiet for T_dead, at once";
    look.quiet = 5s;
    look.waited = 48s + 1ms;
    EXPECT_EQ(storage_verdict(look), Witness::no_verdict);
    look.quorum = Quorum::lost;
    EXPECT_EQ(storage_verdict(look), Witness::quorum_lost);
}

// Spec: QUO-057, QUO-074, QUO-060
TEST(CommDown, EveryCombinationOfQuorumAndWitness) {
    for (const bool active : {false, true}) {
        const auto loss = active ? DownAction::loss_action : DownAction::nothing;
        for (const auto witness :
             {std::optional<Witness>(), std::optional(Witness::peer_up), std::optional(Witness::peer_down)}) {
            EXPECT_EQ(on_comm_down(Quorum::lost, witness, active), loss);
            EXPECT_EQ(on_comm_down(Quorum::frozen, witness, active), DownAction::nothing);
            EXPECT_EQ(on_comm_down(Quorum::config_error, witness, active), DownAction::nothing);
        }
        EXPECT_EQ(on_comm_down(Quorum::have, std::nullopt, active), DownAction::take_over);
        EXPECT_EQ(on_comm_down(Quorum::have, Witness::peer_up, active), DownAction::nothing);
        EXPECT_EQ(on_comm_down(Quorum::have, Witness::peer_down, active), DownAction::take_over);
        EXPECT_EQ(on_comm_down(Quorum::have, Witness::quorum_lost, active), loss);
        EXPECT_EQ(on_comm_down(Quorum::have, Witness::no_verdict, active), DownAction::nothing);
    }
}

// Spec: QUO-025, QUO-064, QUO-069
TEST(Start, WithoutAWitnessSilenceIsDeathAndOnlyQuorumStarts) {
    EXPECT_TRUE(counts_as_dead(std::nullopt));
    EXPECT_TRUE(counts_as_dead(Witness::peer_down));
    for (const auto verdict : {Witness::peer_up, Witness::no_verdict, Witness::quorum_lost})
        EXPECT_FALSE(counts_as_dead(verdict));
    EXPECT_TRUE(may_start(Quorum::have));
    for (const auto quorum : {Quorum::lost, Quorum::frozen, Quorum::config_error})
        EXPECT_FALSE(may_start(quorum));
}

// Spec: QUO-045
TEST(Names, AreThoseOfTheCatalogue) {
    EXPECT_EQ(to_string(Witness::peer_up), "CR1 peer up");
    EXPECT_EQ(to_string(Witness::peer_down), "CR2 peer down");
    EXPECT_EQ(to_string(Witness::quorum_lost), "CR3 quorum failed");
    EXPECT_EQ(to_string(Witness::no_verdict), "CR4 no verdict");
}

TEST(Proof, IsTheMomentAtWhichEnoughOthersHeardThisNode) {
    EXPECT_EQ(majority_proof({at(5s), at(9s)}, 3), at(9s)) << "one other is enough";
    EXPECT_EQ(majority_proof({at(5s), at(9s), at(7s), std::nullopt}, 5), at(7s)) << "two others";
    EXPECT_EQ(majority_proof({std::nullopt, std::nullopt}, 3), std::nullopt);
    EXPECT_EQ(majority_proof({at(5s)}, 4), std::nullopt) << "paths to one of three others";
}

TEST(Proof, WithStorageTheLeastPeerOrTheLastWriteHolds) {
    const auto until = [](std::optional<runtime::TimePoint> heard,
                          std::optional<runtime::TimePoint> written) {
        return proven_until(Mode::storage, {heard}, 2, 30s, written, 12s);
    };
    EXPECT_EQ(until(at(10s), std::nullopt), at(40s)) << "the peer hears it: no takeover, storage or not";
    EXPECT_EQ(until(std::nullopt, at(10s)), at(22s));
    EXPECT_EQ(until(at(1s), at(100s)), at(112s));
    EXPECT_EQ(until(std::nullopt, std::nullopt), std::nullopt);
    EXPECT_EQ(proven_until(Mode::storage, {at(90s), std::nullopt}, 3, 30s, at(10s), 12s), at(22s))
        << "a peer that does not hear it may take over";
}

// Whatever the moments, the owner's end comes before the survivor's start. README ruling 11.
TEST(Fence, OwnerHasStoppedBeforeASurvivorMayStart) {
    constexpr auto patience = 30s;
    constexpr auto grace = 10s;
    const auto needed = silence_needed(patience, grace);
    for (auto sent = 0s; sent <= 60s; ++sent)
        for (auto travels = 0ms; travels <= 2000ms; travels += 250ms) {
            const auto heard = at(sent + travels);
            const auto owner_ends =
                *proven_until(Mode::majority, {at(sent), std::nullopt}, 3, patience, {}, {}) + grace;
            EXPECT_LT(owner_ends, heard + needed);
        }
    EXPECT_TRUE(silent_for_majority({needed, needed}, 3, needed));
    EXPECT_FALSE(silent_for_majority({needed, needed - 1ms}, 3, needed));
    EXPECT_FALSE(silent_for_majority({needed, needed}, 4, needed)) << "two of four are none";
}

}  // namespace
}  // namespace understudy::quorum
