#include "mirror/shared/ownership.h"

#include <gtest/gtest.h>

#include <utility>

namespace understudy::mirror::shared {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = Ownership::Step::Kind;
using State = Ownership::State;

/// A disk whose accesses take 10 ms, and a clock for all hosts.
struct Disk {
    AreaHeader header{1, 77, VolumeId("E"), {NodeName("a"), NodeName("b"), NodeName("c")}};
    std::string bytes = std::string(bytes_of_hosts(3), '\0');
    TimePoint now{seconds(1000)};
};

struct Host {
    Host(Disk& where, std::uint32_t slot, std::uint64_t host = 0)
        : disk(where), options{slot, 100 + slot, host == 0 ? 1000 + slot : host}, ownership(options) {}
    /// A new process on the same host.
    void restart() {
        options.incarnation += 1000;
        ownership = Ownership(options);
    }
    /// One step. False: there is nothing to do before `ownership` says so.
    bool step() {
        const auto what = ownership.next(disk.now);
        wait = what.until;
        if (what.kind == Kind::nothing || what.kind == Kind::wait) return false;
        const TimePoint started = disk.now;
        disk.now += milliseconds(10);
        if (broken) {
            if (what.kind == Kind::write)
                late = {offset_of_copy(options.slot, what.copy), encode(what.record, disk.header.id)};
            ownership.failed(disk.now);
        } else if (what.kind == Kind::write) {
            disk.bytes.replace(offset_of_copy(options.slot, what.copy), kAreaBlock,
                               encode(what.record, disk.header.id));
            ownership.on_written(started, disk.now);
        } else {
            ownership.on_read(started, disk.now, decode_slots(disk.bytes, disk.header));
        }
        return true;
    }
    [[nodiscard]] bool owns() const { return ownership.owns(disk.now); }

    Disk& disk;
    OwnershipOptions options;
    Ownership ownership;
    TimePoint wait{};
    bool broken = false;                         // its accesses fail
    std::pair<std::uint64_t, std::string> late;  // a write that failed, and may come
};

/// Lets the hosts run until `done` or for so long; true when done.
template <class Done>
bool run(Disk& disk, std::vector<Host*> hosts, Duration limit, Done done) {
    const TimePoint end = disk.now + limit;
    while (disk.now < end) {
        if (done()) return true;
        bool moved = false;
        for (Host* host : hosts)
            moved = host->step() || moved;
        if (!moved) disk.now += milliseconds(10);
    }
    return done();
}

struct Owners : testing::Test {
    Disk disk;
    Host a{disk, 0}, b{disk, 1};

