#include "runtime/posix/posix_processes.h"

#include "runtime/posix/daemon_protection.h"
#include "runtime/posix/descriptor.h"
#include "runtime/posix/test_support.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::run_until;
using ::testing::SizeIs;
using testing::TemporaryDirectory;
using testing::write_file;

ProcessSpec shell(const std::string& script) {
    ProcessSpec spec;
    spec.path = "/bin/sh";
    spec.arguments = {"-c", script};
    spec.environment = {{"PATH", "/usr/bin:/bin"}};
    return spec;
}

class PosixProcessesTest : public ::testing::Test {
  protected:
    struct Outcome {
        int exits = 0;
        Result<ProcessResult> result = fail(Code::internal, "not ended");
        std::vector<std::string> lines;
    };

    ProcessHandle start(const ProcessSpec& spec, Outcome& outcome) {
        return processes.start(
            spec, [&outcome](std::string_view line) { outcome.lines.emplace_back(line); },
            [&outcome](Result<ProcessResult> result) {
                ++outcome.exits;
                outcome.result = std::move(result);
            });
    }
    Outcome run(const ProcessSpec& spec) {
        Outcome outcome;
        start(spec, outcome);
        EXPECT_EQ(outcome.exits, 0) << "the handler ran on the caller's stack";
        EXPECT_TRUE(run_until(loop, [&] { return outcome.exits > 0; }));
        return outcome;
    }
    int read_pid(const std::string& path) {
        int pid = 0;
        EXPECT_TRUE(run_until(loop, [&] { return static_cast<bool>(std::ifstream(path) >> pid); }));
        return pid;
    }

    TemporaryDirectory directory;
    EventLoop loop;
    PosixProcesses processes{loop};
};

TEST_F(PosixProcessesTest, ReportsExitCodeAndMergedOutputInOrder) {
    const auto outcome = run(shell("echo one; echo two >&2; echo three; exit 7"));
    ASSERT_TRUE(outcome.result);
    EXPECT_EQ(outcome.result->exit_code, 7);
    EXPECT_FALSE(outcome.result->timed_out);
    EXPECT_EQ(outcome.result->output, "one\ntwo\nthree\n");
    EXPECT_THAT(outcome.lines, ElementsAre("one", "two", "three"));
}

TEST_F(PosixProcessesTest, KeepsStandardErrorApartWhenAsked) {
    auto spec = shell("echo out; echo err >&2; echo more");
    spec.separate_errors = true;
    const auto outcome = run(spec);
    ASSERT_TRUE(outcome.result);
    EXPECT_EQ(outcome.result->output, "out\nmore\n");
    EXPECT_EQ(outcome.result->errors, "err\n");
    EXPECT_FALSE(outcome.result->truncated);
}

TEST_F(PosixProcessesTest, TellsThatOutputWasLeftOut) {
    auto spec = shell("printf 123456; printf 1234567 >&2");
    spec.separate_errors = true;
    spec.max_output = 6;
    const auto outcome = run(spec);
    ASSERT_TRUE(outcome.result);
    EXPECT_EQ(outcome.result->output, "123456");
    EXPECT_EQ(outcome.result->errors, "123456");
    EXPECT_TRUE(outcome.result->truncated);
}

TEST_F(PosixProcessesTest, SplitsLinesWhereverTheyAreCut) {
    const auto outcome = run(shell("printf 'a'; sleep 0.02; printf 'b\\n\\nc'; sleep 0.02; printf d"));
    EXPECT_THAT(outcome.lines, ElementsAre("ab", "", "cd"));
}

