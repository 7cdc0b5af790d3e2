// The notes as flags, and when they speak against an end.

#include "mirror/control/cluster_notes.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

const BehindNote kNote{VolumeId("data"), "left", "07ff", 3, 0xabcdULL, 1'700'000'000};

TEST(ClusterNotes, ANoteIsAFlagAndComesBack) {
    EXPECT_EQ(to_flag(kNote), "!mirrorbehind!data!left!07ff!3!000000000000abcd!1700000000");
    const auto back = note_of_flag(to_flag(kNote));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, kNote);
}

TEST(ClusterNotes, OtherFlagsAreNoNotes) {
    for (const char* flag :
         {"", "!nofailover!right", "Maintenance_data", "!mirrorbehind", "!mirrorbehind!data!left!07ff!3!abcd",
          "!mirrorbehindx!data!left!07ff!3!abcd!1", "!mirrorbehind!data!left!07ff!-3!abcd!1",
          "!mirrorbehind!data!left!07ff!3!0!1", "!mirrorbehind!!left!07ff!3!abcd!1",
          "!mirrorbehind!data!left!!3!abcd!1", "!mirrorbehind!data!left!07ff!3!abcdx!1",
          "!mirrorbehind!data!left!07ff!3!abcd!1!2"})
        EXPECT_FALSE(note_of_flag(flag)) << flag;
}

// Spec: REP-079
TEST(ClusterNotes, ANoteSpeaksOnlyAgainstAnEndThatLacksItsGeneration) {
    Generations old;
    old.current = 7;
    EXPECT_TRUE(is_behind(kNote, "right", "07ff", 3, old));
    EXPECT_TRUE(
        is_behind(kNote, "right", "07ff", 2, old));  // never in sync with the promotion that the note is of
    EXPECT_FALSE(is_behind(kNote, "left", "07ff", 3, old));   // its own
    EXPECT_FALSE(is_behind(kNote, "right", "07ff", 4, old));  // followed a promotion since
    EXPECT_FALSE(is_behind(kNote, "right", "08ff", 1, old));  // of a mirror that is no more
    Generations synced{0xabcd, {7}, 0, false};
    EXPECT_FALSE(is_behind(kNote, "right", "07ff", 3, synced));
    synced = {9, {0xabcd, 7}, 0, false};
    EXPECT_FALSE(is_behind(kNote, "right", "07ff", 3, synced));
}

// Spec: REP-146
TEST(ClusterNotes, ANoteOfAPromotionSinceTheLossOfTheLinkIsATakeover) {
    Generations old;
    old.current = 7;
    const auto lost = kNote.since_s - 20;
    EXPECT_TRUE(is_takeover(kNote, "right", "07ff", 2, old, lost));
    EXPECT_TRUE(is_takeover(kNote, "right", "07ff", 2, old, kNote.since_s + 30)) << "clocks differ";
    EXPECT_FALSE(is_takeover(kNote, "right", "07ff", 2, old, kNote.since_s + 3600))
        << "left over from before";
    EXPECT_FALSE(is_takeover(kNote, "right", "07ff", 3, old, lost)) << "of a source that was there before";
    EXPECT_FALSE(is_takeover(kNote, "left", "07ff", 2, old, lost)) << "its own";
    EXPECT_FALSE(is_takeover(kNote, "right", "07ff", 2, Generations{0xabcd, {7}, 0, false}, lost))
        << "followed";
}

}  // namespace
}  // namespace understudy::mirror::control
