#include "mirror/io/reactor.h"

#include "mirror/io/memory_table.h"

#include <liburing.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace understudy::mirror {
namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kCompletionsPerEntry = 4;  // completion ring's size; beyond it the kernel keeps a list
constexpr std::size_t kReapAtOnce = 128;
constexpr unsigned kBlocksAtOnce = 8;                           // for devices; see for_device()
constexpr auto kDrainLimit = std::chrono::seconds(5);           // for what is in flight when a reactor goes
constexpr auto kBusyPoll = std::chrono::microseconds(100);      // longest wait without sleep; see wait()
constexpr auto kCrowdedYield = std::chrono::microseconds(250);  // away for so long: others need the processor
constexpr auto kCrowdedFor = std::chrono::milliseconds(50);     // so long none is taken from them
constexpr auto kResourceRetry = std::chrono::milliseconds(1);   // the kernel was short of memory

/// Arguments that the kernel reads from memory while an entry is submitted; one per submission slot, so that
/// no operation has to carry them.
struct SideArguments {
    __kernel_timespec time{};
    msghdr message{};
};

class UringReactor final : public Reactor {
  public:
    static Result<std::unique_ptr<Reactor>> open(unsigned entries);
    ~UringReactor() override;

    void read(IoOperation& op, int fd, std::span<std::byte> into, std::uint64_t offset) override {
        auto entry = take(op);
        io_uring_prep_read(entry.sqe, fd, into.data(), static_cast<unsigned>(into.size()), offset);
        give(entry, op);
    }
    void write(IoOperation& op, int fd, std::span<const std::byte> from, std::uint64_t offset,
               bool dsync) override {
        auto entry = take(op);
        io_uring_prep_write(entry.sqe, fd, from.data(), static_cast<unsigned>(from.size()), offset);
        if (dsync) entry.sqe->rw_flags = RWF_DSYNC;
        give(entry, op);
    }
    void read_block(IoOperation& op, int fd, std::span<std::byte> into, std::uint64_t offset) override {
        for_device();
        auto entry = take(op);
        if (const auto number = memory_.find(into))
            io_uring_prep_read_fixed(entry.sqe, fd, into.data(), static_cast<unsigned>(into.size()), offset,
                                     static_cast<int>(*number));
        else
            io_uring_prep_read(entry.sqe, fd, into.data(), static_cast<unsigned>(into.size()), offset);
        give(entry, op);
    }
    void write_block(IoOperation& op, int fd, std::span<const std::byte> from, std::uint64_t offset,
                     bool dsync) override {
        for_device();
        auto entry = take(op);
        if (const auto number = memory_.find(from))
            io_uring_prep_write_fixed(entry.sqe, fd, from.data(), static_cast<unsigned>(from.size()), offset,
                                      static_cast<int>(*number));
        else
            io_uring_prep_write(entry.sqe, fd, from.data(), static_cast<unsigned>(from.size()), offset);
        if (dsync) entry.sqe->rw_flags = RWF_DSYNC;
        give(entry, op);
    }
    bool register_memory(std::span<std::byte> memory) override { return memory_.add(ring_, memory); }
    void unregister_memory(std::span<const std::byte> memory) override { memory_.remove(ring_, memory); }
    void writev(IoOperation& op, int fd, const iovec* vectors, unsigned count,
                std::uint64_t offset) override {
        auto entry = take(op);
        io_uring_prep_writev(entry.sqe, fd, vectors, count, offset);
        give(entry, op);
    }
    void fsync(IoOperation& op, int fd, bool data_only) override {
        auto entry = take(op);
        io_uring_prep_fsync(entry.sqe, fd, data_only ? IORING_FSYNC_DATASYNC : 0);
        give(entry, op);
    }
    void fallocate(IoOperation& op, int fd, int mode, std::uint64_t offset, std::uint64_t length) override {
        auto entry = take(op);
        io_uring_prep_fallocate(entry.sqe, fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length));
        give(entry, op);
    }
    void recv(IoOperation& op, int fd, std::span<std::byte> into) override {
        feed_devices();
        auto entry = take(op);
        io_uring_prep_recv(entry.sqe, fd, into.data(), into.size(), 0);
        give(entry, op);
    }
    void sendv(IoOperation& op, int fd, const iovec* vectors, unsigned count) override {
        auto entry = take(op);
        entry.side->message = {};
        entry.side->message.msg_iov = const_cast<iovec*>(vectors);
        entry.side->message.msg_iovlen = count;
        io_uring_prep_sendmsg(entry.sqe, fd, &entry.side->message, MSG_NOSIGNAL);
        give(entry, op);
    }
    void accept(IoOperation& op, int fd) override {
        auto entry = take(op);
        io_uring_prep_accept(entry.sqe, fd, nullptr, nullptr, SOCK_CLOEXEC);
        give(entry, op);
    }
    void connect(IoOperation& op, int fd, const void* address, unsigned length) override {
        auto entry = take(op);
        io_uring_prep_connect(entry.sqe, fd, static_cast<const sockaddr*>(address), length);
        give(entry, op);
    }
    void poll_in(IoOperation& op, int fd) override {
        auto entry = take(op);
        io_uring_prep_poll_add(entry.sqe, fd, POLLIN);
        give(entry, op);
    }
    void read_when_ready(IoOperation& op, int fd, std::span<std::byte> into) override {
        make_room(2);  // a chain must reach the kernel in one piece
        auto poll = take();
        io_uring_prep_poll_add(poll.sqe, fd, POLLIN);
        poll.sqe->flags |= IOSQE_IO_LINK;
        poll.sqe->user_data = poll_mark(op);
        ++in_flight_;
        auto entry = take(op);
        io_uring_prep_read(entry.sqe, fd, into.data(), static_cast<unsigned>(into.size()), 0);
        op.polls_first = true;
        give(entry, op);
    }
    void device_command(IoOperation& op, int fd, std::uint32_t command,
                        std::span<const std::byte, kDeviceArgument> argument) override {
        auto entry = take(op);
        io_uring_prep_rw(IORING_OP_URING_CMD, entry.sqe, fd, nullptr, 0, 0);
        entry.sqe->cmd_op = command;
        std::memcpy(entry.sqe->cmd, argument.data(), argument.size());
        give(entry, op);
        entry.sqe->user_data |= kDeviceMark;
        ++device_commands_;
    }
    void keep_until_closed(std::shared_ptr<void> memory) override { kept_.push_back(std::move(memory)); }
    void timeout(IoOperation& op, std::chrono::nanoseconds delay) override {
        auto entry = take(op);
        delay = std::max(delay, std::chrono::nanoseconds(0));
        entry.side->time.tv_sec = delay.count() / 1'000'000'000;
        entry.side->time.tv_nsec = delay.count() % 1'000'000'000;
        io_uring_prep_timeout(entry.sqe, &entry.side->time, 0, 0);
        op.is_timeout = true;
        give(entry, op);
    }
    void cancel(IoOperation& op) override;

    void post(std::function<void()> function) override;
    void again() override { again_ = true; }
    void after_batch(std::function<void()> function) override { hooks_.push_back(std::move(function)); }
    [[nodiscard]] Clock::time_point now() const override { return now_; }

    void run() override;
    void stop() override;

  private:
    struct Entry {
        io_uring_sqe* sqe;
        SideArguments* side;
    };
    UringReactor() = default;

    Entry take();
    Entry take(IoOperation& op) {
        assert(op.done != nullptr && !op.in_flight);
        op.in_flight = true;
        op.is_timeout = false;
        op.polls_first = false;
        return take();
    }
    /// Marks the poll in front of a read: same operation, but its completion interests nobody.
    static std::uint64_t poll_mark(const IoOperation& op) {
        return reinterpret_cast<std::uintptr_t>(&op) | 1;
    }
    /// Marks device commands, which nobody waits for when the reactor goes.
    static constexpr std::uint64_t kDeviceMark = 2;
    static_assert(alignof(IoOperation) > (1 | kDeviceMark));
    void give(Entry entry, IoOperation& op) {
        io_uring_sqe_set_data(entry.sqe, &op);
        ++in_flight_;
    }
    void for_device();
    void feed_devices();
    void make_room(unsigned entries);
    void move_waiting_to_ring();
    void cancel_user_data(std::uint64_t user_data);
    void enable();
    void arm_wake();
    void wait();
    void look_for_completion(Clock::time_point begin);
    void submit(unsigned wait_for);
    void reap();
    void run_posted();
    void wake();
    void drain();

    io_uring ring_{};
    MemoryTable memory_;
    bool ring_open_ = false;
    bool enabled_ = false;
    unsigned for_devices_ = 0;                 // prepared and not with the kernel yet
    bool busy_ = false;                        // the last wait was short
    Clock::time_point crowded_until_{};        // others need this processor
    bool again_ = false;                       // do not wait before the next batch
    std::vector<SideArguments> side_;          // by submission slot
    std::deque<io_uring_sqe> waiting_;         // the submission ring was full and the kernel took nothing
    std::deque<SideArguments> waiting_side_;   // theirs, one each
    std::uint64_t in_flight_ = 0;              // taken and not yet reaped, cancellations included
    std::uint64_t device_commands_ = 0;        // of them
    std::vector<std::shared_ptr<void>> kept_;  // until the ring is closed
    Clock::time_point now_ = Clock::now();
    std::vector<std::function<void()>> hooks_;

    int event_fd_ = -1;
    std::uint64_t event_count_ = 0;
    IoOperation event_op_;

    std::mutex mutex_;  // guards posted_
    std::vector<std::function<void()>> posted_;
    std::vector<std::function<void()>> running_;
    std::atomic<bool> stop_{false};
};

