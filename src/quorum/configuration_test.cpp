#include "quorum/configuration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::quorum {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;

Configuration of(const std::string& text, std::size_t nodes = 3) {
    std::vector<std::string> problems;
    const auto settings = config::Settings::parse_leniently(text, problems);
    return configuration_of(settings, nodes, problems);
}

std::set<NodeName> names(std::initializer_list<const char*> list) {
    std::set<NodeName> result;
    for (const auto* name : list)
        result.emplace(name);
    return result;
}

Result<StorageConfiguration> captured(const std::string& text,
                                      const std::set<NodeName>& nodes = names({"alpha", "beta"})) {
    std::vector<std::string> problems;
    return capture(config::Settings::parse_leniently(text, problems), NodeName("alpha"), nodes);
}

const std::string kTwoFiles =
    "QWK_STORAGE_TYPE=file\nQWK_STORAGE_OBJECT_ALPHA=/qwk/A\nQWK_STORAGE_OBJECT_BETA=/qwk/B\n";

// Spec: QUO-001, QUO-003, QUO-007, QUO-022, QUO-025
TEST(Settings, NothingIsOnUntilItIsConfigured) {
    const auto none = of("");
    EXPECT_FALSE(none.on());
    EXPECT_FALSE(none.fences());
    EXPECT_EQ(none, of("QUORUM_MODE=none\nWITNESS_MODE=none\n"));
    EXPECT_EQ(none, of("QUORUM_MODE=off\nWITNESS_MODE=off\n"));
    EXPECT_THAT(config::sample_settings(), HasSubstr("\nQUORUM_MODE=none\n"));
}

// Spec: QUO-002, QUO-005
TEST(Settings, ComeFromTheDefaultsFileWithTheManualsDefaults) {
    const auto read =
        of("# a comment\n QUORUM_MODE = "
           "\"Majority\"\nQUORUM_MODE=MAJORITY\nWITNESS_MODE=Remote_Verify\nSOMETHING=else\n");
    EXPECT_EQ(read.mode, Mode::majority);
    EXPECT_EQ(read.witness, WitnessMode::remote_verify);
    EXPECT_EQ(read.quarantine, 300s);
    EXPECT_EQ(read.stop_grace, 10s);
    EXPECT_EQ(read.failover_delay, std::nullopt);
    EXPECT_FALSE(read.reevaluate);
    EXPECT_FALSE(read.debug);
    EXPECT_TRUE(read.fences());
    EXPECT_TRUE(of("QUORUM_DEBUG=1\n").debug);
}

// Spec: QUO-008, QUO-009, QUO-062
TEST(Settings, InvalidValuesHaveTheirDefaultAndZeroIsTheManualsBehaviour) {
    EXPECT_EQ(of("QUORUM_LOSS_ACTION=reboot\n"), of("QUORUM_LOSS_ACTION=osu\n"));
    EXPECT_EQ(of("QUORUM_QUARANTINE_SECS=-1\n").quarantine, 300s);
    EXPECT_EQ(of("QUORUM_QUARANTINE_SECS=0\n").quarantine, 0s);
    const auto manual =
        of("QUORUM_MODE=majority\nWITNESS_MODE=remote_verify\nQUORUM_FAILOVER_DELAY_SECS=0\n");
    EXPECT_EQ(manual.failover_delay, runtime::Duration(0));
    EXPECT_FALSE(manual.fences());
}

// Spec: QUO-016, QUO-017, QUO-018, QUO-019
TEST(Combinations, EveryCellOfTheTable) {
    struct Cell {
        const char* quorum;
        const char* witness;
        std::size_t least;  // nodes; 0: not allowed
        std::size_t most;
    };
    for (const auto& cell :
         {Cell{"majority", "remote_verify", 3, 32}, Cell{"storage", "remote_verify", 0, 0},
          Cell{"none", "remote_verify", 3, 32}, Cell{"majority", "storage", 0, 0},
          Cell{"storage", "storage", 2, 4}, Cell{"none", "storage", 0, 0}, Cell{"majority", "none", 3, 32},
          Cell{"storage", "none", 0, 0}, Cell{"none", "none", 1, 32}})
        for (std::size_t nodes = 1; nodes <= 6; ++nodes) {
            const auto read =
                of(fmt::format("QUORUM_MODE={}\nWITNESS_MODE={}\n", cell.quorum, cell.witness), nodes);
            const bool allowed = cell.least != 0 && nodes >= cell.least && nodes <= cell.most;
            EXPECT_EQ(read.error.empty(), allowed) << cell.quorum << " " << cell.witness << " " << nodes;
        }
    EXPECT_THAT(of("QUORUM_MODE=majority\n").warnings, testing::SizeIs(1));
    EXPECT_THAT(of("WITNESS_MODE=remote_verify\n").warnings, testing::SizeIs(1));
    EXPECT_THAT(of("QUORUM_MODE=majority\nWITNESS_MODE=remote_verify\n").warnings, IsEmpty());
}

