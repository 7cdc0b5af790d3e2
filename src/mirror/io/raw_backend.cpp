#include "mirror/io/raw_backend.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

namespace understudy::mirror {
namespace {

constexpr std::size_t kMaxInFlight = 256;  // in the kernel; more wait in a list
constexpr std::uint32_t kZeroChunk = 1 << 20;
constexpr auto kBusyRetry = std::chrono::milliseconds(10);

/// A descriptor that closes itself.
class Descriptor {
  public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }
    [[nodiscard]] int get() const { return fd_; }

  private:
    int fd_;
};

/// Bytes of a file or device, as the kernel has them now.
Result<std::uint64_t> bytes_of(int fd) {
    struct stat status {};
    if (fstat(fd, &status) != 0) return fail(Code::failure, "cannot stat it: {}", std::strerror(errno));
    if (!S_ISBLK(status.st_mode)) return static_cast<std::uint64_t>(status.st_size);
    std::uint64_t size = 0;
    if (ioctl(fd, BLKGETSIZE64, &size) != 0)
        return fail(Code::failure, "cannot get its size: {}", std::strerror(errno));
    return size;
}

class RawFile final : public RawBackend {
  public:
    RawFile(Reactor& reactor, Descriptor file, std::uint64_t size, std::uint32_t sector_size, bool read_only,
            bool punches, bool has_holes)
        : reactor_(reactor),
          file_(std::move(file)),
          size_(size),
          sector_size_(sector_size),
          read_only_(read_only),
          punches_(punches),
          has_holes_(has_holes) {
        slots_.resize(kMaxInFlight);
        for (auto& slot : slots_) {
            slot.owner = this;
            slot.done = [](IoOperation& op, int result) {
                static_cast<RawFile*>(op.owner)->completed(static_cast<Slot&>(op), result);
            };
            slot.next_free = free_;
            free_ = &slot;
        }
    }
    ~RawFile() override { assert(idle()); }

    [[nodiscard]] std::uint64_t size() const override { return size_; }
    [[nodiscard]] std::uint32_t sector_size() const override { return sector_size_; }
    [[nodiscard]] bool punches() const override { return punches_; }
    /// A file system knows, a device does not tell.
    [[nodiscard]] BlockExtent extent_at(std::uint64_t offset, std::uint64_t length) const override {
        const BlockExtent unknown{length, false};
        if (!has_holes_) return unknown;
        const auto at = static_cast<off_t>(offset);
        // Every access names its place, so where the file stands does not matter.
        const off_t hole = lseek(file_.get(), at, SEEK_HOLE);
        if (hole < at) return unknown;
        if (hole > at) return {std::min(static_cast<std::uint64_t>(hole) - offset, length), false};
        const off_t data = lseek(file_.get(), at, SEEK_DATA);
        if (data < 0) return {length, errno == ENXIO};  // a hole to the end
        if (data == at) return unknown;                 // written in between
        return {std::min(static_cast<std::uint64_t>(data) - offset, length), true};
    }
    [[nodiscard]] bool idle() const override { return busy_ == 0; }
    [[nodiscard]] std::uint64_t failed_flushes() const override { return failed_flushes_; }
    Result<std::uint64_t> measure() override {
        UNDERSTUDY_TRY(const std::uint64_t bytes, bytes_of(file_.get()));
        size_ = bytes - bytes % sector_size_;
        return size_;
    }

    void submit(BlockRequest& request) override {
        request.result = check(request);
        if (request.result != 0 || (request.length == 0 && request.op != BlockOp::flush)) {
            request.done(request);
            return;
        }
        ++busy_;
        request.next = nullptr;
        if (free_ == nullptr) {
            (last_waiting_ != nullptr ? last_waiting_->next : first_waiting_) = &request;
            last_waiting_ = &request;
            return;
        }
        Slot& slot = *free_;
        free_ = slot.next_free;
        start(slot, request);
    }

  private:
    struct Slot : IoOperation {
        BlockRequest* request = nullptr;
        std::uint32_t progress = 0;  // bytes done of a read, a write or zeroes written by hand
        bool zero_by_writing = false;
        bool zero_by_punching = false;
        Slot* next_free = nullptr;
    };

    [[nodiscard]] int check(const BlockRequest& request) const {
        if (request.op == BlockOp::flush) return 0;
        if (request.offset % sector_size_ != 0 || request.length % sector_size_ != 0) return -EINVAL;
        if (request.offset > size_ || request.length > size_ - request.offset) return -EINVAL;
        if (read_only_ && request.op != BlockOp::read) return -EROFS;
        return 0;
    }

