#include "mirror/io/reactor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace understudy::mirror {
namespace {

using namespace std::chrono_literals;

constexpr auto kTestLimit = 20s;

/// Counts completions and stops the reactor at an expected number; a watchdog ends a test that hangs.
class ReactorTest : public ::testing::Test {
  protected:
    struct Op : IoOperation {
        int result = 1;
        bool completed = false;
    };

    void SetUp() override { open(1024); }
    void open(unsigned entries) {
        auto created = Reactor::create(entries);
        ASSERT_TRUE(created) << created.error().text;
        reactor_ = std::move(*created);
    }
    void TearDown() override {
        reactor_.reset();
        for (int fd : fds_)
            close(fd);
    }
    void watch(Op& op) {
        op.owner = this;
        op.done = [](IoOperation& base, int result) {
            auto& self = *static_cast<ReactorTest*>(base.owner);
            auto& done = static_cast<Op&>(base);
            done.result = result;
            done.completed = true;
            if (++self.completed_ == self.expected_) self.reactor_->stop();
        };
    }
    void run_until(unsigned completions) {
        expected_ = completed_ + completions;
        Op watchdog;
        watchdog.owner = this;
        watchdog.done = [](IoOperation& base, int result) {
            if (result == -ECANCELED) return;
            static_cast<ReactorTest*>(base.owner)->timed_out_ = true;
            static_cast<ReactorTest*>(base.owner)->reactor_->stop();
        };
        reactor_->timeout(watchdog, kTestLimit);
        reactor_->run();
        ASSERT_FALSE(timed_out_) << "only " << completed_ << " of " << expected_ << " operations completed";
        // Takes the watchdog's completion before it leaves scope.
        reactor_->cancel(watchdog);
        while (watchdog.in_flight) {
            reactor_->post([this] { reactor_->stop(); });
            reactor_->run();
        }
    }
    int temporary_file() {
        std::string name = "/tmp/understudy-reactor-XXXXXX";
        const int fd = mkostemp(name.data(), O_CLOEXEC);
        EXPECT_GE(fd, 0);
        unlink(name.c_str());
        fds_.push_back(fd);
        return fd;
    }
    std::array<int, 2> socket_pair() {
        std::array<int, 2> pair{-1, -1};
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
        fds_.insert(fds_.end(), pair.begin(), pair.end());
        return pair;
    }

    std::unique_ptr<Reactor> reactor_;
    std::vector<int> fds_;
    unsigned completed_ = 0;
    unsigned expected_ = 0;
    bool timed_out_ = false;
};

std::span<const std::byte> as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
}

TEST_F(ReactorTest, WritesReadsAndSyncsAFile) {
    const int fd = temporary_file();
    Op write_op, vector_op, sync_op, read_op;
    for (Op* op : {&write_op, &vector_op, &sync_op, &read_op})
        watch(*op);
    reactor_->write(write_op, fd, as_bytes("intent "), 0, true);
    run_until(1);
    EXPECT_EQ(write_op.result, 7);

    std::string first = "log ", second = "page";
    std::array<iovec, 2> vectors{{{first.data(), first.size()}, {second.data(), second.size()}}};
    reactor_->writev(vector_op, fd, vectors.data(), 2, 7);
    run_until(1);
    EXPECT_EQ(vector_op.result, 8);
    reactor_->fsync(sync_op, fd, true);
    run_until(1);
    EXPECT_EQ(sync_op.result, 0);

    std::array<std::byte, 64> buffer{};
    reactor_->read(read_op, fd, buffer, 0);
    run_until(1);
    EXPECT_EQ(read_op.result, 15);
    EXPECT_EQ(std::memcmp(buffer.data(), "intent log page", 15), 0);
}

TEST_F(ReactorTest, PunchesAHoleThatReadsAsZeroes) {
    const int fd = temporary_file();
    const std::vector<std::byte> ones(16384, std::byte{0xff});
    ASSERT_EQ(pwrite(fd, ones.data(), ones.size(), 0), 16384);
    Op op;
    watch(op);
    reactor_->fallocate(op, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096);
    run_until(1);
    ASSERT_EQ(op.result, 0);
    std::vector<std::byte> back(16384);
    ASSERT_EQ(pread(fd, back.data(), back.size(), 0), 16384);
    EXPECT_EQ(back[4095], std::byte{0xff});
    EXPECT_EQ(back[4096], std::byte{0});
    EXPECT_EQ(back[8191], std::byte{0});
    EXPECT_EQ(back[8192], std::byte{0xff});
}

