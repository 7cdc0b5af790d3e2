// Jobs on all their systems: what a lost system, a deletion and a replacement make of them.

#include "mirror/emcmd/test_lab.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

using namespace std::chrono_literals;

struct Jobs : Emcmd {
    config::Reply job(Host& host, Words words, std::map<std::string, std::string> options = {}) {
        config::Reply reply = own(host, "mirror job", std::move(words), std::move(options));
        error = reply.err;
        return reply;
    }
    std::string info(Host& host) { return emcmd(host, {".", "GETJOBINFO"}); }
    bool names(Host& host, const std::string& what) { return info(host).find(what) != std::string::npos; }
};

// Spec: EMC-301, MOP-153, MOP-155, MOP-160
TEST_F(Jobs, ALostSystemLeavesItsLinesOnAllOthersAndComesBackWithoutThem) {
    two_targets();
    const std::string id = job_of_three();
    power_off(third);
    ASSERT_TRUE(pair.until([&] { return state(left, "10.0.0.3") == "1 4"; }));
    // Whatever names a dead system is refused, but for this.
    EXPECT_EQ(job(left, {"rename", "data", "other"}).exit_code, static_cast<int>(Code::unreachable));
    EXPECT_EQ(job(left, {"remove-node", "data", "third"}).exit_code, 0) << error;
    const std::string left_over =
        "ID = " + id + "\nName = data\nDescription =\nMirrorEndPoints = left;R;10.0.0.1;right;R;10.0.0.2;S\n";
    EXPECT_EQ(info(left), left_over);
    EXPECT_EQ(info(right), left_over);
    ok(left, {".", "DELETEMIRROR", "R", "10.0.0.3"});
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 1 left 10.0.0.2 1\n");
    // It comes back as it was, and changes nothing of what the others have.
    start(third);
    pair.sim.run_for(10s);
    EXPECT_TRUE(names(third, "third;R;10.0.0.3"));
    EXPECT_NE(job(third, {"rename", "data", "mine"}).exit_code, 0);
    EXPECT_NE(job(third, {"rename", "mine", "mine"}).exit_code, 0);
    EXPECT_EQ(info(left), left_over);
    EXPECT_EQ(info(right), left_over);
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_EQ(third.disk.blocks[3], 0);
    // Made anew, it is in the mirror and, by its pairs, in the job.
    ok(third, {".", "DELETELOCALMIRRORONLY", "R"});
    ok(third, {".", "CLEARSWITCHOVER", "R"});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_EQ(job(third, {"delete", "mine"}, {{"local", ""}}).exit_code, 0) << error;
}

// Spec: EMC-159, EMC-302, MOP-033, MOP-154, MOP-160
TEST_F(Jobs, OfTwoSystemsTheSurvivorDeletesTheJobAndItStaysDeleted) {
    one_target();
    const std::string made =
        emcmd(left, {".", "CREATEJOB", "two", "", "left", "R", "10.0.0.1", "right", "R", "10.0.0.2", "S"});
    const std::string id = made.substr(5, 36);
    power_off(right);
    EXPECT_NE(status(left, {".", "DELETEJOB", id}), 0);
    EXPECT_TRUE(names(left, id));
    EXPECT_EQ(job(left, {"remove-node", "two", "right"}).exit_code, 0) << error;
    EXPECT_EQ(info(left), "");
    ok(left, {".", "DELETEMIRROR", "R"});
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
    start(right);
    pair.sim.run_for(10s);
    EXPECT_NE(job(right, {"rename", "two", "back"}).exit_code, 0);
    EXPECT_EQ(info(left), "");
}

// Spec: MOP-037, MOP-038, MOP-040
TEST_F(Jobs, ReassigningMovesMirrorsWhileTheyRun) {
    two_targets();
    (void)job_of_three();
    const auto generation = pair.record(left).lineage.current;
    EXPECT_EQ(job(right, {"reassign", "data", "R", "logs"}).exit_code, 0) << error;
    for (Host* host : pair.hosts) {
        EXPECT_TRUE(names(*host, "Name = logs")) << host->name;
        EXPECT_FALSE(names(*host, "Name = data")) << host->name;
    }
    EXPECT_EQ(pair.record(left).lineage.current, generation);
    EXPECT_EQ(state(left, "10.0.0.2"), "1 1");
    power_off(third);
    EXPECT_NE(job(left, {"reassign", "logs", "R", "data"}).exit_code, 0);
    EXPECT_TRUE(names(left, "Name = logs"));
    // A creation that is tried again makes no second job.
    const Words line = {"create", "tried", "left;F;10.0.0.1;right;F;10.0.0.2;S"};
    const std::string first = job(left, line).out;
    EXPECT_EQ(job(left, line).out, first);
    EXPECT_EQ(first.size(), 37U);
}