Result<std::unique_ptr<Reactor>> UringReactor::open(unsigned entries) {
    auto reactor = std::unique_ptr<UringReactor>(new UringReactor);
    // The rings start disabled, so that the thread that runs them, not the one that makes them, is their
    // issuer.
    constexpr unsigned kBase = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
    constexpr unsigned kTold = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG;
    const std::array<unsigned, 3> choices = {
        kBase | kTold | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,  // 6.1
        kBase | kTold | IORING_SETUP_COOP_TASKRUN,                                // 5.19
        kBase,
    };
    int error = 0;
    for (unsigned flags : choices) {
        io_uring_params parameters{};
        parameters.flags = flags;
        parameters.cq_entries = entries * kCompletionsPerEntry;
        error = io_uring_queue_init_params(entries, &reactor->ring_, &parameters);
        if (error == 0) {
            reactor->ring_open_ = true;
            reactor->side_.resize(parameters.sq_entries);
            break;
        }
        if (error != -EINVAL) break;
    }
    if (error != 0)
        return fail(Code::failure,
                    "cannot set up io_uring with {} entries: {}; check kernel.io_uring_disabled", entries,
                    std::strerror(-error));
    reactor->event_fd_ = eventfd(0, EFD_CLOEXEC);
    if (reactor->event_fd_ < 0)
        return fail(Code::failure, "cannot create an eventfd for the reactor: {}", std::strerror(errno));
    reactor->event_op_.owner = reactor.get();
    reactor->event_op_.done = [](IoOperation& op, int result) {
        auto& self = *static_cast<UringReactor*>(op.owner);
        if (result != -ECANCELED) self.arm_wake();
    };
    return reactor;
}

