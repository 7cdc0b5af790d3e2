#include "mirror/export/nbd_connection.h"

#include "mirror/export/nbd_extents.h"
#include "mirror/export/nbd_memory.h"
#include "mirror/export/nbd_stream.h"

#include <sys/uio.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

namespace understudy::mirror {
namespace {

using namespace nbd;

constexpr std::size_t kReceiveBuffer = 1 << 16;
static_assert(kReceiveBuffer >= kMaxOptionSize + 16, "a whole option must fit");
constexpr std::size_t kRepliesAtOnce = 16;
constexpr std::size_t kVectorsAtOnce =
    256;  // a reply of the largest request alone may have more, 1024 at most
constexpr std::size_t kMaxGreeting =
    1 << 16;  // unsent answers of a negotiation; a client that does not read is dropped
constexpr auto kNegotiationLimit = std::chrono::seconds(10);
constexpr auto kLingerLimit = std::chrono::seconds(10);

class Connection final : public NbdConnection, private NbdStream::User {
  public:
    Connection(Reactor& reactor, RequestGate& gate, int socket, ExportInfo info, NbdTerms terms,
               ExportStatistics& statistics, std::function<void()> gone)
        : reactor_(reactor),
          gate_(gate),
          stream_(reactor, socket, *this),
          info_(std::move(info)),
          terms_(std::move(terms)),
          statistics_(statistics),
          gone_(std::move(gone)),
          negotiation_(info_, terms_.tls),
          buffer_(kReceiveBuffer) {
        timer_.owner = this;
        timer_.done = [](IoOperation& op, int result) {
            static_cast<Connection*>(op.owner)->timed_out(result);
        };
    }

    void begin() {
        reactor_.timeout(timer_, kNegotiationLimit);
        outgoing_ = Negotiation::greeting();
        send_more();
        receive_more();
    }
    void close() override { end(); }

  private:
    struct Slot {
        BlockRequest request;
        Connection* connection = nullptr;
        std::size_t number = 0;
        std::byte* data = nullptr;  // of the current request
        std::uint64_t cookie = 0;
        std::uint32_t received = 0;    // of a write's payload
        bool flush_after = false;      // FUA of a command that has none in the backend
        std::uint32_t reply_data = 0;  // bytes that were read
        bool whole = false;            // a read that must not be answered in pieces
        std::vector<Extent> extents;   // the answer to a block_status
        std::vector<std::byte> headers;
        /// What goes out: of the headers the one that is next, then so many bytes of data.
        struct Part {
            std::size_t header = 0;  // bytes
            std::uint32_t data_at = 0, data = 0;
        };
        std::vector<Part> parts;
    };

    /// Not earlier: a stranger gets no memory.
    bool take_memory() {
        memory_.emplace(reactor_, terms_.slots, info_.max_request);
        if (!memory_->complete()) return false;
        slots_.resize(terms_.slots);
        for (std::size_t i = 0; i < slots_.size(); ++i) {
            auto& slot = slots_[i];
            slot.request.owner = &slot;
            slot.connection = this;
            slot.number = i;
            slot.request.done = [](BlockRequest& request) {
                auto& done = *static_cast<Slot*>(request.owner);
                done.connection->served(done);
            };
            free_.push_back(&slot);
        }
        return true;
    }

    // --- receiving

    /// One receive at a time: into the buffer, or the rest of a large payload straight to its place.
    void receive_more() {
        if (stream_.receiving() || ending_) return;
        straight_ = payload_of_ != nullptr;
        if (straight_) {
            const std::uint32_t left = payload_of_->request.length - payload_of_->received;
            stream_.receive({payload_of_->data + payload_of_->received, left});
            return;
        }
        if (start_ > 0) {
            std::memmove(buffer_.data(), buffer_.data() + start_, filled_ - start_);
            filled_ -= start_;
            start_ = 0;
        }
        // Full: complete requests wait for a free slot.
        if (filled_ < buffer_.size()) stream_.receive(std::span(buffer_).subspan(filled_));
    }

    void received(int result) override {
        if (result == -EINTR || result == -EAGAIN) return receive_more();
        if (result <= 0) return end();
        if (straight_)
            payload_of_->received += static_cast<std::uint32_t>(result);
        else
            filled_ += static_cast<std::size_t>(result);
        work();
    }

