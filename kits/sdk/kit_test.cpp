#include "kits/sdk/kit.h"

#include <gtest/gtest.h>

#include <fstream>

namespace understudy::kits {
namespace {

TEST(KitInfo, IsKeyValueWordsWithQuotes) {
    const auto info = parse_info("mount=/srv/db options=\"noatime,nodev ro\" fs=ext4");
    ASSERT_TRUE(info);
    EXPECT_EQ(info->at("mount"), "/srv/db");
    EXPECT_EQ(info->at("options"), "noatime,nodev ro");
    EXPECT_EQ(info->at("fs"), "ext4");
    EXPECT_TRUE(parse_info("")->empty());
}

TEST(KitInfo, MalformedWordsAreErrors) {
    for (const auto* text : {"mount", "=x", "a=\"open", "a b=c"})
        EXPECT_FALSE(parse_info(text)) << text;
}

// Spec: CLU-152
TEST(KitInfo, AMissingValueTellsHowToSetIt) {
    Instance instance;
    instance.tag = Tag("db");
    const auto value = instance.required("mount");
    ASSERT_FALSE(value);
    EXPECT_NE(value.error().text.find("ins_setin -t db"), std::string::npos);
}

// Spec: REP-026
TEST(KitHolders, NamesTheProcessThatKeepsAFileOpen) {
    const auto directory = testing::TempDir() + "kit-holders";
    std::system(
        ("mkdir -p " + directory + " && (cd " + directory + " && exec sleep 30 >held 2>&1 &)").c_str());
    EXPECT_TRUE(wait_until(std::chrono::seconds(5),
                           [&] { return holders_of(directory).find("sleep(") != std::string::npos; }));
    const auto holders = holders_of(directory);
    const auto at = holders.find("sleep(");
    if (at != std::string::npos)
        std::system(("kill " + holders.substr(at + 6, holders.find(')', at) - at - 6)).c_str());
}

}  // namespace
}  // namespace understudy::kits
