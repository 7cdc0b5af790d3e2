// The session against a kernel that the test plays: a socket pair in place of /dev/fuse.

#include "mirror/export/fuse_session.h"

#include "mirror/export/descriptor.h"
#include "mirror/export/fuse_protocol.h"

#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace understudy::mirror {
namespace {

using namespace fuse;

constexpr std::uint64_t kSize = std::uint64_t{3} << 30;
constexpr std::uint32_t kRequestLimit = 1 << 16;

/// Answers at once and keeps a list of what it was asked.
class RecordingBackend final : public BlockBackend {
  public:
    [[nodiscard]] std::uint64_t size() const override { return kSize; }
    [[nodiscard]] std::uint32_t sector_size() const override { return 512; }
    [[nodiscard]] bool punches() const override { return can_punch; }
    void submit(BlockRequest& request) override {
        asked.push_back(request);
        if (request.op == BlockOp::read) std::memset(request.data, 'r', request.length);
        if (request.op == BlockOp::write)
            written.assign(reinterpret_cast<const char*>(request.data), request.length);
        aligned &= reinterpret_cast<std::uintptr_t>(request.data) % 4096 == 0;
        request.result = result;
        request.done(request);
    }
    bool can_punch = true;
    std::deque<BlockRequest> asked;
    std::string written;
    bool aligned = true;
    int result = 0;
};

class FuseSessionTest : public ::testing::Test {
  protected:
    struct Reply {
        fuse_out_header header{};
        std::string body;
        template <class T>
        [[nodiscard]] T as() const {
            T value{};
            std::memcpy(&value, body.data(), std::min(sizeof value, body.size()));
            return value;
        }
    };

    void SetUp() override {
        std::array<int, 2> ends{-1, -1};
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
        kernel_ = Descriptor(ends[0]);
        FuseSessionOptions options;
        options.volume = {kSize, 512, false};
        options.slots = 4;
        options.max_request = kRequestLimit;
        auto session = FuseSession::create(*reactor_, gate_, ends[1], options);
        ASSERT_TRUE(session) << session.error().text;
        session_ = std::move(*session);
        gate_.serve(backend_);
    }
    void TearDown() override {
        session_->close([this] { gate_.close([this] { reactor_->stop(); }); });
        reactor_->run();
    }
    void start() {
        session_->start([this](FuseNegotiated negotiated) { negotiated_ = negotiated; }, [] {});
    }
    void send_request(std::uint32_t opcode, std::string_view argument, std::uint64_t node = kVolumeNode,
                      std::uint64_t unique = 2, int wrong_length = 0) {
        fuse_in_header header{};
        header.len =
            static_cast<std::uint32_t>(sizeof header + argument.size()) + static_cast<unsigned>(wrong_length);
        header.opcode = opcode;
        header.unique = unique;
        header.nodeid = node;
        std::string packet(reinterpret_cast<const char*>(&header), sizeof header);
        packet += argument;
        ASSERT_EQ(send(kernel_.get(), packet.data(), packet.size(), 0), static_cast<ssize_t>(packet.size()));
    }
    template <class T>
    static std::string bytes(const T& value) {
        return {reinterpret_cast<const char*>(&value), sizeof value};
    }
    /// Runs the reactor until the session answers.
    Reply reply() {
        struct Wait : IoOperation {
            Reactor* reactor = nullptr;
        } wait;
        wait.reactor = reactor_.get();
        wait.done = [](IoOperation& op, int) { static_cast<Wait&>(op).reactor->stop(); };
        reactor_->poll_in(wait, kernel_.get());
        reactor_->run();
        std::string packet(kRequestLimit + 4096, '\0');
        const ssize_t size = recv(kernel_.get(), packet.data(), packet.size(), MSG_DONTWAIT);
        Reply result;
        EXPECT_GE(size, static_cast<ssize_t>(sizeof result.header));
        if (size < static_cast<ssize_t>(sizeof result.header)) return result;
        packet.resize(static_cast<std::size_t>(size));
        std::memcpy(&result.header, packet.data(), sizeof result.header);
        EXPECT_EQ(result.header.len, packet.size());
        result.body = packet.substr(sizeof result.header);
        return result;
    }
    Reply ask(std::uint32_t opcode, std::string_view argument, std::uint64_t node = kVolumeNode,
              std::uint64_t unique = 2) {
        send_request(opcode, argument, node, unique);
        Reply answer = reply();
        EXPECT_EQ(answer.header.unique, unique);
        return answer;
    }
    static fuse_init_in init(std::uint64_t flags) {
        fuse_init_in in{};
        in.major = FUSE_KERNEL_VERSION;
        in.minor = 45;
        in.flags = static_cast<std::uint32_t>(flags);
        in.flags2 = static_cast<std::uint32_t>(flags >> 32);
        return in;
    }

