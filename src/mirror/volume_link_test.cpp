// What a link gives to the kernel and when, on a reactor that only notes what it is asked for.

#include "mirror/volume_link.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace understudy::mirror {
namespace {

class NotingReactor final : public Reactor {
  public:
    void sendv(IoOperation& op, int, const iovec* vectors, unsigned count) override {
        std::size_t bytes = 0;
        for (unsigned i = 0; i < count; ++i)
            bytes += vectors[i].iov_len;
        sends.push_back(bytes);
        begin(op);
        sending = &op;
    }
    void timeout(IoOperation& op, std::chrono::nanoseconds) override {
        begin(op);
        timer = &op;
    }
    void cancel(IoOperation& op) override {
        if (op.in_flight) cancelled.push_back(&op);
    }
    void recv(IoOperation& op, int, std::span<std::byte>) override { begin(op); }
    [[nodiscard]] std::chrono::steady_clock::time_point now() const override { return {}; }

    void read(IoOperation&, int, std::span<std::byte>, std::uint64_t) override {}
    void write(IoOperation&, int, std::span<const std::byte>, std::uint64_t, bool) override {}
    void writev(IoOperation&, int, const iovec*, unsigned, std::uint64_t) override {}
    void fsync(IoOperation&, int, bool) override {}
    void fallocate(IoOperation&, int, int, std::uint64_t, std::uint64_t) override {}
    void accept(IoOperation&, int) override {}
    void connect(IoOperation&, int, const void*, unsigned) override {}
    void poll_in(IoOperation&, int) override {}
    void read_when_ready(IoOperation&, int, std::span<std::byte>) override {}
    void device_command(IoOperation&, int, std::uint32_t,
                        std::span<const std::byte, kDeviceArgument>) override {}
    void keep_until_closed(std::shared_ptr<void>) override {}
    void post(std::function<void()>) override {}
    void again() override {}
    void after_batch(std::function<void()>) override {}
    void run() override {}
    void stop() override {}

    static void end(IoOperation*& op, int result) {
        IoOperation& ended = *std::exchange(op, nullptr);
        ended.in_flight = false;
        ended.done(ended, result);
    }
    /// The kernel has taken all that it was given last.
    void sent(std::optional<std::size_t> bytes = {}) {
        end(sending, static_cast<int>(bytes.value_or(sends.back())));
    }

    std::vector<std::size_t> sends;
    std::vector<IoOperation*> cancelled;
    IoOperation *sending = nullptr, *timer = nullptr;

  private:
    static void begin(IoOperation& op) {
        EXPECT_FALSE(op.in_flight);
        op.in_flight = true;
    }
};

struct NoHandler : LinkHandler {
    void on_frame(Link&, const wire::Frame&) override {}
    void on_link_end(Link&, std::string) override {}
    [[nodiscard]] bool may_read(const Link&) const override { return true; }
};

class LinkTest : public ::testing::Test {
  protected:
    LinkTest() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
        other = LinkSocket(ends[1]);
        link = std::make_unique<Link>(reactor, LinkSocket(ends[0]), pool, 64 << 10, handler, throttle);
    }
    ~LinkTest() override {
        link->close("");
        if (reactor.sending != nullptr) NotingReactor::end(reactor.sending, -ECANCELED);
        if (reactor.timer != nullptr) NotingReactor::end(reactor.timer, -ECANCELED);
        EXPECT_TRUE(link->idle());
        EXPECT_EQ(released, made.size());
    }
    void send(bool may_wait, std::uint32_t length = kPayload) {
        Outgoing& item = *made.emplace_back(std::make_unique<Outgoing>());
        item.payload = payload.data();
        item.length = length;
        item.may_wait = may_wait;
        item.owner = this;
        item.released = [](Outgoing& done) { ++static_cast<LinkTest*>(done.owner)->released; };
        link->send(item);
    }

    static constexpr std::uint32_t kPayload = 4096;
    static constexpr std::size_t kWhole = kPayload + wire::kHeaderBytes;
    NotingReactor reactor;
    NoHandler handler;
    Throttle throttle;
    BufferPool pool{1 << 20};
    std::vector<std::byte> payload = std::vector<std::byte>(64 << 10);
    std::vector<std::unique_ptr<Outgoing>> made;
    std::size_t released = 0;
    LinkSocket other;
    std::unique_ptr<Link> link;
};

TEST_F(LinkTest, WhatNobodyWaitsForWaitsForCompanyForALimitedTime) {
    send(true);
    link->flush();
    send(true);
    link->flush();
    EXPECT_FALSE(link->due());
    EXPECT_TRUE(reactor.sends.empty());
    ASSERT_NE(reactor.timer, nullptr);
    NotingReactor::end(reactor.timer, 0);
    EXPECT_TRUE(link->due());
    link->flush();
    EXPECT_EQ(reactor.sends, std::vector{2 * kWhole});
    reactor.sent();
    EXPECT_EQ(released, 2U);
    EXPECT_FALSE(link->due());
}

// Spec: REP-082
TEST_F(LinkTest, WhatMayNotWaitGoesAtOnceWithAllThatIsInFrontOfIt) {
    send(true);
    link->flush();
    send(false, 0);
    link->flush();
    EXPECT_EQ(reactor.sends, std::vector{kWhole + wire::kHeaderBytes});
}

TEST_F(LinkTest, ManyBytesDoNotWait) {
    for (int i = 0; i < 16; ++i) {
        EXPECT_FALSE(link->due());
        send(true);
    }
    link->flush();
    EXPECT_EQ(reactor.sends, std::vector{16 * kWhole});
}

TEST_F(LinkTest, TheRestOfAMessageFollowsItsBeginningAtOnce) {
    send(true);
    link->flush();
    NotingReactor::end(reactor.timer, 0);
    link->flush();
    reactor.sent(100);
    EXPECT_EQ(reactor.sends, (std::vector<std::size_t>{kWhole, kWhole - 100}));
    reactor.sent();
    EXPECT_EQ(released, 1U);
}

TEST_F(LinkTest, ALinkThatIsClosedGivesBackWhatWaitedAndItsTimer) {
    send(true);
    link->flush();
    link->close("");
    EXPECT_EQ(released, 1U);
    EXPECT_EQ(reactor.cancelled, std::vector{reactor.timer});
    EXPECT_FALSE(link->idle());
    NotingReactor::end(reactor.timer, -ECANCELED);
    EXPECT_TRUE(link->idle());
    EXPECT_TRUE(reactor.sends.empty());
}

}  // namespace
}  // namespace understudy::mirror