TEST_F(ReactorTest, AgainMakesABatchFollowAlthoughNothingCompletes) {
    unsigned batches = 0;
    reactor_->after_batch([&] {
        if (++batches == 5)
            reactor_->stop();
        else
            reactor_->again();
    });
    reactor_->post([] {});  // the first batch; nothing else ever completes
    reactor_->run();
    EXPECT_EQ(batches, 5U);
}

TEST_F(ReactorTest, GivesTheKernelsErrorToTheCallback) {
    Op op;
    watch(op);
    std::array<std::byte, 8> buffer{};
    reactor_->read(op, -1, buffer, 0);
    run_until(1);
    EXPECT_EQ(op.result, -EBADF);
}

TEST_F(ReactorTest, TakesMoreOperationsThanTheRingHasEntriesBeforeAndDuringARun) {
    reactor_.reset();
    open(8);
    const int fd = temporary_file();
    constexpr unsigned kMany = 1000;
    std::vector<Op> ops(kMany);
    std::vector<std::uint32_t> values(kMany);
    auto submit_all = [&] {
        for (std::uint32_t i = 0; i < kMany; ++i) {
            values[i] = i;
            watch(ops[i]);
            reactor_->write(ops[i], fd, std::as_bytes(std::span(&values[i], 1)), i * 4, false);
        }
    };
    submit_all();
    run_until(kMany);
    for (const auto& op : ops)
        ASSERT_EQ(op.result, 4);
    std::vector<std::uint32_t> back(kMany);
    ASSERT_EQ(pread(fd, back.data(), kMany * 4, 0), kMany * 4);
    EXPECT_EQ(back, values);

    reactor_->post(submit_all);
    run_until(kMany);
    for (const auto& op : ops)
        ASSERT_EQ(op.result, 4);
}

TEST_F(ReactorTest, KeepsTimeoutsAndMessagesIntactWhenTheRingIsFull) {
    reactor_.reset();
    open(4);
    auto [left, right] = socket_pair();
    constexpr unsigned kMany = 64;
    std::vector<Op> timers(kMany), sends(kMany);
    std::string byte = "x";
    iovec vector{byte.data(), 1};
    for (unsigned i = 0; i < kMany; ++i) {
        watch(timers[i]);
        watch(sends[i]);
        reactor_->timeout(timers[i], std::chrono::milliseconds(i % 8));
        reactor_->sendv(sends[i], left, &vector, 1);
    }
    run_until(2 * kMany);
    for (unsigned i = 0; i < kMany; ++i) {
        EXPECT_EQ(timers[i].result, 0);
        EXPECT_EQ(sends[i].result, 1);
    }
    std::array<char, 128> received{};
    EXPECT_EQ(recv(right, received.data(), received.size(), MSG_DONTWAIT), static_cast<ssize_t>(kMany));
}

TEST_F(ReactorTest, ATimeoutFiresNoEarlierThanItsDelay) {
    Op op;
    watch(op);
    const auto start = std::chrono::steady_clock::now();
    reactor_->timeout(op, 30ms);
    run_until(1);
    EXPECT_EQ(op.result, 0);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 30ms);
    EXPECT_GE(reactor_->now() - start, 30ms);
}

TEST_F(ReactorTest, CancelledOperationsCompleteWithEcanceled) {
    auto pair = socket_pair();
    Op timer, reader, poll;
    for (Op* op : {&timer, &reader, &poll})
        watch(*op);
    std::array<std::byte, 8> buffer{};
    reactor_->timeout(timer, 1h);
    reactor_->recv(reader, pair[0], buffer);
    reactor_->poll_in(poll, pair[0]);
    reactor_->post([&] {
        reactor_->cancel(timer);
        reactor_->cancel(reader);
        reactor_->cancel(poll);
    });
    run_until(3);
    EXPECT_EQ(timer.result, -ECANCELED);
    EXPECT_EQ(reader.result, -ECANCELED);
    EXPECT_EQ(poll.result, -ECANCELED);
}

TEST_F(ReactorTest, CancellingWhatIsNotInFlightDoesNothing) {
    Op idle, timer;
    watch(idle);
    watch(timer);
    reactor_->cancel(idle);
    reactor_->timeout(timer, 1ms);
    run_until(1);
    EXPECT_FALSE(idle.completed);
    reactor_->cancel(timer);
    EXPECT_EQ(timer.result, 0);
}