    std::unique_ptr<Reactor> reactor_ = std::move(*Reactor::create(64));
    RequestGate gate_{*reactor_};
    RecordingBackend backend_;
    Descriptor kernel_;
    std::unique_ptr<FuseSession> session_;
    FuseNegotiated negotiated_;
};

TEST_F(FuseSessionTest, AgreesOnResendingAndItsRequestSizeWithAKernelThatOffersIt) {
    start();
    const auto out =
        ask(FUSE_INIT,
            bytes(init(FUSE_ASYNC_DIO | FUSE_MAX_PAGES | FUSE_POSIX_LOCKS | kInitExt | kHasResend)), 0)
            .as<fuse_init_out>();
    EXPECT_EQ(out.major, static_cast<unsigned>(FUSE_KERNEL_VERSION));
    EXPECT_LE(out.minor, 45U);
    EXPECT_EQ(out.max_write, kRequestLimit);
    EXPECT_EQ(out.max_pages, kRequestLimit / 4096);
    EXPECT_EQ(out.flags, FUSE_ASYNC_DIO | FUSE_MAX_PAGES | kInitExt);
    EXPECT_EQ(out.flags2, kHasResend >> 32);
    EXPECT_TRUE(negotiated_.resend);
    EXPECT_EQ(negotiated_.max_request, kRequestLimit);
}

TEST_F(FuseSessionTest, AKernelThatCannotResendIsServedButNotTakenOver) {
    start();
    const auto out = ask(FUSE_INIT, bytes(init(FUSE_ASYNC_DIO | FUSE_MAX_PAGES)), 0).as<fuse_init_out>();
    EXPECT_EQ(out.flags2, 0U);
    EXPECT_FALSE(negotiated_.resend);
    const auto taken = session_->take_over(negotiated_, [] {});
    ASSERT_FALSE(taken);
    EXPECT_NE(taken.error().text.find("6.9"), std::string::npos);
}

TEST_F(FuseSessionTest, TakingOverAsksForUnansweredRequestsBeforeAnythingElseAndCountsThem) {
    ASSERT_TRUE(session_->take_over({38, kRequestLimit, true}, [] {}));
    const Reply notify = reply();
    EXPECT_EQ(notify.header.unique, 0U);
    EXPECT_EQ(notify.header.error, kNotifyResend);
    EXPECT_TRUE(notify.body.empty());
    fuse_write_in in{};
    in.size = 512;
    const Reply answer = ask(FUSE_WRITE, bytes(in) + std::string(512, 'w'), kVolumeNode, 8 | kUniqueResend);
    EXPECT_EQ(answer.header.error, 0);
    EXPECT_EQ(backend_.written, std::string(512, 'w'));
    EXPECT_EQ(session_->statistics().resent, 1U);
}

TEST_F(FuseSessionTest, GivesDataToTheBackendAlignedAndAnswersWithItsResult) {
    start();
    fuse_write_in write{};
    write.offset = 4096;
    write.size = kRequestLimit;
    const Reply written = ask(FUSE_WRITE, bytes(write) + std::string(kRequestLimit, 'd'));
    EXPECT_EQ(written.header.error, 0);
    EXPECT_EQ(written.as<fuse_write_out>().size, kRequestLimit);
    EXPECT_EQ(backend_.written, std::string(kRequestLimit, 'd'));
    fuse_read_in read{};
    read.size = 8192;
    EXPECT_EQ(ask(FUSE_READ, bytes(read)).body, std::string(8192, 'r'));
    EXPECT_TRUE(backend_.aligned);
    backend_.result = -EIO;
    EXPECT_EQ(ask(FUSE_FSYNC, std::string(16, '\0')).header.error, -EIO);
    EXPECT_EQ(backend_.asked.back().op, BlockOp::flush);
}

TEST_F(FuseSessionTest, ReadsEndAtTheVolumesEndAndWritesDoNotPassIt) {
    start();
    fuse_read_in read{};
    read.offset = kSize - 512;
    read.size = 4096;
    EXPECT_EQ(ask(FUSE_READ, bytes(read)).body.size(), 512U);
    read.offset = kSize + 4096;
    EXPECT_EQ(ask(FUSE_READ, bytes(read)).body.size(), 0U);
    fuse_write_in write{};
    write.offset = kSize - 512;
    write.size = 1024;
    EXPECT_EQ(ask(FUSE_WRITE, bytes(write) + std::string(1024, 'x')).header.error, -ENOSPC);
    write.offset = 100;
    EXPECT_EQ(ask(FUSE_WRITE, bytes(write) + std::string(1024, 'x')).header.error, -EINVAL);
}

TEST_F(FuseSessionTest, ZeroesALargeRangeInPieces) {
    start();
    fuse_fallocate_in in{};
    in.length = kSize;
    in.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    EXPECT_EQ(ask(FUSE_FALLOCATE, bytes(in)).header.error, 0);
    std::uint64_t next = 0;
    for (const auto& request : backend_.asked) {
        EXPECT_EQ(request.op, BlockOp::write_zeroes);
        EXPECT_TRUE(request.punch);
        EXPECT_EQ(request.offset, next);
        next += request.length;
    }
    EXPECT_EQ(next, kSize);
    // Without holes a discard is refused, but zeroes are written.
    backend_.asked.clear();
    backend_.can_punch = false;
    EXPECT_EQ(ask(FUSE_FALLOCATE, bytes(in)).header.error, -EOPNOTSUPP);
    EXPECT_TRUE(backend_.asked.empty());
    in.mode = FALLOC_FL_ZERO_RANGE;
    EXPECT_EQ(ask(FUSE_FALLOCATE, bytes(in)).header.error, 0);
    ASSERT_FALSE(backend_.asked.empty());
    EXPECT_FALSE(backend_.asked.front().punch);
    in.mode = 0;
    EXPECT_EQ(ask(FUSE_FALLOCATE, bytes(in)).header.error, -EOPNOTSUPP);
    in.mode = FALLOC_FL_ZERO_RANGE;
    in.offset = 512;
    EXPECT_EQ(ask(FUSE_FALLOCATE, bytes(in)).header.error, -ENOSPC);
}

TEST_F(FuseSessionTest, ShortAndContradictoryRequestsAreAnsweredWithErrors) {
    start();
    EXPECT_EQ(ask(FUSE_READ, "short").header.error, -EINVAL);
    EXPECT_EQ(ask(FUSE_WRITE, "").header.error, -EINVAL);
    EXPECT_EQ(ask(FUSE_INIT, "", 0).header.error, -EPROTO);
    EXPECT_EQ(ask(FUSE_FALLOCATE, "x").header.error, -EINVAL);
    fuse_write_in write{};
    write.size = 4096;
    EXPECT_EQ(ask(FUSE_WRITE, bytes(write) + std::string(512, 'x')).header.error, -EINVAL);
    fuse_read_in read{};
    read.size = kRequestLimit + 4096;
    EXPECT_EQ(ask(FUSE_READ, bytes(read)).header.error, -EINVAL);
    EXPECT_EQ(ask(9999, "").header.error, -ENOSYS);
    EXPECT_EQ(ask(FUSE_LOOKUP, std::string("other\0", 6), kRootNode).header.error, -ENOENT);
    EXPECT_EQ(ask(FUSE_LOOKUP, "volume", kRootNode).header.error, -ENOENT);  // without its end
    EXPECT_TRUE(backend_.asked.empty());
    // A packet that is not as long as it says is no request: nothing to answer, and the next is served.
    send_request(FUSE_GETATTR, std::string(16, '\0'), kVolumeNode, 4, 8);
    EXPECT_EQ(ask(FUSE_GETATTR, std::string(16, '\0')).as<fuse_attr_out>().attr.size, kSize);
}

TEST_F(FuseSessionTest, ServesMoreRequestsThanItHasSlots) {
    start();
    constexpr std::uint64_t kMany = 50;
    fuse_read_in read{};
    read.size = 512;
    std::vector<bool> answered(kMany);
    for (std::uint64_t i = 0; i < kMany; ++i)
        send_request(FUSE_READ, bytes(read), kVolumeNode, i * 2);
    for (std::uint64_t i = 0; i < kMany; ++i) {
        const std::uint64_t unique = reply().header.unique / 2;
        ASSERT_LT(unique, kMany);
        EXPECT_FALSE(answered[unique]);
        answered[unique] = true;
    }
}

// Spec: REP-088
TEST_F(FuseSessionTest, AnInterruptedWriteRunsToItsEnd) {
    start();
    gate_.suspend(std::chrono::hours(1));
    fuse_write_in write{};
    write.offset = 4096;
    write.size = 512;
    send_request(FUSE_WRITE, bytes(write) + std::string(512, 'w'), kVolumeNode, 6);
    fuse_interrupt_in interrupt{};
    interrupt.unique = 6;
    send_request(FUSE_INTERRUPT, bytes(interrupt), 0, 7);
    send_request(FUSE_GETATTR, std::string(16, '\0'), kVolumeNode, 8);
    EXPECT_EQ(reply().header.unique, 8U) << "neither of both is answered yet";
    gate_.resume();
    const Reply written = reply();
    EXPECT_EQ(written.header.unique, 6U);
    EXPECT_EQ(written.header.error, 0);
    EXPECT_EQ(backend_.written, std::string(512, 'w'));
}

TEST_F(FuseSessionTest, AClosingSessionAnswersWhatTheBackendHasAndLeavesTheRest) {
    struct Holding final : BlockBackend {
        [[nodiscard]] std::uint64_t size() const override { return kSize; }
        [[nodiscard]] std::uint32_t sector_size() const override { return 512; }
        void submit(BlockRequest& request) override { held = &request; }
        BlockRequest* held = nullptr;
    };
    const auto holding = std::make_shared<Holding>();
    gate_.serve(*holding);
    start();
    fuse_read_in read{};
    read.size = 512;
    send_request(FUSE_READ, bytes(read), kVolumeNode, 2);
    reactor_->after_batch([this, holding] {
        if (holding->held != nullptr) reactor_->stop();
    });
    reactor_->run();
    ASSERT_NE(holding->held, nullptr);
    BlockRequest& request = *std::exchange(holding->held, nullptr);
    bool closed = false;
    session_->close([&] {
        closed = true;
        reactor_->stop();
    });
    send_request(FUSE_READ, bytes(read), kVolumeNode, 4);  // for the next server
    EXPECT_FALSE(closed);
    request.done(request);
    reactor_->run();
    EXPECT_TRUE(closed);
    EXPECT_EQ(reply().header.unique, 2U);
    pollfd readable{kernel_.get(), POLLIN, 0};
    EXPECT_EQ(poll(&readable, 1, 0), 0);
    EXPECT_EQ(holding->held, nullptr);
}

}  // namespace
}  // namespace understudy::mirror
