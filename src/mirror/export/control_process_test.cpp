#include "mirror/export/control_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <optional>

namespace understudy::mirror {
namespace {

using namespace std::chrono_literals;

class ControlProcessTest : public ::testing::Test {
  protected:
    Result<std::int64_t> run(std::chrono::milliseconds limit, std::function<Result<std::int64_t>()> work) {
        std::optional<Result<std::int64_t>> outcome;
        run_in_child(*reactor_, limit, std::move(work), [&](Result<std::int64_t> result) {
            outcome = std::move(result);
            reactor_->stop();
        });
        reactor_->run();
        return *outcome;
    }
    std::unique_ptr<Reactor> reactor_ = std::move(*Reactor::create(64));
};

TEST_F(ControlProcessTest, GivesTheResultOfAnotherProcess) {
    const pid_t parent = getpid();
    const auto result = run(10s, [parent]() -> Result<std::int64_t> { return getpid() == parent ? 0 : 42; });
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(*result, 42);
}

TEST_F(ControlProcessTest, GivesCodeAndTextOfAnError) {
    const auto result =
        run(10s, []() -> Result<std::int64_t> { return fail(Code::has_dependents, "in use by {}", "ext4"); });
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::has_dependents);
    EXPECT_EQ(result.error().text, "in use by ext4");
}

TEST_F(ControlProcessTest, AChildHoldsNoneOfTheParentsDescriptors) {
    std::array<int, 2> ends{-1, -1};
    ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    const int other = fcntl(ends[0], F_DUPFD_CLOEXEC, 100);
    const auto result = run(10s, [ends, other]() -> Result<std::int64_t> {
        // Descriptor 3 is the child's own way to report.
        return (ends[1] > 3 && fcntl(ends[1], F_GETFD) != -1) || fcntl(other, F_GETFD) != -1 ? 1 : 0;
    });
    for (int fd : {ends[0], ends[1], other})
        close(fd);
    ASSERT_TRUE(result);
    EXPECT_EQ(*result, 0);
}

TEST_F(ControlProcessTest, AChildThatDiesIsAnError) {
    const auto result = run(10s, []() -> Result<std::int64_t> { _exit(7); });
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().text.find("died"), std::string::npos);
}

TEST_F(ControlProcessTest, AChildThatHangsIsKilledAtTheLimit) {
    const auto start = std::chrono::steady_clock::now();
    const auto result = run(50ms, []() -> Result<std::int64_t> {
        while (true)
            pause();
    });
    ASSERT_FALSE(result);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 50ms);
    EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
    // Its end is taken notice of, too, when the kernel has let it go; the reactor goes on meanwhile.
    const auto children = [] {
        siginfo_t info{};
        return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
    };
    do {
        const auto next = run(10s, []() -> Result<std::int64_t> { return 1; });
        ASSERT_TRUE(next);
    } while (children() && std::chrono::steady_clock::now() - start < 20s);
    EXPECT_FALSE(children());
}

}  // namespace
}  // namespace understudy::mirror
