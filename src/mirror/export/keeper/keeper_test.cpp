#include "mirror/export/keeper/keeper_client.h"
#include "mirror/export/keeper/keeper_protocol.h"
#include "mirror/export/keeper/keeper_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

namespace understudy::mirror::keeper {
namespace {

class KeeperTest : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = "/tmp/understudy-keeper-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        directory_ = name;
        path_ = directory_ + "/keeper.socket";
        start();
    }
    void TearDown() override {
        stop();
        std::filesystem::remove_all(directory_);
    }
    void start() {
        auto server = Server::listen(path_);
        ASSERT_TRUE(server) << server.error().text;
        server_ = std::move(*server);
        thread_ = std::thread([this] { ended_ = server_->run().has_value(); });
    }
    void stop() {
        if (!server_) return;
        server_->stop();
        thread_.join();
        EXPECT_TRUE(ended_);
        server_.reset();
    }
    Descriptor file_with(std::string_view content) {
        const std::string name = directory_ + "/file";
        Descriptor file(open(name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        EXPECT_EQ(write(file.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
        unlink(name.c_str());
        return file;
    }

    std::string directory_, path_;
    std::unique_ptr<Server> server_;
    std::thread thread_;
    bool ended_ = false;
};

TEST_F(KeeperTest, GivesBackDescriptorsAndStateAfterTheirOwnerHasClosedThem) {
    const std::string state("binary\0state\n", 13);
    {
        const Descriptor first = file_with("first"), second = file_with("second");
        const std::array<int, 2> fds{first.get(), second.get()};
        ASSERT_TRUE(put(path_, "fuse:data", state, fds));
    }
    for (int round = 0; round < 2; ++round) {  // a get takes nothing away
        auto kept = get(path_, "fuse:data");
        ASSERT_TRUE(kept) << kept.error().text;
        EXPECT_EQ(kept->state, state);
        ASSERT_EQ(kept->descriptors.size(), 2U);
        std::array<char, 16> content{};
        EXPECT_EQ(pread(kept->descriptors[1].get(), content.data(), content.size(), 0), 6);
        EXPECT_EQ(std::string_view(content.data(), 6), "second");
        EXPECT_EQ(fcntl(kept->descriptors[0].get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    }
}

TEST_F(KeeperTest, ReplacesListsAndDropsEntries) {
    const Descriptor file = file_with("x");
    const int fd = file.get();
    ASSERT_TRUE(put(path_, "b", "one", {&fd, 1}));
    ASSERT_TRUE(put(path_, "a", "", {}));
    ASSERT_TRUE(put(path_, "b", "two", {}));
    EXPECT_EQ(*list(path_), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(get(path_, "b")->state, "two");
    EXPECT_TRUE(get(path_, "b")->descriptors.empty());
    ASSERT_TRUE(drop(path_, "b"));
    ASSERT_TRUE(drop(path_, "b"));
    EXPECT_EQ(get(path_, "b").error().code, Code::not_found);
    EXPECT_EQ(*list(path_), (std::vector<std::string>{"a"}));
}

TEST_F(KeeperTest, ClosesWhatItNoLongerKeeps) {
    std::array<int, 2> ends{-1, -1};
    ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    Descriptor read_end(ends[0]), write_end(ends[1]);
    ASSERT_TRUE(put(path_, "pipe", "", {&ends[1], 1}));
    write_end.reset();
    char byte = 0;
    EXPECT_EQ(read(read_end.get(), &byte, 1), -1);  // still open in the keeper
    ASSERT_TRUE(drop(path_, "pipe"));
    EXPECT_EQ(read(read_end.get(), &byte, 1), 0);
}

TEST_F(KeeperTest, RefusesMoreThanItsBounds) {
    for (std::size_t i = 0; i < kMaxEntries; ++i)
        ASSERT_TRUE(put(path_, fmt::format("e{}", i), "", {}));
    auto full = put(path_, "one-more", "", {});
    ASSERT_FALSE(full);
    EXPECT_NE(full.error().text.find("full"), std::string::npos);
    EXPECT_TRUE(put(path_, "e7", "replaced", {}));
    EXPECT_EQ(list(path_)->size(), kMaxEntries);
    EXPECT_EQ(put(path_, "bad name", "", {}).error().code, Code::bad_argument);
    EXPECT_EQ(put(path_, "e1", std::string(kMaxState + 1, 'x'), {}).error().code, Code::out_of_range);
}

// Each exported volume holds a connection open as long as it lives.
TEST_F(KeeperTest, ServesManyVolumesOfOneHost) {
    constexpr std::size_t kVolumes = 300;
    std::vector<Descriptor> watching;
    for (std::size_t i = 0; i < kVolumes; ++i) {
        const auto name = fmt::format("fuse:a-volume-with-a-long-name-{:030}", i);
        auto kept = put(path_, name, "state", {});
        ASSERT_TRUE(kept) << i << ": " << kept.error().text;
        auto connection = connect(path_);
        ASSERT_TRUE(connection) << i << ": " << connection.error().text;
        watching.push_back(std::move(*connection));
    }
    const auto names = list(path_);
    ASSERT_TRUE(names) << names.error().text;
    EXPECT_EQ(names->size(), kVolumes);
    for (const Descriptor& one : watching) {
        char byte = 0;
        EXPECT_EQ(recv(one.get(), &byte, 1, MSG_DONTWAIT), -1);  // neither answered nor closed
    }
}

TEST_F(KeeperTest, AnswersNonsenseWithAnErrorAndGoesOn) {
    for (std::string_view nonsense :
         {"\n", "put\n", "get \n", "steal a\n", "list x\n", "put a/b\n", "no newline"}) {
        auto socket = connect(path_);
        ASSERT_TRUE(socket);
        ASSERT_EQ(send(socket->get(), nonsense.data(), nonsense.size(), 0),
                  static_cast<ssize_t>(nonsense.size()));
        std::array<char, 256> answer{};
        const ssize_t size = recv(socket->get(), answer.data(), answer.size(), 0);
        ASSERT_GT(size, 0);
        EXPECT_TRUE(std::string_view(answer.data(), static_cast<std::size_t>(size)).starts_with("error "))
            << nonsense;
    }
    EXPECT_TRUE(list(path_));
}

TEST_F(KeeperTest, ASecondKeeperOnTheSameSocketIsRefused) {
    auto second = Server::listen(path_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::exists);
    EXPECT_TRUE(list(path_));
}

TEST_F(KeeperTest, ASilentConnectionEndsWithTheKeeperAndTheSocketIsForRootOnly) {
    auto watch = connect(path_);
    ASSERT_TRUE(watch);
    struct stat status {};
    ASSERT_EQ(stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    stop();
    char byte = 0;
    EXPECT_EQ(recv(watch->get(), &byte, 1, 0), 0);
    EXPECT_EQ(list(path_).error().code, Code::unreachable);
    start();
    EXPECT_TRUE(list(path_)->empty());
}

TEST(KeeperProtocol, ReadsWhatItShouldAndNothingElse) {
    auto command = parse("put fuse:data\nstate\nmore");
    ASSERT_TRUE(command);
    EXPECT_EQ(command->verb, Verb::put);
    EXPECT_EQ(command->name, "fuse:data");
    EXPECT_EQ(command->state, "state\nmore");
    EXPECT_FALSE(parse("get a b\n"));
    EXPECT_FALSE(parse("get a\nrest"));
    EXPECT_FALSE(parse(""));
    EXPECT_FALSE(parse("get " + std::string(kMaxName + 1, 'a') + "\n"));
}

}  // namespace
}  // namespace understudy::mirror::keeper
