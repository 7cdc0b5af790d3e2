#include "sim/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <sstream>

namespace understudy::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::set<int> one_to(int last) {
    std::set<int> all;
    for (int number = 1; number <= last; ++number)
        all.insert(number);
    return all;
}

bool has(const std::set<int>& some, std::initializer_list<int> wanted) {
    return std::all_of(wanted.begin(), wanted.end(), [&](int number) { return some.contains(number); });
}

TEST(Minimise, OnlyTheFaultsThatAreNeededAreLeft) {
    int tries = 0;
    const auto left = minimise(one_to(60), [&](const std::set<int>& some) {
        ++tries;
        return has(some, {3, 17, 58});
    });
    EXPECT_THAT(left, ElementsAre(3, 17, 58));
    EXPECT_LT(tries, 100);
}

TEST(Minimise, AFailureWithoutAnyFaultNeedsNone) {
    EXPECT_THAT(minimise(one_to(9), [](const std::set<int>&) { return true; }), IsEmpty());
    EXPECT_THAT(minimise(std::set<int>{}, [](const std::set<int>&) { return true; }), IsEmpty());
}

TEST(Minimise, OfTwoWaysToFailOneIsLeft) {
    const auto left = minimise(one_to(20), [](const std::set<int>& some) {
        return has(some, {2, 19}) || has(some, {7, 8});
    });
    EXPECT_EQ(left.size(), 2U);
}

TEST(Minimise, ASeedThatDoesNotFailHasNothingToMinimise) {
    EXPECT_EQ(minimise(1, RunOptions{.nodes = 2, .faults_for = std::chrono::seconds(10)}), std::nullopt);
}

/// "12.345 fault 3: partition" lines.
std::vector<std::string> faults_of(const RunResult& result) {
    std::vector<std::string> lines;
    std::istringstream trace(result.trace);
    for (std::string line; std::getline(trace, line);)
        if (std::regex_search(line, std::regex("^[0-9.]+ fault [0-9]+:"))) lines.push_back(line);
    return lines;
}

TEST(ChosenFaults, StrikeWhenAndAsTheyDoAmongAllOthers) {
    const auto all = run_seed(12, {.nodes = 3});
    ASSERT_GT(all.faults, 5);
    const auto lines = faults_of(all);
    ASSERT_EQ(lines.size(), static_cast<std::size_t>(all.faults));
    RunOptions some{.nodes = 3};
    some.faults = {2, 5};
    EXPECT_THAT(faults_of(run_seed(12, some)), ElementsAre(lines[1], lines[4]));
    some.faults = std::set<int>{};
    const auto none = run_seed(12, some);
    EXPECT_THAT(faults_of(none), IsEmpty());
    EXPECT_EQ(none.faults, all.faults);
}

}  // namespace
}  // namespace understudy::sim