// Spec: QUO-021
TEST(Combinations, MisspeltModeIsAnErrorAndNotOff) {
    const auto read = of("QUORUM_MODE=majorty\n");
    EXPECT_THAT(read.error, HasSubstr("majorty"));
    EXPECT_TRUE(read.on());
    EXPECT_FALSE(read.fences());
}

// Spec: QUO-020
TEST(Combinations, RecommendationFollowsTheNumberOfNodes) {
    EXPECT_EQ(recommendation(2), "storage");
    EXPECT_EQ(recommendation(4), "storage");
    for (const std::size_t nodes : {3, 5, 6})
        EXPECT_EQ(recommendation(nodes), "majority with remote_verify");
}

// Spec: QUO-010
TEST(Objects, KeyIsTheNameInUpperCaseWithUnderscores) {
    EXPECT_EQ(object_key(NodeName("LKSIOS-1")), "QWK_STORAGE_OBJECT_LKSIOS_1");
    EXPECT_EQ(object_key(NodeName("node-a.example")), "QWK_STORAGE_OBJECT_NODE_A_EXAMPLE");
}

// Spec: QUO-011
TEST(Objects, TwoNamesWithOneKeyAreRefusedWithBothNames) {
    const auto refused =
        captured("QWK_STORAGE_TYPE=file\nQWK_STORAGE_OBJECT_ALPHA=/q/A\nQWK_STORAGE_OBJECT_N_1=/q/N\n",
                 names({"alpha", "n-1", "n_1"}));
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text, HasSubstr("n-1"));
    EXPECT_THAT(refused.error().text, HasSubstr("n_1"));
}

// Spec: QUO-012, QUO-013, QUO-005, QUO-100
TEST(Objects, FileTakesOnePathAndS3UpToTwoUris) {
    EXPECT_TRUE(captured(kTwoFiles));
    EXPECT_FALSE(captured("QWK_STORAGE_TYPE=file\nQWK_STORAGE_OBJECT_ALPHA=/qwk/A\n")) << "beta has none";
    EXPECT_FALSE(captured("QWK_STORAGE_OBJECT_ALPHA=/qwk/A\nQWK_STORAGE_OBJECT_BETA=/qwk/B\n")) << "no type";
    const auto with_alpha = [](const std::string& type, const std::string& value) {
        return captured(fmt::format(
            "QWK_STORAGE_TYPE={}\nQWK_STORAGE_OBJECT_ALPHA={}\nQWK_STORAGE_OBJECT_BETA={}\n", type, value,
            type == "file"                         ? "/qwk/B"
            : value.find(',') == std::string::npos ? "s3://east/B"
                                                   : "s3://east/B,s3://west/B"));
    };
    for (const auto* wrong : {"relative", "/a/directory/", "/a,/b", "s3://b/k"})
        EXPECT_FALSE(with_alpha("file", wrong)) << wrong;
    EXPECT_FALSE(with_alpha("file", "/" + std::string(kMaxObjectPath, 'x')));
    for (const auto* right : {"s3://east/A", "s3://east/prefix/A", "s3://east/A,s3://west/A"})
        EXPECT_TRUE(with_alpha("aws_s3", right)) << right;
    for (const auto* wrong : {"/qwk/A", "s3://east", "s3:///A", "s3://east/", "s3://a/A,s3://b/A,s3://c/A"})
        EXPECT_FALSE(with_alpha("aws_s3", wrong)) << wrong;
}

