// The lock of a shared volume between simulated hosts: disks that are lost or hang, power cuts, pauses.

#include "mirror/shared/volume_lock.h"

#include "runtime/simulated/shared_disk.h"

#include <gmock/gmock.h>

namespace understudy::mirror::shared {
namespace {

using namespace std::chrono_literals;
using runtime::SimulatedDisk;
using runtime::SimulatedDisks;
using runtime::Simulation;
using runtime::World;
using ::testing::HasSubstr;

struct FakeFence final : Fence {
    explicit FakeFence(std::optional<TimePoint>& until) : armed(until) {}
    Result<> arm(TimePoint until) override {
        armed = until;
        return {};
    }
    void disarm() override { armed.reset(); }
    std::optional<TimePoint>& armed;
};

/// What a host's program does: claims, gives up, and remembers.
struct Host {
    Host(Simulation& sim, SimulatedDisk& where, const std::string& name, std::uint64_t host)
        : node(sim.add_node(name, {"10.0.0." + std::to_string(host)})), disk(where), number(host) {}

    struct Program {
        Program(Host& owner, World w)
            : host(owner), world(w), disks(owner.node, w.tasks, {{"/dev/area", &owner.disk}}) {
            LockOptions options;
            options.volume = VolumeId("E");
            options.node = NodeName(owner.node.name());
            options.host = owner.number;
            lock = std::make_unique<VolumeLock>(
                world, disks.open("/dev/area", runtime::SharedDisks::Use::heartbeats),
                std::make_unique<FakeFence>(owner.fence), options,
                [&owner](const std::string& why) { owner.lost.push_back(why); });
        }
        runtime::Task<> claim_task(Duration patience) {
            auto claimed = co_await lock->claim(patience);
            host.claimed = std::move(claimed);
        }
        runtime::Task<> release_task() {
            auto released = co_await lock->release();
            host.released = std::move(released);
        }
        runtime::Task<> area_task(std::vector<NodeName> hosts) {
            const auto area = disks.open("/dev/area", runtime::SharedDisks::Use::setup);
            auto made = co_await shared::make_area(world, *area, VolumeId("E"), std::move(hosts));
            host.made = std::move(made);
        }
        Host& host;
        World world;
        SimulatedDisks disks;
        std::unique_ptr<VolumeLock> lock;
        runtime::TaskScope tasks;
    };

    void boot() {
        fence.reset();
        node.boot([this](World world) {
            auto made_program = std::make_shared<Program>(*this, world);
            program = made_program.get();
            return made_program;
        });
    }
    void claim(Duration patience = 60s) {
        claimed.reset();
        program->tasks.spawn(program->claim_task(patience));
    }
    void release() {
        released.reset();
        program->tasks.spawn(program->release_task());
    }
    void make_area(std::vector<NodeName> hosts) {
        made.reset();
        program->tasks.spawn(program->area_task(std::move(hosts)));
    }
    [[nodiscard]] bool owns() const { return node.running() && program->lock->owns(); }

    runtime::SimulatedNode& node;
    SimulatedDisk& disk;
    std::uint64_t number;
    Program* program = nullptr;
    std::optional<TimePoint> fence;
    std::optional<Result<>> claimed, released, made;
    std::vector<std::string> lost;
};

struct Locks : testing::Test {
    Locks() : sim(7), disk(sim, 1 << 20), a(sim, disk, "A", 1), b(sim, disk, "B", 2) {
        a.boot();
        b.boot();
        area({NodeName("A"), NodeName("B")});
    }
    void area(std::vector<NodeName> hosts) {
        a.make_area(std::move(hosts));
        ASSERT_TRUE(sim.run_until([&] { return a.made.has_value(); }, 5s));
    }
    void a_owns() {
        a.claim();
        ASSERT_TRUE(sim.run_until([&] { return a.claimed.has_value(); }, 5s));
        ASSERT_TRUE(a.claimed->has_value()) << a.claimed->error().text;
        ASSERT_TRUE(a.owns());
        ASSERT_TRUE(a.fence.has_value());
    }

