#include "mirror/io/raw_backend.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

namespace understudy::mirror {
namespace {

constexpr std::uint64_t kSize = 8 << 20;
constexpr auto kTestLimit = std::chrono::seconds(20);

struct AlignedBuffer {
    explicit AlignedBuffer(std::size_t size, int fill = 0) : bytes(size) {
        data = static_cast<std::byte*>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096));
        std::memset(data, fill, size);
    }
    AlignedBuffer(const AlignedBuffer&) = delete;
    AlignedBuffer& operator=(const AlignedBuffer&) = delete;
    ~AlignedBuffer() { std::free(data); }
    std::size_t bytes;
    std::byte* data;
};

class RawBackendTest : public ::testing::Test {
  protected:
    void SetUp() override {
        path_ = "/var/tmp/understudy-raw-XXXXXX";  // on a disk: /tmp may be a tmpfs without direct I/O
        const int fd = mkostemp(path_.data(), O_CLOEXEC);
        ASSERT_GE(fd, 0);
        ASSERT_EQ(ftruncate(fd, kSize), 0);
        close(fd);
        reactor_ = std::move(*Reactor::create(64));
        open({.path = path_});
    }
    void TearDown() override {
        backend_.reset();
        reactor_.reset();
        unlink(path_.c_str());
    }
    void open(RawBackendOptions options) {
        backend_.reset();
        auto opened = RawBackend::open(*reactor_, std::move(options));
        ASSERT_TRUE(opened) << opened.error().text;
        backend_ = std::move(*opened);
    }
    /// Submits all, runs until all are done.
    void perform(std::deque<BlockRequest>& requests) {
        pending_ = requests.size();
        for (auto& request : requests) {
            request.owner = this;
            request.result = 1;
            request.done = [](BlockRequest& done) {
                auto& self = *static_cast<RawBackendTest*>(done.owner);
                if (--self.pending_ == 0) self.reactor_->stop();
            };
            backend_->submit(request);
        }
        reactor_->run();
        EXPECT_EQ(pending_, 0U);
        EXPECT_TRUE(backend_->idle());
    }
    int perform(BlockRequest request) {
        std::deque<BlockRequest> one{request};
        perform(one);
        return one.front().result;
    }

    std::string path_;
    std::unique_ptr<Reactor> reactor_;
    std::unique_ptr<RawBackend> backend_;
    std::size_t pending_ = 0;
};

// Spec: REP-305
TEST_F(RawBackendTest, TakesTheSizeThatItsFileHasNow) {
    EXPECT_EQ(*backend_->measure(), kSize);
    ASSERT_EQ(truncate(path_.c_str(), 2 * kSize + 100), 0);
    EXPECT_EQ(backend_->size(), kSize) << "until it is measured";
    EXPECT_EQ(*backend_->measure(), 2 * kSize) << "whole sectors";
    AlignedBuffer page(4096, 7);
    EXPECT_EQ(perform({.op = BlockOp::write, .offset = 2 * kSize - 4096, .length = 4096, .data = page.data}),
              0);
    ASSERT_EQ(truncate(path_.c_str(), kSize / 2), 0);
    EXPECT_EQ(*backend_->measure(), kSize / 2);
    EXPECT_EQ(perform({.op = BlockOp::read, .offset = kSize / 2, .length = 4096, .data = page.data}),
              -EINVAL);
}

TEST_F(RawBackendTest, ReadsBackWhatItWrote) {
    AlignedBuffer out(65536, 0x5a), in(65536);
    EXPECT_EQ(perform({.op = BlockOp::write, .offset = 131072, .length = 65536, .data = out.data}), 0);
    EXPECT_EQ(perform({.op = BlockOp::flush}), 0);
    EXPECT_EQ(perform({.op = BlockOp::read, .offset = 131072, .length = 65536, .data = in.data}), 0);
    EXPECT_EQ(std::memcmp(in.data, out.data, 65536), 0);
    EXPECT_EQ(backend_->size(), kSize);
}

TEST_F(RawBackendTest, RefusesWhatIsOutOfRangeOrNotAligned) {
    AlignedBuffer data(8192);
    EXPECT_EQ(perform({.op = BlockOp::read, .offset = kSize, .length = 4096, .data = data.data}), -EINVAL);
    EXPECT_EQ(perform({.op = BlockOp::write, .offset = kSize - 4096, .length = 8192, .data = data.data}),
              -EINVAL);
    EXPECT_EQ(
        perform({.op = BlockOp::read, .offset = ~std::uint64_t{0} - 511, .length = 4096, .data = data.data}),
        -EINVAL);
    EXPECT_EQ(perform({.op = BlockOp::read, .offset = 100, .length = 4096, .data = data.data}), -EINVAL);
}