TEST_F(PosixProcessesTest, CutsALineThatNeverEnds) {
    const auto outcome = run(shell("head -c 200000 /dev/zero | tr '\\0' x"));
    ASSERT_THAT(outcome.lines, SizeIs(4));
    EXPECT_EQ(outcome.lines[0].size(), kMaxLineBytes);
    EXPECT_EQ(outcome.lines[3].size(), 200'000 - 3 * kMaxLineBytes);
}

TEST_F(PosixProcessesTest, KeepsOnlyAsMuchOutputAsAskedForButDeliversEveryLine) {
    ProcessSpec spec = shell("i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done");
    spec.max_output = 100;
    const auto outcome = run(spec);
    EXPECT_EQ(outcome.result->output.size(), 100U);
    EXPECT_THAT(outcome.lines, SizeIs(1000));
    EXPECT_EQ(outcome.lines.back(), "line 999");
}

// Spec: CLU-150
TEST_F(PosixProcessesTest, HasExactlyTheEnvironmentGiven) {
    ProcessSpec spec;
    spec.path = "/usr/bin/env";
    spec.environment = {{"PATH", "/opt/understudy/bin"}, {"LKROOT", "/opt/understudy"}, {"EMPTY", ""}};
    EXPECT_THAT(run(spec).lines, ::testing::UnorderedElementsAre("PATH=/opt/understudy/bin",
                                                                 "LKROOT=/opt/understudy", "EMPTY="));
}

TEST_F(PosixProcessesTest, InheritsNoDescriptorAndReadsAnEmptyInput) {
    // Without O_CLOEXEC, as a careless library opens it.
    const Descriptor leak(::open("/dev/null", O_RDONLY));
    ASSERT_TRUE(leak);
    const auto outcome = run(
        shell("ls -l /proc/$$/fd | awk '{print $9}' | sort -n | tr '\\n' ' '; cat; readlink /proc/$$/fd/0"));
    EXPECT_THAT(outcome.result->output, HasSubstr(" 0 1 2 "));
    EXPECT_THAT(outcome.result->output, Not(HasSubstr(fmt::format(" {} ", leak.get()))));
    EXPECT_THAT(outcome.result->output, HasSubstr("/dev/null"));
}

TEST_F(PosixProcessesTest, RunsInASessionOfItsOwnWithOrdinarySignals) {
    // The program looks at itself: a shell blocks signals for a moment around each command that it starts.
    ProcessSpec spec;
    spec.path = "/usr/bin/grep";
    spec.arguments = {"-E", "^(Pid|NSpgid|NSsid|SigBlk|SigIgn):", "/proc/self/status"};
    const auto outcome = run(spec);
    ASSERT_THAT(outcome.lines, SizeIs(5));
    const auto value = [&](std::size_t line) {
        return outcome.lines[line].substr(outcome.lines[line].find('\t'));
    };
    EXPECT_EQ(value(0), value(1)) << "leads its group";
    EXPECT_EQ(value(0), value(2)) << "leads its session";
    for (const auto& line : {outcome.lines[3], outcome.lines[4]}) {
        const auto mask = std::stoull(line.substr(line.find(':') + 1), nullptr, 16);
        constexpr std::uint64_t kOrdinary = (1ULL << 31) - 1;  // above: the C library's own
        EXPECT_EQ(mask & kOrdinary, 0U) << line << ": SIGPIPE must not stay ignored";
    }
}

TEST_F(PosixProcessesTest, StartsInItsWorkingDirectory) {
    ProcessSpec spec = shell("pwd");
    EXPECT_THAT(run(spec).lines, ElementsAre("/"));
    spec.directory = directory.root();
    EXPECT_THAT(run(spec).lines, ElementsAre(directory.root()));
}

TEST_F(PosixProcessesTest, ReportsAKillingSignalAs128PlusItsNumber) {
    EXPECT_EQ(run(shell("kill -TERM $$")).result->exit_code, 128 + SIGTERM);
}

// Spec: CLU-153
TEST_F(PosixProcessesTest, KillsTheWholeGroupAtItsTimeLimit) {
    const std::string pid_file = directory.path("pid");
    ProcessSpec spec =
        shell(fmt::format("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; echo begun; wait", pid_file));
    spec.limit = 300ms;
    const auto outcome = run(spec);
    ASSERT_TRUE(outcome.result);
    EXPECT_TRUE(outcome.result->timed_out);
    EXPECT_EQ(outcome.result->exit_code, 128 + SIGKILL);
    EXPECT_THAT(outcome.lines, ElementsAre("begun"));
    const int grandchild = read_pid(pid_file);
    EXPECT_TRUE(run_until(loop, [&] { return !processes.alive(grandchild); }));
}

TEST_F(PosixProcessesTest, LimitDoesNotConcernAProcessThatIsInTime) {
    ProcessSpec spec = shell("exit 0");
    spec.limit = 10s;
    const auto outcome = run(spec);
    EXPECT_FALSE(outcome.result->timed_out);
    EXPECT_EQ(outcome.result->exit_code, 0);
}

TEST_F(PosixProcessesTest, KillEndsItWithItsExitHandlerAndKillingAgainIsHarmless) {
    Outcome outcome;
    const ProcessHandle handle = start(shell("sleep 1000"), outcome);
    const int pid = processes.pid(handle);
    EXPECT_GT(pid, 0);
    EXPECT_TRUE(processes.alive(pid));
    processes.kill(handle);
    EXPECT_EQ(outcome.exits, 0);
    ASSERT_TRUE(run_until(loop, [&] { return outcome.exits > 0; }));
    processes.kill(handle);
    EXPECT_EQ(outcome.result->exit_code, 128 + SIGKILL);
    EXPECT_FALSE(outcome.result->timed_out);
    EXPECT_EQ(processes.pid(handle), 0);
    EXPECT_FALSE(processes.alive(pid));
    EXPECT_EQ(outcome.exits, 1);
}

// Spec: CLU-151
TEST_F(PosixProcessesTest, EndsWithTheProcessEvenIfADaemonKeepsItsOutputOpen) {
    const std::string pid_file = directory.path("pid");
    const auto outcome = run(
        shell(fmt::format("setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; while :; do echo noise; done' & "
                          "while [ ! -e {0} ]; do :; done; echo started",
                          pid_file)));
    ASSERT_TRUE(outcome.result);
    EXPECT_EQ(outcome.result->exit_code, 0);
    EXPECT_THAT(outcome.lines, ::testing::Contains("started"));
    const int daemon = read_pid(pid_file);
    ::kill(-daemon, SIGKILL);
}

TEST_F(PosixProcessesTest, ADaemonItStartedGoesOn) {
    const std::string pid_file = directory.path("pid");
    run(shell(fmt::format("setsid sleep 1000 > /dev/null 2>&1 & echo $! > {}", pid_file)));
    const int daemon = read_pid(pid_file);
    EXPECT_TRUE(processes.alive(daemon));
    ::kill(daemon, SIGKILL);
}

TEST_F(PosixProcessesTest, SaysWhatIsMissingWhenItCannotStart) {
    ProcessSpec spec;
    spec.path = directory.path("missing");
    auto outcome = run(spec);
    ASSERT_FALSE(outcome.result);
    EXPECT_EQ(outcome.result.error().code, Code::not_found);
    EXPECT_THAT(outcome.result.error().text, HasSubstr(spec.path));

    spec.path = directory.path("plain");
    write_file(spec.path, "data");
    outcome = run(spec);
    EXPECT_THAT(outcome.result.error().text, HasSubstr("not executable"));

    spec.path = directory.path("script");
    write_file(spec.path, "#!/no/such/interpreter\n");
    ASSERT_EQ(::chmod(spec.path.c_str(), 0755), 0);
    outcome = run(spec);
    EXPECT_THAT(outcome.result.error().text, HasSubstr("interpreter"));

    spec = shell("exit 0");
    spec.directory = directory.path("gone");
    outcome = run(spec);
    EXPECT_THAT(outcome.result.error().text, HasSubstr("working directory"));
    EXPECT_EQ(outcome.exits, 1);
}

TEST_F(PosixProcessesTest, ManyRunAtOnceWithoutHoldingUpTheLoop) {
    constexpr int kCount = 100;
    const std::string gate = directory.path("gate");
    std::vector<Outcome> outcomes(kCount);
    for (int i = 0; i < kCount; ++i)
        start(shell(fmt::format("while [ ! -e {} ]; do sleep 0.05; done; echo {}", gate, i)),
              outcomes[static_cast<std::size_t>(i)]);
    const auto ended = [&] {
        return std::count_if(outcomes.begin(), outcomes.end(), [](const auto& o) { return o.exits == 1; });
    };
    int ticks = 0;
    ASSERT_TRUE(run_until(loop, [&] { return ++ticks == 10; }));
    EXPECT_EQ(ended(), 0);
    write_file(gate, "");
    ASSERT_TRUE(run_until(loop, [&] { return ended() == kCount; }));
    for (int i = 0; i < kCount; ++i)
        EXPECT_EQ(outcomes[static_cast<std::size_t>(i)].lines.back(), std::to_string(i));
}

// A descriptor's number is used again at once; what was heard of its last owner must not end the next
// process.
TEST_F(PosixProcessesTest, AProcessStartedWhenOthersEndIsNotTakenForThem) {
    constexpr int kRounds = 60;
    constexpr int kAtOnce = 4;
    int ended = 0;
    std::vector<int> codes;
    for (int round = 0; round < kRounds; ++round) {
        const int before = ended;
        for (int i = 0; i < kAtOnce; ++i)
            processes.start(shell("exit 0"), {}, [&](Result<ProcessResult>) {
                processes.start(shell("sleep 0.01; exit 7"), {}, [&](Result<ProcessResult> result) {
                    codes.push_back(result ? result->exit_code : -2);
                    ++ended;
                });
            });
        ASSERT_TRUE(run_until(loop, [&] { return ended == before + kAtOnce; }));
    }
    EXPECT_THAT(codes, Each(7));
}

TEST_F(PosixProcessesTest, DestroyingItInsideItsOwnHandlerIsSafe) {
    auto own = std::make_unique<PosixProcesses>(loop);
    bool line_seen = false;
    own->start(
        shell("echo one; echo two; sleep 1000"),
        [&](std::string_view) {
            ASSERT_FALSE(line_seen) << "a handler ran after the end";
            line_seen = true;
            const int pid = own->pid(ProcessHandle{1});
            own.reset();
            ::kill(-pid, SIGKILL);
            ::waitpid(pid, nullptr, 0);
        },
        [](const Result<ProcessResult>&) { FAIL() << "a handler ran after the end"; });
    ASSERT_TRUE(run_until(loop, [&] { return line_seen; }));
    testing::run_for(loop, 20ms);
}

TEST_F(PosixProcessesTest, KilledProcessIsReportedOnceEvenIfItIsSlowToDieAndIsReapedLater) {
    // No grace: the report races with the exit, as it does for a process that is stuck in the kernel.
    PosixProcesses impatient(loop, 0ms);
    constexpr std::size_t kCount = 30;
    std::vector<int> exits(kCount);
    std::vector<int> pids;
    for (std::size_t i = 0; i < kCount; ++i) {
        const auto handle =
            impatient.start(shell("sleep 1000"), {}, [&exits, i](Result<ProcessResult> result) {
                ASSERT_TRUE(result);
                EXPECT_EQ(result->exit_code, 128 + SIGKILL);
                ++exits[i];
            });
        pids.push_back(impatient.pid(handle));
        impatient.kill(handle);
    }
    const auto reaped = [&] {
        return std::all_of(pids.begin(), pids.end(), [](int pid) { return ::kill(pid, 0) != 0; });
    };
    ASSERT_TRUE(run_until(loop, reaped));
    EXPECT_THAT(exits, Each(1));
}

TEST_F(PosixProcessesTest, AliveKnowsTheLivingTheDeadAndZombies) {
    EXPECT_TRUE(processes.alive(::getpid()));
    EXPECT_TRUE(processes.alive(1));
    EXPECT_FALSE(processes.alive(0));
    EXPECT_FALSE(processes.alive(-1));
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    siginfo_t info{};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
    EXPECT_FALSE(processes.alive(child)) << "a zombie";
    ::waitpid(child, nullptr, 0);
    EXPECT_FALSE(processes.alive(child));
}

// Spec: CLU-029, DEP-033
TEST(DaemonProtection, ProtectsTheDaemonButNotWhatItStarts) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    // In a child: the measures cannot be taken back.
    const pid_t child = ::fork();
    if (child == 0) {
        const auto failed = [](int step) { ::_exit(step); };
        // Containers often lack the right to change the OOM score, and only that may be missing.
        const auto protection = lock_memory_and_raise_priority();
        if (!protection &&
            !protection.error().text.starts_with("not protected from the out-of-memory killer"))
            failed(1);
        std::string field;
        long locked_kib = 0;
        std::ifstream status("/proc/self/status");
        while (status >> field)
            if (field == "VmLck:") status >> locked_kib;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // sanitizers turn mlockall off
        if (locked_kib == 0) failed(2);
#endif
        EventLoop loop;
        PosixProcesses processes(loop);
        std::string output;
        bool ended = false;
        processes.start(shell("sleep 0.1; cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/self/stat"), {},
                        [&](Result<ProcessResult> result) {
                            if (result) output = result->output;
                            ended = true;
                        });
        if (!run_until(loop, [&] { return ended; })) failed(3);
        if (output != "0\n0\n") failed(4);
        ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0) << "the step that failed";
}

