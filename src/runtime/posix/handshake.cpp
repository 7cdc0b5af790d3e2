#include "runtime/posix/handshake.h"

#include "runtime/posix/sockets.h"

namespace understudy::runtime {

Handshake::Handshake(EventLoop& loop, Descriptor socket, std::unique_ptr<TlsSession> tls, Endpoint remote,
                     bool connecting)
    : loop_(loop),
      transport_(std::make_unique<Transport>(std::move(socket), std::move(tls))),
      watch_(loop.watch(transport_->fd())),
      remote_(std::move(remote)),
      connecting_(connecting) {}

void Handshake::start(Duration limit, DoneHandler on_done) {
    limit_ = limit;
    on_done_ = std::move(on_done);
    timer_ = loop_.after(limit, [self = shared_from_this()] {
        self->timer_.reset();
        self->timed_out();
    });
    if (connecting_)
        watch_->wait_writable([self = shared_from_this()] { self->step(); });
    else
        loop_.post([self = shared_from_this()] { self->step(); });
}

void Handshake::step() {
    if (!on_done_) return;  // cancelled or timed out meanwhile
    if (connecting_) {
        if (const int error = pending_error(transport_->fd()))
            return finish(fail(connect_error(remote_, error)));
        connecting_ = false;
    }
    switch (const auto status = transport_->handshake()) {
        case Transport::Status::wait_readable:
        case Transport::Status::wait_writable:
            return step_later(status);
        case Transport::Status::ended:
        case Transport::Status::failed:
            return finish(fail(Code::unreachable, "cannot connect securely with {}: {}", to_string(remote_),
                               transport_->problem()));
        case Transport::Status::done:
            break;
    }
    Established out;
    if (transport_->tls()) {
        auto identity = peer_identity(*transport_->tls());
        if (!identity) return finish(with_context(identity.error(), to_string(remote_)));
        out.peer = std::move(*identity);
    }
    out.local = local_endpoint_of(transport_->fd());
    out.remote = remote_;
    out.transport = std::move(transport_);
    out.watch = std::move(watch_);
    finish(std::move(out));
}

void Handshake::step_later(Transport::Status status) {
    auto again = [self = shared_from_this()] { self->step(); };
    if (status == Transport::Status::wait_readable)
        watch_->wait_readable(std::move(again));
    else
        watch_->wait_writable(std::move(again));
}

void Handshake::timed_out() {
    const auto limit_ms = std::chrono::duration_cast<std::chrono::milliseconds>(limit_).count();
    if (connecting_)
        finish(
            fail(Code::unreachable,
                 "no answer from {} within {} ms: the host is down, the link is cut or a firewall drops the "
                 "port",
                 to_string(remote_), limit_ms));
    else
        finish(fail(Code::unreachable, "{} did not complete the TLS handshake within {} ms",
                    to_string(remote_), limit_ms));
}

void Handshake::finish(Result<Established> result) {
    const auto done = std::exchange(on_done_, nullptr);
    release();
    if (done) done(std::move(result));
}

void Handshake::cancel() {
    const auto dropped = std::exchange(on_done_, nullptr);
    release();
}

void Handshake::release() {
    if (timer_) loop_.cancel(*timer_);
    timer_.reset();
    watch_.reset();
    transport_.reset();
}

}  // namespace understudy::runtime
