#include "mirror/shared/posix/device_access.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace understudy::mirror::shared {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

struct DeviceAccessTest : testing::Test {
    DeviceAccessTest() {
        // Not in /tmp, which may be a tmpfs without O_DIRECT.
        std::string name = std::filesystem::current_path() / "device-access-XXXXXX";
        EXPECT_NE(::mkdtemp(name.data()), nullptr);
        directory = name;
        std::ofstream(directory + "/disk") << std::string(4 * kAreaBlock, 'x');
        // Whoever writes to it waits for a reader, as for a disk that does not answer.
        EXPECT_EQ(::mkfifo(stalled().c_str(), 0600), 0);
    }
    ~DeviceAccessTest() override { std::filesystem::remove_all(directory); }
    [[nodiscard]] std::string stalled() const { return directory + "/stalled"; }

    std::string directory;
    LinuxDeviceAccess access;
    const std::string block = std::string(kAreaBlock, 'y');
};

// Spec: MOP-067, REP-058
TEST_F(DeviceAccessTest, ADiskThatDoesNotAnswerKeepsNobodyWaiting) {
    const auto first = access.write_now(stalled(), 0, block, 50ms);
    ASSERT_FALSE(first);
    EXPECT_THAT(first.error().text, HasSubstr("has not answered within 50 ms"));
    // The next one is not waited for at all, and another disk's is written.
    const auto next = access.write_now(stalled(), 0, block, 24h);
    ASSERT_FALSE(next);
    EXPECT_THAT(next.error().text, HasSubstr("an earlier write"));
    const auto other = access.write_now(directory + "/disk", kAreaBlock, block, 1h);
    ASSERT_TRUE(other) << other.error().text;
    std::ifstream disk(directory + "/disk");
    const std::string found{std::istreambuf_iterator<char>(disk), {}};
    EXPECT_EQ(found.substr(kAreaBlock, kAreaBlock), block);
    EXPECT_EQ(found.substr(0, kAreaBlock), std::string(kAreaBlock, 'x'));
    // It answers again: what was under way ends, and then the next one has its turn.
    const int reader = ::open(stalled().c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ASSERT_GE(reader, 0);
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    Result<> later = access.write_now(stalled(), 0, block, 1h);
    while (!later && later.error().text.find("an earlier write") != std::string::npos &&
           std::chrono::steady_clock::now() < deadline) {
        ::usleep(1000);
        later = access.write_now(stalled(), 0, block, 1h);
    }
    ASSERT_FALSE(later);
    EXPECT_THAT(later.error().text, HasSubstr("cannot write to")) << "a pipe has no places to write to";
    ::close(reader);
}

}  // namespace
}  // namespace understudy::mirror::shared
