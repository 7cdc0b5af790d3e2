#include "daemons/value_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace understudy::daemons {
namespace {

using ::testing::HasSubstr;

/// Files in memory; writing to `broken` fails.
class MemoryFiles final : public runtime::Files {
  public:
    std::map<std::string, std::string> content;
    std::string broken;

    [[nodiscard]] Result<std::string> read(const std::string& path) const override {
        const auto at = content.find(path);
        if (at == content.end()) return fail(Code::not_found, "no {}", path);
        return at->second;
    }
    Result<> write_atomic(const std::string& path, std::string_view text, int /*mode*/) override {
        if (path == broken) return fail(Code::failure, "{}: disk full", path);
        content[path] = text;
        return {};
    }
    Result<> remove(const std::string& path) override {
        content.erase(path);
        return {};
    }
    Result<> make_directories(const std::string& /*path*/, int /*mode*/) override { return {}; }
    [[nodiscard]] bool exists(const std::string& path) const override { return content.contains(path); }
    [[nodiscard]] bool executable(const std::string& /*path*/) const override { return false; }
    [[nodiscard]] std::vector<std::string> list(const std::string& /*directory*/) const override {
        return {};
    }
};

Substitutions values(std::map<std::string, std::string> map) {
    Substitutions result;
    result.values = std::move(map);
    return result;
}

std::string changed(std::string_view text, std::map<std::string, std::string> map) {
    std::vector<FoundValue> found;
    return change_text(text, values(std::move(map)), "file", found);
}

config::NodeConfig example() {
    config::NodeConfig config;
    config.systems = {NodeName("A"), NodeName("B")};
    config::Instance vol;
    vol.tag = Tag("Vol.A");
    vol.id = ResourceId("A:/data");
    vol.info = "on A at 10.0.0.1";
    config.instances[vol.tag] = vol;
    config::Instance web;
    web.tag = Tag("web");
    web.id = ResourceId("web");
    config.instances[web.tag] = web;
    config.dependencies.push_back({Tag("web"), Tag("Vol.A"), 1});
    config.equivalencies.push_back({Tag("web"), NodeName("B"), Tag("web"), {1}, {10}, 1});
    config::Path path;
    path.remote = NodeName("B");
    path.device = "TCP:1500";
    path.local_address = "10.0.0.1";
    path.remote_address = "10.0.0.10";
    config.paths.push_back(path);
    return config;
}

// Spec: CMD-103
TEST(ValueChanges, AFileHasOneSubstitutionALine) {
    const auto parsed = parse_substitutions("# hosts\nA=X\n\n10.0.0.1=10.0.0.9\na=b=c\n");
    ASSERT_TRUE(parsed) << parsed.error().text;
    EXPECT_EQ(parsed->at("A"), "X");
    EXPECT_EQ(parsed->at("a"), "b=c");
    for (const auto* wrong : {"A\n", "=X\n", "A=\n", "A=X\nA=Y\n", "# nothing\n"})
        EXPECT_EQ(parse_substitutions(wrong).error().code, Code::syntax) << wrong;
}

// Spec: CMD-105
TEST(ValueChanges, OnlyValuesThatStandByThemselvesAreFoundInText) {
    EXPECT_EQ(changed("10.0.0.1 10.0.0.10 10.0.0.1/24 x10.0.0.1", {{"10.0.0.1", "9.9.9.9"}}),
              "9.9.9.9 10.0.0.10 9.9.9.9/24 x10.0.0.1");
    EXPECT_EQ(changed("nodeA:nodeA-b:[nodeA]", {{"nodeA", "X"}}), "X:nodeA-b:[X]");
}

// Spec: CMD-105
TEST(ValueChanges, AllSubstitutionsAreMadeAtOnce) {
    EXPECT_EQ(changed("A B A", {{"A", "B"}, {"B", "A"}}), "B A B");
}

// Spec: CMD-103, CMD-105
TEST(ValueChanges, NamesAddressesTagsAndIdsChangeEverywhere) {
    std::vector<FoundValue> found;
    const auto result = change_values(
        example(), values({{"A", "B"}, {"B", "A"}, {"10.0.0.1", "10.0.1.1"}, {"Vol.A", "Vol.B"}}), found);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->systems, (std::set<NodeName>{NodeName("A"), NodeName("B")})) << "swapped";
    EXPECT_EQ(result->paths[0].remote, NodeName("A"));
    EXPECT_EQ(result->paths[0].local_address, "10.0.1.1");
    EXPECT_EQ(result->paths[0].remote_address, "10.0.0.10");
    const auto* vol = result->find(Tag("Vol.B"));
    ASSERT_NE(vol, nullptr);
    EXPECT_EQ(vol->id, ResourceId("B:/data"));
    EXPECT_EQ(vol->info, "on B at 10.0.1.1");
    EXPECT_EQ(result->dependencies[0].child, Tag("Vol.B"));
    EXPECT_EQ(result->equivalencies[0].other_node, NodeName("A"));
    EXPECT_FALSE(found.empty());
}

// Spec: CMD-103, CMD-104
TEST(ValueChanges, AWholeIdIsReplacedOnlyOnRequest) {
    std::vector<FoundValue> found;
    auto wanted = values({{"web", "www"}});
    EXPECT_EQ(change_values(example(), wanted, found).error().code, Code::bad_argument);
    wanted.ids = false;
    auto result = change_values(example(), wanted, found);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->find(Tag("www"))->id, ResourceId("web"));
    wanted.ids = true;
    wanted.whole_ids = true;
    wanted.tags = false;
    result = change_values(example(), wanted, found);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->find(Tag("web"))->id, ResourceId("www"));
}

TEST(ValueChanges, WhatWouldBecomeTheSameIsRefused) {
    std::vector<FoundValue> found;
    EXPECT_FALSE(change_values(example(), values({{"A", "B"}}), found));
    auto tags = values({{"web", "Vol.A"}});
    tags.ids = false;
    EXPECT_FALSE(change_values(example(), tags, found));
}

// Spec: CMD-105
TEST(ValueChanges, FilesAreReplacedAllOrNone) {
    MemoryFiles files;
    files.content = {{"/a", "1"}, {"/b", "2"}, {"/gone", "3"}};
    const FileChanges changes{{"/a", "x"}, {"/b", "y"}, {"/gone", std::nullopt}, {"/new", "z"}};
    auto broken = files;
    broken.broken = "/new";
    const auto failed = replace_files(broken, changes, "/keep");
    ASSERT_FALSE(failed);
    EXPECT_THAT(failed.error().text, HasSubstr("disk full"));
    EXPECT_EQ(broken.content.at("/a"), "1");
    EXPECT_EQ(broken.content.at("/gone"), "3");
    EXPECT_FALSE(broken.exists("/new"));

    ASSERT_TRUE(replace_files(files, changes, "/keep"));
    EXPECT_EQ(files.content, (std::map<std::string, std::string>{{"/a", "x"}, {"/b", "y"}, {"/new", "z"}}));
    EXPECT_EQ(restore_files(files, "/keep"), Result<bool>(false)) << "nothing to undo";
}

// Spec: CMD-105
TEST(ValueChanges, ARunThatWasCutOffIsUndoneByTheNext) {
    MemoryFiles files;
    files.content = {{"/a", "half"}, {"/keep/index", "420 /a\n0 /new\n"}, {"/keep/0", "1"}, {"/new", "z"}};
    EXPECT_EQ(restore_files(files, "/keep"), Result<bool>(true));
    EXPECT_EQ(files.content.at("/a"), "1");
    EXPECT_FALSE(files.exists("/new"));
}

}  // namespace
}  // namespace understudy::daemons