    /// Takes from the buffer what can be taken, then asks for more.
    void work() {
        if (negotiation_.status() == Negotiation::Status::more) negotiate();
        if (negotiation_.status() == Negotiation::Status::start_tls) return start_tls();
        if (negotiation_.status() == Negotiation::Status::transmission)
            while (!ending_ && take_payload() && !free_.empty() && filled_ - start_ >= kRequestSize)
                if (!take_request()) return end();
        if (ending_) return leave();
        const bool negotiating = negotiation_.status() != Negotiation::Status::transmission;
        if (negotiating || payload_of_ != nullptr || !free_.empty()) receive_more();
    }

    void negotiate() {
        while (const std::size_t taken = negotiation_.consume(
                   std::span<const std::byte>(buffer_).subspan(start_, filled_ - start_), outgoing_))
            start_ += taken;
        if (outgoing_.size() > kMaxGreeting) return end();
        send_more();
        if (negotiation_.status() == Negotiation::Status::close) {
            if (outgoing_.empty()) return end();
            end_after_sending_ = true;
        }
        if (negotiation_.status() != Negotiation::Status::transmission) return;
        reactor_.cancel(timer_);
        if (!take_memory()) refuse("there is no memory for its requests");
    }

    /// Once its consent is sent. The client must have waited for that: what stands behind its wish did not
    /// come through TLS, and anybody may have put it there.
    void start_tls() {
        if (ending_) return leave();
        if (stream_.sending() || !outgoing_.empty()) return;
        if (start_ != filled_) return refuse("it sent more before TLS had begun");
        auto tls = terms_.begin_tls();
        if (!tls) return refuse(tls.error().text);
        stream_.secure(std::move(*tls));
    }
    void secured(std::string why_not) override {
        if (ending_) return leave();
        if (!why_not.empty()) return refuse(std::move(why_not));
        negotiation_.secured();
        start_ = filled_ = 0;
        receive_more();
    }
    void refuse(std::string why) {
        if (terms_.refused) terms_.refused(std::move(why));
        end();
    }

    /// Guards the negotiation, and later the sending of last answers to a client that may not read them.
    void timed_out(int result) {
        if (result == 0 && ending_)
            break_off();
        else if (result == 0 && negotiation_.status() != Negotiation::Status::transmission)
            end();
        else if (ending_ && !broken_ && gone_)
            reactor_.timeout(timer_, kLingerLimit);
        leave();
    }

    /// False when the stream cannot be understood any more.
    bool take_request() {
        const auto request =
            parse_request(std::span<const std::byte, kRequestSize>(buffer_.data() + start_, kRequestSize));
        if (!request) return false;
        const int error = check(*request, info_, negotiation_.structured(), negotiation_.allocation());
        const bool has_payload = request->command == Command::write;
        // The payload of a write that is refused would have to be read and thrown away; its size is not even
        // trustworthy when it is above the limit.
        if (has_payload && error != 0 && request->length > info_.max_request) return false;
        start_ += kRequestSize;
        if (request->command == Command::disconnect) {
            end();
            return true;
        }
        Slot& slot = *free_.back();
        free_.pop_back();
        slot.cookie = request->cookie;
        slot.reply_data = 0;
        slot.flush_after = false;
        slot.whole = (request->flags & kFlagDontFragment) != 0;
        slot.request.fua = (request->flags & kFlagFua) != 0;
        slot.request.offset = request->offset;
        slot.request.length = request->length;
        slot.data = memory_->of(slot.number, request->length);
        slot.request.data = slot.data;
        slot.request.result = -error;
        slot.extents.clear();
        switch (request->command) {
            case Command::block_status:
                slot.request.op = BlockOp::read;
                slot.whole = false;
                if (error == 0) slot.extents = extents_of(*request, info_.sector_size, gate_);
                answer(slot);
                return true;
            case Command::read:
                slot.request.op = BlockOp::read;
                break;
            case Command::write:
                slot.request.op = BlockOp::write;
                break;
            case Command::flush:
                slot.request.op = BlockOp::flush;
                break;
            case Command::trim:
                slot.request.op = BlockOp::discard;
                slot.flush_after = slot.request.fua;
                break;
            case Command::write_zeroes:
                slot.request.op = BlockOp::write_zeroes;
                slot.flush_after = slot.request.fua;
                break;
            case Command::disconnect:
                break;
        }
        if (has_payload) {
            slot.received = 0;
            payload_of_ = &slot;
        } else {
            to_backend(slot);
        }
        return true;
    }