UringReactor::~UringReactor() {
    if (ring_open_) {
        drain();
        io_uring_queue_exit(&ring_);
    }
    if (event_fd_ >= 0) close(event_fd_);
}

/// The kernel must not touch buffers that their owners free after this. Owners may be gone already, so
/// completions are counted, not delivered. Off the ring's own thread this is not possible and not needed: a
/// thread that ends cancels and awaits what it submitted.
void UringReactor::drain() {
    if (!enabled_) return;
    io_uring_submit(&ring_);  // makes room
    if (io_uring_sqe* sqe = io_uring_get_sqe(&ring_); sqe != nullptr) {
        io_uring_prep_cancel(sqe, nullptr, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
        io_uring_sqe_set_data(sqe, nullptr);
        ++in_flight_;
    }
    in_flight_ -= waiting_.size();
    for (const auto& entry : waiting_)
        if ((entry.user_data & kDeviceMark) != 0) --device_commands_;
    const auto limit = Clock::now() + kDrainLimit;
    while (in_flight_ > device_commands_ && Clock::now() < limit) {
        __kernel_timespec step{0, 100'000'000};
        io_uring_cqe* first = nullptr;
        const int result = io_uring_submit_and_wait_timeout(&ring_, &first, 1, &step, nullptr);
        if (result == -EEXIST) return;
        io_uring_cqe* cqe = nullptr;
        while (io_uring_peek_cqe(&ring_, &cqe) == 0 && cqe != nullptr) {
            // liburing's own timeout, on kernels that need one, is not ours to count.
            if (cqe->user_data != LIBURING_UDATA_TIMEOUT) {
                --in_flight_;
                if ((cqe->user_data & kDeviceMark) != 0) --device_commands_;
            }
            io_uring_cqe_seen(&ring_, cqe);
        }
    }
}

UringReactor::Entry UringReactor::take() {
    if (waiting_.empty()) {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        if (sqe == nullptr && enabled_) {
            io_uring_submit(&ring_);
            sqe = io_uring_get_sqe(&ring_);
        }
        if (sqe != nullptr) return {sqe, &side_[static_cast<std::size_t>(sqe - ring_.sq.sqes)]};
    }
    return {&waiting_.emplace_back(), &waiting_side_.emplace_back()};
}

/// The kernel holds what devices get until it has gone through all entries of a call, and receives what has
/// arrived meanwhile. A device would lie idle while many requests are taken in, and then get all at once. So
/// they go to it a few at a time, and before anything is received.
void UringReactor::for_device() {
    if (for_devices_ >= kBlocksAtOnce) feed_devices();
    ++for_devices_;
}

void UringReactor::feed_devices() {
    if (std::exchange(for_devices_, 0) > 0 && enabled_) io_uring_submit(&ring_);
}

void UringReactor::make_room(unsigned entries) {
    if (io_uring_sq_space_left(&ring_) >= entries) return;
    if (enabled_) io_uring_submit(&ring_);
    if (io_uring_sq_space_left(&ring_) >= entries) return;
    // Everything from here on waits in the list, so that the entries stay together there.
    while (io_uring_sqe* sqe = io_uring_get_sqe(&ring_)) {
        io_uring_prep_nop(sqe);
        io_uring_sqe_set_data(sqe, nullptr);
        ++in_flight_;
    }
}

void UringReactor::move_waiting_to_ring() {
    while (!waiting_.empty()) {
        const bool chained = (waiting_.front().flags & IOSQE_IO_LINK) != 0;
        if (chained && io_uring_sq_space_left(&ring_) < 2 && io_uring_submit(&ring_) <= 0) return;
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        if (sqe == nullptr) {
            if (io_uring_submit(&ring_) <= 0) return;
            continue;
        }
        auto& side = side_[static_cast<std::size_t>(sqe - ring_.sq.sqes)];
        *sqe = waiting_.front();
        side = waiting_side_.front();
        if (sqe->opcode == IORING_OP_TIMEOUT) sqe->addr = reinterpret_cast<std::uintptr_t>(&side.time);
        if (sqe->opcode == IORING_OP_SENDMSG) sqe->addr = reinterpret_cast<std::uintptr_t>(&side.message);
        waiting_.pop_front();
        waiting_side_.pop_front();
    }
}

void UringReactor::cancel(IoOperation& op) {
    if (!op.in_flight) return;
    if (op.polls_first) cancel_user_data(poll_mark(op));
    cancel_user_data(reinterpret_cast<std::uintptr_t>(&op));
}

void UringReactor::cancel_user_data(std::uint64_t user_data) {
    auto entry = take();
    io_uring_prep_cancel64(entry.sqe, user_data, 0);
    io_uring_sqe_set_data(entry.sqe, nullptr);  // its own completion interests nobody
    ++in_flight_;
}

void UringReactor::post(std::function<void()> function) {
    bool first = false;
    {
        const std::lock_guard lock(mutex_);
        first = posted_.empty();
        posted_.push_back(std::move(function));
    }
    if (first) wake();
}

void UringReactor::stop() {
    stop_.store(true, std::memory_order_release);
    wake();
}

void UringReactor::wake() {
    const std::uint64_t one = 1;
    // Fails only when the counter is at its limit, and then the reader is awake anyway.
    [[maybe_unused]] const ssize_t written = ::write(event_fd_, &one, sizeof one);
}

void UringReactor::arm_wake() {
    read(event_op_, event_fd_, std::as_writable_bytes(std::span(&event_count_, 1)), 0);
}

void UringReactor::enable() {
    if (enabled_) return;
    // liburing 2.3 declares io_uring_enable_rings() but its shared library does not export it.
    if (syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) != 0) {
        std::fprintf(stderr, "cannot enable the reactor's io_uring: %s\n", std::strerror(errno));
        std::abort();
    }
    enabled_ = true;
    arm_wake();
}