    void start(Slot& slot, BlockRequest& request) {
        slot.request = &request;
        slot.progress = 0;
        slot.zero_by_writing = false;
        slot.zero_by_punching = request.op == BlockOp::write_zeroes && request.punch;
        issue(slot);
    }

    void issue(Slot& slot) {
        auto& request = *slot.request;
        const std::uint64_t offset = request.offset + slot.progress;
        const std::uint32_t length = request.length - slot.progress;
        switch (request.op) {
            case BlockOp::read:
                reactor_.read_block(slot, file_.get(), {request.data + slot.progress, length}, offset);
                return;
            case BlockOp::write:
                reactor_.write_block(slot, file_.get(), {request.data + slot.progress, length}, offset,
                                     request.fua);
                return;
            case BlockOp::flush:
                reactor_.fsync(slot, file_.get(), true);
                return;
            case BlockOp::discard:
                reactor_.fallocate(slot, file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                                   length);
                return;
            case BlockOp::write_zeroes:
                if (slot.zero_by_writing)
                    reactor_.write(slot, file_.get(), zeroes(std::min(length, kZeroChunk)), offset,
                                   request.fua);
                else
                    reactor_.fallocate(slot, file_.get(),
                                       (slot.zero_by_punching ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) |
                                           FALLOC_FL_KEEP_SIZE,
                                       offset, length);
                return;
        }
    }

    void completed(Slot& slot, int result) {
        auto& request = *slot.request;
        if (result == -EINTR || result == -EAGAIN) return issue(slot);
        switch (request.op) {
            case BlockOp::read:
            case BlockOp::write:
                if (result <= 0) return finish(slot, result < 0 ? result : -EIO);
                slot.progress += static_cast<std::uint32_t>(result);
                return slot.progress < request.length ? issue(slot) : finish(slot, 0);
            case BlockOp::flush:
                if (result < 0) ++failed_flushes_;
                return finish(slot, result);
            case BlockOp::discard:
                // Advice: a device that cannot forget has nothing to report.
                return finish(slot, result == -EOPNOTSUPP ? 0 : result);
            case BlockOp::write_zeroes:
                if (!slot.zero_by_writing) {
                    if (result == -EOPNOTSUPP) {
                        // A device may find out late that it cannot: zeroes must come all the same.
                        if (!std::exchange(slot.zero_by_punching, false)) slot.zero_by_writing = true;
                        return issue(slot);
                    }
                    // fallocate has no FUA of its own.
                    if (result == 0 && request.fua) {
                        slot.zero_by_writing = true;
                        slot.progress = request.length;
                        reactor_.fsync(slot, file_.get(), true);
                        return;
                    }
                    return finish(slot, result);
                }
                if (slot.progress == request.length) {
                    if (result < 0) ++failed_flushes_;  // it was one
                    return finish(slot, result);
                }
                if (result <= 0) return finish(slot, result < 0 ? result : -EIO);
                slot.progress += static_cast<std::uint32_t>(result);
                return slot.progress < request.length ? issue(slot) : finish(slot, 0);
        }
    }

    void finish(Slot& slot, int result) {
        auto& request = *slot.request;
        // The slot goes on before the callback, which may submit again.
        if (first_waiting_ != nullptr) {
            BlockRequest& next = *first_waiting_;
            first_waiting_ = next.next;
            if (first_waiting_ == nullptr) last_waiting_ = nullptr;
            next.next = nullptr;
            start(slot, next);
        } else {
            slot.request = nullptr;
            slot.next_free = free_;
            free_ = &slot;
        }
        --busy_;
        request.result = result;
        request.done(request);
    }

    /// Made when first needed: few devices cannot zero a range by themselves.
    std::span<const std::byte> zeroes(std::uint32_t length) {
        if (zeroes_.empty()) zeroes_.resize(kZeroChunk + kAlignment);
        auto address = reinterpret_cast<std::uintptr_t>(zeroes_.data());
        const std::size_t skip = (kAlignment - address % kAlignment) % kAlignment;
        return {zeroes_.data() + skip, length};
    }

    static constexpr std::size_t kAlignment = 4096;

