#include "runtime/posix/posix_shared_disk.h"

#include "runtime/posix/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace understudy::runtime {
namespace {

struct Access {
    bool is_write = false;
    std::uint64_t offset = 0;
    std::string bytes;  // to write
    std::size_t size = 0;
};

struct Free {
    void operator()(void* memory) const { ::free(memory); }
};

/// What the thread works on. It outlives the disk object when an access does not end: then nobody waits for
/// the thread, and its answer goes nowhere.
struct Shared {
    Shared(std::string d, SharedDisks::Use u, bool any) : device(std::move(d)), use(u), any_file(any) {}

    const std::string device;
    const SharedDisks::Use use;
    const bool any_file;

    std::mutex mutex;
    std::condition_variable changed;
    std::optional<Access> waiting;
    bool ended = false;
    // Called by the thread while it holds the mutex and `ended` is false: whom it calls still exists then.
    std::function<void(Result<std::string>)> answer;
};

class Device {
  public:
    explicit Device(const Shared& shared) : shared_(shared) {}

    Result<std::string> run(const Access& access) {
        if (!fd_) UNDERSTUDY_CHECK(open());
        auto result = access.is_write ? write(access) : read(access);
        if (!result) fd_.reset();
        return result;
    }

  private:
    [[nodiscard]] tl::unexpected<Error> problem(std::string_view what, int error) const {
        return fail(Code::failure, "cannot {} {}: {}", what, shared_.device, strerror(error));
    }

    Result<> open() {
        struct stat about {};
        if (::stat(shared_.device.c_str(), &about) != 0) return problem("open", errno);
        if (!S_ISBLK(about.st_mode) && !(shared_.any_file && S_ISREG(about.st_mode)))
            return fail(Code::bad_argument, "{} is no block device", shared_.device);
        // For a block device O_EXCL means: nobody on this host has mounted it or built something on it.
        const int exclusive = shared_.use == SharedDisks::Use::setup && S_ISBLK(about.st_mode) ? O_EXCL : 0;
        fd_ = Descriptor(::open(shared_.device.c_str(), O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC | exclusive));
        if (!fd_ && errno == EBUSY)
            return fail(Code::bad_argument,
                        "{} is in use on this host (mounted, swap, or part of a volume group)",
                        shared_.device);
        if (!fd_) return problem("open", errno);
        if (!buffer_) {
            void* memory = nullptr;
            if (const int error = ::posix_memalign(&memory, kSharedDiskBlock, kBufferBytes))
                return problem("get memory for", error);
            buffer_.reset(static_cast<char*>(memory));
        }
        return {};
    }

    Result<std::string> read(const Access& access) {
        std::string out;
        while (out.size() < access.size) {
            const auto wanted = std::min(access.size - out.size(), kBufferBytes);
            const ssize_t got =
                ::pread(fd_.get(), buffer_.get(), wanted, static_cast<off_t>(access.offset + out.size()));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return problem("read", errno);
            if (got == 0)
                return fail(Code::bad_argument, "{} is too small: it ends at byte {}, {} are needed",
                            shared_.device, access.offset + out.size(), access.offset + access.size);
            out.append(buffer_.get(), static_cast<std::size_t>(got));
        }
        return out;
    }

    Result<std::string> write(const Access& access) {
        for (std::size_t at = 0; at < access.bytes.size();) {
            const auto size = std::min(access.bytes.size() - at, kBufferBytes);
            memcpy(buffer_.get(), access.bytes.data() + at, size);
            const ssize_t put =
                ::pwrite(fd_.get(), buffer_.get(), size, static_cast<off_t>(access.offset + at));
            if (put < 0 && errno == EINTR) continue;
            if (put <= 0) return problem("write to", put == 0 ? ENOSPC : errno);
            at += static_cast<std::size_t>(put);
        }
        return std::string();
    }

    static constexpr std::size_t kBufferBytes = 16 * kSharedDiskBlock;

    const Shared& shared_;
    Descriptor fd_;
    std::unique_ptr<char, Free> buffer_;
};

void serve(const std::shared_ptr<Shared>& shared) {
    Device device(*shared);
    std::unique_lock lock(shared->mutex);
    for (;;) {
        shared->changed.wait(lock, [&] { return shared->ended || shared->waiting; });
        if (shared->ended) return;
        const auto access = std::exchange(shared->waiting, std::nullopt);
        if (!access) continue;
        lock.unlock();
        auto result = device.run(*access);
        lock.lock();
        if (!shared->ended) shared->answer(std::move(result));
    }
}

class PosixSharedDisk final : public SharedDisk {
  public:
    PosixSharedDisk(Tasks& tasks, std::string device, SharedDisks::Use use, bool any_file)
        : shared_(std::make_shared<Shared>(std::move(device), use, any_file)),
          state_(std::make_shared<State>()) {
        shared_->answer = [&tasks, weak = std::weak_ptr<State>(state_)](Result<std::string> result) {
            tasks.post_from_thread([weak, result = std::move(result)] {
                const auto state = weak.lock();
                if (!state) return;
                if (const auto done = std::exchange(state->done, {})) done(result);
            });
        };
        std::thread([shared = shared_] { serve(shared); }).detach();
    }
    PosixSharedDisk(const PosixSharedDisk&) = delete;
    PosixSharedDisk& operator=(const PosixSharedDisk&) = delete;
    ~PosixSharedDisk() override {
        const std::lock_guard lock(shared_->mutex);
        shared_->ended = true;
        shared_->changed.notify_one();
    }

    void read(std::uint64_t offset, std::size_t bytes, ReadHandler done) override {
        state_->done = std::move(done);
        start({false, offset, {}, bytes});
    }
    void write(std::uint64_t offset, std::string bytes, WriteHandler done) override {
        state_->done = [done = std::move(done)](const Result<std::string>& result) {
            done(result ? Result<>() : Result<>(tl::unexpected<Error>(result.error())));
        };
        start({true, offset, std::move(bytes), 0});
    }

  private:
    struct State {
        std::function<void(Result<std::string>)> done;
    };
    void start(Access access) {
        const std::lock_guard lock(shared_->mutex);
        shared_->waiting = std::move(access);
        shared_->changed.notify_one();
    }

    std::shared_ptr<Shared> shared_;
    std::shared_ptr<State> state_;
};

}  // namespace

std::unique_ptr<SharedDisk> PosixSharedDisks::open(const std::string& device, Use use) {
    return std::make_unique<PosixSharedDisk>(tasks_, device, use, any_file_);
}

}  // namespace understudy::runtime
