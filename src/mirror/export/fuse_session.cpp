#include "mirror/export/fuse_session.h"

#include "mirror/export/fuse_protocol.h"
#include "mirror/export/fuse_volume_file.h"
#include "mirror/export/locked_memory.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

namespace understudy::mirror {
namespace {

using namespace fuse;

constexpr std::uint32_t kPage = 4096;
constexpr std::uint32_t kMaxReadsAtOnce = 16;
/// Largest piece of a discard or zeroing given to the backend at once.
constexpr std::uint64_t kMaxRange = 1 << 30;

class Session final : public FuseSession {
  public:
    Session(Reactor& reactor, RequestGate& gate, int fd, FuseSessionOptions options)
        : reactor_(reactor),
          gate_(gate),
          fd_(fd),
          options_(options),
          arena_(std::size_t{options.slots} * (kPage + options.max_request)),
          registered_(reactor, arena_.all()),
          alive_(std::make_shared<bool>(true)) {
        if (arena_.data() == nullptr) return;
        slots_.resize(options.slots);
        for (std::size_t i = 0; i < slots_.size(); ++i)
            prepare(slots_[i], i);
        reactor_.after_batch([this, alive = std::weak_ptr<bool>(alive_)] {
            if (!alive.expired()) read_more();
        });
    }
    ~Session() override { ::close(fd_); }

    [[nodiscard]] bool has_memory() const { return arena_.data() != nullptr; }

    void start(std::function<void(FuseNegotiated)> ready, std::function<void()> lost) override {
        ready_ = std::move(ready);
        lost_ = std::move(lost);
        serving_ = true;
        read_more();
    }

    Result<> take_over(FuseNegotiated negotiated, std::function<void()> lost) override {
        if (!negotiated.resend)
            return fail(Code::failure,
                        "this kernel cannot deliver requests again that an earlier process took; it "
                        "needs Linux 6.9");
        if (negotiated.max_request > options_.max_request)
            return fail(Code::internal, "requests of {} bytes were agreed with the kernel, buffers have {}",
                        negotiated.max_request, options_.max_request);
        fuse_out_header notify{};
        notify.len = sizeof notify;
        notify.error = kNotifyResend;
        if (::write(fd_, &notify, sizeof notify) != static_cast<ssize_t>(sizeof notify))
            return fail(Code::failure, "the kernel refused to deliver unanswered requests again: {}",
                        std::strerror(errno));
        lost_ = std::move(lost);
        serving_ = true;
        read_more();
        return {};
    }

    void close(std::function<void()> done) override {
        closing_ = true;
        serving_ = false;
        closed_ = std::move(done);
        for (auto& slot : slots_)
            if (slot.state == State::reading) reactor_.cancel(slot.io);
        gate_.when_quiet([this] {
            quiet_ = true;
            finish_closing();
        });
    }

    void resize(std::uint64_t size) override { options_.volume.size = size; }
    [[nodiscard]] int descriptor() const override { return fd_; }
    [[nodiscard]] const ExportStatistics& statistics() const override { return statistics_; }

  private:
    enum class State : std::uint8_t { idle, reading, serving, replying };

    // A slot's memory: one page, whose end holds the request's header, then the data, aligned. Short replies
    // are made at the page's start, a read's reply header right before its data.
    struct Slot {
        IoOperation io;  // the read of a request, later the write of its reply
        BlockRequest request;
        Session* session = nullptr;
        std::byte* page = nullptr;
        std::byte* data = nullptr;
        State state = State::idle;
        bool waits_for_data = false;  // this read polls first
        std::uint64_t unique = 0;
        std::uint64_t range_left = 0;  // of a discard or zeroing after this piece
        Slot* next_idle = nullptr;
    };

