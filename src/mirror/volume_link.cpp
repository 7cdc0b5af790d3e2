#include "mirror/volume_link.h"

#include "base/checksum.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

namespace understudy::mirror {
namespace {

constexpr std::size_t kMaxVectors = 512;        // of one sendmsg; the kernel takes 1024
constexpr std::size_t kMaxSendBytes = 4 << 20;  // of one sendmsg

/// What may wait goes when there is so much of it, or so long after the first. A message of its own for each
/// small write wakes both ends each time, and on the source the writes that follow pay for it.
constexpr std::size_t kHoldBytes = 64 << 10;
constexpr auto kHoldTime = std::chrono::milliseconds(5);

}  // namespace

struct Link::Vectors {
    std::array<iovec, kMaxVectors> items;
};

Link::Link(Reactor& reactor, LinkSocket socket, BufferPool& pool, std::size_t staging_bytes,
           LinkHandler& handler, Throttle& throttle)
    : reactor_(reactor),
      socket_(std::move(socket)),
      handler_(handler),
      throttle_(throttle),
      reader_(pool, staging_bytes),
      vectors_(std::make_unique<Vectors>()) {
    send_op_.owner = this;
    send_op_.done = [](IoOperation& op, int result) { static_cast<Link*>(op.owner)->sent(result); };
    receive_op_.owner = this;
    receive_op_.done = [](IoOperation& op, int result) { static_cast<Link*>(op.owner)->received(result); };
    pause_op_.owner = this;
    pause_op_.done = [](IoOperation& op, int) { static_cast<Link*>(op.owner)->flush(); };
    hold_op_.owner = this;
    hold_op_.done = [](IoOperation& op, int) {
        auto& self = *static_cast<Link*>(op.owner);
        self.urgent_ |= self.held_bytes_ > 0;  // the next flush() takes them
    };
}

Link::~Link() {
    assert(idle() && queue_.empty());
}

void Link::send(Outgoing& item) {
    queue_.push(item);
    if (!item.may_wait) {
        urgent_ = true;
        return;
    }
    held_bytes_ += wire::kHeaderBytes + item.length;
}

bool Link::due() const {
    return urgent_ || held_bytes_ >= kHoldBytes;
}

void Link::flush() {
    if (sending_ || closed_ || ended_ || queue_.empty() || pause_op_.in_flight) return;
    if (!due()) {
        if (!hold_op_.in_flight) reactor_.timeout(hold_op_, kHoldTime);
        return;
    }
    const std::size_t most = std::min(kMaxSendBytes, throttle_.allowed(reactor_.now()));
    if (most == 0) return reactor_.timeout(pause_op_, throttle_.wait(reactor_.now()));
    unsigned count = 0;
    std::size_t bytes = 0, skip = head_sent_;
    const auto add = [&](const std::byte* data, std::size_t length) {
        if (skip >= length) {
            skip -= length;
            return;
        }
        const std::size_t part = std::min(length - skip, most - bytes);
        if (part == 0) return;
        vectors_->items[count++] = {const_cast<std::byte*>(data) + skip, part};
        bytes += part;
        skip = 0;
    };
    const Outgoing* item = queue_.front();
    for (; item != nullptr; item = item->next) {
        if (count + 2 > kMaxVectors || bytes >= most) break;
        add(item->header.data(), item->header.size());
        if (item->length > 0) add(item->payload, item->length);
    }
    sending_ = true;
    urgent_ = item != nullptr;  // the rest has waited already
    held_bytes_ = 0;
    asked_ = bytes;
    throttle_.spend(bytes);
    reactor_.sendv(send_op_, socket_.descriptor(), vectors_->items.data(), count);
}

void Link::sent(int result) {
    sending_ = false;
    throttle_.give_back(asked_ - static_cast<std::size_t>(std::max(result, 0)));
    if (closed_) return release_queue();
    if (result == -EINTR || result == -EAGAIN) {
        urgent_ = true;
        return flush();
    }
    if (result < 0) return end(fmt::format("sending failed: {}", std::strerror(-result)));
    std::size_t left = head_sent_ + static_cast<std::size_t>(result);
    while (!queue_.empty()) {
        const std::size_t whole = wire::kHeaderBytes + queue_.front()->length;
        if (left < whole) break;
        left -= whole;
        head_sent_ = 0;
        Outgoing& item = queue_.pop();
        if (item.released != nullptr) item.released(item);
        if (closed_) return;  // the callback gave the link up
    }
    head_sent_ = left;
    urgent_ |= left > 0;
    flush();
}

void Link::throttle_changed() {
    reactor_.cancel(pause_op_);  // its callback looks again
}

void Link::resume_reading() {
    if (closed_ || ended_ || receiving_ || cutting_) return;
    cut();
}

void Link::finish_reading() {
    socket_.end_reading();
    resume_reading();
}

void Link::received(int result) {
    receiving_ = false;
    if (closed_) return;
    if (result == -EINTR || result == -EAGAIN) return resume_reading();
    if (result <= 0)
        return end(result == 0 ? std::string("the other end closed the connection")
                               : fmt::format("receiving failed: {}", std::strerror(-result)));
    reader_.received(static_cast<std::size_t>(result));
    cut();
}

/// Hands out whole frames, then asks for more.
void Link::cut() {
    cutting_ = true;
    while (!closed_ && !ended_) {
        if (!handler_.may_read(*this)) break;
        wire::Frame frame;
        const auto step = reader_.next(frame);
        if (step == wire::FrameReader::Step::frame) {
            handler_.on_frame(*this, frame);
            continue;
        }
        if (step == wire::FrameReader::Step::error) {
            cutting_ = false;
            return end(fmt::format("broken message: {}", reader_.error()));
        }
        if (step == wire::FrameReader::Step::no_buffer) break;
        receiving_ = true;
        reactor_.recv(receive_op_, socket_.descriptor(), reader_.space());
        break;
    }
    cutting_ = false;
}

void Link::end(std::string why) {
    if (ended_ || closed_) return;
    ended_ = true;
    handler_.on_link_end(*this, std::move(why));
}

void Link::close(const std::string& said) {
    if (closed_) return;
    closed_ = true;
    if (!said.empty() && !sending_ && head_sent_ == 0 && !ended_) {
        const std::string text = said.substr(0, wire::kMaxText);
        wire::Header header;
        header.type = wire::Type::bye;
        header.length = static_cast<std::uint32_t>(text.size());
        header.payload_crc = crc32c(std::as_bytes(std::span(text)));
        std::array<std::byte, wire::kHeaderBytes + wire::kMaxText> message;
        wire::encode(header, std::span<std::byte, wire::kHeaderBytes>(message.data(), wire::kHeaderBytes));
        std::memcpy(message.data() + wire::kHeaderBytes, text.data(), text.size());
        // Courtesy only: when the socket is full the other end sees the close instead.
        socket_.send_what_fits(std::span(message).first(wire::kHeaderBytes + text.size()));
    }
    socket_.end();
    reactor_.cancel(pause_op_);
    reactor_.cancel(hold_op_);
    if (!sending_) release_queue();
}

void Link::release_queue() {
    while (!queue_.empty()) {
        Outgoing& item = queue_.pop();
        if (item.released != nullptr) item.released(item);
    }
}

}  // namespace understudy::mirror
