// The cells of replicated volumes.

#include "daemons/volume_cells.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace understudy::daemons {
namespace {

using nlohmann::json;

constexpr std::uint64_t kSize = 1000 << 16;

using Objects = std::vector<json>;
using Views = std::map<std::string, json>;

json list(const Objects& objects) {
    json out = json::array();
    for (const json& one : objects)
        out.push_back(one);
    return out;
}
/// The one mirror of a server.
json source_with(const Objects& targets) {
    const json one{{"volume", "data"},
                   {"role", "source"},
                   {"state", "mirroring"},
                   {"size", kSize},
                   {"targets", list(targets)}};
    return list({one});
}
json target(const char* peer, const char* state, std::uint64_t dirty_blocks = 0) {
    return {{"peer", peer}, {"state", state}, {"dirty_bytes", dirty_blocks << 16}};
}
json target_view(const char* state) {
    const json one{
        {"volume", "data"}, {"role", "target"}, {"state", state}, {"size", kSize}, {"dirty_bytes", 0}};
    return list({one});
}

json row(const char* type, const Views& shown) {
    json instances = json::object();
    for (const auto& [node, text] : shown)
        instances[node]["shown"] = text;
    return {{"type", type}, {"id", "data"}, {"instances", instances}};
}

/// The cells of volume data, in service on a and standing by on b and c, with what the mirrors say.
json cells(const Views& mirrors, const char* shown_on_a = "Active") {
    json resources = list({row("volume", {{"a", shown_on_a}, {"b", "StandBy"}, {"c", "StandBy"}})});
    show_mirrors(resources, json(mirrors));
    return resources[0]["instances"];
}

// Spec: REP-357, GUI-084
TEST(VolumeCells, ACopyIsShownAsItsSourceSaysIt) {
    const std::pair<const char*, const char*> words[] = {{"mirroring", "Mirroring"},
                                                         {"resync", "Resync"},
                                                         {"resync pending", "Resync Pending"},
                                                         {"paused", "Paused"},
                                                         {"broken", "Broken"}};
    for (const auto& [state, shown] : words) {
        // What b remembers is older.
        const json found = cells({{"a", source_with({target("b", state), target("c", "mirroring")})},
                                  {"b", target_view("mirroring")},
                                  {"c", target_view("mirroring")}});
        EXPECT_EQ(found["a"]["shown"], "Active");
        EXPECT_FALSE(found["a"].contains("mirror"));
        EXPECT_EQ(found["b"]["shown"], shown);
        EXPECT_EQ(found["b"]["mirror"]["state"], state);
        EXPECT_EQ(found["c"]["shown"], "Mirroring");
    }
}

// Spec: REP-357
TEST(VolumeCells, WhatIsLeftToCopyIsShownAsAPart) {
    const auto percent = [](std::uint64_t dirty) {
        const json found =
            cells({{"a", source_with({target("b", "resync", dirty)})}, {"b", target_view("resync")}});
        return found["b"]["mirror"].value("percent", -1);
    };
    EXPECT_EQ(percent(1000), 0);
    EXPECT_EQ(percent(570), 43);
    EXPECT_EQ(percent(1), 99);
    EXPECT_EQ(percent(0), -1) << "nothing is left";
    const json found = cells({{"a", source_with({target("b", "paused", 3)})}, {"b", target_view("paused")}});
    EXPECT_EQ(found["b"]["mirror"]["left_bytes"], 3U << 16);
}

// Spec: REP-357, GUI-082
TEST(VolumeCells, WithoutASourceACopySaysWhatItRemembersAndASourceOutOfServiceIsOffline) {
    json found = cells({{"b", target_view("paused")}, {"c", json::array()}}, "Unknown");
    EXPECT_EQ(found["a"]["shown"], "Unknown");
    EXPECT_EQ(found["b"]["shown"], "Paused");
    EXPECT_EQ(found["c"]["shown"], "StandBy") << "nothing is known";
    found =
        cells({{"a", source_with({target("b", "mirroring")})}, {"b", target_view("mirroring")}}, "StandBy");
    EXPECT_EQ(found["a"]["shown"], "Offline");
    EXPECT_EQ(found["b"]["shown"], "Mirroring");
    // States that say more stay.
    found = cells({{"a", source_with({target("b", "mirroring")})}}, "Failed");
    EXPECT_EQ(found["a"]["shown"], "Failed");
}

TEST(VolumeCells, OtherResourcesAndAnswersThatAreNoneChangeNothing) {
    json resources = list({row("ip", {{"a", "Active"}, {"b", "StandBy"}})});
    const json before = resources;
    const Views mirrors{{"a", source_with({target("b", "paused")})}, {"b", target_view("paused")}};
    show_mirrors(resources, json(mirrors));
    EXPECT_EQ(resources, before);
    const json found = cells({{"a", "no answer"}, {"b", nullptr}});
    EXPECT_EQ(found["b"]["shown"], "StandBy");
}

}  // namespace
}  // namespace understudy::daemons
