// read_block() and write_block(): registered memory, and when devices get their requests.

#include "mirror/io/memory_table.h"
#include "mirror/io/reactor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <string>

namespace understudy::mirror {
namespace {

constexpr std::size_t kBytes = 16384;

/// Whole pages, which can be made anew at the same address.
class Pages {
  public:
    explicit Pages(int fill) : at_(map(nullptr, 0)) { std::memset(at_, fill, kBytes); }
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;
    ~Pages() { munmap(at_, kBytes); }
    void replace(int fill) {
        munmap(at_, kBytes);
        ASSERT_EQ(map(at_, MAP_FIXED_NOREPLACE), at_);
        std::memset(at_, fill, kBytes);
    }
    [[nodiscard]] std::span<std::byte> all() const { return {static_cast<std::byte*>(at_), kBytes}; }

  private:
    static void* map(void* at, int flags) {
        void* got = mmap(at, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
        EXPECT_NE(got, MAP_FAILED);
        return got;
    }
    void* at_;
};

class BlockOperationsTest : public ::testing::Test {
  protected:
    struct Op : IoOperation {
        int result = 1;
    };

    void SetUp() override {
        auto created = Reactor::create(64);
        ASSERT_TRUE(created) << created.error().text;
        reactor_ = std::move(*created);
        std::string name = "/tmp/understudy-blocks-XXXXXX";
        file_ = mkostemp(name.data(), O_CLOEXEC);
        ASSERT_GE(file_, 0);
        unlink(name.c_str());
    }
    void TearDown() override {
        reactor_.reset();
        close(file_);
    }
    Op& operation() {
        Op& op = ops_.emplace_back();
        op.owner = this;
        op.done = [](IoOperation& base, int result) {
            auto& self = *static_cast<BlockOperationsTest*>(base.owner);
            static_cast<Op&>(base).result = result;
            if (--self.pending_ == 0) self.reactor_->stop();
        };
        ++pending_;
        return op;
    }
    /// Runs until every operation has ended.
    void run() { reactor_->run(); }
    int write(std::span<const std::byte> from) {
        Op& op = operation();
        reactor_->write_block(op, file_, from, 0, false);
        run();
        return op.result;
    }
    [[nodiscard]] int content() const {
        std::array<unsigned char, kBytes> bytes{};
        EXPECT_EQ(pread(file_, bytes.data(), kBytes, 0), static_cast<ssize_t>(kBytes));
        for (unsigned char byte : bytes)
            EXPECT_EQ(byte, bytes[0]);
        return bytes[0];
    }
    /// Does `function` inside the reactor's run, like a callback.
    void inside(std::function<void()> function) {
        reactor_->post(std::move(function));
        run();
    }

