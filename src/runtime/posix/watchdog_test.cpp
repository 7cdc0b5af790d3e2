// The process that resets a host, with a stand-in for the hardware's device: a FIFO that records what is
// written to it. It answers no ioctl, as a watchdog whose timeout cannot be set. No host is reset: the
// process gives up the right to before it serves.

#include "runtime/posix/watchdog.h"

#include "runtime/posix/descriptor.h"
#include "runtime/posix/test_support.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <thread>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;
using testing::TemporaryDirectory;
using testing::within;

bool give_up_reset() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0) return false;
    data[CAP_TO_INDEX(CAP_SYS_BOOT)].effective &= ~CAP_TO_MASK(CAP_SYS_BOOT);
    data[CAP_TO_INDEX(CAP_SYS_BOOT)].permitted &= ~CAP_TO_MASK(CAP_SYS_BOOT);
    return ::syscall(SYS_capset, &header, data.data()) == 0;
}

class WatchdogDevice : public ::testing::Test {
  protected:
    void SetUp() override {
        ASSERT_EQ(::mkfifo(device_path.c_str(), 0600), 0);
        device = Descriptor(::open(device_path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        ASSERT_TRUE(device);
        process = ::fork();
        if (process == 0) {
            if (!give_up_reset()) ::_exit(3);
            ::_exit(serve_watchdog(socket, device_path) ? 0 : 1);
        }
        ASSERT_GT(process, 0);
        ASSERT_TRUE(within(10s, [&] { return client.present(); }));
    }
    void TearDown() override {
        if (process <= 0) return;
        ::kill(process, SIGKILL);
        ::waitpid(process, nullptr, 0);
    }
    /// What the process has written since the last call.
    std::string written() {
        std::array<char, 256> buffer{};
        const auto size = ::read(device.get(), buffer.data(), buffer.size());
        return size > 0 ? std::string(buffer.data(), static_cast<std::size_t>(size)) : std::string();
    }
    bool is_fed() {
        return within(20s, [&] { return written().find('\0') != std::string::npos; });
    }
    int exit_code() {
        int status = 0;
        EXPECT_EQ(::waitpid(process, &status, 0), process);
        process = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

    TemporaryDirectory directory;
    std::string socket = directory.path("watchdog.sock");
    std::string device_path = directory.path("device");
    Descriptor device;
    pid_t process = 0;
    WatchdogClient client{socket, "/does/not/exist", device_path};
};

TEST_F(WatchdogDevice, IsKeptAwakeWithAndWithoutADeadline) {
    EXPECT_TRUE(is_fed());
    client.arm(1h);
    EXPECT_TRUE(is_fed());
    client.disarm();
    EXPECT_TRUE(is_fed());
}

TEST_F(WatchdogDevice, IsToldToStopWhenTheProcessEndsInOrder) {
    client.end();
    EXPECT_EQ(exit_code(), 0);
    const auto text = written();
    ASSERT_FALSE(text.empty());
    EXPECT_EQ(text.back(), 'V') << "the magic close";
    EXPECT_FALSE(client.present());
}

TEST_F(WatchdogDevice, FiresByItselfWhenTheProcessIsKilled) {
    ::kill(process, SIGKILL);
    exit_code();
    std::string all;
    while (true) {
        const auto more = written();
        if (more.empty()) break;
        all += more;
    }
    EXPECT_EQ(all.find('V'), std::string::npos) << "closed without the magic letter";
}

TEST_F(WatchdogDevice, IsNotFedAnyMoreOnceADeadlineHasPassed) {
    ASSERT_TRUE(is_fed());
    client.arm(0s);
    // What was on its way may still come; then nothing, for longer than two of its intervals.
    EXPECT_TRUE(within(20s, [&] {
        written();
        for (const auto end = std::chrono::steady_clock::now() + 2500ms;
             std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(10ms))
            if (!written().empty()) return false;
        return true;
    }));
    client.disarm();
    EXPECT_TRUE(is_fed()) << "and again when the daemon takes the deadline back";
}

TEST_F(WatchdogDevice, HasOneProcessOnly) {
    const auto second = serve_watchdog(socket, "");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::exists);
}

TEST(Watchdog, ADeviceThatCannotBeOpenedIsAnErrorThatNamesIt) {
    const TemporaryDirectory directory;
    const auto served = serve_watchdog(directory.path("watchdog.sock"), directory.path("none"));
    ASSERT_FALSE(served);
    EXPECT_NE(served.error().text.find(directory.path("none")), std::string::npos);
}

}  // namespace
}  // namespace understudy::runtime
