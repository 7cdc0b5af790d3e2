#include "runtime/posix/programs.h"

#include "runtime/posix/test_support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;

Program shell(const std::string& script) {
    Program program;
    program.words = {"sh", "-c", script};
    return program;
}

TEST(Programs, OutputAndExitCodeComeBack) {
    const auto result = run_program(shell("echo out; echo err >&2; exit 3"));
    ASSERT_TRUE(result);
    EXPECT_EQ(result->exit_code, 3);
    EXPECT_EQ(result->output, "out\nerr\n");
    EXPECT_EQ(result->errors, "");
}

TEST(Programs, StandardErrorIsSeparateOrDroppedWhenToldSo) {
    auto program = shell("echo out; echo err >&2");
    program.errors = StandardError::separate;
    auto result = run_program(program);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output, "out\n");
    EXPECT_EQ(result->errors, "err\n");
    program.errors = StandardError::dropped;
    result = run_program(program);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output, "out\n");
    EXPECT_EQ(result->errors, "");
}

TEST(Programs, InputLargerThanAnyPipeComesBackWhole) {
    auto program = shell("cat; cat >/dev/null");
    program.input = std::string(3UL << 20, 'x');
    program.max_output = program.input.size();
    const auto result = run_program(program);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output, program.input);
    EXPECT_FALSE(result->truncated);
}

TEST(Programs, WhoTakesNoInputIsNotHeldUpByIt) {
    auto program = shell("exit 0");
    program.input = std::string(3UL << 20, 'x');
    const auto result = run_program(program);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->exit_code, 0);
}

TEST(Programs, WhatIsTooMuchIsDiscardedAndSaid) {
    auto program = shell("head -c 1000000 /dev/zero; echo err >&2");
    program.errors = StandardError::separate;
    program.max_output = 10;
    const auto result = run_program(program);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->exit_code, 0) << "it was not kept from writing";
    EXPECT_EQ(result->output, std::string(10, '\0'));
    EXPECT_EQ(result->errors, "err\n");
    EXPECT_TRUE(result->truncated);
}

TEST(Programs, IsKilledWithItsChildrenAtTheLimit) {
    const TemporaryDirectory directory;
    auto program = shell("sleep 60 & echo $! >child; wait");
    program.directory = directory.root();
    program.limit = 1s;
    const auto result = run_program(program);
    ASSERT_TRUE(result);
    EXPECT_TRUE(result->timed_out);
    EXPECT_EQ(result->exit_code, 128 + SIGKILL);
    int child = 0;
    if (!(std::ifstream(directory.path("child")) >> child)) return;  // killed before it had started it
    const auto gone = [child] {
        std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
        const std::string text{std::istreambuf_iterator<char>(stat), {}};
        return text.empty() || text.find(") Z") != std::string::npos;
    };
    EXPECT_TRUE(testing::within(10s, gone));
}

TEST(Programs, ADaemonThatKeepsTheOutputDoesNotHoldItUp) {
    auto program = shell("sleep 20 & echo started $!");
    program.limit = 15s;
    const auto result = run_program(program);
    ASSERT_TRUE(result);
    EXPECT_FALSE(result->timed_out);
    EXPECT_THAT(result->output, HasSubstr("started"));
    ::kill(std::atoi(result->output.substr(8).c_str()), SIGKILL);
}

TEST(Programs, AMissingProgramIsNamed) {
    for (const auto* name : {"no-such-program-here", "/nowhere/no-such-program-here"}) {
        const auto result = run_program({{name}});
        ASSERT_FALSE(result);
        EXPECT_THAT(result.error().text, HasSubstr("no-such-program-here is not installed"));
    }
    EXPECT_EQ(find_program("no-such-program-here"), "");
    EXPECT_THAT(find_program("sh"), HasSubstr("/sh"));
}

TEST(Programs, ItHasOurEnvironmentAndMore) {
    setenv("UNDERSTUDY_TEST_OURS", "ours", 1);
    auto program = shell("echo $UNDERSTUDY_TEST_OURS $UNDERSTUDY_TEST_MORE; pwd");
    program.environment = {{"UNDERSTUDY_TEST_MORE", "more"}};
    const auto result = run_program(program);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output, "ours more\n/\n");
}

TEST(Programs, ItRunsAsAnotherAccount) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    auto program = shell("id -un; echo $USER");
    program.user = "nobody";
    const auto result = run_program(program);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output, "nobody\nnobody\n");
}

TEST(Programs, ADetachedOneWritesItsLogAndIsNoChildOfOurs) {
    const TemporaryDirectory directory;
    const auto log = directory.path("log");
    const auto text = [&log] {
        std::ifstream file(log);
        return std::string{std::istreambuf_iterator<char>(file), {}};
    };
    ASSERT_TRUE(start_detached(
        {find_program("sh"), "-c", "pwd; echo err >&2; ps -o ppid= -p $$ | xargs; echo end"}, log));
    ASSERT_TRUE(testing::within(20s, [&] { return text().ends_with("end\n"); })) << text();
    EXPECT_THAT(text(), HasSubstr("/\nerr\n"));
    EXPECT_EQ(text().find("\n" + std::to_string(getpid()) + "\n"), std::string::npos);
}

}  // namespace
}  // namespace understudy::runtime
