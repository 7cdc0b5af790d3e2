// Every file of tests/scenarios is a test: given this cluster and this request, exactly this plan.
// UPDATE_SCENARIOS=1 writes what the planner says now into the files; the change is then reviewed as a diff.

#include "recovery/scenario.h"

#include "base/text.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace understudy::recovery::testing {
namespace {

constexpr auto kDirectory = "tests/scenarios";
constexpr std::size_t kAtLeast = 100;

std::vector<std::string> scenario_files() {
    std::vector<std::string> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(kDirectory, error))
        if (entry.path().extension() == ".yaml") files.push_back(entry.path().string());
    std::sort(files.begin(), files.end());
    return files;
}

/// Lines that are only in one of the two, in order, marked - (expected) and + (planned).
std::string difference(const std::string& expected, const std::string& planned) {
    const auto a = text::split(expected, '\n');
    const auto b = text::split(planned, '\n');
    std::vector<std::vector<std::size_t>> common(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
    for (auto i = a.size(); i-- > 0;)
        for (auto j = b.size(); j-- > 0;)
            common[i][j] =
                a[i] == b[j] ? common[i + 1][j + 1] + 1 : std::max(common[i + 1][j], common[i][j + 1]);
    std::string result;
    std::size_t i = 0;
    std::size_t j = 0;
    while (i < a.size() || j < b.size()) {
        if (i < a.size() && j < b.size() && a[i] == b[j]) {
            result += "  " + a[i++] + "\n";
            ++j;
        } else if (j == b.size() || (i < a.size() && common[i + 1][j] >= common[i][j + 1])) {
            result += "- " + a[i++] + "\n";
        } else {
            result += "+ " + b[j++] + "\n";
        }
    }
    return result;
}

class ScenarioTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ScenarioTest, ThePlanIsTheExpectedOne) {
    const auto loaded = load_scenario(GetParam());
    ASSERT_TRUE(loaded) << loaded.error().text;
    const auto planned = outcome(*loaded);
    if (std::getenv("UPDATE_SCENARIOS") != nullptr) {
        const auto written = rewrite_expectation(GetParam(), planned);
        ASSERT_TRUE(written) << written.error().text;
        return;
    }
    EXPECT_EQ(loaded->expected, planned) << GetParam() << ": " << loaded->about << "\n"
                                         << difference(loaded->expected, planned);
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
    auto name = std::filesystem::path(info.param).stem().string();
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Files, ScenarioTest, ::testing::ValuesIn(scenario_files()), test_name);

TEST(Scenarios, AreFoundAndMany) {
    EXPECT_GE(scenario_files().size(), kAtLeast) << "run from the top of the tree";
}

TEST(Scenarios, ADifferenceShowsTheLinesThatDiffer) {
    EXPECT_EQ(difference("a\nb\nc", "a\nx\nc"), "  a\n- b\n+ x\n  c\n");
}

}  // namespace
}  // namespace understudy::recovery::testing
