#include "quorum/helper_storage.h"

#include <gtest/gtest.h>

namespace understudy::quorum {
namespace {

const NodeName kAlpha("alpha");
const NodeName kBeta("beta");

Storage::Request two_buckets() {
    Storage::Request request;
    request.configuration.type = StorageType::aws_s3;
    request.configuration.self = kAlpha;
    request.configuration.objects = {{kAlpha, {"s3://e/A", "s3://w/A"}}, {kBeta, {"s3://e/B", "s3://w/B"}}};
    request.configuration.endpoints = "http://one:1,http://two:2";
    request.own = encode(Object{kAlpha, "now", 3, {{kBeta, CommStat::up}}});
    return request;
}

// Spec: QUO-030: the own write and the reading of the peers are one activity.
TEST(Helper, ArgumentsSayTheWholeCycle) {
    const auto request = two_buckets();
    const auto task = parse_helper_arguments(helper_arguments(request));
    ASSERT_TRUE(task);
    EXPECT_EQ(task->type, StorageType::aws_s3);
    EXPECT_EQ(task->endpoints, (std::vector<std::string>{"http://one:1", "http://two:2"}));
    EXPECT_TRUE(task->regions.empty());
    EXPECT_EQ(task->write_paths, request.configuration.objects.at(kAlpha));
    EXPECT_EQ(task->record, request.own) << "padded again";
    ASSERT_EQ(task->reads.size(), 2U);
    EXPECT_EQ(task->reads[1].first, kBeta);
}

// Spec: QUO-129
TEST(Helper, WrongArgumentsAreUsage) {
    for (const auto& words : {std::vector<std::string>{},
                              {"tape", "", ""},
                              {"file", "", "", "read", "alpha"},
                              {"file", "", "", "dance", "a", "b"},
                              {"file", "", "", "write", "/a", std::string(kObjectBytes + 1, 'x')}}) {
        const auto task = parse_helper_arguments(words);
        ASSERT_FALSE(task);
        EXPECT_EQ(task.error().number, 18104);
    }
}

// Spec: QUO-097
TEST(Helper, OutputSaysWhatBecameOfEachPart) {
    const auto request = two_buckets();
    const auto output =
        write_line({}) + object_line(kAlpha, request.own) +
        object_line(kBeta, fail(Error{Code::failure, "get s3://e/B: 500 out\nof order", 18216})) +
        "note 18217 put s3://w/A: refused\n";
    const auto outcome = read_helper_output(request, output);
    EXPECT_TRUE(outcome.write);
    EXPECT_EQ(decode_object(*outcome.objects.at(kAlpha), kAlpha),
              (Object{kAlpha, "now", 3, {{kBeta, CommStat::up}}}));
    EXPECT_EQ(outcome.objects.at(kBeta).error().number, 18216);
    EXPECT_EQ(outcome.objects.at(kBeta).error().text, "get s3://e/B: 500 out of order");
    ASSERT_EQ(outcome.notes.size(), 1U);
    EXPECT_EQ(outcome.notes[0].number, 18217);
}

TEST(Helper, SilenceAndNonsenseAreFailures) {
    const auto request = two_buckets();
    for (const auto* output : {"", "write", "object alpha ok zz\nobject nobody ok 00\n", "\n\n"}) {
        const auto outcome = read_helper_output(request, output);
        EXPECT_FALSE(outcome.write) << output;
        EXPECT_FALSE(outcome.objects.at(kAlpha)) << output;
        EXPECT_EQ(outcome.objects.size(), 2U);
    }
}

}  // namespace
}  // namespace understudy::quorum
