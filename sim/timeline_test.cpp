#include "sim/timeline.h"

#include <gtest/gtest.h>

namespace understudy::sim {
namespace {

TEST(Timeline, ANodeHasAColumnAndWhatConcernsNoneGoesAcross) {
    EXPECT_EQ(timeline("0.075506137 alpha powers on\n"
                       "0.075506137 alpha listens on 10.0.0.1:1500\n"
                       "1.041575876 beta powers on\n"
                       "1.500000000 alpha process 101 starts: restore\n"
                       "23.609039157 fault 1: partition\n"
                       "23.609039157 network cut alpha and beta\n"
                       "26.700000000 beta COMM_DOWN alpha\n",
                       {"alpha", "beta"}),
              "            alpha                     beta\n"
              "     0.075  powers on\n"
              "     1.041                            powers on\n"
              "    23.609  --- fault: 1: partition\n"
              "    23.609  --- network: cut alpha and beta\n"
              "    26.700                            COMM_DOWN alpha\n");
}

TEST(Timeline, WhatIsToldAgainIsLeftOut) {
    EXPECT_EQ(timeline("1.000000000 alpha records app0 ISP (restore action has succeeded)\n"
                       "1.000000000 alpha records app0 ISP (restore action has succeeded)\n",
                       {"alpha"}),
              "            alpha\n"
              "     1.000  records app0 ISP (restore action has succeeded)\n");
}

TEST(Timeline, ALineThatIsNoneIsNoError) {
    EXPECT_EQ(timeline("\nhalf\n2.0 alpha", {"alpha"}), "            alpha\n");
}

}  // namespace
}  // namespace understudy::sim