    /// Takes what the buffer has of the current payload. False while some of it is still to come.
    bool take_payload() {
        if (payload_of_ == nullptr) return true;
        Slot& slot = *payload_of_;
        const auto here = static_cast<std::uint32_t>(
            std::min<std::size_t>(filled_ - start_, slot.request.length - slot.received));
        std::memcpy(slot.data + slot.received, buffer_.data() + start_, here);
        start_ += here;
        slot.received += here;
        if (slot.received < slot.request.length) return false;
        payload_of_ = nullptr;
        to_backend(slot);
        return true;
    }

    void to_backend(Slot& slot) {
        if (slot.request.result != 0) return answer(slot);  // refused above, payload read
        ++in_backend_;
        gate_.submit(slot.request);
    }

    void served(Slot& slot) {
        if (slot.request.result == 0 && slot.flush_after) {
            slot.flush_after = false;
            slot.request.op = BlockOp::flush;
            gate_.submit(slot.request);
            gate_.completed();
            return;
        }
        statistics_.count(slot.request);
        if (slot.request.op == BlockOp::read && slot.request.result == 0)
            slot.reply_data = slot.request.length;
        --in_backend_;
        answer(slot);
        gate_.completed();
    }

    // --- sending

    /// The reply's headers, and what of the data goes between them.
    void compose(Slot& slot) {
        slot.headers.clear();
        slot.parts.clear();
        const std::uint32_t error = wire_error(-slot.request.result);
        if (!negotiation_.structured() || slot.request.op != BlockOp::read) {
            slot.headers.resize(kSimpleReplySize);
            write_simple_reply(std::span<std::byte, kSimpleReplySize>(slot.headers), error, slot.cookie);
            slot.parts.push_back({kSimpleReplySize, 0, slot.reply_data});
            return;
        }
        if (!slot.extents.empty()) {
            append_status_chunk(slot.headers, slot.cookie, slot.extents);
            slot.parts.push_back({slot.headers.size(), 0, 0});
            return;
        }
        if (error != 0) {
            append_error_chunk(slot.headers, slot.cookie, error);
            slot.parts.push_back({slot.headers.size(), 0, 0});
            return;
        }
        const std::uint64_t offset = slot.request.offset;
        const auto pieces = slot.whole ? std::vector<Piece>{{0, slot.reply_data, false}}
                                       : pieces_of({slot.data, slot.reply_data});
        for (const Piece& piece : pieces) {
            const std::size_t before = slot.headers.size();
            const bool last = &piece == &pieces.back();
            if (piece.hole)
                append_hole_chunk(slot.headers, slot.cookie, last, offset + piece.begin, piece.length);
            else
                append_data_chunk(slot.headers, slot.cookie, last, offset + piece.begin, piece.length);
            slot.parts.push_back({slot.headers.size() - before, piece.begin, piece.hole ? 0 : piece.length});
        }
    }

    void answer(Slot& slot) {
        if (broken_) {
            free_.push_back(&slot);
            return leave();
        }
        compose(slot);
        replies_.push_back(&slot);
        send_more();
    }

    /// Sends what is left of the negotiation, then as many replies as fit into one call.
    void send_more() {
        if (stream_.sending() || broken_) return;
        vectors_.clear();
        sending_ = 0;
        if (!outgoing_.empty()) {
            sending_text_.swap(outgoing_);
            outgoing_.clear();
            vectors_.push_back({sending_text_.data(), sending_text_.size()});
        } else {
            for (; sending_ < std::min(replies_.size(), kRepliesAtOnce); ++sending_) {
                Slot& slot = *replies_[sending_];
                if (sending_ > 0 && vectors_.size() + 2 * slot.parts.size() > kVectorsAtOnce) break;
                std::size_t header = 0;
                for (const Slot::Part& part : slot.parts) {
                    vectors_.push_back({slot.headers.data() + header, part.header});
                    header += part.header;
                    if (part.data > 0) vectors_.push_back({slot.data + part.data_at, part.data});
                }
            }
        }
        if (vectors_.empty()) return;
        first_vector_ = 0;
        send_rest();
    }
    void send_rest() { stream_.send(vectors_.data() + first_vector_, vectors_.size() - first_vector_); }