    void a_owns() {
        a.ownership.claim();
        ASSERT_TRUE(run(disk, {&a}, seconds(1), [&] { return a.owns(); }));
    }
};

// Spec: MOP-066, EMC-262
TEST_F(Owners, TheFirstToClaimAnEmptyAreaOwnsIt) {
    a_owns();
    EXPECT_EQ(a.ownership.generation(), 1U);
    EXPECT_FALSE(run(disk, {&a}, seconds(60), [&] { return !a.owns(); }))
        << "it goes on as long as it can write";
}

// Spec: KIT-060, EMC-262, MOP-066
TEST_F(Owners, AnotherHostSeesWhoItIsAndWaits) {
    a_owns();
    b.ownership.claim();
    EXPECT_FALSE(run(disk, {&a, &b}, seconds(60), [&] { return b.owns(); }));
    EXPECT_EQ(b.ownership.living_owner(), 0U);
    EXPECT_TRUE(a.owns());
}

// Spec: EMC-220
TEST_F(Owners, WhoGivesItUpIsFollowedAtOnce) {
    a_owns();
    b.ownership.claim();
    a.ownership.release();
    EXPECT_TRUE(run(disk, {&a, &b}, seconds(1), [&] { return b.owns(); }));
    EXPECT_EQ(a.ownership.state(), State::idle);
    EXPECT_EQ(b.ownership.generation(), 2U);
}

// Spec: KIT-060, CLU-217
TEST_F(Owners, ADeadOwnerIsFollowedAfterItsLeaseAndTheMargin) {
    a_owns();
    const TimePoint began = disk.now;
    b.ownership.claim();
    ASSERT_TRUE(run(disk, {&b}, seconds(20), [&] { return b.owns(); }));
    EXPECT_GE(disk.now - began, a.options.lease + a.options.margin);
    EXPECT_LT(disk.now - began, a.options.lease + a.options.margin + seconds(1));
    EXPECT_FALSE(a.owns());
    EXPECT_EQ(b.ownership.living_owner(), std::nullopt);
}

// Spec: KIT-060, CLU-217, CLU-229
TEST_F(Owners, AnOwnerThatStoodStillFindsOutAndDoesNotComeBack) {
    a_owns();
    b.ownership.claim();
    ASSERT_TRUE(run(disk, {&b}, seconds(20), [&] { return b.owns(); }));
    EXPECT_FALSE(a.owns());
    EXPECT_TRUE(run(disk, {&a, &b}, seconds(1), [&] { return a.ownership.state() == State::lost; }));
    a.ownership.forget();
    a.ownership.claim();
    EXPECT_FALSE(run(disk, {&a, &b}, seconds(30), [&] { return a.owns() || !b.owns(); }));
}

// Spec: REP-371
TEST_F(Owners, AnOwnerThatCannotWriteStopsBeforeItsLeaseEnds) {
    a_owns();
    run(disk, {&a}, milliseconds(200), [] { return false; });
    a.broken = true;
    ASSERT_TRUE(run(disk, {&a}, seconds(20), [&] { return a.ownership.state() == State::lost; }));
    EXPECT_LT(disk.now, a.ownership.lease_end());
    EXPECT_NE(a.ownership.problem(), "");
}

TEST_F(Owners, AShortFailureOfTheAreaIsNothing) {
    a_owns();
    a.broken = true;
    EXPECT_FALSE(run(disk, {&a}, seconds(3), [&] { return !a.owns(); }));
    a.broken = false;
    EXPECT_FALSE(run(disk, {&a}, seconds(20), [&] { return !a.owns(); }));
}

// Spec: KIT-061
TEST_F(Owners, ANewProcessOnTheOwnersHostGoesOnAtOnce) {
    a_owns();
    a.restart();
    b.ownership.claim();
    a.ownership.claim();
    EXPECT_TRUE(run(disk, {&a, &b}, seconds(1), [&] { return a.owns(); }));
    EXPECT_FALSE(run(disk, {&a, &b}, seconds(20), [&] { return b.owns(); }));
}

TEST_F(Owners, AnotherHostWithTheSameNameIsToldSo) {
    a_owns();
    Host twin(disk, 0, 4711);
    twin.ownership.claim();
    EXPECT_FALSE(run(disk, {&a, &twin}, seconds(30), [&] { return twin.owns(); }));
    EXPECT_NE(twin.ownership.problem().find("one with the same name"), std::string::npos);
    EXPECT_TRUE(a.owns());
}

// Spec: MOP-161, MOP-164
TEST_F(Owners, AHostInTheSlotOfOneThatWasRemovedWaitsUntilThatOneIsSilent) {
    a_owns();
    a.ownership.release();
    ASSERT_TRUE(run(disk, {&a}, seconds(1), [&] { return a.ownership.state() == State::idle; }));
    const std::string of_a = disk.bytes.substr(offset_of_copy(0, 0), kAreaBlock);
    Host heir(disk, 0, 4711);
    heir.ownership.claim();
    EXPECT_FALSE(run(disk, {&heir}, seconds(8), [&] { return heir.owns(); }));
    // One last write of the former host: it begins anew.
    OwnerRecord late = decode_slots(disk.bytes, disk.header)[0].record.value();
    late.beat += 1;
    disk.bytes.replace(offset_of_copy(0, decode_slots(disk.bytes, disk.header)[0].copy == 0 ? 1 : 0),
                       kAreaBlock, encode(late, disk.header.id));
    EXPECT_FALSE(run(disk, {&heir}, seconds(8), [&] { return heir.owns(); }));
    ASSERT_TRUE(run(disk, {&heir}, seconds(3), [&] { return heir.owns(); }));
    EXPECT_EQ(heir.ownership.generation(), 2U);
    // What comes later still lies under what the heir has written.
    run(disk, {&heir}, seconds(5), [] { return false; });
    disk.bytes.replace(offset_of_copy(0, 0), kAreaBlock, of_a);
    EXPECT_EQ(decode_slots(disk.bytes, disk.header)[0].record->decided, 2U);
}

/// Why a lock begins only when no write of the one before it can arrive any more (VolumeLock::quiet_from).
TEST_F(Owners, AWriteOfAnEarlierLockThatComesLateCanHideAVote) {
    bool two_owners = false;
    for (int renewals = 0; renewals < 2; ++renewals) {
        disk = Disk{};
        Host one(disk, 0), other(disk, 1);
        one.ownership.claim();
        ASSERT_TRUE(run(disk, {&one}, seconds(1), [&] { return one.owns(); }));
        run(disk, {&one}, milliseconds(1200 * renewals), [] { return false; });
        one.broken = true;
        ASSERT_TRUE(run(disk, {&one}, seconds(2), [&] { return !one.late.second.empty(); }));
        one.broken = false;
        one.ownership.release();
        ASSERT_TRUE(run(disk, {&one}, seconds(1), [&] { return one.ownership.state() == State::idle; }));
        one.restart();
        one.ownership.claim();
        ASSERT_TRUE(run(disk, {&one}, seconds(1), [&] { return one.owns(); }));
        disk.bytes.replace(one.late.first, kAreaBlock, one.late.second);
        other.ownership.claim();
        for (int step = 0; step < 8 && !other.owns(); ++step)
            other.step();
        two_owners = two_owners || (one.owns() && other.owns());
    }
    EXPECT_TRUE(two_owners);
}

/// A storage system that gives back what was there before.
TEST_F(Owners, WhatIsReadMustHoldWhatWasWritten) {
    const std::string before = disk.bytes;
    a_owns();
    a.ownership.release();
    ASSERT_TRUE(run(disk, {&a}, seconds(1), [&] { return a.ownership.state() == State::idle; }));
    const std::string now = std::exchange(disk.bytes, before);
    a.ownership.claim();
    EXPECT_FALSE(run(disk, {&a}, seconds(2), [&] { return a.owns(); }));
    EXPECT_NE(a.ownership.problem().find("what was there before"), std::string::npos);
    EXPECT_TRUE(disk.bytes == before) << "nothing is written by what is not so";
    disk.bytes = now;
    EXPECT_TRUE(run(disk, {&a}, seconds(2), [&] { return a.owns(); }));
}

TEST_F(Owners, WhoWritesIntoTheOwnersSlotEndsItsOwnership) {
    a_owns();
    OwnerRecord foreign;
    foreign.beat = 1000;
    for (unsigned copy : {0U, 1U})
        disk.bytes.replace(offset_of_copy(0, copy), kAreaBlock, encode(foreign, disk.header.id));
    EXPECT_TRUE(run(disk, {&a}, seconds(5), [&] { return a.ownership.state() == State::lost; }));
}

TEST_F(Owners, ADamagedSlotStopsClaimsUntilSomebodyLooks) {
    a_owns();
    for (unsigned copy : {0U, 1U})
        disk.bytes.replace(offset_of_copy(0, copy), kAreaBlock, std::string(kAreaBlock, 'x'));
    b.ownership.claim();
    EXPECT_FALSE(run(disk, {&b}, seconds(60), [&] { return b.owns(); }));
    EXPECT_NE(b.ownership.problem().find("damaged"), std::string::npos);
}

/// A host that was voted for and never learnt of it is watched like any owner.
TEST_F(Owners, AVoteForADeadHostIsWaitedFor) {
    a.ownership.claim();
    // Its acceptance is on the disk, then it dies.
    ASSERT_TRUE(run(disk, {&a}, seconds(1), [&] {
        const auto slots = decode_slots(disk.bytes, disk.header);
        return slots[0].record && slots[0].record->accepted_ballot != 0;
    }));
    const TimePoint began = disk.now;
    b.ownership.claim();
    ASSERT_TRUE(run(disk, {&b}, seconds(20), [&] { return b.owns(); }));
    EXPECT_GE(disk.now - began, a.options.lease + a.options.margin);
    EXPECT_EQ(b.ownership.generation(), 2U);
}

TEST_F(Owners, WhatWasGivenUpBeforeAnybodyKnewOfItIsNotOwnedAgain) {
    a_owns();  // and has not said so yet
    a.ownership.release();
    a.broken = true;
    ASSERT_TRUE(run(disk, {&a}, seconds(20), [&] { return a.ownership.state() == State::idle; }));
    a.broken = false;
    a_owns();
    run(disk, {&a}, milliseconds(200), [] { return false; });
    const auto slots = decode_slots(disk.bytes, disk.header);
    EXPECT_LT(slots[0].record->released, slots[0].record->decided);
    b.ownership.claim();
    EXPECT_FALSE(run(disk, {&a, &b}, seconds(30), [&] { return b.owns(); }));
}

TEST_F(Owners, AClaimThatIsGivenUpLeavesNobodyWaiting) {
    a.ownership.claim();
    ASSERT_TRUE(a.step());
    ASSERT_TRUE(a.step());
    a.ownership.release();
    EXPECT_EQ(a.ownership.state(), State::idle);
    b.ownership.claim();
    EXPECT_TRUE(run(disk, {&b}, seconds(1), [&] { return b.owns(); }));
}

// --- the format

TEST(OwnerFormat, HeaderAndSlotsComeBack) {
    AreaHeader header{7, 99, VolumeId("data"), {NodeName("left"), NodeName("right")}};
    ASSERT_TRUE(check_header(header));
    const std::string block = encode(header);
    ASSERT_EQ(block.size(), kAreaBlock);
    EXPECT_EQ(decode_header(block + std::string(kAreaBlock, '\0')).value(), header);
    EXPECT_EQ(decode_header(std::string(kAreaBlock, 'x') + block).value(), header) << "one copy is enough";
    EXPECT_EQ(header.slot_of(NodeName("right")), 1U);
    EXPECT_EQ(header.slot_of(NodeName("other")), std::nullopt);

    OwnerRecord record{5, 6, 7, 6000, 3, 1, 2, 4, 33, 34, 1};
    const Slot slot = decode_slot(encode(record, 99) + std::string(kAreaBlock, '\0'), 99);
    EXPECT_EQ(slot.record, record);
    EXPECT_EQ(slot.copy, 0U);
    EXPECT_FALSE(decode_slot(encode(record, 99) + std::string(kAreaBlock, '\0'), 98).record)
        << "of another area";
}

TEST(OwnerFormat, ATornWriteLeavesTheRecordBeforeIt) {
    OwnerRecord before, after;
    before.beat = 1;
    after.beat = 2;
    std::string torn = encode(after, 9);
    const std::string old = encode(before, 9);
    for (std::size_t bytes = 0; bytes < 512; bytes += 8) {
        const std::string half = torn.substr(0, bytes) + std::string(kAreaBlock - bytes, '\0');
        const Slot slot = decode_slot(half + old, 9);
        ASSERT_EQ(slot.record, before) << bytes;
        ASSERT_EQ(slot.copy, 1U);
    }
    EXPECT_EQ(decode_slot(torn + old, 9).record, after);
    const std::string rubbish(kAreaBlock, 'r'), nothing(kAreaBlock, '\0');
    EXPECT_TRUE(decode_slot(rubbish + rubbish, 9).damaged);
    EXPECT_FALSE(decode_slot(rubbish + nothing, 9).damaged) << "the first write of all was torn";
}

// Spec: MOP-161, MOP-164
TEST(OwnerFormat, TheSlotOfAHostThatWasRemovedIsUsedWhenThereIsNoOther) {
    AreaHeader header{3, 9, VolumeId("E"), {NodeName("a"), NodeName(), NodeName(), NodeName("d")}};
    std::vector<Slot> slots(4);
    slots[0].record.emplace();
    slots[0].record->decided = 5;
    slots[1].record.emplace();
    EXPECT_EQ(free_slot(header, slots, 5), 4U);
    EXPECT_EQ(free_slot(header, slots, 4), 1U);
    slots[1].record->voted = 6;  // about the next owner: what it has accepted counts
    EXPECT_EQ(free_slot(header, slots, 4), 2U);
    slots[2].damaged = true;
    EXPECT_EQ(free_slot(header, slots, 4), std::nullopt);
    slots[1].record->voted = 5;
    EXPECT_EQ(free_slot(header, slots, 4), 1U);
    slots[1].record->decided = 5;  // it is the owner
    slots[1].record->owner = 1;
    EXPECT_EQ(free_slot(header, slots, 4), std::nullopt);
    slots[1].record->released = 5;
    EXPECT_EQ(free_slot(header, slots, 4), 1U);
}

TEST(OwnerFormat, WhatIsNoAreaIsSaid) {
    EXPECT_EQ(decode_header(std::string(2 * kAreaBlock, '\0')).error().code, Code::not_found);
    EXPECT_EQ(decode_header(std::string(2 * kAreaBlock, 'f')).error().code, Code::failure);
    EXPECT_EQ(check_header({1, 1, VolumeId("E"), {}}).error().code, Code::bad_argument);
    EXPECT_EQ(check_header({1, 1, VolumeId("E"), {NodeName("a"), NodeName("a")}}).error().code,
              Code::bad_argument);
    EXPECT_EQ(check_header({1, 1, VolumeId("E"), {NodeName(std::string(64, 'a'))}}).error().code,
              Code::bad_argument);
}

}  // namespace
}  // namespace understudy::mirror::shared
