#include "mirror/control/posix/thread_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace understudy::mirror::control {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(ThreadPlaceTest, ListsHaveNumbersAndRanges) {
    EXPECT_THAT(*parse_processors("0-3,6"), ElementsAre(0, 1, 2, 3, 6));
    EXPECT_THAT(*parse_processors("7"), ElementsAre(7));
    EXPECT_THAT(*parse_processors(""), IsEmpty());
}

TEST(ThreadPlaceTest, OtherTextsAreRefusedWithAnExample) {
    for (const auto* list : {",", "1,,2", "3-1", "-", "1-", "a", "1 2", "1024", "0-99999999999", "+1"}) {
        const auto answer = parse_processors(list);
        ASSERT_FALSE(answer) << list;
        EXPECT_THAT(answer.error().text, HasSubstr("such as 0-3,6")) << list;
    }
}

TEST(ThreadPlaceTest, AThreadStaysWhereItIsPut) {
    cpu_set_t before;
    ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    unsigned allowed = 0;
    while (!CPU_ISSET(allowed, &before))
        ++allowed;
    std::thread([allowed] {
        ASSERT_TRUE(place_this_thread({allowed}));
        cpu_set_t set;
        ASSERT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
        EXPECT_EQ(CPU_COUNT(&set), 1);
        EXPECT_TRUE(CPU_ISSET(allowed, &set));
    }).join();
    cpu_set_t after;
    ASSERT_EQ(sched_getaffinity(0, sizeof after, &after), 0);
    EXPECT_TRUE(CPU_EQUAL(&before, &after)) << "no other thread moves";
}

TEST(ThreadPlaceTest, ProcessorsThatTheMachineLacksAreAnError) {
    std::thread([] {
        const auto placed = place_this_thread({kMostProcessors - 1});
        ASSERT_FALSE(placed);
        EXPECT_THAT(placed.error().text, HasSubstr("MirrorProcessors"));
    }).join();
}

}  // namespace
}  // namespace understudy::mirror::control