    void prepare(Slot& slot, std::size_t index) {
        slot.session = this;
        slot.page = arena_.data() + index * (kPage + options_.max_request);
        slot.data = slot.page + kPage;
        slot.io.owner = &slot;
        slot.request.owner = &slot;
        slot.request.done = [](BlockRequest& request) {
            auto& done = *static_cast<Slot*>(request.owner);
            done.session->served(done);
        };
        put_idle(slot);
    }
    void put_idle(Slot& slot) {
        slot.state = State::idle;
        slot.next_idle = idle_;
        idle_ = &slot;
    }

    // --- reading requests

    /// Keeps one read waiting for requests, with as many more in front of it as came last time: under load a
    /// batch of requests costs one trip to the kernel.
    void read_more() {
        if (!serving_ || waiting_reader_) return;
        for (std::uint32_t i = 0; i < extra_reads_ && idle_ != nullptr && idle_->next_idle != nullptr; ++i)
            read_one(false);
        extra_reads_ = 0;
        if (idle_ != nullptr) read_one(true);
    }

    void read_one(bool wait) {
        Slot& slot = *std::exchange(idle_, idle_->next_idle);
        slot.state = State::reading;
        slot.waits_for_data = wait;
        waiting_reader_ |= wait;
        slot.io.done = [](IoOperation& op, int result) {
            auto& read = *static_cast<Slot*>(op.owner);
            read.session->received(read, result);
        };
        const std::span<std::byte> buffer(slot.data - kWriteHeader, kWriteHeader + options_.max_request);
        if (wait)
            reactor_.read_when_ready(slot.io, fd_, buffer);
        else
            reactor_.read(slot.io, fd_, buffer, 0);
    }

    void received(Slot& slot, int result) {
        if (slot.waits_for_data) waiting_reader_ = false;
        if (result < 0) {
            put_idle(slot);
            // ENOENT: the request was given up while it was copied. ENODEV: unmounted; ECONNABORTED: aborted.
            if (result == -ENODEV || result == -ECONNABORTED) lose_connection();
            if (closing_) finish_closing();
            return;
        }
        if (closing_) {
            put_idle(slot);  // taken too late: unanswered, it goes to the next server
            return finish_closing();
        }
        extra_reads_ = std::min(extra_reads_ + 1, kMaxReadsAtOnce);
        slot.state = State::serving;
        const auto size = static_cast<std::uint32_t>(result);
        const auto& header = *reinterpret_cast<const fuse_in_header*>(slot.data - kWriteHeader);
        slot.unique = header.unique;
        if (size < sizeof header || header.len != size) {
            put_idle(slot);  // not a request; the kernel never does this
            return;
        }
        if ((slot.unique & kUniqueResend) != 0) ++statistics_.resent;
        dispatch(slot, header, size - static_cast<std::uint32_t>(sizeof header));
    }

    void lose_connection() {
        serving_ = false;
        if (lost_) reactor_.post(std::exchange(lost_, {}));
    }

    /// The request's argument, or nullptr when the request is too short for it.
    template <class T>
    const T* argument(const Slot& slot, std::uint32_t size) {
        return size < sizeof(T)
                   ? nullptr
                   : reinterpret_cast<const T*>(slot.data - kWriteHeader + sizeof(fuse_in_header));
    }