    void sent(int result) override {
        if (result == -EINTR || result == -EAGAIN) return send_rest();
        if (result < 0) {
            break_off();
            return leave();
        }
        auto left = static_cast<std::size_t>(result);
        while (left > 0 && left >= vectors_[first_vector_].iov_len)
            left -= vectors_[first_vector_++].iov_len;
        if (left > 0) {
            vectors_[first_vector_].iov_base =
                static_cast<std::byte*>(vectors_[first_vector_].iov_base) + left;
            vectors_[first_vector_].iov_len -= left;
        }
        if (first_vector_ < vectors_.size()) return send_rest();
        free_.insert(free_.end(), replies_.begin(), replies_.begin() + static_cast<std::ptrdiff_t>(sending_));
        replies_.erase(replies_.begin(), replies_.begin() + static_cast<std::ptrdiff_t>(sending_));
        sending_ = 0;
        sending_text_.clear();
        send_more();
        if (end_after_sending_ && !stream_.sending()) end();
        if (ending_) return leave();
        work();
    }

    // --- the end

    /// No more requests; answers still go out.
    void end() {
        if (!ending_) {
            ending_ = true;
            stream_.cancel_receive();
            if (timer_.in_flight)
                reactor_.cancel(timer_);  // its callback starts the next
            else
                reactor_.timeout(timer_, kLingerLimit);
        }
        leave();
    }
    /// Nobody listens any more.
    void break_off() {
        broken_ = true;
        ending_ = true;
        free_.insert(free_.end(), replies_.begin(), replies_.end());
        replies_.clear();
        stream_.shut_down();
        reactor_.cancel(timer_);
    }

    void leave() {
        if (!ending_ || !gone_) return;
        const bool answering = stream_.sending() || (!broken_ && !replies_.empty());
        if (in_backend_ > 0 || answering || stream_.receiving()) return;
        broken_ = true;  // nothing is left to be sent, and the timer must not start again
        if (timer_.in_flight) return reactor_.cancel(timer_);
        reactor_.post(std::exchange(gone_, {}));
    }

    Reactor& reactor_;
    RequestGate& gate_;
    NbdStream stream_;
    const ExportInfo info_;
    const NbdTerms terms_;
    ExportStatistics& statistics_;
    std::function<void()> gone_;
    Negotiation negotiation_;

    IoOperation timer_;
    std::vector<std::byte> buffer_;
    std::size_t start_ = 0, filled_ = 0;  // of what is in the buffer and not taken
    Slot* payload_of_ = nullptr;          // the write whose payload is being received
    bool straight_ = false;               // the current receive goes to it, not to the buffer

    std::optional<NbdMemory> memory_;
    std::vector<Slot> slots_;
    std::vector<Slot*> free_;
    std::uint32_t in_backend_ = 0;

    std::vector<std::byte> outgoing_, sending_text_;  // of the negotiation
    std::vector<Slot*> replies_;
    std::vector<iovec> vectors_;
    std::size_t first_vector_ = 0;
    std::size_t sending_ = 0;  // replies in the current send

    bool ending_ = false;
    bool broken_ = false;
    bool end_after_sending_ = false;
};

}  // namespace

std::unique_ptr<NbdConnection> NbdConnection::start(Reactor& reactor, RequestGate& gate, int socket,
                                                    ExportInfo info, NbdTerms terms,
                                                    ExportStatistics& statistics,
                                                    std::function<void()> gone) {
    auto connection = std::make_unique<Connection>(reactor, gate, socket, std::move(info), std::move(terms),
                                                   statistics, std::move(gone));
    connection->begin();
    return connection;
}

}  // namespace understudy::mirror
