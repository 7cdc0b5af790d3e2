#include "runtime/posix/posix_world.h"

#include "runtime/posix/test_support.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <optional>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;

TEST(PosixWorld, RunsUntilItIsToldToTerminate) {
    PosixWorld posix{CredentialPaths{}};
    bool told = false;
    posix.on_terminate([&] {
        told = true;
        posix.stop();
    });
    posix.world().tasks.post([] { ::raise(SIGTERM); });
    posix.run();
    EXPECT_TRUE(told);
}

TEST(PosixWorld, EndsWithChannelsTimersAndProcessesUnderWay) {
    const testing::TemporaryDirectory directory;
    auto posix = std::make_unique<PosixWorld>(CredentialPaths{});
    const World world = posix->world();
    const Endpoint at{directory.path("api.sock"), 0};
    std::vector<std::unique_ptr<Channel>> channels;
    auto listener = world.network.listen(at, Security::plain, [&](std::unique_ptr<Channel> channel) {
        channels.push_back(std::move(channel));
    });
    ASSERT_TRUE(listener);
    world.network.connect({.remote = at, .security = Security::plain},
                          [&](Result<std::unique_ptr<Channel>> channel) {
                              ASSERT_TRUE(channel);
                              (*channel)->send(std::as_bytes(std::span("unsent", 6)));
                              channels.push_back(std::move(*channel));
                          });
    std::optional<ProcessHandle> process;
    ProcessSpec spec;
    spec.path = "/bin/sleep";
    spec.arguments = {"1000"};
    process =
        world.processes.start(spec, {}, [](const Result<ProcessResult>&) { FAIL() << "it did not end"; });
    const int pid = world.processes.pid(*process);
    std::function<void()> look = [&] {
        if (channels.size() == 2)
            posix->stop();
        else
            world.tasks.after(1ms, look);
    };
    look();
    posix->run();
    channels.clear();
    listener->reset();
    posix.reset();
    EXPECT_EQ(::kill(pid, 0), 0) << "the end of a daemon is not the end of what it started";
    ::kill(pid, SIGKILL);
}

TEST(PosixWorld, RandomNumbersDiffer) {
    PosixWorld posix{CredentialPaths{}};
    const World world = posix.world();
    EXPECT_NE(world.random.next(), world.random.next());
    std::array<std::byte, 32> a{};
    std::array<std::byte, 32> b{};
    world.random.fill(a);
    world.random.fill(b);
    EXPECT_NE(a, b);
}

}  // namespace
}  // namespace understudy::runtime
