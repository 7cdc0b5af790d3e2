// The record of a shared volume's mirror in the lock area: which counts, and what a torn write leaves.

#include "mirror/shared/mirror_state.h"

#include "mirror/log/log_region.h"

#include <gtest/gtest.h>

namespace understudy::mirror::shared {
namespace {

constexpr std::uint64_t kArea = 0x1234;

struct Area {
    std::string bytes = std::string(states_bytes(3), '\0');
    void write(std::uint32_t slot, unsigned copy, const StateRecord& record, std::uint64_t area = kArea) {
        bytes.replace(offset_of_record(slot, copy) - kRecordsAt, kRecordBytes, encode(record, area));
    }
    [[nodiscard]] States read() const { return decode_states(bytes, 3, kArea); }
};

// Spec: MOP-067, EMC-039
TEST(MirrorState, TheRecordOfTheNewestOwnerCountsHoweverMuchAFormerOneHasWritten) {
    Area area;
    EXPECT_FALSE(area.read().newest);
    area.write(0, 0, {7, 100, "of the first"});
    area.write(0, 1, {7, 101, "of the first, later"});
    area.write(2, 1, {8, 1, "of the third"});
    States found = area.read();
    ASSERT_EQ(found.newest, 2U);
    EXPECT_EQ(found.slots[2].record->text, "of the third");
    EXPECT_EQ(found.slots[0].copy, 1U);
    EXPECT_FALSE(found.slots[1].record);
    // A write of the first that comes late.
    area.write(0, 0, {7, 102, "of the first, too late"});
    EXPECT_EQ(area.read().newest, 2U);
    // The first has become the owner again.
    area.write(0, 1, {9, 103, ""});
    found = area.read();
    ASSERT_EQ(found.newest, 0U);
    EXPECT_EQ(found.slots[0].record->text, "");
}

TEST(MirrorState, ATornWriteLeavesTheRecordBeforeItAndAnotherAreasRecordIsNone) {
    Area area;
    area.write(1, 0, {3, 5, std::string(kMostRecordText, 'a')});
    area.write(1, 1, {3, 6, std::string(kMostRecordText, 'b')});
    EXPECT_EQ(area.read().slots[1].record->text.front(), 'b');
    area.bytes[offset_of_record(1, 1) - kRecordsAt + kRecordBytes - 1] = 'a';
    const States found = area.read();
    EXPECT_EQ(found.slots[1].record->text, std::string(kMostRecordText, 'a'));
    EXPECT_EQ(found.slots[1].copy, 0U);
    area.write(2, 0, {9, 9, "of another area"}, kArea + 1);
    EXPECT_EQ(area.read().newest, 1U);
    EXPECT_FALSE(decode_state(std::string(kRecordBytes, '\0'), kArea));
    EXPECT_FALSE(decode_state("short", kArea));
}

// Spec: REP-058
TEST(MirrorState, LogsOfTwoHostsDoNotMeet) {
    for (const std::uint64_t size : {1ULL << 20, 64ULL << 20, 1ULL << 40}) {
        const std::uint64_t room = log_room(size);
        EXPECT_GE(room, log_bytes(2 * size));
        EXPECT_EQ(offset_of_log(0, room), kLogsAt);
        EXPECT_EQ(offset_of_log(2, room), kLogsAt + 2 * room);
        EXPECT_TRUE(parse_region(LogRegion{"/dev/area", offset_of_log(1, room), room}.path()));
    }
}

}  // namespace
}  // namespace understudy::mirror::shared
