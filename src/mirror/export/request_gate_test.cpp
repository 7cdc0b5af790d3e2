#include "mirror/export/request_gate.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <deque>

namespace understudy::mirror {
namespace {

using namespace std::chrono_literals;

/// Collects requests; the test completes them.
class HeldBackend final : public BlockBackend {
  public:
    [[nodiscard]] std::uint64_t size() const override { return 1 << 20; }
    [[nodiscard]] std::uint32_t sector_size() const override { return 512; }
    void submit(BlockRequest& request) override { held.push_back(&request); }
    void complete_one(int result = 0) {
        BlockRequest& request = *held.front();
        held.pop_front();
        request.result = result;
        request.done(request);
    }
    std::deque<BlockRequest*> held;
};

class RequestGateTest : public ::testing::Test {
  public:
    RequestGateTest() : reactor_(std::move(*Reactor::create(64))), gate_(*reactor_) {}
    ~RequestGateTest() override {
        gate_.close([this] { reactor_->stop(); });
        reactor_->run();
    }
    BlockRequest& submit() {
        auto& request = requests_.emplace_back();
        request.owner = this;
        request.done = [](BlockRequest& done) {
            auto& self = *static_cast<RequestGateTest*>(done.owner);
            self.finished_.push_back(&done);
            self.gate_.completed();
            if (self.finished_.size() == self.stop_at_) self.reactor_->stop();
        };
        gate_.submit(request);
        return request;
    }
    /// Lets what was posted run.
    void turn() {
        reactor_->post([this] { reactor_->post([this] { reactor_->stop(); }); });
        reactor_->run();
    }

    std::unique_ptr<Reactor> reactor_;
    RequestGate gate_;
    HeldBackend backend_;
    std::deque<BlockRequest> requests_;
    std::vector<BlockRequest*> finished_;
    std::size_t stop_at_ = 0;
};

TEST_F(RequestGateTest, HoldsRequestsUntilThereIsABackendAndKeepsTheirOrder) {
    auto& first = submit();
    auto& second = submit();
    EXPECT_EQ(gate_.waiting(), 2U);
    gate_.serve(backend_);
    EXPECT_EQ(gate_.waiting(), 0U);
    EXPECT_EQ(gate_.in_backend(), 2U);
    EXPECT_EQ(backend_.held, (std::deque<BlockRequest*>{&first, &second}));
    backend_.complete_one();
    backend_.complete_one();
}

TEST_F(RequestGateTest, SuspendedRequestsWaitWhileThoseInTheBackendGoOn) {
    gate_.serve(backend_);
    auto& before = submit();
    gate_.suspend(1h);
    auto& during = submit();
    backend_.complete_one();
    EXPECT_EQ(finished_, std::vector<BlockRequest*>{&before});
    EXPECT_EQ(gate_.waiting(), 1U);
    gate_.resume();
    EXPECT_EQ(backend_.held, std::deque<BlockRequest*>{&during});
    backend_.complete_one();
    EXPECT_EQ(during.result, 0);
}

TEST_F(RequestGateTest, AWaitThatExceedsItsLimitIsAnsweredWithAnErrorUntilServedAgain) {
    gate_.suspend(10ms);
    auto& late = submit();
    stop_at_ = 1;
    const auto start = std::chrono::steady_clock::now();
    reactor_->run();
    EXPECT_GE(std::chrono::steady_clock::now() - start, 10ms);
    EXPECT_EQ(late.result, -EIO);
    EXPECT_EQ(submit().result, -EIO);
    gate_.serve(backend_);
    auto& served = submit();
    backend_.complete_one();
    EXPECT_EQ(served.result, 0);
}

TEST_F(RequestGateTest, ALaterSuspendExtendsTheLimit) {
    gate_.suspend(5ms);
    gate_.suspend(60ms);
    auto& request = submit();
    stop_at_ = 1;
    const auto start = std::chrono::steady_clock::now();
    reactor_->run();
    EXPECT_GE(std::chrono::steady_clock::now() - start, 55ms);
    EXPECT_EQ(request.result, -EIO);
}

TEST_F(RequestGateTest, RefusingAnswersWaitingAndLaterRequests) {
    auto& waiting = submit();
    gate_.refuse(-EACCES);
    EXPECT_EQ(waiting.result, -EACCES);
    EXPECT_EQ(submit().result, -EACCES);
    EXPECT_EQ(gate_.in_backend(), 0U);
    EXPECT_EQ(gate_.waiting(), 0U);
}

TEST_F(RequestGateTest, IsQuietOnceTheBackendHoldsNothing) {
    gate_.serve(backend_);
    submit();
    bool quiet = false;
    gate_.when_quiet([&] { quiet = true; });
    turn();
    EXPECT_FALSE(quiet);
    backend_.complete_one();
    turn();
    EXPECT_TRUE(quiet);
}

TEST_F(RequestGateTest, ARequestThatSuspendsTheGateInItsCallbackDoesNotReorderTheRest) {
    std::deque<BlockRequest> three(3);
    gate_.suspend(1h);
    for (auto& request : three) {
        request.owner = this;
        request.done = [](BlockRequest& done) {
            auto& self = *static_cast<RequestGateTest*>(done.owner);
            self.finished_.push_back(&done);
            self.gate_.suspend(1h);
            self.gate_.completed();
        };
        gate_.submit(request);
    }
    struct Immediate final : BlockBackend {
        [[nodiscard]] std::uint64_t size() const override { return 1 << 20; }
        [[nodiscard]] std::uint32_t sector_size() const override { return 512; }
        void submit(BlockRequest& request) override { request.done(request); }
    } immediate;
    gate_.serve(immediate);
    EXPECT_EQ(finished_, std::vector<BlockRequest*>{&three[0]});
    EXPECT_EQ(gate_.waiting(), 2U);
    gate_.resume();
    gate_.resume();
    EXPECT_EQ(finished_, (std::vector<BlockRequest*>{&three[0], &three[1], &three[2]}));
}

}  // namespace
}  // namespace understudy::mirror