void UringReactor::run() {
    enable();
    while (!stop_.exchange(false, std::memory_order_acq_rel)) {
        move_waiting_to_ring();
        wait();
        now_ = Clock::now();
        reap();
        run_posted();
        for (auto& hook : hooks_)
            hook();
    }
    // What was prepared last must not wait for another run().
    move_waiting_to_ring();
    submit(0);
}

/// Submits and waits for a completion. While completions follow each other closely the thread does not sleep:
/// to be woken costs more than most of these waits last, and on a virtual machine several times more. It
/// gives the processor to whoever else wants it between two looks. When it does not get it back soon,
/// somebody computes there: then a sleeper, who is let in the moment he is woken, is served sooner than one
/// who yields, and the processor does not lie idle, so waking is cheap.
void UringReactor::wait() {
    if (std::exchange(again_, false)) return submit(0);
    const auto begin = Clock::now();
    if (busy_ && begin >= crowded_until_) {
        submit(0);
        look_for_completion(begin);
        if (io_uring_cq_ready(&ring_) == 0) submit(1);
    } else {
        submit(1);
    }
    busy_ = Clock::now() - begin < kBusyPoll;
}

void UringReactor::look_for_completion(Clock::time_point begin) {
    auto at = begin;
    while (io_uring_cq_ready(&ring_) == 0 && at - begin < kBusyPoll) {
        if ((IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_TASKRUN) != 0) {
            submit(0);
            at = Clock::now();
            continue;
        }
        sched_yield();
        const auto back = Clock::now();
        if (back - at > kCrowdedYield) crowded_until_ = back + kCrowdedFor;
        at = back;
    }
}