// Spec: CLU-029
TEST(DaemonProtection, TheHeartbeatsThreadIsRealTimeUntilItComputesForTooLong) {
    const pid_t child = ::fork();
    if (child == 0) {
        const auto failed = [](int step) { ::_exit(step); };
        if (!raise_to_real_time()) failed(100);  // not permitted here
        if ((::sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) != SCHED_RR) failed(1);
        int other_thread = -1;
        std::thread([&] { other_thread = ::sched_getscheduler(0); }).join();
        if (other_thread != SCHED_OTHER) failed(2);
        EventLoop loop;
        PosixProcesses processes(loop);
        std::string output;
        bool ended = false;
        processes.start(shell("sleep 0.1; cut -d' ' -f41 /proc/self/stat"), {},
                        [&](Result<ProcessResult> result) {
                            if (result) output = result->output;
                            ended = true;
                        });
        if (!run_until(loop, [&] { return ended; })) failed(3);
        if (!output.starts_with("0\n")) failed(4);
        // A defect: it never waits. Others must get the processor all the same.
        const auto give_up = std::chrono::steady_clock::now() + 60s;
        while ((::sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) == SCHED_RR)
            if (std::chrono::steady_clock::now() > give_up) failed(5);
        ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
    if (WEXITSTATUS(status) == 100) GTEST_SKIP() << "real-time priority is not permitted here";
    EXPECT_EQ(WEXITSTATUS(status), 0) << "the step that failed";
}

/// The process before this one died while an action ran: its records are all that is left of it.
class UnfinishedProcessesTest : public PosixProcessesTest {
  protected:
    static constexpr auto kGrace = 10s;
    [[nodiscard]] std::string records() const { return directory.path("actions"); }
    static bool runs(int pid) { return ::kill(pid, 0) == 0; }

    TemporaryDirectory directory;
    PosixProcesses before{loop, kGrace, records()};
};

TEST_F(UnfinishedProcessesTest, ARunningActionIsEndedWithWhatItWaitsForByTheNextDaemon) {
    Outcome outcome;
    const auto handle = before.start(
        shell("sleep 1000 & echo $!; wait"),
        [&outcome](std::string_view line) { outcome.lines.emplace_back(line); },
        [&outcome](Result<ProcessResult> result) {
            ++outcome.exits;
            outcome.result = std::move(result);
        });
    ASSERT_TRUE(run_until(loop, [&] { return !outcome.lines.empty(); }));
    const int child = std::stoi(outcome.lines.front());
    EXPECT_TRUE(runs(before.pid(handle)));
    PosixProcesses next(loop, kGrace, records());
    EXPECT_THAT(next.end_unfinished(), ElementsAre("/bin/sh -c sleep 1000 & echo $!; wait"));
    EXPECT_TRUE(run_until(loop, [&] { return outcome.exits > 0; }));
    EXPECT_EQ(outcome.result->exit_code, 128 + SIGKILL);
    EXPECT_TRUE(run_until(loop, [&] { return !next.alive(child); }));
    EXPECT_THAT(next.end_unfinished(), ElementsAre()) << "it is told once";
}

TEST_F(UnfinishedProcessesTest, WhatAFinishedActionLeftRunningIsLeftAlone) {
    Outcome outcome;
    before.start(
        shell("sleep 1000 </dev/null >/dev/null 2>&1 & echo $!"),
        [&outcome](std::string_view line) { outcome.lines.emplace_back(line); },
        [&outcome](Result<ProcessResult>) { ++outcome.exits; });
    ASSERT_TRUE(run_until(loop, [&] { return outcome.exits > 0; }));
    const int application = std::stoi(outcome.lines.front());
    PosixProcesses next(loop, kGrace, records());
    EXPECT_THAT(next.end_unfinished(), ElementsAre());
    EXPECT_TRUE(runs(application));
    ::kill(application, SIGKILL);
}

TEST_F(UnfinishedProcessesTest, ARecordIsUsedAgainWhenItsActionHasEnded) {
    for (int i = 1; i <= 3; ++i) {
        Outcome outcome;
        before.start(shell("true"), {}, [&outcome](Result<ProcessResult>) { ++outcome.exits; });
        ASSERT_TRUE(run_until(loop, [&] { return outcome.exits > 0; }));
    }
    std::vector<std::uintmax_t> sizes;
    for (const auto& record : std::filesystem::directory_iterator(records()))
        sizes.push_back(record.file_size());
    EXPECT_THAT(sizes, ElementsAre(0U));
}

TEST_F(UnfinishedProcessesTest, AnotherProcessThatGotTheNumberOfADeadOneIsLeftAlone) {
    Outcome outcome;
    const auto handle = start(shell("sleep 1000"), outcome);
    const int innocent = processes.pid(handle);
    std::filesystem::create_directories(records());
    write_file(records() + "/1", fmt::format("{}\n1\n/kit/remove -t Vol.E\n", innocent));
    PosixProcesses next(loop, kGrace, records());
    EXPECT_THAT(next.end_unfinished(), ElementsAre());
    EXPECT_TRUE(runs(innocent));
    processes.kill(handle);
    EXPECT_TRUE(run_until(loop, [&] { return outcome.exits > 0; }));
}

}  // namespace
}  // namespace understudy::runtime
