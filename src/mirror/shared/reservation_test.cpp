#include "mirror/shared/reservation.h"

#include <gmock/gmock.h>

#include <map>

namespace understudy::mirror::shared {
namespace {

using ::testing::HasSubstr;
using Outcome = ReservableDisk::Outcome;

/// A disk as SPC-4 has it, for "write exclusive".
struct Disk {
    std::map<std::string, std::uint64_t> registered;  // by host
    std::string holder;                               // a host; empty: none
    bool supports = true;
    [[nodiscard]] bool writes(const std::string& host) const { return holder.empty() || holder == host; }
};

struct Path final : ReservableDisk {
    Path(Disk& d, std::string h) : disk(d), host(std::move(h)) {}
    Result<Outcome> register_key(std::uint64_t key) override {
        if (!disk.supports) return Outcome::unsupported;
        if (key == 0) {
            disk.registered.erase(host);
            if (disk.holder == host) disk.holder.clear();
        } else {
            disk.registered[host] = key;
        }
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
        if (disk.holder == host && disk.registered[host] == key) disk.holder.clear();
        return Outcome::done;
    }
    Disk& disk;
    std::string host;
};

struct Reservations : testing::Test {
    Disk disk;
    Path a{disk, "a"}, b{disk, "b"}, c{disk, "c"};
    static ReservationPlace place(std::uint32_t slot) { return {77, slot, 3}; }
};

// Spec: CLU-229, MOP-064
TEST_F(Reservations, TheNextOwnerTakesItFromAnyOfTheOthers) {
    ASSERT_TRUE(take_reservation(a, place(0)).value());
    EXPECT_TRUE(disk.writes("a"));
    EXPECT_FALSE(disk.writes("b"));
    ASSERT_TRUE(take_reservation(c, place(2)).value());
    EXPECT_FALSE(disk.writes("a"));
    EXPECT_TRUE(disk.writes("c"));
    EXPECT_FALSE(disk.registered.contains("a"));
    ASSERT_TRUE(take_reservation(c, place(2)).value()) << "again, by its next process";
    EXPECT_TRUE(disk.writes("c"));
}

TEST_F(Reservations, WhatIsGivenUpIsFree) {
    ASSERT_TRUE(take_reservation(a, place(0)).value());
    ASSERT_TRUE(give_up_reservation(a, place(0)));
    EXPECT_TRUE(disk.holder.empty());
    EXPECT_TRUE(disk.registered.empty());
    ASSERT_TRUE(take_reservation(b, place(1)).value());
    EXPECT_FALSE(disk.writes("a"));
}

TEST_F(Reservations, AStrangersReservationIsNotTaken) {
    Path stranger(disk, "stranger");
    ASSERT_EQ(stranger.register_key(1234).value(), Outcome::done);
    ASSERT_EQ(stranger.reserve(1234).value(), Outcome::done);
    const auto taken = take_reservation(a, place(0));
    ASSERT_FALSE(taken.has_value());
    EXPECT_THAT(taken.error().text, HasSubstr("does not share the volume"));
    EXPECT_TRUE(disk.writes("stranger"));
}

TEST_F(Reservations, ADiskWithoutThemIsNoError) {
    disk.supports = false;
    EXPECT_FALSE(take_reservation(a, place(0)).value());
    EXPECT_TRUE(give_up_reservation(a, place(0)));
}

TEST(ReservationKey, IsOfOneAreaAndOneHost) {
    EXPECT_NE(reservation_key(77, 0), reservation_key(77, 1));
    EXPECT_NE(reservation_key(77, 0), reservation_key(78, 0));
    EXPECT_NE(reservation_key(0, 0), 0U) << "0 means no key";
}

}  // namespace
}  // namespace understudy::mirror::shared