TEST_F(ReactorTest, AcceptsConnectsSendsAndReceives) {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds_.insert(fds_.end(), {listener, client});
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(listen(listener, 1), 0);
    ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), 0);

    Op accepted, connected, sent, received;
    for (Op* op : {&accepted, &connected, &sent, &received})
        watch(*op);
    reactor_->accept(accepted, listener);
    reactor_->connect(connected, client, &address, sizeof address);
    run_until(2);
    ASSERT_EQ(connected.result, 0);
    ASSERT_GE(accepted.result, 0);
    fds_.push_back(accepted.result);

    std::array<std::byte, 16> buffer{};
    std::string head = "head", tail = "tail";
    std::array<iovec, 2> vectors{{{head.data(), 4}, {tail.data(), 4}}};
    reactor_->recv(received, accepted.result, buffer);
    reactor_->sendv(sent, client, vectors.data(), 2);
    run_until(2);
    EXPECT_EQ(sent.result, 8);
    EXPECT_EQ(received.result, 8);
    EXPECT_EQ(std::memcmp(buffer.data(), "headtail", 8), 0);
}

TEST_F(ReactorTest, ReadsOnlyWhenThereIsSomethingToRead) {
    std::array<int, 2> pipe_ends{-1, -1};
    ASSERT_EQ(pipe2(pipe_ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    fds_.insert(fds_.end(), pipe_ends.begin(), pipe_ends.end());
    Op reader, timer, cancelled;
    for (Op* op : {&reader, &timer, &cancelled})
        watch(*op);
    std::array<std::byte, 16> buffer{};
    reactor_->read_when_ready(reader, pipe_ends[0], buffer);
    reactor_->timeout(timer, 5ms);
    run_until(1);
    EXPECT_TRUE(timer.completed);
    EXPECT_FALSE(reader.completed);
    ASSERT_EQ(::write(pipe_ends[1], "ready", 5), 5);
    run_until(1);
    EXPECT_EQ(reader.result, 5);
    reactor_->read_when_ready(cancelled, pipe_ends[0], buffer);
    reactor_->post([&] { reactor_->cancel(cancelled); });
    run_until(1);
    EXPECT_EQ(cancelled.result, -ECANCELED);
}

TEST_F(ReactorTest, KeepsPollAndReadTogetherWhenTheRingIsFull) {
    reactor_.reset();
    open(2);  // with an odd number of operations in front, every pair meets a full ring
    std::array<int, 2> pipe_ends{-1, -1};
    ASSERT_EQ(pipe2(pipe_ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    fds_.insert(fds_.end(), pipe_ends.begin(), pipe_ends.end());
    constexpr unsigned kMany = 20;
    ASSERT_EQ(::write(pipe_ends[1], std::string(kMany, 'x').data(), kMany), static_cast<ssize_t>(kMany));
    std::vector<Op> readers(kMany), timers(kMany);
    std::vector<std::byte> bytes(kMany);
    auto submit_all = [&] {
        for (unsigned i = 0; i < kMany; ++i) {
            watch(timers[i]);
            watch(readers[i]);
            reactor_->timeout(timers[i], 0ns);
            reactor_->read_when_ready(readers[i], pipe_ends[0], {&bytes[i], 1});
        }
    };
    submit_all();
    run_until(2 * kMany);
    for (auto& op : readers)
        EXPECT_EQ(op.result, 1);
    ASSERT_EQ(::write(pipe_ends[1], std::string(kMany, 'x').data(), kMany), static_cast<ssize_t>(kMany));
    reactor_->post(submit_all);
    run_until(2 * kMany);
    for (auto& op : readers)
        EXPECT_EQ(op.result, 1);
}

TEST_F(ReactorTest, SendingToAClosedSocketIsAnErrorAndNoSignal) {
    auto pair = socket_pair();
    shutdown(pair[0], SHUT_WR);
    Op op;
    watch(op);
    std::string byte = "x";
    iovec vector{byte.data(), 1};
    reactor_->sendv(op, pair[0], &vector, 1);
    run_until(1);
    EXPECT_EQ(op.result, -EPIPE);
}

TEST_F(ReactorTest, RunsEveryPostedFunctionOnItsOwnThread) {
    constexpr int kThreads = 4, kEach = 500;
    const auto loop_thread = std::this_thread::get_id();
    int count = 0;
    bool elsewhere = false;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < kEach; ++i)
                reactor_->post([&] {
                    elsewhere |= std::this_thread::get_id() != loop_thread;
                    if (++count == kThreads * kEach) reactor_->stop();
                });
        });
    reactor_->run();
    for (auto& thread : threads)
        thread.join();
    EXPECT_EQ(count, kThreads * kEach);
    EXPECT_FALSE(elsewhere);
}

TEST_F(ReactorTest, RunsOnAnotherThreadThanItsMaker) {
    Op op;
    watch(op);
    reactor_->timeout(op, 1ms);
    expected_ = 1;
    std::thread([&] {
        reactor_->run();
        reactor_.reset();
    }).join();
    EXPECT_EQ(op.result, 0);
}

TEST_F(ReactorTest, CallsHooksAfterTheBatchAndBeforeItsOperationsAreSubmitted) {
    auto pair = socket_pair();
    Op first, second, answer;
    for (Op* op : {&first, &second, &answer})
        watch(*op);
    std::vector<unsigned> completed_at_hook;
    std::array<std::byte, 4> buffer{};
    std::string byte = "x";
    iovec vector{byte.data(), 1};
    reactor_->after_batch([&] {
        completed_at_hook.push_back(completed_);
        if (completed_ == 2 && !answer.in_flight && !answer.completed)
            reactor_->recv(answer, pair[0], buffer);
    });
    reactor_->sendv(first, pair[1], &vector, 1);
    reactor_->sendv(second, pair[1], &vector, 1);
    run_until(3);
    EXPECT_EQ(completed_at_hook.front(), 2U);  // both sends are one batch, seen by one call of the hook
    EXPECT_EQ(answer.result, 2);
}

TEST_F(ReactorTest, AnOperationMayBeSubmittedAgainFromItsCallback) {
    struct Chain : IoOperation {
        Reactor* reactor;
        int left = 100;
    } chain;
    chain.reactor = reactor_.get();
    chain.done = [](IoOperation& base, int) {
        auto& self = static_cast<Chain&>(base);
        if (--self.left == 0)
            self.reactor->stop();
        else
            self.reactor->timeout(self, 0ns);
    };
    reactor_->timeout(chain, 0ns);
    reactor_->run();
    EXPECT_EQ(chain.left, 0);
}

TEST_F(ReactorTest, StopBeforeRunEndsTheNextRunAtOnce) {
    reactor_->stop();
    reactor_->run();
    Op op;
    watch(op);
    reactor_->timeout(op, 1ms);
    run_until(1);
    EXPECT_TRUE(op.completed);
}

TEST_F(ReactorTest, GoesAwayWithOperationsInFlightAndLeavesTheirBuffersAlone) {
    auto pair = socket_pair();
    auto reader = std::make_unique<Op>();
    auto timer = std::make_unique<Op>();
    auto buffer = std::make_unique<std::array<std::byte, 64>>();
    watch(*reader);
    watch(*timer);
    reactor_->recv(*reader, pair[0], *buffer);
    reactor_->timeout(*timer, 1h);
    reactor_->post([this] { reactor_->stop(); });
    reactor_->run();
    const auto start = std::chrono::steady_clock::now();
    // The owners are gone first: a callback now would be a use after free under the address sanitizer.
    reader.reset();
    timer.reset();
    reactor_.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - start, 3s);
    ASSERT_EQ(send(pair[1], "late", 4, 0), 4);
    std::array<char, 8> kept{};
    EXPECT_EQ(recv(pair[0], kept.data(), kept.size(), MSG_DONTWAIT), 4)
        << "a cancelled receive took the data";
}

TEST_F(ReactorTest, ADeviceCommandReachesItsDriver) {
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    fds_.push_back(null);
    const int pipe_like = eventfd(0, EFD_CLOEXEC);
    fds_.push_back(pipe_like);
    Op taken, refused;
    watch(taken);
    watch(refused);
    const std::array<std::byte, kDeviceArgument> argument{};
    reactor_->device_command(taken, null, 0, argument);
    reactor_->device_command(refused, pipe_like, 0, argument);
    run_until(2);
    if (taken.result == -EOPNOTSUPP) GTEST_SKIP() << "this kernel's /dev/null takes no commands (Linux 6.0)";
    EXPECT_EQ(taken.result, 0);
    EXPECT_EQ(refused.result, -EOPNOTSUPP) << "an eventfd has no driver that takes commands";
}

}  // namespace
}  // namespace understudy::mirror