    Reactor& reactor_;
    Descriptor file_;
    std::uint64_t size_;
    std::uint32_t sector_size_;
    bool read_only_;
    bool punches_;
    bool has_holes_;  // it can be asked where they are
    std::vector<Slot> slots_;
    Slot* free_ = nullptr;
    BlockRequest* first_waiting_ = nullptr;
    BlockRequest* last_waiting_ = nullptr;
    std::size_t busy_ = 0;
    std::uint64_t failed_flushes_ = 0;
    std::vector<std::byte> zeroes_;
};

/// A file in memory never waits for a disk, but the kernel does not know that of it and gives every operation
/// to a worker thread, which costs a wake-up each. O_NONBLOCK tells it that this thread may do them itself.
void keep_on_this_thread(int fd) {
    struct statfs about {};
    const int flags = fcntl(fd, F_GETFL);
    // Only with direct I/O: a buffered write goes to a worker all the same.
    if (flags < 0 || (flags & O_DIRECT) == 0 || fstatfs(fd, &about) != 0 || about.f_type != TMPFS_MAGIC)
        return;
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

Result<Descriptor> open_exclusively(const RawBackendOptions& options) {
    const auto limit = std::chrono::steady_clock::now() + options.busy_wait;
    struct stat status {};
    if (stat(options.path.c_str(), &status) != 0)
        return fail(errno == ENOENT ? Code::not_found : Code::failure, "cannot open {}: {}", options.path,
                    std::strerror(errno));
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return fail(Code::bad_argument, "{} is neither a file nor a block device", options.path);
    int flags = (options.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | (S_ISBLK(status.st_mode) ? O_EXCL : 0);
    if (options.direct) flags |= O_DIRECT;
    while (true) {
        Descriptor file(::open(options.path.c_str(), flags));
        int error = file.get() < 0 ? errno : 0;
        if (error == EINVAL && (flags & O_DIRECT) != 0) {
            flags &= ~O_DIRECT;  // tmpfs before Linux 6.6
            continue;
        }
        if (error == 0 && flock(file.get(), (options.read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0)
            error = errno == EWOULDBLOCK ? EBUSY : errno;
        if (error == 0) {
            keep_on_this_thread(file.get());
            return file;
        }
        if (error != EBUSY)
            return fail(Code::failure, "cannot open {}: {}", options.path, std::strerror(error));
        if (std::chrono::steady_clock::now() >= limit)
            return fail(Code::failure, "{} is in use by another process", options.path);
        std::this_thread::sleep_for(kBusyRetry);
    }
}

/// A file accepts direct I/O in the blocks of the disk under it; a read of 512 bytes at 512 tells.
std::uint32_t probe_file_sector(int fd) {
    constexpr std::uint32_t kSmall = 512, kLarge = 4096;
    if ((fcntl(fd, F_GETFL) & O_DIRECT) == 0) return kSmall;
    alignas(kLarge) std::array<std::byte, kSmall> sector;
    return pread(fd, sector.data(), kSmall, kSmall) < 0 && errno == EINVAL ? kLarge : kSmall;
}

/// Whether hole punching works, asked without touching data.
bool can_punch(const std::string& path, const struct stat& status) {
    if (S_ISBLK(status.st_mode)) {
        std::ifstream limit(fmt::format("/sys/dev/block/{}:{}/queue/write_zeroes_max_bytes",
                                        major(status.st_rdev), minor(status.st_rdev)));
        std::uint64_t bytes = 0;
        return limit >> bytes && bytes > 0;
    }
    const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    return file.get() >= 0 &&
           ::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, status.st_size, 4096) == 0;
}

}  // namespace

Result<std::unique_ptr<RawBackend>> RawBackend::open(Reactor& reactor, RawBackendOptions options) {
    UNDERSTUDY_TRY(Descriptor file, open_exclusively(options));
    struct stat status {};
    if (fstat(file.get(), &status) != 0)
        return fail(Code::failure, "cannot stat {}: {}", options.path, std::strerror(errno));
    auto measured = bytes_of(file.get());
    if (!measured) return fail(Code::failure, "{}: {}", options.path, measured.error().text);
    std::uint64_t size = *measured;
    std::uint32_t sector = 0;
    if (S_ISBLK(status.st_mode)) {
        int logical = 0;
        if (ioctl(file.get(), BLKSSZGET, &logical) != 0)
            return fail(Code::failure, "cannot get the sector size of {}: {}", options.path,
                        std::strerror(errno));
        sector = static_cast<std::uint32_t>(logical);
    } else {
        sector = probe_file_sector(file.get());
    }
    size -= size % sector;
    if (size == 0) return fail(Code::bad_argument, "{} is smaller than one sector", options.path);
    const bool punches = !options.read_only && can_punch(options.path, status);
    return std::make_unique<RawFile>(reactor, std::move(file), size, sector, options.read_only, punches,
                                     !S_ISBLK(status.st_mode));
}

}  // namespace understudy::mirror
