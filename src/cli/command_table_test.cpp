#include "cli/command_table.h"

#include <gtest/gtest.h>

namespace understudy::cli {
namespace {

Result<config::Command> parse_words(std::string_view name, std::vector<std::string> words) {
    const auto* spec = find_command(name);
    EXPECT_NE(spec, nullptr) << name;
    return parse(*spec, words);
}

// Spec: CMD-009
TEST(CommandLine, ValuesMayBeGluedOrSeparateAndOptionsComeInAnyOrder) {
    const auto glued = parse_words("ins_list", {"-f|", "-tVol.E", "-anetwork"});
    ASSERT_TRUE(glued);
    EXPECT_EQ(glued->get("f"), "|");
    EXPECT_EQ(glued->get("t"), "Vol.E");
    const auto apart = parse_words("ins_list", {"-a", "network", "-t", "Vol.E", "-f", "|"});
    ASSERT_TRUE(apart);
    EXPECT_EQ(apart->options, glued->options);
}

// Spec: CMD-009
TEST(CommandLine, EmptyValuesAreSignificant) {
    const auto roots = parse_words("ins_list", {"-R", ""});
    ASSERT_TRUE(roots);
    EXPECT_TRUE(roots->has("R"));
    EXPECT_EQ(roots->get("R", "none"), "");
}

// Spec: CMD-008
TEST(CommandLine, TheSeparatorIsExactlyOneCharacter) {
    EXPECT_EQ(parse_words("ins_list", {"-f::"}).error().code, Code::syntax);
    EXPECT_EQ(parse_words("ins_list", {"-f", ""}).error().code, Code::syntax);
    EXPECT_TRUE(parse_words("flg_create", {"-f", "Maintenance_F"}));  // -f is a flag's name there
}

// Spec: CMD-009, CMD-103
TEST(CommandLine, TheLastLetterOfAClusterMayTakeAValue) {
    for (const auto& words : {std::vector<std::string>{"-vf", "file"}, {"-vffile"}, {"-v", "-f", "file"}}) {
        const auto command = parse_words("lk_chg_value", words);
        ASSERT_TRUE(command) << words.front();
        EXPECT_TRUE(command->has("v"));
        EXPECT_EQ(command->get("f"), "file");
    }
    EXPECT_EQ(parse_words("lk_chg_value", {"-vf"}).error().code, Code::syntax);
    EXPECT_EQ(parse_words("lk_chg_value", {"-vx"}).error().code, Code::syntax);
}

// Spec: CMD-015
TEST(CommandLine, TheIndexSaysWhichCommandsTakeASystemAndASeparator) {
    const auto has = [](const char* command, std::string_view option, std::string_view value) {
        const auto* spec = find_command(command);
        EXPECT_NE(spec, nullptr) << command;
        return spec != nullptr &&
               std::any_of(spec->options.begin(), spec->options.end(), [&](const OptionSpec& each) {
                   return each.name == option && each.value == value;
               });
    };
    for (const auto* command :
         {"app_create", "app_remove", "typ_create", "typ_remove",    "app_list",   "typ_list",
          "ins_create", "ins_setas",  "ins_setin",  "ins_setchkint", "ins_setit",  "ins_setlocalrecover",
          "ins_setst",  "ins_remove", "ins_list",   "ins_gettag",    "dep_create", "dep_remove",
          "eqv_create", "eqv_remove", "dep_list",   "eqv_list",      "sys_create", "sys_remove",
          "sys_list",   "sys_getds",  "sys_getst",  "flg_create",    "flg_remove", "flg_list",
          "flg_test",   "lcdsync",    "net_list",   "net_remove",    "net_create"})
        EXPECT_TRUE(has(command, "d", "destsys")) << command;
    for (const auto* command : {"typ_list", "ins_list", "dep_list", "eqv_list", "net_list"})
        EXPECT_TRUE(has(command, "f", "C")) << command;
    for (const auto* command : {"app_list", "ins_gettag", "sys_list", "flg_list"})
        EXPECT_FALSE(has(command, "f", "C")) << command;
    for (const auto* command :
         {"lcdrecover", "perform_action", "lk_err", "lkstart", "lkstop", "lk_chg_value"})
        EXPECT_FALSE(has(command, "d", "destsys")) << command;
    EXPECT_TRUE(find_command("lcdremexec")->options.back().required) << "the system is mandatory";
}

// Spec: CMD-080, CMD-050
TEST(CommandLine, ExclusiveOptionsAreRefusedTogether) {
    EXPECT_EQ(parse_words("dep_list", {"-C", "a", "-p", "b"}).error().code, Code::syntax);
    EXPECT_EQ(parse_words("lkstop", {"-f", "-n"}).error().code, Code::syntax);
    EXPECT_EQ(parse_words("lkstop", {"-fn"}).error().code, Code::syntax);
}

// Spec: CMD-109, CMD-111
TEST(CommandLine, ArgumentsAfterTheDashesStayUntouched) {
    const auto command = parse_words("perform_action", {"-t", "disk", "-a", "reset-heads", "--", "-h", "7"});
    ASSERT_TRUE(command);
    EXPECT_EQ(command->arguments, (std::vector<std::string>{"-h", "7"}));
    EXPECT_FALSE(command->has("h"));
}

// Spec: CMD-004
TEST(CommandLine, MistakesNameTheWord) {
    EXPECT_EQ(parse_words("ins_gettag", {}).error().text, "option -i id is missing");
    EXPECT_EQ(parse_words("sys_list", {"-x"}).error().text, "unknown option -x");
    EXPECT_EQ(parse_words("sys_list", {"extra"}).error().text, "unexpected argument \"extra\"");
    EXPECT_EQ(parse_words("ins_gettag", {"-i"}).error().text, "option -i needs a value (id)");
}

// Spec: CMD-076
TEST(CommandLine, BothSpellingsOfLocalRecoveryAreOneCommand) {
    EXPECT_EQ(find_command("ins_setlocalrecovery"), find_command("ins_setlocalrecover"));
}

TEST(CommandLine, HelpAndCompletionNameEveryOption) {
    const auto completion = bash_completion();
    for (const auto& spec : command_table()) {
        const auto text = help(spec);
        for (const auto& option : spec.options)
            EXPECT_NE(text.find(option.help), std::string::npos) << spec.name;
        EXPECT_NE(completion.find(fmt::format("\"{}\")", spec.name)), std::string::npos) << spec.name;
    }
}

}  // namespace
}  // namespace understudy::cli