// Spec: MOP-022, MOP-034, MOP-049
TEST_F(Jobs, AMirrorIsMadeInAJobOrNotAtAll) {
    const std::map<std::string, std::string> in_job = {{"job", "sql"}, {"description", "the database"}};
    third.disk.size = 65536;
    auto both = in_job;
    both["target"] = "right,third";
    both["target-address"] = "10.0.0.2,10.0.0.3";
    EXPECT_NE(pair.create(both).exit_code, 0);
    for (Host* host : pair.hosts)
        EXPECT_EQ(info(*host), "") << host->name;
    third.disk.size = 16 * 65536;
    const config::Reply made = pair.create(both);
    ASSERT_EQ(made.exit_code, 0) << made.err;
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    for (Host* host : pair.hosts) {
        EXPECT_TRUE(names(*host, "Name = sql\nDescription = the database\n")) << host->name;
        EXPECT_TRUE(names(*host, "right;R;10.0.0.2;third;R;10.0.0.3;S")) << host->name;
    }
    EXPECT_EQ(pair.run(left, {"delete", "R"}).exit_code, 0);
    // An address that another system of the job has: the job refuses, and so there is no mirror.
    (void)job(left, {"create", "sql", "left;F;10.0.0.1;fourth;F;10.0.0.2;S"});
    const std::string before = info(left);
    const config::Reply refused = pair.create(in_job);
    EXPECT_NE(refused.exit_code, 0);
    EXPECT_NE(refused.err.find("job sql cannot take it"), std::string::npos) << refused.err;
    EXPECT_EQ(info(left), before);
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
    EXPECT_EQ(emcmd(right, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
}

// Spec: MOP-030, MOP-070, MOP-071
TEST_F(Jobs, AMirrorWithoutAJobGetsOneWithEveryPair) {
    two_targets();
    EXPECT_EQ(info(left), "");
    EXPECT_EQ(job(right, {"import"}).out, "");  // its source does it
    const config::Reply made = job(left, {"import"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    EXPECT_NE(made.out.find(" Volume R\n"), std::string::npos) << made.out;
    for (Host* host : pair.hosts) {
        EXPECT_TRUE(names(*host, "left;R;10.0.0.1;right;R;10.0.0.2;S")) << host->name;
        EXPECT_TRUE(names(*host, "left;R;10.0.0.1;third;R;10.0.0.3;S")) << host->name;
        EXPECT_TRUE(names(*host, "right;R;10.0.0.2;third;R;10.0.0.3;S")) << host->name;
    }
    EXPECT_EQ(job(left, {"import"}).out, "");
    const auto shown = nlohmann::json::parse(job(left, {"show", "Volume R"}, {{"json", ""}}).out);
    EXPECT_TRUE(shown["jobs"][0]["missing_pairs"].empty());
}

// Spec: MOP-027, MOP-041, MOP-149, MOP-177
TEST_F(Jobs, TheSummaryShowsTheJobsMirrorsWhoeverIsTheirSource) {
    two_targets();
    (void)job_of_three();
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    EXPECT_TRUE(pair.write(left, 1, 11));
    const auto summary = nlohmann::json::parse(job(right, {"summary", "data"}, {{"json", ""}}).out);
    EXPECT_EQ(summary["servers"], (std::vector<std::string>{"left", "right", "third"}));
    EXPECT_EQ(summary["state"], "warning");
    ASSERT_EQ(summary["mirrors"].size(), 2U) << summary;
    const auto& paused = summary["mirrors"][1];
    EXPECT_EQ(paused["source"], "left");
    EXPECT_EQ(paused["volume"], "R");
    EXPECT_EQ(paused["target"], "third");
    EXPECT_EQ(paused["target_volume"], "R");
    EXPECT_EQ(paused["source_address"], "10.0.0.1");
    EXPECT_EQ(paused["target_address"], "10.0.0.3");
    EXPECT_EQ(paused["state"], 4);
    EXPECT_EQ(paused["remaining"], 65536);
    EXPECT_EQ(paused["type"], "synchronous");
    EXPECT_EQ(paused["size"], 16 * 65536);
    EXPECT_EQ(paused["compression"], "0");
    EXPECT_EQ(paused["bandwidth"], "0");
    const std::string text = job(right, {"summary", "data"}).out;
    EXPECT_NE(text.find("Summary of data - \nNumber of mirrors: 2\n"), std::string::npos) << text;
    EXPECT_NE(text.find("compression None, 0 kbps\n"), std::string::npos) << text;
    power_off(third);
    const std::string silent = job(right, {"summary", "data"}).out;
    EXPECT_NE(silent.find("third does not answer\n"), std::string::npos) << silent;
}

// Spec: MOP-111, MOP-112
TEST_F(Jobs, TheEndOfAMirrorTakesItsPairsOutOfTheJobAndTheLastOneTheJob) {
    two_targets();
    (void)job_of_three();
    EXPECT_EQ(own(left, "mirror delete", {"R"}, {{"target", "third"}}).exit_code, 0);
    for (Host* host : {&left, &right}) {
        EXPECT_TRUE(names(*host, "left;R;10.0.0.1;right;R;10.0.0.2;S")) << host->name;
        EXPECT_FALSE(names(*host, "third")) << host->name;
    }
    EXPECT_EQ(info(third), "");
    EXPECT_EQ(own(left, "mirror delete", {"R"}).exit_code, 0);
    for (Host* host : pair.hosts) {
        EXPECT_EQ(info(*host), "") << host->name;
        EXPECT_EQ(emcmd(*host, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n") << host->name;
    }
}

// Spec: EMC-109, MOP-033
TEST_F(Jobs, ASystemThatWasAwayGetsTheNewestVersionWhenItIsBack) {
    two_targets();
    const std::string id = job_of_three();
    power_off(third);
    const config::Reply changed = job(left, {"pair", "data", "left;F;10.0.0.1;third;F;10.0.0.3;S"});
    EXPECT_EQ(changed.exit_code, static_cast<int>(Code::unreachable));
    EXPECT_NE(changed.err.find("third"), std::string::npos) << changed.err;
    EXPECT_TRUE(names(left, "left;F;10.0.0.1"));
    EXPECT_TRUE(names(right, "left;F;10.0.0.1"));
    start(third);
    EXPECT_FALSE(names(third, "left;F;10.0.0.1"));
    ASSERT_TRUE(pair.until([&] { return names(third, "left;F;10.0.0.1"); }, 2min));
    EXPECT_EQ(info(third), info(left));
}

// Spec: EMC-061, EMC-109, MOP-033
TEST_F(Jobs, OfTwoChangesThatDidNotHearOfEachOtherAllSystemsKeepTheSame) {
    two_targets();
    (void)job_of_three();
    const int unreachable = static_cast<int>(Code::unreachable);
    power_off(third);
    EXPECT_EQ(job(left, {"pair", "data", "left;F;10.0.0.1;third;F;10.0.0.3;S"}).exit_code, unreachable);
    EXPECT_TRUE(names(right, "left;F;10.0.0.1"));
    power_off(left);
    power_off(right);
    start(third);
    EXPECT_EQ(job(third, {"pair", "data", "right;G;10.0.0.2;third;G;10.0.0.3;S"}).exit_code, unreachable);
    EXPECT_TRUE(names(third, "right;G;10.0.0.2"));
    start(left);
    start(right);
    const auto all_same = [&] { return info(left) == info(right) && info(left) == info(third); };
    ASSERT_TRUE(pair.until(all_same, 3min)) << info(left) << info(right) << info(third);
    EXPECT_TRUE(names(left, "right;G;10.0.0.2")) << "the greater of two copies of one version";
    // Who changes it now does so on all.
    EXPECT_EQ(job(right, {"rename", "data", "both"}).exit_code, 0) << error;
    EXPECT_TRUE(all_same());
}

// Spec: EMC-061, EMC-109
TEST_F(Jobs, WhoChangesAJobWithoutTheLastChangeTakesIt) {
    two_targets();
    (void)job_of_three();
    power_off(third);
    (void)job(left, {"pair", "data", "left;F;10.0.0.1;third;F;10.0.0.3;S"});
    (void)job(left, {"pair", "data", "left;G;10.0.0.1;third;G;10.0.0.3;S"});
    start(third);
    ASSERT_FALSE(names(third, "left;F;10.0.0.1")) << "it has not been told yet";
    EXPECT_NE(job(third, {"rename", "data", "mine"}).exit_code, 0);
    EXPECT_THAT(error, ::testing::HasSubstr("had changed the job meanwhile"));
    EXPECT_EQ(info(third), info(left));
    EXPECT_TRUE(names(third, "left;G;10.0.0.1"));
    EXPECT_EQ(job(third, {"rename", "data", "mine"}).exit_code, 0) << error;
    EXPECT_TRUE(names(left, "Name = mine"));
}

// Spec: MOP-036
TEST_F(Jobs, AJobIsDeletedWithItsMirrorsWhereThatIsWanted) {
    two_targets();
    (void)job_of_three();
    EXPECT_EQ(job(right, {"delete", "data"}, {{"mirrors", ""}}).exit_code, 0) << error;
    for (Host* host : pair.hosts) {
        EXPECT_EQ(info(*host), "") << host->name;
        EXPECT_EQ(emcmd(*host, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n") << host->name;
    }
}

// Spec: EMC-230, MOP-073, MOP-150, MOP-151, MOP-152, REP-247
TEST_F(Jobs, CompressionAndBandwidthOfAMirrorAreTheSameOnBothEnds) {
    two_targets();
    EXPECT_EQ(
        own(left, "mirror set", {"R", "CompressionLevel=5", "BandwidthThrottle=1000"}, {{"target", "third"}})
            .exit_code,
        0);
    EXPECT_EQ(pair.peer(left, third).parameters.at("CompressionLevel"), "5");
    EXPECT_EQ(pair.peer(third, left).parameters.at("CompressionLevel"), "5");
    EXPECT_EQ(pair.peer(third, left).parameters.at("BandwidthThrottle"), "1000");
    EXPECT_TRUE(pair.peer(left, right).parameters.empty());
    EXPECT_TRUE(pair.peer(right, left).parameters.empty());
    EXPECT_EQ(own(left, "mirror set", {"R", "CompressionLevel=10"}).exit_code,
              static_cast<int>(Code::bad_argument));
    // Only where they are in effect; a pair of targets has none until one of them is source.
    EXPECT_NE(own(right, "mirror set", {"R", "CompressionLevel=1"}).exit_code, 0);
    EXPECT_NE(own(right, "mirror set", {"R", "ResyncReads=4"}, {{"target", "third"}}).exit_code, 0);
    EXPECT_TRUE(pair.peer(right, third).parameters.empty());
    power_off(third);
    const config::Reply alone = own(left, "mirror set", {"R", "CompressionLevel=1"});
    EXPECT_EQ(alone.exit_code, 0);
    EXPECT_NE(alone.err.find("third keeps its own"), std::string::npos) << alone.err;
    EXPECT_EQ(pair.peer(right, left).parameters.at("CompressionLevel"), "1");
}

// Spec: MOP-039
TEST_F(Jobs, AJobThatIsRefusedHasNoId) {
    const config::Reply refused =
        own(left, "mirror job", {"create", "x", "left;R;10.0.0.1;left;R;10.0.0.2;A"});
    EXPECT_EQ(refused.exit_code, static_cast<int>(Code::bad_argument));
    EXPECT_EQ(refused.out, "");
    EXPECT_EQ(info(left), "");
    const config::Reply unknown = own(left, "mirror job", {"frob"});
    EXPECT_EQ(unknown.exit_code, static_cast<int>(Code::syntax));
    EXPECT_NE(unknown.err.find("there is no \"job frob\": list, show,"), std::string::npos) << unknown.err;
}

// Spec: EMC-142, EMC-153, EMC-168
TEST_F(Jobs, EmcmdMakesAndDeletesMirrorsWithoutTouchingTheirJob) {
    const std::string id = job_of_three();
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
    const std::string before = info(left);
    two_targets();
    ok(left, {".", "DELETEMIRROR", "R"});
    EXPECT_EQ(info(left), before);
    EXPECT_EQ(info(third), before);
    EXPECT_TRUE(names(right, id));
}

// Spec: EMC-007, EMC-008, MOP-023
TEST_F(Jobs, SystemsAreNamedByShortNameFullNameOrAddress) {
    two_targets();
    for (const char* system : {"third", "THIRD", "third.lab.example", "10.0.0.3"})
        EXPECT_EQ(emcmd(left, {system, "GETMIRRORVOLINFO", "R"}), "R: 2 10.0.0.1 third 1\n") << system;
    EXPECT_EQ(status(left, {"fourth", "GETMIRRORVOLINFO", "R"}), 53);
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
