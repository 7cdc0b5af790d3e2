#include "mirror/shared/reservation.h"

#include <gmock/gmock.h>

#include <functional>
#include <map>
#include <utility>

namespace understudy::mirror::shared {
namespace {

using ::testing::HasSubstr;
using Outcome = ReservableDisk::Outcome;

/// A disk as SPC-4 has it, for "write exclusive".
struct Disk {
    std::map<std::string, std::uint64_t> registered;  // by host
    std::string holder;                               // a host; empty: none
    bool supports = true;
    bool tells = true;  // who holds it
    [[nodiscard]] bool writes(const std::string& host) const { return holder.empty() || holder == host; }
};

struct Path final : ReservableDisk {
    Path(Disk& d, std::string h) : disk(d), host(std::move(h)) {}
    Result<Holder> holder() override {
        if (std::exchange(gone_before_asking, false)) disk.holder.clear();
        if (!disk.supports || !disk.tells) return Holder{};
        if (disk.holder.empty()) return Holder{true, std::nullopt};
        return Holder{true, disk.registered.at(disk.holder)};
    }
    Result<Outcome> register_key(std::uint64_t key) override {
        if (!disk.supports) return Outcome::unsupported;
        if (before_register) std::exchange(before_register, nullptr)();
        disk.registered[host] = key;
        return Outcome::done;
    }
    Result<Outcome> unregister(std::uint64_t key) override {
        if (!disk.supports) return Outcome::unsupported;
        if (!disk.registered.contains(host) || disk.registered[host] != key) return Outcome::conflict;
        disk.registered.erase(host);
        if (disk.holder == host) disk.holder.clear();
        return Outcome::done;
    }
    Result<Outcome> reserve(std::uint64_t key) override {
        if (!disk.supports) return Outcome::unsupported;
        if (!disk.registered.contains(host) || disk.registered[host] != key) return Outcome::conflict;
        if (!disk.holder.empty() && disk.holder != host) return Outcome::conflict;
        disk.holder = host;
        return Outcome::done;
    }
    Result<Outcome> preempt(std::uint64_t key, std::uint64_t victim) override {
        if (!disk.supports) return Outcome::unsupported;
        if (!disk.registered.contains(host) || disk.registered[host] != key) return Outcome::conflict;
        bool found = false;
        for (auto at = disk.registered.begin(); at != disk.registered.end();)
            if (at->second == victim) {
                found = true;
                if (disk.holder == at->first) disk.holder = host;
                at = disk.registered.erase(at);
            } else {
                ++at;
            }
        return found ? Outcome::done : Outcome::conflict;
    }
    Result<Outcome> release(std::uint64_t key) override {
        if (!disk.supports) return Outcome::unsupported;
        if (!disk.registered.contains(host) || disk.registered[host] != key) return Outcome::conflict;
        if (disk.holder == host) disk.holder.clear();
        return Outcome::done;
    }
    Disk& disk;
    std::string host;
    std::function<void()> before_register;  // this host stands still before it, and others do not
    bool gone_before_asking = false;
};

struct Reservations : testing::Test {
    Disk disk;
    Path a{disk, "a"}, b{disk, "b"}, c{disk, "c"};
    static ReservationPlace place(std::uint32_t slot, std::uint64_t generation) {
        return {77, slot, 3, generation};
    }
};

// Spec: CLU-229, MOP-064
TEST_F(Reservations, TheNextOwnerTakesItFromAnyOfTheOthers) {
    for (const bool tells : {true, false}) {
        disk = Disk{};
        disk.tells = tells;
        ASSERT_TRUE(take_reservation(a, place(0, 5)).value());
        EXPECT_TRUE(disk.writes("a"));
        EXPECT_FALSE(disk.writes("b"));
        ASSERT_TRUE(take_reservation(c, place(2, 8)).value()) << "6 and 7 had it never reserved";
        EXPECT_FALSE(disk.writes("a"));
        EXPECT_TRUE(disk.writes("c"));
        EXPECT_FALSE(disk.registered.contains("a"));
        ASSERT_TRUE(take_reservation(c, place(2, 9)).value()) << "again, by its next process";
        EXPECT_TRUE(disk.writes("c"));
    }
}

// Spec: CLU-229, MOP-064
TEST_F(Reservations, AnOwnerOfBeforeThatComesBackTakesNothing) {
    for (const bool tells : {true, false}) {
        disk = Disk{};
        disk.tells = tells;
        ASSERT_TRUE(take_reservation(a, place(0, 5)).value());
        ASSERT_TRUE(take_reservation(b, place(1, 6)).value());
        // It stood still between getting the volume and reserving its disk.
        const auto late = take_reservation(a, place(0, 5));
        ASSERT_FALSE(late.has_value());
        if (tells) {
            EXPECT_THAT(late.error().text, HasSubstr("a newer owner"));
        }
        EXPECT_TRUE(disk.writes("b"));
        EXPECT_FALSE(disk.writes("a"));
        EXPECT_FALSE(disk.registered.contains("a")) << "nothing of it is left";
        // The same, after it had looked.
        a.before_register = [&] { ASSERT_TRUE(take_reservation(c, place(2, 8)).value()); };
        EXPECT_FALSE(take_reservation(a, place(0, 7)).has_value());
        EXPECT_TRUE(disk.writes("c"));
        EXPECT_FALSE(disk.registered.contains("a"));
        // Nor does it give away what is another's.
        ASSERT_TRUE(give_up_reservation(a, place(0, 5)));
        EXPECT_TRUE(disk.writes("c"));
        EXPECT_FALSE(disk.writes("b"));
    }
}

// Spec: CLU-229
TEST_F(Reservations, AProcessOfBeforeDoesNotEndWhatTheNextOneOfItsHostHasReserved) {
    ASSERT_TRUE(take_reservation(a, place(0, 5)).value());
    ASSERT_TRUE(take_reservation(a, place(0, 6)).value());
    ASSERT_TRUE(give_up_reservation(a, place(0, 5)));
    EXPECT_EQ(disk.holder, "a");
    EXPECT_EQ(disk.registered.at("a"), reservation_key(place(0, 6)));
    EXPECT_FALSE(take_reservation(a, place(0, 5)).has_value());
    EXPECT_EQ(disk.registered.at("a"), reservation_key(place(0, 6)));
}

TEST_F(Reservations, WhatIsGivenUpIsFree) {
    ASSERT_TRUE(take_reservation(a, place(0, 1)).value());
    ASSERT_TRUE(give_up_reservation(a, place(0, 1)));
    EXPECT_TRUE(disk.holder.empty());
    EXPECT_TRUE(disk.registered.empty());
    ASSERT_TRUE(take_reservation(b, place(1, 2)).value());
    EXPECT_FALSE(disk.writes("a"));
}

TEST_F(Reservations, AHolderThatGoesWhileItIsLookedForIsNoObstacle) {
    ASSERT_TRUE(take_reservation(a, place(0, 1)).value());
    b.before_register = [&] { b.gone_before_asking = true; };
    ASSERT_TRUE(take_reservation(b, place(1, 2)).value());
    EXPECT_TRUE(disk.writes("b"));
}

TEST_F(Reservations, AStrangersReservationIsNotTaken) {
    Path stranger(disk, "stranger");
    ASSERT_EQ(stranger.register_key(1234).value(), Outcome::done);
    ASSERT_EQ(stranger.reserve(1234).value(), Outcome::done);
    for (disk.tells = true;; disk.tells = false) {
        const auto taken = take_reservation(a, place(0, 30));
        ASSERT_FALSE(taken.has_value());
        EXPECT_THAT(taken.error().text, HasSubstr("does not share the volume"));
        EXPECT_TRUE(disk.writes("stranger"));
        EXPECT_FALSE(disk.registered.contains("a"));
        if (!disk.tells) break;
    }
}

TEST_F(Reservations, AKeyFromBeforeThereWereGenerationsIsOlderThanAny) {
    for (disk.tells = true;; disk.tells = false) {
        ASSERT_EQ(a.register_key(old_reservation_key(77, 0)).value(), Outcome::done);
        ASSERT_EQ(a.reserve(old_reservation_key(77, 0)).value(), Outcome::done);
        ASSERT_TRUE(take_reservation(b, place(1, 1)).value());
        EXPECT_TRUE(disk.writes("b"));
        EXPECT_FALSE(disk.registered.contains("a"));
        ASSERT_TRUE(give_up_reservation(b, place(1, 1)));
        if (!disk.tells) break;
    }
}

TEST_F(Reservations, ADiskWithoutThemIsNoError) {
    disk.supports = false;
    EXPECT_FALSE(take_reservation(a, place(0, 1)).value());
    EXPECT_TRUE(give_up_reservation(a, place(0, 1)));
}

TEST(ReservationKey, IsOfOneAreaOneHostAndOneGeneration) {
    const auto key = [](std::uint64_t area, std::uint32_t slot, std::uint64_t generation) {
        return reservation_key({area, slot, 32, generation});
    };
    EXPECT_NE(key(77, 0, 1), key(77, 1, 1));
    EXPECT_NE(key(77, 0, 1), key(78, 0, 1));
    EXPECT_NE(key(77, 0, 1), key(77, 0, 2));
    EXPECT_NE(key(77, 31, 1 << 25), key(77, 30, 1 << 25));
    EXPECT_NE(key(0, 0, 0), 0U) << "0 means no key";
    EXPECT_EQ(key(0xfedcba9800000001, 31, 1ULL << 26), 0x0000000180000000U) << "each stays in its bits";
}

}  // namespace
}  // namespace understudy::mirror::shared
