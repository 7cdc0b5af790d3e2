#include "cli/man_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

namespace understudy::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::filesystem::path kProse = "docs/man";  // tests run in the source directory

std::string read(const std::filesystem::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ManPage, EveryCommandHasOneThatNamesEveryOption) {
    for (const auto& spec : command_table()) {
        const auto source = kProse / (page_name(spec) + ".scd");
        ASSERT_TRUE(std::filesystem::exists(source)) << source << " is missing";
        const auto page = man_page(spec, read(source));
        ASSERT_TRUE(page) << page.error().text;
        for (const auto& option : spec.options)
            EXPECT_THAT(*page,
                        HasSubstr(fmt::format("\n*{}{}*", option.name.size() == 1 ? "-" : "--", option.name)))
                << spec.name;
    }
}

TEST(ManPage, EverySourceBelongsToACommandAndRefersToPagesThatExist) {
    std::set<std::string> names;
    for (const auto& spec : command_table())
        names.insert(page_name(spec));
    for (const auto& entry : std::filesystem::directory_iterator(kProse)) {
        if (entry.path().extension() != ".scd") continue;
        EXPECT_TRUE(names.contains(entry.path().stem())) << entry.path();
        const auto text = read(entry.path());
        const auto at = text.find("# SEE ALSO\n\n");
        if (at == std::string::npos) continue;
        std::stringstream also(text.substr(at + 12));
        for (std::string name; std::getline(also, name, ',');) {
            const auto first = name.find_first_not_of(" \n");
            ASSERT_NE(first, std::string::npos) << entry.path();
            name = name.substr(first, name.find_last_not_of(" \n") - first + 1);
            EXPECT_TRUE(names.contains(name)) << entry.path() << " refers to " << name;
        }
    }
}

TEST(ManPage, ExitCodesAreTheCommonOnesUnlessThePageHasItsOwn) {
    const auto* spec = find_command("sys_list");
    EXPECT_THAT(*man_page(*spec, "Lists."), HasSubstr("9: the other system cannot be"));
    const auto own = man_page(*spec, "Lists.\n\n# EXIT STATUS\n\n0 always.\n");
    EXPECT_THAT(*own, HasSubstr("0 always."));
    EXPECT_THAT(*own, Not(HasSubstr("9: the other")));
}

TEST(ManPage, SectionsOfTheTableAreNotWrittenByHand) {
    const auto* spec = find_command("sys_list");
    EXPECT_FALSE(man_page(*spec, "Lists.\n\n# OPTIONS\n\nnone\n"));
    EXPECT_FALSE(man_page(*spec, ""));
}

}  // namespace
}  // namespace understudy::cli