    std::unique_ptr<Reactor> reactor_;
    std::deque<Op> ops_;
    unsigned pending_ = 0;
    int file_ = -1;
};

TEST_F(BlockOperationsTest, RegisteredMemoryIsWrittenAndReadLikeAnyOther) {
    const Pages memory(7);
    const RegisteredMemory registered(*reactor_, memory.all());
    EXPECT_EQ(write(memory.all()), static_cast<int>(kBytes));
    EXPECT_EQ(content(), 7);
    const std::array<char, 4> other = {'a', 'b', 'c', 'd'};
    ASSERT_EQ(pwrite(file_, other.data(), other.size(), 4096), 4);
    Op& op = operation();
    reactor_->read_block(op, file_, memory.all().subspan(8192, 4), 4096);
    run();
    EXPECT_EQ(op.result, 4);
    EXPECT_EQ(std::memcmp(memory.all().data() + 8192, other.data(), 4), 0);
}

// A registration knows pages: without taking it out the file would get the content that was there before.
TEST_F(BlockOperationsTest, MemoryThatIsMappedAgainAtTheSameAddressIsNotMistakenForTheFormer) {
    Pages memory(1);
    {
        const RegisteredMemory registered(*reactor_, memory.all());
        EXPECT_EQ(write(memory.all()), static_cast<int>(kBytes));
    }
    memory.replace(2);
    EXPECT_EQ(write(memory.all()), static_cast<int>(kBytes));
    EXPECT_EQ(content(), 2);
    const RegisteredMemory again(*reactor_, memory.all());
    std::memset(memory.all().data(), 3, kBytes);
    EXPECT_EQ(write(memory.all()), static_cast<int>(kBytes));
    EXPECT_EQ(content(), 3);
}

TEST_F(BlockOperationsTest, OneThatReachesBeyondARegisteredRangeIsDoneWithoutIt) {
    const Pages memory(9);
    const RegisteredMemory half(*reactor_, memory.all().first(kBytes / 2));
    EXPECT_EQ(write(memory.all()), static_cast<int>(kBytes));
    EXPECT_EQ(content(), 9);
}

TEST_F(BlockOperationsTest, WhatFindsNoRoomInTheTableWorksUnregisteredAndAFreePlaceIsUsedAgain) {
    std::deque<Pages> memory;
    std::deque<std::optional<RegisteredMemory>> registered;
    for (unsigned i = 0; i < MemoryTable::kMost; ++i) {
        memory.emplace_back(1);
        registered.emplace_back().emplace(*reactor_, memory.back().all());
    }
    if (!*registered.front())
        GTEST_SKIP() << "this kernel or this process's limits allow no registered memory";
    const Pages more(5);
    EXPECT_FALSE(reactor_->register_memory(more.all()));
    EXPECT_EQ(write(more.all()), static_cast<int>(kBytes));
    EXPECT_EQ(content(), 5);
    registered[3].reset();
    EXPECT_TRUE(reactor_->register_memory(more.all()));
    EXPECT_EQ(write(more.all()), static_cast<int>(kBytes));
    reactor_->unregister_memory(more.all());
}

TEST_F(BlockOperationsTest, AnOperationUnderWayKeepsWhatItBeganWith) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(pipe2(pipe.data(), O_CLOEXEC), 0);
    const Pages memory(0);
    Op& op = operation();
    {
        const RegisteredMemory registered(*reactor_, memory.all());
        reactor_->read_block(op, pipe[0], memory.all(), 0);
        // Two turns: the read is with the kernel when the range leaves the table.
        reactor_->post([this] { reactor_->stop(); });
        run();
        reactor_->post([this] { reactor_->stop(); });
        run();
    }
    ASSERT_EQ(::write(pipe[1], "late", 4), 4);
    run();
    EXPECT_EQ(op.result, 4);
    EXPECT_EQ(std::memcmp(memory.all().data(), "late", 4), 0);
    close(pipe[0]);
    close(pipe[1]);
}

// --- when devices get them; an eventfd stands for a device that tells how much it got

std::uint64_t got(int device) {
    std::uint64_t count = 0;
    return ::read(device, &count, sizeof count) == sizeof count ? count : 0;
}

TEST_F(BlockOperationsTest, ADeviceGetsItsRequestsAFewAtATimeAlsoWhenManyComeAtOnce) {
    const int device = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const std::uint64_t one = 1;
    std::uint64_t early = 0;
    inside([&] {
        for (int i = 0; i < 10; ++i)
            reactor_->write_block(operation(), device, std::as_bytes(std::span(&one, 1)), 0, false);
        early = got(device);
    });
    EXPECT_EQ(early, 8U);
    EXPECT_EQ(got(device), 2U);
    close(device);
}

TEST_F(BlockOperationsTest, ADeviceGetsItsRequestsBeforeMoreIsReceived) {
    const int device = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    std::array<int, 2> sockets{};
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()), 0);
    const std::uint64_t one = 1;
    std::array<std::byte, 8> received{};
    std::uint64_t early = 0;
    inside([&] {
        reactor_->write_block(operation(), device, std::as_bytes(std::span(&one, 1)), 0, false);
        reactor_->recv(operation(), sockets[0], received);
        early = got(device);
        ASSERT_EQ(::write(sockets[1], "x", 1), 1);
    });
    EXPECT_EQ(early, 1U);
    EXPECT_EQ(ops_.back().result, 1);
    for (int fd : {device, sockets[0], sockets[1]})
        close(fd);
}

}  // namespace
}  // namespace understudy::mirror
