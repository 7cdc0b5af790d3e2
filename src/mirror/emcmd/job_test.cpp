// Jobs: what is legal, how they are written, moved and kept.

#include "mirror/emcmd/job.h"

#include "mirror/emcmd/stores.h"
#include "runtime/posix/posix_files.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace understudy::mirror::emcmd {
namespace {

constexpr const char* kId = "5d0c7f0e-3a61-4f2b-9d3c-0a7b1e6f2c11";

JobPair pair(const char* text) {
    auto parsed = parse_pair(text);
    EXPECT_TRUE(parsed) << text << ": " << parsed.error().text;
    return *parsed;
}

Job three_nodes() {
    return {kId,
            "sqldata",
            "",
            {pair("n1.lab.local;E;10.8.0.11;n2.lab.local;E;10.8.0.12;A"),
             pair("n3.lab.local;E;10.8.0.13;n2.lab.local;E;10.8.0.12;A"),
             pair("n3.lab.local;E;10.8.0.13;n1.lab.local;E;10.8.0.11;S")},
            1};
}

// Spec: EMC-056, EMC-057, EMC-061, EMC-062, EMC-139, EMC-186, MOP-031
TEST(Jobs, ArePrintedAndReadAsTheManualHasThem) {
    const Job job = three_nodes();
    EXPECT_EQ(print(job),
              "ID = 5d0c7f0e-3a61-4f2b-9d3c-0a7b1e6f2c11\nName = sqldata\nDescription =\n"
              "MirrorEndPoints = n1.lab.local;E;10.8.0.11;n2.lab.local;E;10.8.0.12;A\n"
              "MirrorEndPoints = n3.lab.local;E;10.8.0.13;n2.lab.local;E;10.8.0.12;A\n"
              "MirrorEndPoints = n3.lab.local;E;10.8.0.13;n1.lab.local;E;10.8.0.11;S\n");
    EXPECT_EQ(to_text(pair("n1;E;10.0.0.1;n2;F;10.0.0.2;s")), "n1;E;10.0.0.1;n2;F;10.0.0.2;S");
    const std::vector<Job> two{job, job};
    EXPECT_EQ(print(two), print(job) + "\n" + print(job));
    EXPECT_EQ(print(std::vector<Job>{}), "");
    EXPECT_EQ(decode_job(encode(job)), job);
    for (const char* damaged :
         {"", "[]", "{}", R"({"id":"x","name":"","description":"","endpoints":[],"version":1})"})
        EXPECT_FALSE(decode_job(damaged)) << damaged;
    for (const char* wrong :
         {"n1;E;10.0.0.1;n2;E;10.0.0.2", "n1;E;host;n2;E;10.0.0.2;A", "n1;1;10.0.0.1;n2;E;10.0.0.2;A",
          "n1;E;10.0.0.1;n2;E;10.0.0.2;X", ";E;10.0.0.1;n2;E;10.0.0.2;A", "n1;E;;n2;E;10.0.0.2;A"})
        EXPECT_FALSE(parse_pair(wrong)) << wrong;
}

// Spec: EMC-058, EMC-060, EMC-105, EMC-141, EMC-156, EMC-272, MOP-014, MOP-039, MOP-053, MOP-068, MOP-165,
// REP-038
TEST(Jobs, AnAddressBelongsToOneSystemAndFamiliesAreAlike) {
    EXPECT_EQ(problem_of(three_nodes()), "");
    const auto problem = [](const char* line) {
        Job job = three_nodes();
        job.pairs.push_back(pair(line));
        return problem_of(job);
    };
    EXPECT_EQ(problem("n4;E;10.8.0.11;n2.lab.local;E;10.8.0.12;A"),
              "10.8.0.11 is the address of n1.lab.local and of n4");
    EXPECT_NE(problem("n4;E;fd00::4;n2.lab.local;E;10.8.0.12;A").find("families"), std::string::npos);
    EXPECT_NE(problem("n4;E;0.0.0.0;n2.lab.local;E;10.8.0.12;A").find("no address"), std::string::npos);
    EXPECT_NE(problem("n4;E;10.8.0.14;n5;E;10.8.0.15;D").find("type D"), std::string::npos);
    EXPECT_NE(problem("n4;E;10.8.0.14;n4;E;10.9.0.14;A").find("itself"), std::string::npos);
    EXPECT_NE(problem("n2.lab.local;E;10.8.0.12;n1.lab.local;E;10.8.0.11;S").find("two pairs"),
              std::string::npos);
    EXPECT_EQ(problem("n4;E;0.0.0.0;n1.lab.local;E;0.0.0.0;D"), "");
    EXPECT_EQ(problem("n1.lab.local;F;10.9.0.11;n2.lab.local;F;10.9.0.12;A"), "") << "a link of its own";
    Job nameless = three_nodes();
    nameless.name.clear();
    EXPECT_NE(problem_of(nameless), "");
    nameless.name = "two\nlines";
    EXPECT_NE(problem_of(nameless), "");
}

// Spec: EMC-059, MOP-070, MOP-071
TEST(Jobs, EveryPairOfSystemsHasEndpoints) {
    Job job = three_nodes();
    EXPECT_TRUE(missing_pairs(job).empty());
    job.pairs.pop_back();
    EXPECT_EQ(missing_pairs(job), (std::vector<std::string>{"volume E: n1.lab.local and n3.lab.local"}));
    job.pairs.push_back(pair("n4.lab.local;E;10.8.0.14;n1.lab.local;E;10.8.0.11;A"));
    EXPECT_EQ(missing_pairs(job).size(), 3U) << "of six";
}

// Spec: EMC-142, EMC-185
TEST(Jobs, AreFoundByVolumeAndSystem) {
    const Job job = three_nodes();
    EXPECT_TRUE(contains(job, "n1", VolumeId("E")));
    EXPECT_TRUE(contains(job, "N2.LAB.LOCAL", VolumeId("E")));
    EXPECT_TRUE(contains(job, "10.8.0.13", VolumeId("E")));
    EXPECT_FALSE(contains(job, "n1", VolumeId("F")));
    EXPECT_FALSE(contains(job, "n1.other.domain", VolumeId("E")));
    EXPECT_NE(find_pair(job, "n2", "10.8.0.13", VolumeId("E")), nullptr);
    EXPECT_EQ(find_pair(job, "n2", "n2", VolumeId("E")), nullptr);
    EXPECT_EQ(address_of(job, "n3"), "10.8.0.13");
    EXPECT_EQ(systems_of(job), (std::vector<std::string>{"n1.lab.local", "n2.lab.local", "n3.lab.local"}));
}

// Spec: EMC-104, EMC-277, EMC-301, MOP-155, MOP-160
TEST(Jobs, PairsAreReplacedInPlaceAndASystemIsTakenOut) {
    Job job = three_nodes();
    put_pair(job, pair("n2.lab.local;E;10.2.0.12;n1.lab.local;E;10.2.0.11;S"));
    EXPECT_EQ(job.pairs.size(), 3U);
    EXPECT_EQ(to_text(job.pairs[0]), "n1.lab.local;E;10.2.0.11;n2.lab.local;E;10.2.0.12;S");
    EXPECT_TRUE(remove_system(job, "n3"));
    EXPECT_EQ(job.pairs.size(), 1U);
    EXPECT_FALSE(remove_system(job, "n3"));
}

// Spec: MOP-029, MOP-037
TEST(Jobs, AMirrorMovesToAnotherJobAndNothingElse) {
    Job from = three_nodes();
    from.pairs.push_back(pair("n1.lab.local;F;10.8.0.11;n2.lab.local;F;10.8.0.12;A"));
    Job to{"00000000-0000-0000-0000-000000000002", "logs", "", {}, 1};
    ASSERT_TRUE(move_pairs(from, to, VolumeId("F")));
    EXPECT_EQ(from, three_nodes());
    ASSERT_EQ(to.pairs.size(), 1U);
    EXPECT_FALSE(move_pairs(from, to, VolumeId("F")));
    Job other{
        "00000000-0000-0000-0000-000000000003", "other", "", {pair("n9;G;10.8.0.11;n8;G;10.8.0.18;A")}, 1};
    const Job before = other;
    EXPECT_FALSE(move_pairs(from, other, VolumeId("E"))) << "10.8.0.11 is n9's there";
    EXPECT_EQ(from, three_nodes());
    EXPECT_EQ(other, before);
}

struct Stores : testing::Test {
    std::string root = testing::TempDir() + "emcmd_stores";
    runtime::PosixFiles files;
    config::Layout layout{root, ""};
    void SetUp() override { std::filesystem::remove_all(root); }
    void TearDown() override { std::filesystem::remove_all(root); }
};

// Spec: EMC-061, EMC-187, MOP-032, MOP-040, MOP-160, REP-302
TEST_F(Stores, JobsAreKeptAndAnOlderCopyReplacesNothing) {
    JobStore jobs(files, layout);
    EXPECT_TRUE(jobs.all().empty());
    Job job = three_nodes();
    job.version = 4;
    ASSERT_TRUE(jobs.put(job));
    ASSERT_TRUE(jobs.put(job)) << "again";
    EXPECT_EQ(jobs.get(kId), job);
    EXPECT_EQ(jobs.get("{5D0C7F0E-3A61-4F2B-9D3C-0A7B1E6F2C11}"), job);
    Job older = job;
    older.version = 3;
    EXPECT_FALSE(jobs.put(older));
    older.version = 4;
    older.name = "sql";
    EXPECT_FALSE(jobs.put(older)) << "of two of the same number every system keeps the same";
    EXPECT_EQ(jobs.all(), std::vector{job});
    EXPECT_EQ(jobs.get("00000000-0000-0000-0000-000000000000").error().code, Code::not_found);
    EXPECT_EQ(jobs.get("../x").error().code, Code::bad_argument);
    ASSERT_TRUE(
        files.write_atomic(layout.state() + "/jobs/5d0c7f0e-3a61-4f2b-9d3c-0a7b1e6f2c12.json", "{", 0600));
    std::vector<std::string> damaged;
    EXPECT_EQ(jobs.all(&damaged).size(), 1U);
    EXPECT_EQ(damaged.size(), 1U);
    ASSERT_TRUE(jobs.remove(kId));
    ASSERT_TRUE(jobs.remove(kId));
    EXPECT_TRUE(jobs.all().empty());
    ASSERT_TRUE(jobs.put(job));
    ASSERT_TRUE(jobs.bury(kId));
    EXPECT_TRUE(jobs.all().empty());
    job.version = 9;
    EXPECT_FALSE(jobs.put(job)) << "a system that was away does not bring it back";
}

// Spec: EMC-048, EMC-119, EMC-126, EMC-129
TEST_F(Stores, SettingsOfVolumesLastAndTheSwitchoverFlagIsTheBoots) {
    const VolumeId volume("E");
    VolumeSettings settings{"/dev/sdb1", "/data", 384, true, "/snap shots", "/dev/sdc", true};
    {
        VolumeSettingsStore store(files, layout);
        EXPECT_EQ(store.get(volume), VolumeSettings{});
        EXPECT_FALSE(store.get(volume)->block_target);
        ASSERT_TRUE(store.put(volume, settings));
        ASSERT_TRUE(store.set_switchover_flag(volume, true));
    }
    VolumeSettingsStore store(files, layout);
    EXPECT_EQ(store.get(volume), settings);
    EXPECT_EQ(store.all(), std::vector<VolumeId>{volume});
    EXPECT_TRUE(store.switchover_flag(volume));
    ASSERT_TRUE(store.set_switchover_flag(volume, false));
    ASSERT_TRUE(store.set_switchover_flag(volume, false)) << "harmless";
    EXPECT_FALSE(store.switchover_flag(volume));
    ASSERT_TRUE(store.set_switchover_flag(volume, true));
    std::filesystem::remove_all(layout.run());  // what a boot does
    EXPECT_FALSE(store.switchover_flag(volume));
    ASSERT_TRUE(files.write_atomic(layout.state() + "/volumes/F.json", "[1]", 0600));
    EXPECT_FALSE(store.get(VolumeId("F")));
    // As a build that knew no lock areas wrote them.
    ASSERT_TRUE(files.write_atomic(layout.state() + "/volumes/G.json",
                                   R"({"device": "/dev/sdd", "mount_point": "", "attributes": 256,
                                       "block_target": false, "snapshot_location": "", "locked": true})",
                                   0600));
    const auto older = store.get(VolumeId("G"));
    ASSERT_TRUE(older.has_value());
    EXPECT_EQ(older->area, "");
    EXPECT_TRUE(older->locked);
}

}  // namespace
}  // namespace understudy::mirror::emcmd