void UringReactor::submit(unsigned wait_for) {
    for_devices_ = 0;
    const int result =
        wait_for > 0 ? io_uring_submit_and_wait(&ring_, wait_for) : io_uring_submit_and_get_events(&ring_);
    if (result >= 0 || result == -EINTR || result == -ETIME) return;
    if (result == -EAGAIN || result == -EBUSY || result == -ENOMEM) {
        // Short of memory, or completions are not reaped: reaping and trying again is all there is to do.
        if (io_uring_cq_ready(&ring_) == 0) std::this_thread::sleep_for(kResourceRetry);
        return;
    }
    // -EEXIST: run() on a second thread. -EBADF, -EFAULT: memory is overwritten. No I/O is safe after that.
    std::fprintf(stderr, "io_uring_enter: %s\n", std::strerror(-result));
    std::abort();
}

/// Completions are copied out before callbacks run: callbacks may submit, which may append to the ring.
void UringReactor::reap() {
    struct Completion {
        std::uint64_t user_data;
        int result;
    };
    std::array<Completion, kReapAtOnce> batch;
    // Bounded by what was complete on entry, so that hooks and submission get their turn under load.
    unsigned remaining = io_uring_cq_ready(&ring_);
    while (remaining > 0) {
        std::size_t count = 0;
        unsigned head = 0;
        io_uring_cqe* cqe = nullptr;
        io_uring_for_each_cqe(&ring_, head, cqe) {
            if (count == batch.size() || count == remaining) break;
            batch[count++] = {cqe->user_data, cqe->res};
        }
        io_uring_cq_advance(&ring_, static_cast<unsigned>(count));
        remaining -= static_cast<unsigned>(count);
        for (std::size_t i = 0; i < count; ++i) {
            --in_flight_;
            if (batch[i].user_data == 0 || (batch[i].user_data & 1) != 0) continue;
            if ((batch[i].user_data & kDeviceMark) != 0) --device_commands_;
            auto& op = *reinterpret_cast<IoOperation*>(batch[i].user_data & ~kDeviceMark);
            assert(op.in_flight);
            op.in_flight = false;
            const int result = op.is_timeout && batch[i].result == -ETIME ? 0 : batch[i].result;
            op.done(op, result);
        }
    }
}

void UringReactor::run_posted() {
    {
        const std::lock_guard lock(mutex_);
        running_.swap(posted_);
    }
    for (auto& function : running_)
        function();
    running_.clear();
}

}  // namespace

Result<std::unique_ptr<Reactor>> Reactor::create(unsigned entries) {
    return UringReactor::open(entries);
}

}  // namespace understudy::mirror
