#include "runtime/posix/connection.h"

#include <cassert>
#include <cstring>
#include <new>
#include <optional>

namespace understudy::runtime {

namespace {

constexpr std::size_t kReadBufferBytes = 16UL << 10;
/// Buffers that grew beyond this for a burst are given back when empty.
constexpr std::size_t kKeepBufferBytes = 256UL << 10;

std::uint32_t read_length(const std::byte* at) {
    std::uint32_t length = 0;
    for (std::size_t i = 0; i < kFrameHeaderBytes; ++i)
        length |= std::to_integer<std::uint32_t>(at[i]) << (8 * i);
    return length;
}

void append_frame(std::vector<std::byte>& to, std::span<const std::byte> frame) {
    const auto length = static_cast<std::uint32_t>(frame.size());
    for (std::size_t i = 0; i < kFrameHeaderBytes; ++i)
        to.push_back(static_cast<std::byte>(length >> (8 * i)));
    to.insert(to.end(), frame.begin(), frame.end());
}

void clear_buffer(std::vector<std::byte>& buffer) {
    buffer.clear();
    if (buffer.capacity() > kKeepBufferBytes) buffer.shrink_to_fit();
}

class Connection : public std::enable_shared_from_this<Connection> {
  public:
    Connection(EventLoop& loop, Established established) : loop_(loop), e_(std::move(established)) {}

    void start(Channel::FrameHandler on_frame, Channel::CloseHandler on_close);
    bool send(std::span<const std::byte> frame);
    void close();
    [[nodiscard]] const Established& established() const { return e_; }

  private:
    enum class State { open, closing, closed };
    struct Handlers {
        Channel::FrameHandler on_frame;
        Channel::CloseHandler on_close;
    };

    void begin_reading();
    void read_some();
    [[nodiscard]] std::span<std::byte> room();
    void deliver();
    void write_some();
    void wait(Transport::Status status, void (Connection::*then)());
    void stream_ended(const std::string& problem);
    void fail_with(std::string problem);
    void release();

    EventLoop& loop_;
    Established e_;
    State state_ = State::open;
    std::shared_ptr<Handlers> handlers_;  // shared: a handler may close its own channel
    std::optional<TimerId> linger_;

    bool reading_ = false;
    std::vector<std::byte> buffer_;
    std::size_t begin_ = 0;  // of what was not delivered yet
    std::size_t end_ = 0;

