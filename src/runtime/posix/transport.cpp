#include "runtime/posix/transport.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>

namespace understudy::runtime {

namespace {
constexpr const char* kPeerClosed = "it closed the connection";
}

Transport::Status Transport::from_tls(int result) {
    const int system_error = errno;
    switch (SSL_get_error(tls_->ssl.get(), result)) {
        case SSL_ERROR_WANT_READ:
            return Status::wait_readable;
        case SSL_ERROR_WANT_WRITE:
            return Status::wait_writable;
        case SSL_ERROR_ZERO_RETURN:
            problem_ = kPeerClosed;
            return Status::ended;
        default:
            problem_ = tls_problem(*tls_, system_error);
            return Status::failed;
    }
}

Transport::Status Transport::from_system(const char* ended) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Status::wait_readable;
    problem_ = errno == ECONNRESET || errno == EPIPE ? ended : strerror(errno);
    return Status::failed;
}

Transport::Status Transport::handshake() {
    if (!tls_) return Status::done;
    ERR_clear_error();
    errno = 0;
    const int result = SSL_do_handshake(tls_->ssl.get());
    return result == 1 ? Status::done : from_tls(result);
}

Transport::Outcome Transport::read(std::span<std::byte> into) {
    if (tls_) {
        ERR_clear_error();
        errno = 0;
        std::size_t bytes = 0;
        const int result = SSL_read_ex(tls_->ssl.get(), into.data(), into.size(), &bytes);
        if (result == 1) return {Status::done, bytes};
        return {from_tls(result)};
    }
    ssize_t got;
    do {
        got = ::recv(socket_.get(), into.data(), into.size(), 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) return {Status::done, static_cast<std::size_t>(got)};
    if (got < 0) return {from_system(kPeerClosed)};
    problem_ = kPeerClosed;
    return {Status::ended};
}

Transport::Outcome Transport::write(std::span<const std::byte> from) {
    if (tls_) {
        ERR_clear_error();
        errno = 0;
        std::size_t bytes = 0;
        const int result = SSL_write_ex(tls_->ssl.get(), from.data(), from.size(), &bytes);
        if (result == 1) return {Status::done, bytes};
        return {from_tls(result)};
    }
    ssize_t put;
    do {
        put = ::send(socket_.get(), from.data(), from.size(), MSG_NOSIGNAL);
    } while (put < 0 && errno == EINTR);
    if (put >= 0) return {Status::done, static_cast<std::size_t>(put)};
    const Status status = from_system(kPeerClosed);
    return {status == Status::wait_readable ? Status::wait_writable : status};
}

void Transport::end_writing() {
    if (tls_ && SSL_is_init_finished(tls_->ssl.get())) {
        ERR_clear_error();
        SSL_shutdown(tls_->ssl.get());  // best effort: close_notify goes out if the socket takes it now
        ERR_clear_error();
    }
    ::shutdown(socket_.get(), SHUT_WR);
}

}  // namespace understudy::runtime