    void dispatch(Slot& slot, const fuse_in_header& header, std::uint32_t size) {
        const std::uint64_t node = header.nodeid;
        switch (header.opcode) {
            case FUSE_READ:
                return read(slot, argument<fuse_read_in>(slot, size));
            case FUSE_WRITE:
                return write(slot, argument<fuse_write_in>(slot, size),
                             size - std::min<std::uint32_t>(size, sizeof(fuse_write_in)));
            case FUSE_FSYNC:
                return to_backend(slot, BlockOp::flush, 0, 0);
            case FUSE_FALLOCATE:
                return fallocate(slot, argument<fuse_fallocate_in>(slot, size));
            case FUSE_FORGET:
            case FUSE_BATCH_FORGET:
            case FUSE_INTERRUPT:  // requests are short or wait on purpose: none is given up
                return put_idle(slot);
            case FUSE_INIT:
                return init(slot, size);
            case FUSE_LOOKUP:
                return lookup(slot, node, size);
            case FUSE_GETATTR:
                return get_attributes(slot, node);
            case FUSE_SETATTR:
                return set_attributes(slot, node, argument<fuse_setattr_in>(slot, size));
            case FUSE_OPEN:
                return open(slot, node, argument<fuse_open_in>(slot, size));
            case FUSE_OPENDIR:
                return reply(slot, fuse_open_out{});
            case FUSE_READDIR:
                return read_directory(slot, argument<fuse_read_in>(slot, size));
            case FUSE_STATFS:
                return reply(slot, file_system_size(options_.volume));
            case FUSE_RELEASE:
            case FUSE_RELEASEDIR:
            case FUSE_FSYNCDIR:
            case FUSE_SYNCFS:
            case FUSE_DESTROY:
                return reply_error(slot, 0);
            default:
                // FLUSH among them: the kernel then stops asking, and closing the file never waits for us.
                return reply_error(slot, -ENOSYS);
        }
    }

    // --- control requests

    void init(Slot& slot, std::uint32_t size) {
        const auto answer =
            negotiate({slot.data - kWriteHeader + sizeof(fuse_in_header), size}, options_.max_request);
        if (!answer) return reply_error(slot, -EPROTO);
        reply(slot, answer->out);
        if (ready_)
            reactor_.post(
                [ready = std::exchange(ready_, {}), agreed = answer->negotiated] { ready(agreed); });
    }

    void lookup(Slot& slot, std::uint64_t parent, std::uint32_t size) {
        const auto* name = reinterpret_cast<const char*>(slot.data - kWriteHeader + sizeof(fuse_in_header));
        const auto entry = look_up(options_.volume, parent, {name, size});
        if (!entry) return reply_error(slot, -ENOENT);
        reply(slot, *entry);
    }

    void get_attributes(Slot& slot, std::uint64_t node) {
        fuse_attr_out out{};
        out.attr_valid = kAttributesValidSeconds;
        out.attr = attributes(options_.volume, node);
        reply(slot, out);
    }

    void set_attributes(Slot& slot, std::uint64_t node, const fuse_setattr_in* in) {
        constexpr std::uint32_t kHarmless = FATTR_ATIME | FATTR_MTIME | FATTR_CTIME | FATTR_ATIME_NOW |
                                            FATTR_MTIME_NOW | FATTR_FH | FATTR_LOCKOWNER;
        if (in == nullptr || (in->valid & ~kHarmless) != 0) return reply_error(slot, -EPERM);
        get_attributes(slot, node);
    }

    void open(Slot& slot, std::uint64_t node, const fuse_open_in* in) {
        if (in == nullptr || node != kVolumeNode) return reply_error(slot, -EISDIR);
        if (options_.volume.read_only && (in->flags & O_ACCMODE) != O_RDONLY)
            return reply_error(slot, -EROFS);
        fuse_open_out out{};
        out.open_flags = FOPEN_DIRECT_IO | kNoFlush | kParallelDirectWrites;
        reply(slot, out);
    }

    void read_directory(Slot& slot, const fuse_read_in* in) {
        if (in == nullptr) return reply_error(slot, -EINVAL);
        constexpr std::size_t kRoom = kPage - kWriteHeader - sizeof(fuse_out_header);
        const std::size_t length = list_directory(
            in->offset, {slot.page + sizeof(fuse_out_header), std::min<std::size_t>(in->size, kRoom)});
        send_reply(slot, slot.page, 0, static_cast<std::uint32_t>(length));
    }

    // --- data requests

    [[nodiscard]] bool aligned(std::uint64_t offset, std::uint64_t length) const {
        return (offset | length) % options_.volume.sector_size == 0;
    }