TEST_F(RawBackendTest, DiscardsAndZeroesRanges) {
    AlignedBuffer ones(kSize / 2, 0xff), in(kSize / 2);
    ASSERT_EQ(perform({.op = BlockOp::write, .length = kSize / 2, .data = ones.data}), 0);
    EXPECT_EQ(perform({.op = BlockOp::discard, .offset = 0, .length = 65536}), 0);
    EXPECT_EQ(perform({.op = BlockOp::write_zeroes, .fua = true, .offset = 1 << 20, .length = 2 << 20}), 0);
    ASSERT_EQ(perform({.op = BlockOp::read, .length = kSize / 2, .data = in.data}), 0);
    EXPECT_EQ(in.data[(1 << 20) - 1], std::byte{0xff});
    for (std::size_t i = 1 << 20; i < (3 << 20); ++i)
        ASSERT_EQ(in.data[i], std::byte{0});
    EXPECT_EQ(in.data[3 << 20], std::byte{0xff});
}

TEST_F(RawBackendTest, ZeroesThatMayBeAHoleGiveTheirSpaceBack) {
    AlignedBuffer ones(1 << 20, 0xff), in(1 << 20);
    const auto space = [this] {
        struct stat status {};
        EXPECT_EQ(stat(path_.c_str(), &status), 0);
        return status.st_blocks;
    };
    for (const bool fua : {false, true}) {
        ASSERT_EQ(perform({.op = BlockOp::write, .length = 1 << 20, .data = ones.data}), 0);
        ASSERT_EQ(perform({.op = BlockOp::flush}), 0);
        const auto before = space();
        EXPECT_EQ(perform({.op = BlockOp::write_zeroes, .fua = fua, .punch = true, .length = 1 << 20}), 0);
        EXPECT_LE(space() + (1 << 20) / 512, before);
        std::memset(in.data, 1, in.bytes);
        ASSERT_EQ(perform({.op = BlockOp::read, .length = 1 << 20, .data = in.data}), 0);
        for (std::size_t i = 0; i < in.bytes; ++i)
            ASSERT_EQ(in.data[i], std::byte{0});
    }
}

TEST_F(RawBackendTest, QueuesMoreRequestsThanItSendsToTheKernel) {
    constexpr std::size_t kMany = 1000;
    AlignedBuffer data(kMany * 4096), in(kMany * 4096);
    std::deque<BlockRequest> requests;
    for (std::size_t i = 0; i < kMany; ++i) {
        std::memset(data.data + i * 4096, static_cast<int>(i % 251), 4096);
        requests.push_back(
            {.op = BlockOp::write, .offset = i * 4096, .length = 4096, .data = data.data + i * 4096});
    }
    perform(requests);
    for (auto& request : requests)
        ASSERT_EQ(request.result, 0);
    ASSERT_EQ(perform({.op = BlockOp::read, .length = kMany * 4096, .data = in.data}), 0);
    EXPECT_EQ(std::memcmp(in.data, data.data, kMany * 4096), 0);
}

TEST_F(RawBackendTest, RefusesAFileThatIsOpenAlreadyAndSaysSo) {
    auto second = RawBackend::open(*reactor_, {.path = path_});
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().text.find("in use"), std::string::npos) << second.error().text;
    backend_.reset();
    EXPECT_TRUE(RawBackend::open(*reactor_, {.path = path_}));
}

TEST_F(RawBackendTest, ReportsAMissingFileAndAFileOfTheWrongKind) {
    auto missing = RawBackend::open(*reactor_, {.path = "/nonexistent/volume"});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::not_found);
    auto device = RawBackend::open(*reactor_, {.path = "/dev/null"});
    ASSERT_FALSE(device);
    EXPECT_EQ(device.error().code, Code::bad_argument);
}

TEST_F(RawBackendTest, AReadOnlyBackendRefusesChanges) {
    open({.path = path_, .read_only = true});
    AlignedBuffer data(4096);
    EXPECT_EQ(perform({.op = BlockOp::write, .length = 4096, .data = data.data}), -EROFS);
    EXPECT_EQ(perform({.op = BlockOp::discard, .length = 4096}), -EROFS);
    EXPECT_EQ(perform({.op = BlockOp::read, .length = 4096, .data = data.data}), 0);
}

}  // namespace
}  // namespace understudy::mirror