    bool writing_ = false;  // write_some() is posted or waits
    std::vector<std::byte> queued_;
    std::vector<std::byte> sending_;
    std::size_t sent_ = 0;       // of sending_
    std::string write_problem_;  // not empty: nothing can be sent any more
};

void Connection::start(Channel::FrameHandler on_frame, Channel::CloseHandler on_close) {
    assert(!handlers_);
    if (state_ != State::open) return;
    handlers_ = std::make_shared<Handlers>(Handlers{std::move(on_frame), std::move(on_close)});
    begin_reading();
}

void Connection::begin_reading() {
    if (std::exchange(reading_, true)) return;
    loop_.post([self = shared_from_this()] { self->read_some(); });
}

bool Connection::send(std::span<const std::byte> frame) {
    if (state_ != State::open || !write_problem_.empty() || frame.size() > kMaxFrameBytes) return false;
    const std::size_t waiting = queued_.size() + (sending_.size() - sent_);
    if (waiting + kFrameHeaderBytes + frame.size() > kMaxQueuedBytes) return false;
    append_frame(queued_, frame);
    // Posted, so that frames sent in one turn of the loop leave in one write.
    if (!std::exchange(writing_, true)) loop_.post([self = shared_from_this()] { self->write_some(); });
    return true;
}

void Connection::close() {
    if (state_ != State::open) return;
    state_ = State::closing;
    const auto dropped = std::move(handlers_);
    linger_ = loop_.after(kCloseLinger, [self = shared_from_this()] {
        self->linger_.reset();
        self->release();
    });
    if (!writing_) e_.transport->end_writing();
    // What the peer still sends is read and dropped: closing with unread data would reset the connection and
    // destroy what it has not read yet.
    begin_reading();
}

void Connection::wait(Transport::Status status, void (Connection::*then)()) {
    auto again = [self = shared_from_this(), then] { ((*self).*then)(); };
    if (status == Transport::Status::wait_readable)
        e_.watch->wait_readable(std::move(again));
    else
        e_.watch->wait_writable(std::move(again));
}

std::span<std::byte> Connection::room() {
    if (begin_ == end_) {
        begin_ = end_ = 0;
        if (buffer_.size() > kKeepBufferBytes) clear_buffer(buffer_);
        if (buffer_.empty()) buffer_.resize(kReadBufferBytes);
    }
    if (begin_ > 0 && buffer_.size() - end_ < kReadBufferBytes / 2) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
    }
    // A frame larger than the buffer: grow with the data that really arrives, not with what the header
    // promises, so that a peer cannot make us allocate by four bytes.
    if (end_ == buffer_.size()) {
        try {
            buffer_.resize(std::min(buffer_.size() * 2, kFrameHeaderBytes + read_length(buffer_.data())));
        } catch (const std::bad_alloc&) {
            return {};  // how much comes is the peer's choice
        }
    }
    return std::span(buffer_).subspan(end_);
}

void Connection::read_some() {
    std::size_t budget = kBytesPerTurn;
    while (state_ != State::closed) {
        const auto into = room();
        if (into.empty())
            return stream_ended(
                fmt::format("no memory for its frame of {} bytes", read_length(buffer_.data())));
        const auto outcome = e_.transport->read(into);
        switch (outcome.status) {
            case Transport::Status::done:
                break;
            case Transport::Status::wait_readable:
            case Transport::Status::wait_writable:
                if (!write_problem_.empty()) return stream_ended(write_problem_);
                return wait(outcome.status, &Connection::read_some);
            case Transport::Status::ended:
            case Transport::Status::failed:
                return stream_ended(std::string(e_.transport->problem()));
        }
        if (state_ == State::open) {
            end_ += outcome.bytes;
            deliver();
        } else {
            begin_ = end_ = 0;
        }
        if (outcome.bytes >= budget) {
            loop_.post([self = shared_from_this()] { self->read_some(); });
            return;
        }
        budget -= outcome.bytes;
    }
}

void Connection::deliver() {
    const auto handlers = handlers_;
    while (state_ == State::open && end_ - begin_ >= kFrameHeaderBytes) {
        const std::size_t length = read_length(buffer_.data() + begin_);
        if (length > kMaxFrameBytes)
            return fail_with(fmt::format("it announced a frame of {} bytes; the largest allowed is {}",
                                         length, kMaxFrameBytes));
        if (end_ - begin_ < kFrameHeaderBytes + length) return;
        const auto frame = std::span<const std::byte>(buffer_).subspan(begin_ + kFrameHeaderBytes, length);
        begin_ += kFrameHeaderBytes + length;
        handlers->on_frame(frame);
    }
    if (state_ != State::open) begin_ = end_ = 0;
}

void Connection::write_some() {
    std::size_t budget = kBytesPerTurn;
    while (state_ != State::closed) {
        if (sent_ == sending_.size()) {
            clear_buffer(sending_);
            sent_ = 0;
            if (queued_.empty()) {
                writing_ = false;
                if (state_ == State::closing) e_.transport->end_writing();
                return;
            }
            sending_.swap(queued_);
        }
        const auto outcome = e_.transport->write(std::span<const std::byte>(sending_).subspan(sent_));
        switch (outcome.status) {
            case Transport::Status::done:
                break;
            case Transport::Status::wait_readable:
            case Transport::Status::wait_writable:
                return wait(outcome.status, &Connection::write_some);
            case Transport::Status::ended:
            case Transport::Status::failed:
                if (state_ == State::closing) return release();
                // What the peer sent before it went is still delivered: it often says why.
                write_problem_ = e_.transport->problem();
                clear_buffer(queued_);
                clear_buffer(sending_);
                sent_ = 0;
                if (handlers_) read_some();
                return;
        }
        sent_ += outcome.bytes;
        if (outcome.bytes >= budget) {
            loop_.post([self = shared_from_this()] { self->write_some(); });
            return;
        }
        budget -= outcome.bytes;
    }
}

void Connection::stream_ended(const std::string& problem) {
    if (state_ == State::open)
        fail_with(problem);
    else
        release();
}

void Connection::fail_with(std::string problem) {
    const auto handlers = std::exchange(handlers_, nullptr);
    release();
    handlers->on_close(
        Error{Code::unreachable, fmt::format("connection to {}: {}", to_string(e_.remote), problem)});
}

void Connection::release() {
    state_ = State::closed;
    if (linger_) loop_.cancel(*linger_);
    linger_.reset();
    e_.watch.reset();  // before its descriptor closes
    e_.transport.reset();
}

class ConnectionChannel final : public Channel {
  public:
    explicit ConnectionChannel(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}
    ~ConnectionChannel() override { connection_->close(); }

    void start(FrameHandler on_frame, CloseHandler on_close) override {
        connection_->start(std::move(on_frame), std::move(on_close));
    }
    bool send(std::span<const std::byte> frame) override { return connection_->send(frame); }
    void close() override {
        const auto connection = connection_;  // dropping the handlers may destroy this channel
        connection->close();
    }
    [[nodiscard]] const PeerIdentity& peer() const override { return connection_->established().peer; }
    [[nodiscard]] Endpoint local_endpoint() const override { return connection_->established().local; }
    [[nodiscard]] Endpoint remote_endpoint() const override { return connection_->established().remote; }

  private:
    std::shared_ptr<Connection> connection_;
};

}  // namespace

std::unique_ptr<Channel> make_channel(EventLoop& loop, Established established) {
    return std::make_unique<ConnectionChannel>(std::make_shared<Connection>(loop, std::move(established)));
}

}  // namespace understudy::runtime