// Spec: QUO-083
TEST(Objects, OfAllNodesLieTogether) {
    const auto with = [](const std::string& type, const std::string& alpha, const std::string& beta) {
        return captured(
            fmt::format("QWK_STORAGE_TYPE={}\nQWK_STORAGE_OBJECT_ALPHA={}\nQWK_STORAGE_OBJECT_BETA={}\n",
                        type, alpha, beta));
    };
    EXPECT_TRUE(with("file", "/mnt/qwk/A", "/mnt/qwk/B"));
    const auto apart = with("file", "/mnt/qwk/A", "/mnt/other/B");
    ASSERT_FALSE(apart);
    EXPECT_THAT(apart.error().text, HasSubstr("the same directory"));
    EXPECT_TRUE(with("aws_s3", "s3://east/q/A,s3://west/A", "s3://east/B,s3://west/q/B"));
    EXPECT_FALSE(with("aws_s3", "s3://east/A", "s3://west/B"));
    EXPECT_FALSE(with("aws_s3", "s3://east/A,s3://west/A", "s3://east/B"));
    EXPECT_FALSE(with("aws_s3", "s3://east/A,s3://west/A", "s3://west/B,s3://east/B"));
}

// Spec: QUO-089, QUO-090, QUO-091, QUO-092
TEST(Times, StorageHeartbeatsAreNoShorterThanThoseOfThePaths) {
    const auto plain = captured(kTwoFiles);
    ASSERT_TRUE(plain);
    EXPECT_EQ(plain->dead_after(), 24s);
    EXPECT_EQ(plain->stale_after(), 12s);
    EXPECT_EQ(plain->lcm_hbeattime_s, 5);
    EXPECT_EQ(plain->lcm_numhbeats, 3);
    EXPECT_FALSE(captured(kTwoFiles + "LCMNUMHBEATS=9\n"));
    const auto recommended = captured(kTwoFiles + "LCMNUMHBEATS=9\nQWK_STORAGE_NUMHBEATS=9\n");
    ASSERT_TRUE(recommended);
    EXPECT_EQ(recommended->dead_after(), 54s);
    EXPECT_THAT(warnings_about(*plain, 30s), testing::SizeIs(1));
    EXPECT_THAT(warnings_about(*recommended, 45s), IsEmpty());
}

// Spec: QUO-127, QUO-006
TEST(Captured, IsKeptAsTextAndChecked) {
    auto two = captured(
        "QWK_STORAGE_TYPE=aws_s3\nQWK_STORAGE_OBJECT_ALPHA=s3://e/A,s3://w/A\n"
        "QWK_STORAGE_OBJECT_BETA=s3://e/B,s3://w/B\nQWK_STORAGE_S3_ENDPOINT=http://one:1,http://two:2\n");
    ASSERT_TRUE(two);
    const auto text = encode(*two);
    EXPECT_EQ(decode_storage(text), *two);
    struct Wrong {
        std::string from;
        std::string to;
        int number;
    };
    for (const auto& [from, to, number] :
         {Wrong{"hbeattime=6", "hbeattime=4", 18115}, Wrong{"numhbeats=4", "numhbeats=2", 18116},
          Wrong{"timeout_multiplier=2", "timeout_multiplier=0", 18117},
          Wrong{"lcmhbeattime=5", "lcmhbeattime=x", 18118}, Wrong{"lcmnumhbeats=3", "lcmnumhbeats=0", 18119},
          Wrong{"aws_s3", "tape", 18120}, Wrong{"my_node=alpha", "my_node=", 18121},
          Wrong{"number_of_node=2", "number_of_node=3", 18122},
          Wrong{"number_of_object=2", "number_of_object=7", 18123},
          Wrong{"qwk_object_node=alpha", "qwk_object_node=", 18124}, Wrong{"s3://e/A", "e/A", 18125},
          Wrong{"my_node=alpha", "my_node=gamma", 18126},
          Wrong{"qwk_object_path=s3://e/A,s3://w/A\n", "", 18113}, Wrong{"endpoint=", "colour=", 18114}}) {
        auto broken = text;
        const auto at = broken.find("\n" + from);
        broken.replace(at == std::string::npos ? broken.find(from) : at + 1, from.size(), to);
        const auto decoded = decode_storage(broken);
        ASSERT_FALSE(decoded) << to;
        EXPECT_EQ(decoded.error().number, number) << to;
    }
}

}  // namespace
}  // namespace understudy::quorum