    void read(Slot& slot, const fuse_read_in* in) {
        if (in == nullptr || in->size > options_.max_request) return reply_error(slot, -EINVAL);
        const std::uint64_t left = options_.volume.size - std::min(options_.volume.size, in->offset);
        const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(in->size, left));
        if (length == 0) return send_reply(slot, slot.page, 0, 0);
        if (!aligned(in->offset, length)) return reply_error(slot, -EINVAL);
        ++statistics_.reads;
        statistics_.read_bytes += length;
        to_backend(slot, BlockOp::read, in->offset, length);
    }

    void write(Slot& slot, const fuse_write_in* in, std::uint32_t data_size) {
        if (in == nullptr || in->size != data_size || in->size > options_.max_request)
            return reply_error(slot, -EINVAL);
        if (options_.volume.read_only) return reply_error(slot, -EROFS);
        if (in->offset > options_.volume.size || in->size > options_.volume.size - in->offset)
            return reply_error(slot, -ENOSPC);
        if (!aligned(in->offset, in->size)) return reply_error(slot, -EINVAL);
        ++statistics_.writes;
        statistics_.write_bytes += in->size;
        to_backend(slot, BlockOp::write, in->offset, in->size);
    }

    void fallocate(Slot& slot, const fuse_fallocate_in* in) {
        if (in == nullptr) return reply_error(slot, -EINVAL);
        if (options_.volume.read_only) return reply_error(slot, -EROFS);
        const bool punch = in->mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
        const bool zero = (in->mode & ~std::uint32_t{FALLOC_FL_KEEP_SIZE}) == FALLOC_FL_ZERO_RANGE;
        if (!punch && !zero) return reply_error(slot, -EOPNOTSUPP);
        // Where space cannot be given back a discard would write zeroes, which is work for nothing; who wants
        // zeroes then writes them.
        if (punch && gate_.backend() != nullptr && !gate_.backend()->punches())
            return reply_error(slot, -EOPNOTSUPP);
        if (in->offset > options_.volume.size || in->length > options_.volume.size - in->offset)
            return reply_error(slot, -ENOSPC);
        if (!aligned(in->offset, in->length)) return reply_error(slot, -EINVAL);
        if (in->length == 0) return reply_error(slot, 0);
        // A hole in a file reads as zeroes, and loop devices both discard and zero ranges by punching holes:
        // zeroes it must be, and space may go back.
        const std::uint64_t piece = std::min<std::uint64_t>(in->length, kMaxRange);
        const std::uint64_t offset = in->offset;
        slot.range_left = in->length - piece;
        to_backend(slot, BlockOp::write_zeroes, offset, static_cast<std::uint32_t>(piece), punch);
    }

    void to_backend(Slot& slot, BlockOp op, std::uint64_t offset, std::uint32_t length, bool punch = false) {
        slot.request.op = op;
        slot.request.punch = punch;
        slot.request.fua = false;
        slot.request.offset = offset;
        slot.request.length = length;
        slot.request.data = slot.data;
        slot.request.result = 0;
        gate_.submit(slot.request);
    }

    void served(Slot& slot) {
        const auto& request = slot.request;
        if (request.result == 0 && slot.range_left > 0) {
            const std::uint64_t next = std::min(slot.range_left, kMaxRange);
            slot.range_left -= next;
            to_backend(slot, request.op, request.offset + request.length, static_cast<std::uint32_t>(next),
                       request.punch);
            gate_.completed();
            return;
        }
        slot.range_left = 0;
        answer(slot);
        gate_.completed();
    }

    void answer(Slot& slot) {
        const auto& request = slot.request;
        if (request.result < 0) return reply_error(slot, request.result);
        switch (request.op) {
            case BlockOp::read:
                return send_reply(slot, slot.data - sizeof(fuse_out_header), 0, request.length);
            case BlockOp::write: {
                fuse_write_out out{};
                out.size = request.length;
                return reply(slot, out);
            }
            case BlockOp::flush:
                ++statistics_.flushes;
                return reply_error(slot, 0);
            case BlockOp::discard:
            case BlockOp::write_zeroes:
                ++statistics_.discards;
                return reply_error(slot, 0);
        }
    }

