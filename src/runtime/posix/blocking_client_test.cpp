#include "runtime/posix/blocking_client.h"

#include "runtime/posix/network_test_support.h"
#include "runtime/posix/posix_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;
using testing::bytes_of;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;
using testing::text_of;

/// A daemon on a thread of its own, whose behaviour each frame names.
class BlockingClientTest : public ::testing::Test {
  protected:
    BlockingClientTest() {
        auto made =
            world.world().network.listen({path, 0}, Security::plain, [this](std::unique_ptr<Channel> c) {
                Channel* channel = c.get();
                channels.emplace(channel, std::move(c));
                channel->start(
                    [this, channel](std::span<const std::byte> frame) { answer(channel, text_of(frame)); },
                    [this, channel](const Error&) { channels.erase(channel); });
            });
        EXPECT_TRUE(made);
        listener = std::move(*made);
        thread = std::thread([this] { world.run(); });
    }
    ~BlockingClientTest() override {
        world.stop();
        thread.join();
        channels.clear();
        listener.reset();
    }
    void answer(Channel* channel, const std::string& frame) {
        if (frame == "be silent") return;
        if (frame == "hang up") {
            channels.erase(channel);
            return;
        }
        if (frame == "thrice") {
            for (int i = 0; i < 3; ++i)
                channel->send(bytes_of(std::to_string(i)));
            return;
        }
        channel->send(bytes_of("echo " + frame));
    }
    Result<BlockingClient> client() { return BlockingClient::connect(path, 5s); }

    TemporaryDirectory directory;
    std::string path = directory.path("api.sock");
    PosixWorld world{CredentialPaths{}};
    std::unique_ptr<Listener> listener;
    std::map<Channel*, std::unique_ptr<Channel>> channels;
    std::thread thread;
};

TEST_F(BlockingClientTest, AnswersRequestsOneAfterTheOther) {
    auto one = client();
    ASSERT_TRUE(one) << one.error().text;
    EXPECT_EQ(one->request("hello", 5s), "echo hello");
    EXPECT_EQ(one->request("", 5s), "echo ");
    const std::string large(10UL << 20, 'x');
    EXPECT_EQ(one->request(large, 20s), "echo " + large);
}

TEST_F(BlockingClientTest, ReadsAStreamOfFrames) {
    auto one = client();
    ASSERT_TRUE(one);
    ASSERT_TRUE(one->send("thrice", 5s));
    for (const char* expected : {"0", "1", "2"})
        EXPECT_EQ(one->next_frame(5s), expected);
}

TEST_F(BlockingClientTest, GivesUpAfterItsTimeAndIsClosedThen) {
    auto one = client();
    ASSERT_TRUE(one);
    const auto late = one->request("be silent", 30ms);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::unreachable);
    EXPECT_THAT(late.error().text, HasSubstr("did not answer in time"));
    EXPECT_FALSE(one->request("hello", 5s)) << "an answer to the first request could come now";
    EXPECT_EQ(one->descriptor(), -1);
}

TEST_F(BlockingClientTest, SaysThatTheDaemonHungUp) {
    auto one = client();
    ASSERT_TRUE(one);
    const auto result = one->request("hang up", 5s);
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().text, HasSubstr("closed the connection"));
}

TEST_F(BlockingClientTest, RefusesAnOversizedFrameAndStaysOpen) {
    auto one = client();
    ASSERT_TRUE(one);
    EXPECT_FALSE(one->request(std::string(kMaxFrameBytes + 1, 'x'), 5s));
    EXPECT_EQ(one->request("hello", 5s), "echo hello");
}

TEST_F(BlockingClientTest, MovesWithItsConnection) {
    auto one = client();
    auto other = client();
    ASSERT_TRUE(one && other);
    *one = std::move(*other);
    EXPECT_EQ(one->request("hello", 5s), "echo hello");
}

TEST_F(BlockingClientTest, WaitsForeverWhenTheCallerSaysSo) {
    auto one = client();
    ASSERT_TRUE(one);
    EXPECT_EQ(one->request("hello", BlockingClient::Timeout::max()), "echo hello");
}

// Spec: CMD-003
TEST(BlockingClientAlone, KnowsThatNoDaemonRuns) {
    const TemporaryDirectory directory;
    const auto nothing = BlockingClient::connect(directory.path("api.sock"), 1s);
    ASSERT_FALSE(nothing);
    EXPECT_TRUE(BlockingClient::daemon_missing(nothing.error()));
    EXPECT_EQ(nothing.error().code, Code::failure);

    const Descriptor dead = testing::bind_unix_without_listening(directory.path("dead.sock"));
    EXPECT_TRUE(
        BlockingClient::daemon_missing(BlockingClient::connect(directory.path("dead.sock"), 1s).error()));
}

TEST(BlockingClientAlone, RefusesAPathThatIsTooLong) {
    const auto result = BlockingClient::connect("/" + std::string(200, 'x'), 1s);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::bad_argument);
    EXPECT_FALSE(BlockingClient::daemon_missing(result.error()));
}

}  // namespace
}  // namespace understudy::runtime
