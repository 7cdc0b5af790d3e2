// Addresses of hosts that share a disk, changed while it is mirrored; ends of an older release.

#include "mirror/emcmd/shared_lab.h"

namespace understudy::mirror::emcmd::testing_lab {
namespace {

struct SharedEndpoints : SharedMirror {
    SharedEndpoints() = default;
    explicit SharedEndpoints(std::size_t hosts) : SharedMirror(1, hosts) {}

    int change(Host& host, const std::string& original, const std::string& source,
               const std::string& target) {
        return status(host, {".", "CHANGEMIRRORENDPOINTS", "R", original, source, target});
    }
    std::string job(Host& host) { return own(host, "emcmd", {".", "GETJOBINFOFORVOL", "R"}).out; }
    /// "10.0.0.1-10.0.0.3" of two hosts, as `host` has it on record.
    std::string pair_of(Host& host, const std::string& here, const std::string& there) {
        for (const control::PeerRecord& peer : record(host).peers)
            for (const control::EndpointPair& one : peer.pairs)
                if (one.here == here && one.there == there) return one.local_address + "-" + one.address;
        return "none";
    }
    /// In the place of the host's daemon one of a release that knows neither change_address of pairs nor
    /// set_pairs.
    void run_older_release(Host& host) {
        kill(host);
        host.node->boot([this](runtime::World world) {
            auto server = std::make_shared<control::PeerServer>(
                world, [this](const std::string&, control::PeerRequest request,
                              const control::PeerServer::Answer& answer) {
                    ++asked_older;
                    control::PeerReply reply;
                    if (request.kind == control::RequestKind::set_pairs) {
                        reply.code = Code::internal;
                        reply.error = "the peer's request has an illegal kind";
                    }
                    if (request.kind == control::RequestKind::service)
                        reply.payload = R"({"status":87,"out":"","err":"an unknown request"})";
                    answer(reply);
                });
            EXPECT_TRUE(server->listen({"0.0.0.0", control::kDispatchPort}));
            return server;
        });
    }
    int asked_older = 0;
};

// Spec: EMC-095, EMC-102, EMC-103, EMC-104, EMC-106, MOP-117
TEST_F(SharedEndpoints, TheOwnerChangesThoseOfEveryHostOfItsDiskWhicheverIsAsked) {
    mirror();
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    ASSERT_EQ(change(left, "10.0.0.3", "10.9.0.1", "10.9.0.3"), 0) << error;
    ASSERT_EQ(change(right, "10.0.0.3", "10.9.0.2", "10.9.0.3"), 0) << error;
    for (Host* host : {&left, &right, &third})
        EXPECT_THAT(job(*host), HasSubstr("MirrorEndPoints = left;R;10.9.0.1;third;R;10.9.0.3;S\n"
                                          "MirrorEndPoints = right;R;10.9.0.2;third;R;10.9.0.3;S\n"
                                          "MirrorEndPoints = left;R;0.0.0.0;right;R;0.0.0.0;D\n"))
            << host->name;
    EXPECT_EQ(pair_of(left, "left", "third"), "10.9.0.1-10.9.0.3");
    EXPECT_EQ(pair_of(left, "right", "third"), "10.9.0.2-10.9.0.3");
    EXPECT_EQ(pair_of(third, "third", "left"), "10.9.0.3-10.9.0.1");
    EXPECT_EQ(pair_of(third, "third", "right"), "10.9.0.3-10.9.0.2");
    // Paused by command, it waits for the command. What was written then goes over the new addresses.
    EXPECT_TRUE(pair.write(left, 7, 77));
    pair.sim.run_for(10s);
    EXPECT_EQ(record(left).main().state, MirrorState::paused);
    sent();
    ok(left, {".", "CONTINUEMIRROR", "R", "10.9.0.3"});
    ASSERT_TRUE(in_sync(left));
    EXPECT_EQ(sent(), 1U);
    EXPECT_EQ(record(third).main().address, "10.9.0.1");
    // Whoever owns the disk next finds its own.
    power_off(left);
    ok(right, {".", "UNLOCKVOLUME", "R"});
    ASSERT_TRUE(in_sync(right));
    EXPECT_EQ(record(right).main().local_address, "10.9.0.2");
    EXPECT_EQ(record(right).main().address, "10.9.0.3");
    EXPECT_EQ(record(third).main().address, "10.9.0.2");
}

// Spec: EMC-099, EMC-105, MOP-117
TEST_F(SharedEndpoints, WhatIsRefusedChangesNothing) {
    mirror();
    const std::string before = job(left);
    EXPECT_EQ(change(left, "10.0.0.3", "10.9.0.1", "10.9.0.3"), 87) << "it runs over them";
    EXPECT_THAT(error, HasSubstr("pause it first"));
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    EXPECT_EQ(change(left, "10.0.0.3", "10.9.0.1", "fd00::3"), 87);
    EXPECT_EQ(change(left, "10.0.0.3", "10.0.0.2", "10.9.0.3"), 87) << "an address of right";
    EXPECT_EQ(change(right, "10.0.0.3", "10.0.0.1", "10.9.0.3"), 87) << "an address of left";
    EXPECT_EQ(change(left, "10.0.0.77", "10.9.0.1", "10.9.0.3"), 2);
    // The target's end is told first, and a pair of which it knows nothing is refused there.
    EXPECT_EQ(job(left), before);
    EXPECT_EQ(pair_of(left, "left", "third"), "10.0.0.1-10.0.0.3");
    EXPECT_EQ(pair_of(third, "third", "left"), "10.0.0.3-10.0.0.1");
    // Nobody owns it, or the owner cannot be asked.
    pair.cut_off(left);
    EXPECT_NE(change(right, "10.0.0.3", "10.9.0.2", "10.9.0.3"), 0);
    EXPECT_THAT(error, HasSubstr("left, which owns volume R, cannot be asked"));
    pair.heal();
    ok(left, {".", "LOCKVOLUME", "R"});
    EXPECT_EQ(change(right, "10.0.0.3", "10.9.0.2", "10.9.0.3"), 1);
    EXPECT_THAT(error, HasSubstr("no host has volume R"));
    EXPECT_EQ(job(right), before);
}

// Spec: EMC-106, EMC-109
TEST_F(SharedEndpoints, ATargetThatIsAwayIsToldWithTheNextSessionAndRepeatingItConverges) {
    mirror();
    pair.cut_off(third);
    ASSERT_TRUE(pair.until([&] { return record(left).main().state == MirrorState::paused; }, 60s));
    EXPECT_EQ(change(left, "10.0.0.3", "10.9.0.1", "10.9.0.3"), 53);
    EXPECT_THAT(error, HasSubstr("third cannot be told yet"));
    EXPECT_EQ(change(right, "10.0.0.3", "10.9.0.2", "10.9.0.3"), 53) << error;
    EXPECT_EQ(pair_of(left, "right", "third"), "10.9.0.2-10.9.0.3");
    EXPECT_THAT(job(right), HasSubstr("left;R;10.9.0.1;third;R;10.9.0.3;S"));
    EXPECT_EQ(pair_of(third, "third", "left"), "10.0.0.3-10.0.0.1");
    EXPECT_EQ(change(left, "10.0.0.3", "10.9.0.1", "10.9.0.3"), 53) << "again, with the same end: " << error;
    pair.heal();
    // It had paused by itself, and goes on by itself.
    ASSERT_TRUE(in_sync(left));
    EXPECT_EQ(pair_of(third, "third", "left"), "10.9.0.3-10.9.0.1");
    EXPECT_EQ(pair_of(third, "third", "right"), "10.9.0.3-10.9.0.2");
    EXPECT_EQ(change(left, "10.0.0.3", "10.9.0.1", "10.9.0.3"), 0) << "nothing is left to do: " << error;
    ASSERT_TRUE(in_sync(left));
    ASSERT_TRUE(pair.until([&] { return job(third) == job(left); }, 60s));
    EXPECT_THAT(job(third), HasSubstr("right;R;10.9.0.2;third;R;10.9.0.3;S"));
}

// Spec: EMC-109
TEST_F(SharedEndpoints, AnOwnerThatDiesAfterTheTargetWasToldIsRepeatedByTheNext) {
    mirror();
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    begin(left, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.3", "10.9.0.1", "10.9.0.3"});
    ASSERT_TRUE(pair.until([&] { return pair_of(third, "third", "left") == "10.9.0.3-10.9.0.1"; }, 10s));
    power_off(left);
    ok(right, {".", "UNLOCKVOLUME", "R"});
    // The next owner has had no session yet; the target takes its word by its epoch.
    ASSERT_EQ(change(right, "10.0.0.3", "10.9.0.2", "10.9.0.3"), 53) << error;
    EXPECT_THAT(error, HasSubstr("left: ")) << "its copy of the job waits for it, and nothing else";
    EXPECT_EQ(pair_of(third, "third", "right"), "10.9.0.3-10.9.0.2");
    ok(right, {".", "CONTINUEMIRROR", "R", "10.9.0.3"});
    ASSERT_TRUE(in_sync(right));
    start(left);
    ok(left, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(left));
    ASSERT_TRUE(pair.until([&] { return job(left) == job(third); }, 60s)) << "what it has missed is told";
    ok(left, {".", "PAUSEMIRROR", "R"});
    EXPECT_EQ(pair_of(left, "left", "third"), "10.0.0.1-10.0.0.3") << "it died before it had recorded them";
    ASSERT_EQ(change(left, "10.0.0.3", "10.9.0.1", "10.9.0.3"), 0) << error;
    EXPECT_EQ(pair_of(left, "left", "third"), "10.9.0.1-10.9.0.3");
    EXPECT_EQ(pair_of(third, "third", "left"), "10.9.0.3-10.9.0.1");
    EXPECT_THAT(job(third), HasSubstr("left;R;10.9.0.1;third;R;10.9.0.3;S"));
}

// Spec: EMC-109
TEST_F(SharedEndpoints, AnOlderReleaseRefusesAndNothingIsChanged) {
    mirror();
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    run_older_release(third);
    EXPECT_EQ(change(left, "10.0.0.3", "10.9.0.1", "10.9.0.3"), 1);
    EXPECT_THAT(error, HasSubstr("third runs a release that cannot change the addresses"));
    EXPECT_EQ(pair_of(left, "left", "third"), "10.0.0.1-10.0.0.3");
    EXPECT_GT(asked_older, 0);
    EXPECT_THAT(job(left), HasSubstr("left;R;10.0.0.1;third;R;10.0.0.3;S"));
    // The owner itself is the older one: whoever asks it is told so.
    run_older_release(left);
    EXPECT_EQ(change(right, "10.0.0.3", "10.9.0.2", "10.9.0.3"), 50);
    EXPECT_THAT(error, HasSubstr("left, which owns volume R, runs a release"));
}

struct TwoSitesEndpoints : SharedEndpoints {
    TwoSitesEndpoints() : SharedEndpoints(6) {}
    void mirror_both() {
        share(left, right);
        share(third, fourth);
        make_job({{&left, &right}, {&third, &fourth}});
        ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
        ASSERT_TRUE(follows(left, third));
    }
};

// Spec: EMC-095, EMC-098, EMC-102, MOP-117, MOP-242
TEST_F(TwoSitesEndpoints, ByTheNameOfTodayThoseOfAnyNumberOfHostsAreChanged) {
    mirror_both();
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    EXPECT_EQ(change(left, "10.0.0.3", "10.9.0.1", "10.9.0.3"), 50) << "four systems";
    for (const auto& [source, from] :
         std::map<std::string, std::string>{{"left", "10.9.0.1"}, {"right", "10.9.0.2"}})
        for (const auto& [target, to] :
             std::map<std::string, std::string>{{"third", "10.9.0.3"}, {"fourth", "10.9.0.4"}}) {
            const auto done = own(
                left, "understudy mirror endpoints", {"R"},
                {{"source", source}, {"target", target}, {"source-address", from}, {"target-address", to}});
            EXPECT_EQ(done.exit_code, 0) << source << " " << target << ": " << done.err;
        }
    const auto wrong = own(left, "understudy mirror endpoints", {"R"},
                           {{"source", "sixth"},
                            {"target", "third"},
                            {"source-address", "10.9.0.6"},
                            {"target-address", "10.9.0.3"}});
    EXPECT_NE(wrong.exit_code, 0);
    EXPECT_EQ(pair_of(third, "fourth", "right"), "10.9.0.4-10.9.0.2");
    EXPECT_THAT(job(fourth), HasSubstr("right;R;10.9.0.2;fourth;R;10.9.0.4;S"));
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(follows(left, third));
    // Each end's next owner has them, too.
    ok(third, {".", "LOCKVOLUME", "R"});
    EXPECT_EQ(status(fourth, {".", "UNLOCKVOLUME", "R"}), 1) << error;
    ASSERT_TRUE(follows(left, fourth));
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(follows(right, fourth));
    EXPECT_EQ(record(right).main().address, "10.9.0.4");
    EXPECT_EQ(record(fourth).main().address, "10.9.0.2");
}

// Spec: MOP-020
TEST_F(TwoSitesEndpoints, ASecondTargetIsRefusedWhileAnotherEndIsOfAnOlderRelease) {
    share(left, right);
    make_job({{&left, &right}, {&third}, {&fifth}});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(follows(left, third));
    run_older_release(third);
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.5", "S"}), 1);
    EXPECT_THAT(error, HasSubstr("third runs a release that does not know hosts that share a disk"));
    EXPECT_EQ(record(left).peers.size(), 1U);
    EXPECT_EQ(fifth.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_TRUE(pair.write(left, 3, 33)) << "the volume is used as before";
    // And so is one that is to be the second itself.
    kill(third);
    start(third);
    ASSERT_TRUE(follows(left, third));
    run_older_release(fifth);
    EXPECT_NE(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.5", "S"}), 0);
    EXPECT_EQ(record(left).peers.size(), 1U);
    EXPECT_TRUE(follows(left, third));
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