    Simulation sim;
    SimulatedDisk disk;
    Host a, b;
};

// Spec: EMC-262, MOP-066
TEST_F(Locks, ALivingOwnerIsNamed) {
    a_owns();
    b.claim();
    ASSERT_TRUE(sim.run_until([&] { return b.claimed.has_value(); }, 10s));
    ASSERT_FALSE(b.claimed->has_value());
    EXPECT_EQ(b.claimed->error().code, Code::exists);
    EXPECT_THAT(b.claimed->error().text, HasSubstr("owned by A, which is alive"));
    sim.run_for(60s);
    EXPECT_TRUE(a.owns());
    EXPECT_FALSE(b.owns());
    EXPECT_FALSE(b.fence.has_value());
}

// Spec: EMC-220, KIT-060
TEST_F(Locks, WhatIsGivenUpCanBeHadAtOnce) {
    a_owns();
    a.release();
    ASSERT_TRUE(sim.run_until([&] { return a.released.has_value(); }, 2s));
    EXPECT_TRUE(a.released->has_value());
    EXPECT_FALSE(a.fence.has_value());
    EXPECT_FALSE(a.owns());
    b.claim();
    EXPECT_TRUE(sim.run_until([&] { return b.owns(); }, 2s));
    EXPECT_TRUE(a.lost.empty());
}

// Spec: KIT-060, CLU-217
TEST_F(Locks, ADeadOwnersVolumeIsHadAfterItsLease) {
    a_owns();
    a.node.power_off();
    b.claim();
    ASSERT_TRUE(sim.run_until([&] { return b.owns(); }, 15s));
    a.boot();
    a.claim();
    ASSERT_TRUE(sim.run_until([&] { return a.claimed.has_value(); }, 15s));
    EXPECT_FALSE(a.claimed->has_value()) << "a host that failed is locked out when it returns";
    EXPECT_TRUE(b.owns());
}

// Spec: KIT-061
TEST_F(Locks, TheNextProcessOfTheOwnerGoesOnAtOnce) {
    a_owns();
    a.node.kill_program();
    a.boot();
    a.claim();
    EXPECT_TRUE(sim.run_until([&] { return a.owns(); }, 2s));
}

// Spec: REP-369, REP-371, EMC-262
TEST_F(Locks, AnOwnerThatLosesTheAreaSaysSoBeforeItsLeaseEnds) {
    for (const auto link : {SimulatedDisk::Link::hangs, SimulatedDisk::Link::fails}) {
        a.lost.clear();
        if (!a.owns()) a_owns();
        disk.set_link("A", link);
        b.claim();
        ASSERT_TRUE(sim.run_until([&] { return !a.lost.empty(); }, 10s));
        ASSERT_TRUE(a.fence.has_value());
        EXPECT_LT(a.program->world.clock.now(), *a.fence) << "there is time to stop";
        EXPECT_FALSE(b.owns());
        a.release();  // its data path has stopped
        EXPECT_FALSE(a.fence.has_value());
        ASSERT_TRUE(sim.run_until([&] { return b.owns(); }, 15s));
        disk.set_link("A", SimulatedDisk::Link::works);
        ASSERT_TRUE(sim.run_until([&] { return a.released.has_value(); }, 15s));
        b.release();
        ASSERT_TRUE(sim.run_until([&] { return b.released.has_value(); }, 2s));
    }
}

// Spec: KIT-061, CLU-229
TEST_F(Locks, AnOwnerThatStoodStillIsFencedBeforeAnotherWrites) {
    a_owns();
    a.node.pause();
    const auto fenced_at = a.fence;
    b.claim();
    ASSERT_TRUE(sim.run_until([&] { return b.owns(); }, 15s));
    ASSERT_TRUE(fenced_at.has_value());
    EXPECT_LT(*fenced_at, a.program->world.clock.now()) << "its kernel had ended it by then";
    EXPECT_EQ(a.fence, fenced_at);
    a.node.resume();
    ASSERT_TRUE(sim.run_until([&] { return !a.lost.empty(); }, 2s));
    EXPECT_FALSE(a.owns());
    EXPECT_TRUE(b.owns());
}

TEST_F(Locks, AnAreaThatDoesNotAnswerIsNotWaitedForForEver) {
    disk.set_link("B", SimulatedDisk::Link::hangs);
    b.claim(30s);
    ASSERT_TRUE(sim.run_until([&] { return b.claimed.has_value(); }, 60s));
    EXPECT_THAT(b.claimed->error().text, HasSubstr("did not answer"));
}

TEST_F(Locks, OnlyHostsThatAreNamedCanOwnTheVolume) {
    Host c(sim, disk, "C", 3);
    c.boot();
    c.claim();
    ASSERT_TRUE(sim.run_until([&] { return c.claimed.has_value(); }, 5s));
    EXPECT_EQ(c.claimed->error().code, Code::not_found);

    // Hosts are added while others run; the order of those that are there stays.
    a_owns();
    area({NodeName("B"), NodeName("A"), NodeName("C")});
    EXPECT_FALSE(a.made->has_value());
    area({NodeName("A"), NodeName("B"), NodeName("C")});
    ASSERT_TRUE(a.made->has_value()) << a.made->error().text;
    c.claim();
    ASSERT_TRUE(sim.run_until([&] { return c.claimed.has_value(); }, 10s));
    EXPECT_EQ(c.claimed->error().code, Code::exists);
    a.node.power_off();
    c.claim();
    ASSERT_TRUE(sim.run_until([&] { return c.owns(); }, 15s));
    b.claim();
    ASSERT_TRUE(sim.run_until([&] { return b.claimed.has_value(); }, 15s));
    EXPECT_THAT(b.claimed->error().text, HasSubstr("owned by C"));
}

TEST_F(Locks, AnAreaIsNotMadeWhereSomethingElseStands) {
    disk.content().replace(100000, 4, "ext4");
    disk.content().replace(0, 2 * kAreaBlock, std::string(2 * kAreaBlock, '\0'));
    area({NodeName("A"), NodeName("B")});
    ASSERT_FALSE(a.made->has_value());
    EXPECT_THAT(a.made->error().text, HasSubstr("not empty"));
    a.claim(5s);
    ASSERT_TRUE(sim.run_until([&] { return a.claimed.has_value(); }, 10s));
    EXPECT_EQ(a.claimed->error().code, Code::not_found);
}

}  // namespace
}  // namespace understudy::mirror::shared