    // --- replies

    template <class T>
    void reply(Slot& slot, const T& body) {
        static_assert(sizeof(fuse_out_header) + sizeof(T) <= kPage - kWriteHeader);
        std::memcpy(slot.page + sizeof(fuse_out_header), &body, sizeof body);
        send_reply(slot, slot.page, 0, sizeof body);
    }
    void reply_error(Slot& slot, int error) {
        if (error != 0 && error != -ENOSYS && error != -ENOENT) ++statistics_.errors;
        send_reply(slot, slot.page, error, 0);
    }
    /// `at` has room for the header and is followed by `body` bytes of the reply.
    void send_reply(Slot& slot, std::byte* at, int error, std::uint32_t body) {
        fuse_out_header header{};
        header.len = static_cast<std::uint32_t>(sizeof header) + body;
        header.error = error;
        header.unique = slot.unique;
        std::memcpy(at, &header, sizeof header);
        slot.state = State::replying;
        slot.io.done = [](IoOperation& op, int result) {
            auto& replied = *static_cast<Slot*>(op.owner);
            replied.session->replied(replied, result);
        };
        reactor_.write(slot.io, fd_, {at, header.len}, 0, false);
    }

    void replied(Slot& slot, int result) {
        // ENOENT: the kernel has given the request up meanwhile.
        put_idle(slot);
        if (result == -ENODEV || result == -EPERM) lose_connection();
        if (closing_) finish_closing();
    }

    void finish_closing() {
        if (!quiet_ || !closed_) return;
        for (const auto& slot : slots_)
            if (slot.state == State::reading || slot.state == State::replying) return;
        // Slots still `serving` wait in the gate, which is closed next; the next server gets them re-sent.
        reactor_.post(std::exchange(closed_, {}));
    }

    Reactor& reactor_;
    RequestGate& gate_;
    const int fd_;
    FuseSessionOptions options_;
    LockedMemory arena_;
    RegisteredMemory registered_;
    std::vector<Slot> slots_;
    Slot* idle_ = nullptr;
    std::uint32_t extra_reads_ = 0;
    bool waiting_reader_ = false;
    bool serving_ = false;
    bool closing_ = false;
    bool quiet_ = false;
    ExportStatistics statistics_;
    std::function<void(FuseNegotiated)> ready_;
    std::function<void()> lost_;
    std::function<void()> closed_;
    std::shared_ptr<bool> alive_;  // hooks of the reactor outlive a session
};

}  // namespace

Result<std::unique_ptr<FuseSession>> FuseSession::create(Reactor& reactor, RequestGate& gate, int fd,
                                                         FuseSessionOptions options) {
    const bool sane = options.slots >= 2 && options.slots <= kMaxSlots &&
                      options.max_request >= kMinRequest && options.max_request <= kMaxRequest &&
                      options.max_request % kPage == 0 && options.volume.sector_size > 0 &&
                      options.volume.size % options.volume.sector_size == 0;
    if (!sane) {
        ::close(fd);
        return fail(Code::bad_argument, "FUSE export with {} slots of {} bytes for a volume of {} bytes",
                    options.slots, options.max_request, options.volume.size);
    }
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        const int error = errno;
        ::close(fd);
        return fail(Code::failure, "cannot use the FUSE descriptor: {}", std::strerror(error));
    }
    auto session = std::make_unique<Session>(reactor, gate, fd, options);
    if (!session->has_memory())
        return fail(Code::failure, "no memory for {} FUSE buffers of {} bytes", options.slots,
                    options.max_request);
    return session;
}

}  // namespace understudy::mirror
