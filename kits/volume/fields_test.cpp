#include "kits/volume/fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::kits {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Words with(Words more) {
    more.emplace("mount", "/srv/db");
    return more;
}

std::string refusal(const Words& words) {
    const auto checked = check_fields(words);
    EXPECT_FALSE(checked);
    if (checked) return {};
    EXPECT_EQ(checked.error().code, Code::bad_argument);
    return checked.error().text;
}

const Words kMirror{{"target", "right"},
                    {"device", "/dev/sdb"},
                    {"source_address", "10.0.1.1"},
                    {"target_address", "10.0.1.2"}};

// Spec: KIT-059
TEST(VolumeFields, AWrongWordIsNamed) {
    EXPECT_TRUE(check_fields(with({{"fs", "xfs"}, {"volume_type", "shared"}, {"area", "/dev/sdc"}})));
    EXPECT_TRUE(check_fields(with(kMirror)));
    EXPECT_THAT(refusal({}), HasSubstr("mount="));
    EXPECT_THAT(refusal({{"mount", "srv"}}), HasSubstr("full path"));
    EXPECT_THAT(refusal(with({{"fs", "vfat"}})), HasSubstr("ext4 and xfs can be protected"));
    EXPECT_THAT(refusal(with({{"mont", "/x"}})), HasSubstr("\"mont=\" is not one of"));
    EXPECT_THAT(refusal(with({{"mirror_type", "fast"}})),
                HasSubstr("mirror_type=fast is not one of sync, async"));
    EXPECT_TRUE(check_fields(with({{"mirror_type", "sync,async"}})));
    EXPECT_THAT(refusal(with({{"mirror_type", "sync,"}})), HasSubstr("mirror_type= is not one of"));
    EXPECT_THAT(refusal(with({{"volume_type", "disk"}})), HasSubstr("not one of mirror, shared, mixed"));
    EXPECT_THAT(refusal(with({{"delete_mirror", "maybe"}})), HasSubstr("not one of no, yes"));
    EXPECT_THAT(refusal(with({{"area", "/dev/sdc"}})), HasSubstr("volume_type=shared"));
    EXPECT_THAT(refusal(with({{"volume_type", "shared"}, {"target", "right"}})),
                HasSubstr("is made by its owner"));
    EXPECT_TRUE(check_fields(with({{"volume_type", "mixed"}})));
    EXPECT_THAT(refusal(with({{"volume_type", "mixed"}, {"device", "/dev/sdb"}})),
                HasSubstr("is there before"));
}

// Spec: KIT-068
TEST(VolumeFields, AMirrorIsMadeOfAllOfItsWordsOrNone) {
    EXPECT_EQ(*first_mirror(with({})), std::nullopt);
    EXPECT_EQ(**first_mirror(with(kMirror)),
              (NewMirror{"right", "/dev/sdb", "/dev/sdb", "10.0.1.1", "10.0.1.2", "sync"}));
    auto other = kMirror;
    other["target_device"] = "/dev/vdb";
    other["mirror_type"] = "async";
    EXPECT_EQ((*first_mirror(other))->target_device, "/dev/vdb");
    EXPECT_EQ((*first_mirror(other))->type, "async");
    for (const auto& [key, value] : kMirror) {
        auto words = kMirror;
        words.erase(key);
        const auto made = first_mirror(words);
        ASSERT_FALSE(made) << key;
        EXPECT_EQ(made.error().code, Code::bad_argument);
        EXPECT_THAT(made.error().text, HasSubstr(key + "= is missing"));
    }
    EXPECT_THAT(first_mirror({{"device", "/dev/sdb"}, {"mirror_type", "async"}}).error().text,
                HasSubstr("target=, source_address=, target_address= are missing"));
}

// Spec: KIT-068
TEST(VolumeFields, ADeviceByItselfIsAVolumeThatGetsItsTargetLater) {
    const auto alone = first_mirror(with({{"device", "/dev/sdb"}}));
    ASSERT_TRUE(alone && *alone);
    EXPECT_EQ((*alone)->device, "/dev/sdb");
    EXPECT_EQ((*alone)->target, "");
}

// Spec: KIT-068
TEST(VolumeFields, OneTargetMoreIsTheNodeThatIsExtendedTo) {
    auto words = kMirror;
    EXPECT_THAT(one_target_more(words, "third").error().text, HasSubstr("target: the target is third"));
    words.erase("target");
    EXPECT_EQ(**one_target_more(words, "third"),
              (NewMirror{"third", "/dev/sdb", "/dev/sdb", "10.0.1.1", "10.0.1.2", "sync"}));
    words.erase("target_address");
    EXPECT_THAT(one_target_more(words, "third").error().text, HasSubstr("target_address= is missing"));
    EXPECT_EQ(*one_target_more(with({}), "third"), std::nullopt);
}

// Spec: KIT-072
TEST(VolumeFields, WhatIsSaidOnceIsNotKeptAndTheKitsOwnMirrorIsDeletedUnlessToldOtherwise) {
    auto words = with(kMirror);
    words["options"] = "noatime,nodev ro";
    EXPECT_EQ(*information(lasting(words)), "mount=/srv/db options=\"noatime,nodev ro\"");
    const auto made = noted(words, "left");
    EXPECT_EQ(*information(made),
              "delete_mirror=yes mirror_made=left mount=/srv/db options=\"noatime,nodev ro\"");
    EXPECT_EQ(*information(lasting(made)), "delete_mirror=yes mount=/srv/db options=\"noatime,nodev ro\"");
    words["delete_mirror"] = "no";
    EXPECT_EQ(noted(words, "left").at("delete_mirror"), "no");
    EXPECT_FALSE(information({{"mount", "/a\"b"}}));
}

TEST(VolumeFields, TheStatusOfAMirrorIsRead) {
    constexpr std::string_view kStatus = R"({"node": "left", "mirrors": [
        {"volume": "logs", "role": "source", "peer": "right", "peers": [{"node": "right"}, {"node": "third"}]},
        {"volume": "data", "role": "target", "state": "mirroring", "peer": "third", "peers": [{"node": "third"}]}]})";
    const auto logs = *parse_status(kStatus, "logs");
    ASSERT_TRUE(logs);
    EXPECT_TRUE(logs->source);
    EXPECT_EQ(logs->source_node, "left");
    EXPECT_THAT(logs->peers, ElementsAre("right", "third"));
    EXPECT_TRUE(logs->has("third"));
    EXPECT_FALSE(logs->has("fourth"));
    const auto data = *parse_status(kStatus, "data");
    ASSERT_TRUE(data);
    EXPECT_FALSE(data->source);
    EXPECT_TRUE(data->mirroring && !logs->mirroring);
    EXPECT_EQ(data->source_node, "third");
    EXPECT_EQ(*parse_status(kStatus, "dat"), std::nullopt);
    for (const auto* text : {"", "no mirrors\n", "{}", R"({"mirrors": 1})"})
        EXPECT_EQ(parse_status(text, "data").error().code, Code::internal) << text;
}

TEST(VolumeFields, TheConfigurationMaskIsRead) {
    EXPECT_EQ(*parse_attributes("** Calling **\nLK Config                  IS enabled\n"
                                "Configuration mask         = 288 (120h)\n"),
              288U);
    for (const auto* text :
         {"", "Configuration mask", "Configuration mask = x", "Configuration mask = 70000"})
        EXPECT_FALSE(parse_attributes(text)) << text;
}

}  // namespace
}  // namespace understudy::kits
