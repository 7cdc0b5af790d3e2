#include "runtime/posix/posix_network.h"

#include "runtime/posix/handshake.h"
#include "runtime/posix/sockets.h"
#include "runtime/posix/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <list>

namespace understudy::runtime {

namespace {

constexpr int kAcceptsPerTurn = 64;
/// How long to leave the queue alone when the process or the host is out of descriptors.
constexpr Duration kOutOfDescriptorsPause = std::chrono::milliseconds(100);
/// A unix listener's queue is full: ask again after this.
constexpr Duration kBusyRetry = std::chrono::milliseconds(5);

bool out_of_resources(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/// Accepts on one descriptor until stopped. Pending callbacks hold it; stop() makes them do nothing.
class Acceptor : public std::enable_shared_from_this<Acceptor> {
  public:
    using Accepted = std::function<void(Descriptor)>;
    Acceptor(EventLoop& loop, int fd, Accepted on_accepted)
        : loop_(loop), fd_(fd), watch_(loop.watch(fd)), on_accepted_(std::move(on_accepted)) {}

    void wait() {
        watch_->wait_readable([self = shared_from_this()] { self->accept_some(); });
    }
    void stop() {
        watch_.reset();
        if (pause_) loop_.cancel(*pause_);
        pause_.reset();
    }

  private:
    void accept_some() {
        for (int i = 0; watch_ && i < kAcceptsPerTurn; ++i) {
            Descriptor socket(::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (socket) {
                on_accepted_(std::move(socket));
            } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
                break;
            } else if (out_of_resources(errno)) {
                pause_ = loop_.after(kOutOfDescriptorsPause, [self = shared_from_this()] {
                    self->pause_.reset();
                    self->accept_some();
                });
                return;
            }
            // Anything else is about that one connection, which is gone.
        }
        if (watch_) wait();
    }

    EventLoop& loop_;
    int fd_;
    std::unique_ptr<Watch> watch_;  // null: stopped
    Accepted on_accepted_;
    std::optional<TimerId> pause_;
};

class TlsListener final : public Listener {
  public:
    TlsListener(EventLoop& loop, const TlsCredentials& credentials, Descriptor socket, Security security,
                Duration handshake_limit, Network::AcceptHandler on_accept,
                std::shared_ptr<PosixNetwork::RefusalHandler> refused)
        : socket_(std::move(socket)),
          state_(std::make_shared<State>(loop, credentials, security, handshake_limit)) {
        state_->at = local_endpoint_of(socket_.get());
        state_->on_accept = std::move(on_accept);
        state_->refused = std::move(refused);
        acceptor_ = std::make_shared<Acceptor>(
            loop, socket_.get(), [state = state_](Descriptor fd) { accepted(state, std::move(fd)); });
        acceptor_->wait();
    }
    ~TlsListener() override {
        acceptor_->stop();
        state_->stopped = true;
        for (auto& handshake : state_->unfinished)
            handshake->cancel();
    }
    [[nodiscard]] Endpoint endpoint() const override { return state_->at; }

  private:
    using Unfinished = std::list<std::shared_ptr<Handshake>>;
    struct State {
        State(EventLoop& l, const TlsCredentials& c, Security s, Duration limit)
            : loop(l), credentials(c), security(s), handshake_limit(limit) {}
        EventLoop& loop;
        const TlsCredentials& credentials;
        Security security;
        Duration handshake_limit;
        Endpoint at;
        Network::AcceptHandler on_accept;
        std::shared_ptr<PosixNetwork::RefusalHandler> refused;
        Unfinished unfinished;  // oldest first
        bool stopped = false;
    };
    using StatePtr = std::shared_ptr<State>;

    static void refuse(const StatePtr& state, const Endpoint& from, const Error& why) {
        if (*state->refused) (*state->refused)(state->at, from, why);
    }

    static void accepted(const StatePtr& state, Descriptor fd) {
        set_tcp_options(fd.get());
        const Endpoint from = remote_endpoint_of(fd.get());
        auto session = state->credentials.session(fd.get(), state->security, true, {});
        if (!session) return refuse(state, from, session.error());
        if (state->unfinished.size() == kMaxUnfinishedHandshakes) {
            state->unfinished.front()->cancel();
            state->unfinished.pop_front();
        }
        auto handshake =
            std::make_shared<Handshake>(state->loop, std::move(fd), std::move(*session), from, false);
        const auto at = state->unfinished.insert(state->unfinished.end(), handshake);
        handshake->start(state->handshake_limit, [state, at, from](Result<Established> result) {
            state->unfinished.erase(at);
            if (!result) return refuse(state, from, result.error());
            // A copy: the handler may destroy the listener.
            const auto on_accept = state->on_accept;
            on_accept(make_channel(state->loop, std::move(*result)));
        });
    }

    Descriptor socket_;
    StatePtr state_;
    std::shared_ptr<Acceptor> acceptor_;
};

class UnixListener final : public Listener {
  public:
    UnixListener(EventLoop& loop, UnixListenSocket socket, const Endpoint& at,
                 Network::AcceptHandler on_accept)
        : socket_(std::move(socket)), at_(at) {
        acceptor_ = std::make_shared<Acceptor>(
            loop, socket_.fd(), [&loop, at, handler = std::move(on_accept)](Descriptor fd) {
                Established e;
                e.peer = unix_peer(fd.get());
                e.local = e.remote = at;
                e.transport = std::make_unique<Transport>(std::move(fd), nullptr);
                e.watch = loop.watch(e.transport->fd());
                handler(make_channel(loop, std::move(e)));
            });
        acceptor_->wait();
    }
    ~UnixListener() override { acceptor_->stop(); }
    [[nodiscard]] Endpoint endpoint() const override { return at_; }

  private:
    UnixListenSocket socket_;
    Endpoint at_;
    std::shared_ptr<Acceptor> acceptor_;
};

Result<> check_security(const Endpoint& endpoint, Security security) {
    const bool plain = security == Security::plain;
    if (plain == endpoint.is_unix()) return {};
    if (plain)
        return fail(Code::bad_argument, "{}: TCP connections are always encrypted", to_string(endpoint));
    return fail(Code::bad_argument, "{}: a unix socket has no TLS", to_string(endpoint));
}

}  // namespace

PosixNetwork::PosixNetwork(EventLoop& loop, CredentialPaths credentials, const Files& files,
                           Duration handshake_limit)
    : loop_(loop), credentials_(std::move(credentials), files), handshake_limit_(handshake_limit) {}

Result<std::unique_ptr<Listener>> PosixNetwork::listen(const Endpoint& at, Security security,
                                                       AcceptHandler on_accept) {
    UNDERSTUDY_CHECK(check_security(at, security));
    if (at.is_unix()) {
        UNDERSTUDY_TRY(UnixListenSocket socket, UnixListenSocket::open(at.address));
        return std::make_unique<UnixListener>(loop_, std::move(socket), at, std::move(on_accept));
    }
    UNDERSTUDY_CHECK(credentials_.usable(security, true));
    UNDERSTUDY_TRY(Descriptor socket, listen_tcp(at));
    return std::make_unique<TlsListener>(loop_, credentials_, std::move(socket), security, handshake_limit_,
                                         std::move(on_accept), refused_);
}

void PosixNetwork::connect(const ConnectOptions& options, ConnectHandler on_done) {
    auto refuse = [&](Error why) {
        loop_.post([why = std::move(why), on_done = std::move(on_done)] { on_done(fail(why)); });
    };
    if (auto ok = check_security(options.remote, options.security); !ok) return refuse(ok.error());
    if (options.remote.is_unix()) {
        loop_.post([this, options, deadline = loop_.now() + options.timeout, on_done = std::move(on_done)] {
            connect_to_unix(options, deadline, on_done);
        });
        return;
    }
    // Without credentials there is no point in knocking at the other host.
    if (auto ok = credentials_.usable(options.security, false); !ok) return refuse(ok.error());
    auto socket = begin_connect_tcp(options.remote, options.local_address);
    if (!socket) return refuse(socket.error());
    auto session =
        credentials_.session(socket->get(), options.security, false, options.expected_ca_fingerprint);
    if (!session) return refuse(session.error());
    auto handshake =
        std::make_shared<Handshake>(loop_, std::move(*socket), std::move(*session), options.remote, true);
    handshake->start(options.timeout,
                     [&loop = loop_, on_done = std::move(on_done)](Result<Established> result) {
                         if (!result) return on_done(fail(result.error()));
                         on_done(make_channel(loop, std::move(*result)));
                     });
}

void PosixNetwork::connect_to_unix(const ConnectOptions& options, TimePoint deadline,
                                   ConnectHandler on_done) {
    bool busy = false;
    auto socket = connect_unix(options.remote.address, busy);
    if (!socket) {
        if (!busy) return on_done(fail(socket.error()));
        if (loop_.now() >= deadline)
            return on_done(fail(Code::unreachable, "{}: the daemon does not accept connections",
                                options.remote.address));
        loop_.after(kBusyRetry, [this, options, deadline, on_done = std::move(on_done)] {
            connect_to_unix(options, deadline, on_done);
        });
        return;
    }
    Established e;
    e.peer = unix_peer(socket->get());
    e.local = e.remote = options.remote;
    e.transport = std::make_unique<Transport>(std::move(*socket), nullptr);
    e.watch = loop_.watch(e.transport->fd());
    on_done(make_channel(loop_, std::move(e)));
}

Result<> PosixNetwork::reload_credentials() {
    return credentials_.load();
}

}  // namespace understudy::runtime
