#pragma once
// One io_uring, one thread: everything a volume does happens here, without locks.
//
// Operations are small structs owned by the caller that stay valid until their callback; submitting allocates
// nothing. Submission is batched: operations prepared while callbacks run go to the kernel together before
// the next wait. Callbacks come from run() only, never from inside the call that submitted. Whatever an
// operation points at (buffers, vectors, addresses) stays valid until its callback.
//
// Threading: all calls on the reactor's thread, except post() and stop(). The reactor's thread is the one
// that calls run(); until its first run() it is the one that created it. Later calls of run() come from the
// same thread. A reactor is destroyed on its thread, or after that thread has ended.

#include "base/result.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

struct iovec;

namespace understudy::mirror {

/// A pending kernel operation. `done(op, result)`: bytes or a negative errno, as the kernel says.
/// It may be submitted again from inside its callback; it is in the kernel's hands at most once at a time.
struct IoOperation {
    void (*done)(IoOperation& operation, int result) = nullptr;
    void* owner = nullptr;
    bool in_flight = false;    // kept by the reactor: from submission until just before `done`
    bool is_timeout = false;   // kept by the reactor
    bool polls_first = false;  // kept by the reactor
};

inline constexpr std::size_t kDeviceArgument = 16;  // bytes of a device command's argument

class Reactor {
  public:
    /// `entries`: how many operations go to the kernel in one call (a power of two); more may be in flight.
    static Result<std::unique_ptr<Reactor>> create(unsigned entries = 1024);
    virtual ~Reactor() = default;

    virtual void read(IoOperation& op, int fd, std::span<std::byte> into, std::uint64_t offset) = 0;
    virtual void write(IoOperation& op, int fd, std::span<const std::byte> from, std::uint64_t offset,
                       bool dsync) = 0;
    /// As read() and write(), of a file or a block device and memory that may be registered.
    virtual void read_block(IoOperation& op, int fd, std::span<std::byte> into, std::uint64_t offset) {
        read(op, fd, into, offset);
    }
    virtual void write_block(IoOperation& op, int fd, std::span<const std::byte> from, std::uint64_t offset,
                             bool dsync) {
        write(op, fd, from, offset, dsync);
    }
    virtual void writev(IoOperation& op, int fd, const iovec* vectors, unsigned count,
                        std::uint64_t offset) = 0;
    virtual void fsync(IoOperation& op, int fd, bool data_only) = 0;
    virtual void fallocate(IoOperation& op, int fd, int mode, std::uint64_t offset, std::uint64_t length) = 0;
    virtual void recv(IoOperation& op, int fd, std::span<std::byte> into) = 0;
    virtual void sendv(IoOperation& op, int fd, const iovec* vectors,
                       unsigned count) = 0;  // sendmsg, MSG_NOSIGNAL
    virtual void accept(IoOperation& op, int fd) = 0;
    virtual void connect(IoOperation& op, int fd, const void* address, unsigned length) = 0;  // a sockaddr
    virtual void poll_in(IoOperation& op, int fd) = 0;
    /// Waits in the kernel until `fd`, which must be O_NONBLOCK, is readable, then reads without returning to
    /// this thread in between. -EAGAIN when another reader was faster.
    virtual void read_when_ready(IoOperation& op, int fd, std::span<std::byte> into) = 0;
    /// A driver's own command (IORING_OP_URING_CMD); `argument` is copied. The kernel cannot cancel it: it
    /// ends when the driver says so, or with the ring. Needs Linux 5.19.
    virtual void device_command(IoOperation& op, int fd, std::uint32_t command,
                                std::span<const std::byte, kDeviceArgument> argument) = 0;
    /// For device commands that their owner cannot wait for: `memory`, which holds the operations and what
    /// the kernel fills, is kept until the ring is closed. Callbacks may still come until then.
    virtual void keep_until_closed(std::shared_ptr<void> memory) = 0;
    /// Lets the kernel keep hold of `memory`, which read_block() and write_block() will use again and again.
    /// Page-aligned, anonymous. False when the kernel does not; nothing else changes then.
    virtual bool register_memory(std::span<std::byte> memory) {
        (void)memory;
        return false;
    }
    /// Before it is unmapped.
    virtual void unregister_memory(std::span<const std::byte> memory) { (void)memory; }
    /// Fires once after `delay` with result 0, or -ECANCELED.
    virtual void timeout(IoOperation& op, std::chrono::nanoseconds delay) = 0;
    /// Asks the kernel to cancel `op`; its callback still comes, with -ECANCELED or its result. Nothing
    /// happens when `op` is not in flight.
    virtual void cancel(IoOperation& op) = 0;

    /// Runs `function` on the reactor's thread; the one call, beside stop(), that other threads may make.
    virtual void post(std::function<void()> function) = 0;
    /// The next batch follows at once, also when nothing completes: for work that is to come behind what is
    /// submitted now.
    virtual void again() = 0;
    /// Called once after each batch of completions, before new operations are submitted: the place to group
    /// work. Hooks stay for the reactor's life and run in the order they were added.
    virtual void after_batch(std::function<void()> function) = 0;
    /// Monotonic time, read once per batch.
    [[nodiscard]] virtual std::chrono::steady_clock::time_point now() const = 0;

    /// Runs until stop(). stop() may be called from any thread; one stop() ends one run(), the current or the
    /// next.
    virtual void run() = 0;
    virtual void stop() = 0;
};

/// Memory that is registered as long as this lives: shorter than the memory and than the reactor.
class RegisteredMemory {
  public:
    RegisteredMemory(Reactor& reactor, std::span<std::byte> memory)
        : reactor_(reactor),
          memory_(memory),
          registered_(!memory.empty() && reactor.register_memory(memory)) {}
    RegisteredMemory(const RegisteredMemory&) = delete;
    RegisteredMemory& operator=(const RegisteredMemory&) = delete;
    ~RegisteredMemory() {
        if (registered_) reactor_.unregister_memory(memory_);
    }
    [[nodiscard]] explicit operator bool() const { return registered_; }

  private:
    Reactor& reactor_;
    std::span<std::byte> memory_;
    bool registered_;
};

}  // namespace understudy::mirror
