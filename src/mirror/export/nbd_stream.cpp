#include "mirror/export/nbd_stream.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace understudy::mirror {
namespace {

using runtime::TlsPipe;

constexpr std::size_t kCipherBuffer = 1 << 16;
/// Encrypted in one go; more waits for it to be sent, so that memory does not grow with the replies.
constexpr std::size_t kMostAtOnce = 1 << 18;
/// Small pieces share a record of TLS, which has at most so many bytes.
constexpr std::size_t kRecord = 1 << 14;

}  // namespace

NbdStream::NbdStream(Reactor& reactor, int socket, User& user)
    : reactor_(reactor), socket_(socket), user_(user) {
    receive_.owner = send_.owner = this;
    receive_.done = [](IoOperation& op, int result) { self(op).came(result); };
    send_.done = [](IoOperation& op, int result) { self(op).went(result); };
}

void NbdStream::receive(std::span<std::byte> into) {
    into_ = into;
    if (!tls_) return reactor_.recv(receive_, socket_.get(), into);
    decrypt(true);
}

void NbdStream::came(int result) {
    const bool again = result == -EINTR || result == -EAGAIN;
    if (!tls_) {
        if (again) return reactor_.recv(receive_, socket_.get(), into_);
        return user_.received(result);
    }
    if (again) return reactor_.recv(receive_, socket_.get(), cipher_in_);
    if (result <= 0) {
        if (securing_) return end_securing("it closed the connection");
        return user_.received(result);
    }
    tls_->put(std::span(cipher_in_).first(static_cast<std::size_t>(result)));
    if (securing_) return handshake();
    decrypt(false);
}

void NbdStream::decrypt(bool inside_call) {
    std::size_t filled = 0;
    TlsPipe::Outcome outcome{TlsPipe::Status::done};
    while (filled < into_.size()) {
        outcome = tls_->read(into_.subspan(filled));
        if (outcome.status != TlsPipe::Status::done) break;
        filled += outcome.bytes;
    }
    // What stands behind data is found again by the next call.
    if (filled == 0 && outcome.status == TlsPipe::Status::more)
        return reactor_.recv(receive_, socket_.get(), cipher_in_);
    int result = static_cast<int>(filled);
    if (filled == 0) result = outcome.status == TlsPipe::Status::ended ? 0 : -EPROTO;
    if (!inside_call) return user_.received(result);
    delivering_ = true;
    reactor_.post([this, result] {
        delivering_ = false;
        user_.received(result);
    });
}

void NbdStream::send(const iovec* vectors, std::size_t count) {
    if (!tls_) return reactor_.sendv(send_, socket_.get(), vectors, static_cast<unsigned>(count));
    if (encrypt(vectors, count)) return send_cipher();
    failing_ = true;
    reactor_.post([this] {
        failing_ = false;
        user_.sent(-EPROTO);
    });
}

/// False when the session has broken down.
bool NbdStream::encrypt(const iovec* vectors, std::size_t count) {
    cipher_out_.clear();
    cipher_sent_ = 0;
    plain_ = 0;
    gathered_.clear();
    for (std::size_t i = 0; i < count && plain_ < kMostAtOnce; ++i) {
        std::span<const std::byte> part(static_cast<const std::byte*>(vectors[i].iov_base),
                                        vectors[i].iov_len);
        part = part.first(std::min(part.size(), kMostAtOnce - plain_));
        plain_ += part.size();
        while (!part.empty()) {
            const auto next = part.first(std::min(part.size(), kRecord - gathered_.size()));
            gathered_.insert(gathered_.end(), next.begin(), next.end());
            part = part.subspan(next.size());
            if (gathered_.size() < kRecord) continue;
            if (tls_->write(gathered_) != TlsPipe::Status::done) return false;
            gathered_.clear();
        }
    }
    if (tls_->write(gathered_) != TlsPipe::Status::done) return false;
    tls_->take(cipher_out_);
    return !cipher_out_.empty();
}

void NbdStream::send_cipher() {
    cipher_vector_ = {cipher_out_.data() + cipher_sent_, cipher_out_.size() - cipher_sent_};
    reactor_.sendv(send_, socket_.get(), &cipher_vector_, 1);
}

void NbdStream::went(int result) {
    if (!tls_) return user_.sent(result);
    if (result == -EINTR || result == -EAGAIN) return send_cipher();
    if (result == 0) result = -EPIPE;
    if (result > 0) {
        cipher_sent_ += static_cast<std::size_t>(result);
        if (cipher_sent_ < cipher_out_.size()) return send_cipher();
    }
    if (securing_) return result > 0 ? after_handshake_step() : end_securing("it closed the connection");
    user_.sent(result > 0 ? static_cast<int>(plain_) : result);
}

void NbdStream::secure(std::unique_ptr<TlsPipe> tls) {
    tls_ = std::move(tls);
    cipher_in_.resize(kCipherBuffer);
    gathered_.reserve(kRecord);
    securing_ = true;
    reactor_.recv(receive_, socket_.get(), cipher_in_);
}

void NbdStream::handshake() {
    step_ = tls_->handshake();
    cipher_out_.clear();
    cipher_sent_ = 0;
    // A failure has something to say as well.
    tls_->take(cipher_out_);
    if (cipher_out_.empty()) return after_handshake_step();
    send_cipher();
}

void NbdStream::after_handshake_step() {
    switch (step_) {
        case TlsPipe::Status::more:
            return reactor_.recv(receive_, socket_.get(), cipher_in_);
        case TlsPipe::Status::done:
            return end_securing("");
        case TlsPipe::Status::ended:
        case TlsPipe::Status::failed:
            return end_securing(tls_->problem());
    }
}

void NbdStream::end_securing(std::string why_not) {
    securing_ = false;
    user_.secured(std::move(why_not));
}

void NbdStream::cancel_receive() {
    reactor_.cancel(receive_);
}

void NbdStream::shut_down() {
    shutdown(socket_.get(), SHUT_RDWR);
    reactor_.cancel(receive_);
}

}  // namespace understudy::mirror
