// A volume as an NBD server on a unix socket: listener, connections, and one gate in front of the backend.

#include "mirror/export/descriptor.h"
#include "mirror/export/export.h"
#include "mirror/export/nbd_connection.h"
#include "mirror/export/nbd_protocol.h"
#include "mirror/export/request_gate.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

namespace understudy::mirror {
namespace {

constexpr int kBacklog = 16;
// A client's host that is gone is noticed after about this time, and its connection is given up.
constexpr int kKeepIdle = 30, kKeepInterval = 10, kKeepCount = 3;  // seconds, seconds, probes
// Refused clients that are named in such a time.
constexpr unsigned kMostReports = 20;
constexpr auto kReportsTime = std::chrono::minutes(1);
constexpr auto kAcceptRetry = std::chrono::milliseconds(100);  // out of descriptors

class NbdExport final : public Export {
  public:
    NbdExport(Reactor& reactor, BlockBackend& backend, NbdOptions options, Descriptor listener,
              Descriptor tcp_listener)
        : reactor_(reactor), options_(std::move(options)), gate_(reactor) {
        local_.most = options_.max_connections;
        local_.listener = std::move(listener);
        remote_.most = options_.tcp ? options_.tcp->max_connections : 0;
        remote_.listener = std::move(tcp_listener);
        info_ = {options_.volume.str(), backend.size(), backend.sector_size(), options_.max_request,
                 options_.read_only};
        gate_.serve(backend);
        for (Door* door : {&local_, &remote_}) {
            door->of = this;
            door->accept.owner = door->retry.owner = door;
            door->accept.done = [](IoOperation& op, int result) {
                auto& at = *static_cast<Door*>(op.owner);
                at.of->accepted(at, result);
            };
            door->retry.done = [](IoOperation& op, int) {
                auto& at = *static_cast<Door*>(op.owner);
                at.of->accept_more(at);
            };
            accept_more(*door);
        }
    }
    ~NbdExport() override {
        if (!released_) unlink(options_.socket_path.c_str());
    }

    [[nodiscard]] std::string device_path() const override { return options_.socket_path; }
    [[nodiscard]] bool resumed() const override { return false; }
    [[nodiscard]] ExportStatistics statistics() const override {
        ExportStatistics result = statistics_;
        result.waiting = gate_.waiting();
        result.in_backend = gate_.in_backend();
        return result;
    }
    Result<> serve(BlockBackend& backend) override {
        if (backend.sector_size() != info_.sector_size)
            return fail(Code::bad_argument, "{} was exported in sectors of {} bytes, its volume now has {}",
                        info_.name, info_.sector_size, backend.sector_size());
        info_.size = backend.size();
        gate_.serve(backend);
        return {};
    }
    /// The protocol tells a client the size once.
    void resize(std::uint64_t size, std::function<void(Result<>)> done) override {
        info_.size = size;
        Result<> result;
        if (!connections_.empty())
            result = fail(Code::failure,
                          "NBD clients of {} that are connected see its new size when they "
                          "connect again",
                          options_.socket_path);
        reactor_.post([done = std::move(done), result] { done(result); });
    }
    void suspend(std::chrono::milliseconds limit) override { gate_.suspend(limit); }
    void resume() override { gate_.resume(); }
    void refuse(int error) override { gate_.refuse(error); }
    void when_quiet(std::function<void()> done) override { gate_.when_quiet(std::move(done)); }

    void stop(StopMode mode, std::function<void(Result<>)> done) override {
        if (mode == StopMode::orderly && !connections_.empty())
            return reactor_.post(
                [done = std::move(done), count = connections_.size(), path = options_.socket_path] {
                    done(fail(Code::has_dependents, "{} is in use by {} NBD client{}: disconnect first", path,
                              count, count == 1 ? "" : "s"));
                });
        if (mode == StopMode::forced) gate_.refuse(-EIO);
        close_all([done = std::move(done)] { done({}); });
    }
    /// Clients connect again to the process that follows.
    void release(std::function<void()> done) override {
        released_ = true;
        close_all(std::move(done));
    }

  private:
    /// Clients of one never keep those of the other out.
    struct Door {
        NbdExport* of = nullptr;
        Descriptor listener;  // may be none
        IoOperation accept, retry;
        std::size_t most = 0, here = 0;  // connections
    };

    void accept_more(Door& door) {
        if (closing_) return finish_closing();
        if (!door.listener.valid() || door.accept.in_flight || door.retry.in_flight || door.here >= door.most)
            return;
        reactor_.accept(door.accept, door.listener.get());
    }

    void accepted(Door& door, int result) {
        if (closing_) {
            if (result >= 0) ::close(result);
            return finish_closing();
        }
        if (result < 0) {
            if (result == -EMFILE || result == -ENFILE || result == -ENOMEM || result == -ENOBUFS)
                return reactor_.timeout(door.retry, kAcceptRetry);
            return accept_more(door);
        }
        const std::uint64_t id = next_id_++;
        ++door.here;
        connections_[id] = NbdConnection::start(reactor_, gate_, result, info_, terms_of(door, result),
                                                statistics_, [this, id, &door] {
                                                    connections_.erase(id);
                                                    --door.here;
                                                    accept_more(door);
                                                });
        accept_more(door);
    }

    NbdTerms terms_of(const Door& door, int socket) {
        NbdTerms terms;
        terms.slots = options_.slots_per_connection;
        if (&door == &local_) return terms;
        const NbdTcpOptions& tcp = *options_.tcp;
        prepare_client(socket);
        terms.tls = tcp.plain ? nbd::Negotiation::Tls::offered : nbd::Negotiation::Tls::required;
        terms.begin_tls = tcp.begin_tls;
        terms.refused = [this, peer = peer_of(socket)](std::string why) { report_refused(peer, why); };
        return terms;
    }
    /// Whoever reaches the port can be refused as often as he likes, and is not to fill the log.
    void report_refused(const std::string& peer, const std::string& why) {
        const auto now = std::chrono::steady_clock::now();
        if (now - reports_since_ >= kReportsTime) {
            reports_since_ = now;
            reports_ = 0;
        }
        if (++reports_ > kMostReports) return;
        options_.tcp->report(
            fmt::format("volume {}: NBD client {} is refused: {}{}", info_.name, peer, why,
                        reports_ == kMostReports ? "; others are not named for a minute" : ""));
    }
    /// An answer is sent when it is ready.
    static void prepare_client(int socket) {
        const auto set = [socket](int level, int option, int value) {
            setsockopt(socket, level, option, &value, sizeof value);
        };
        set(IPPROTO_TCP, TCP_NODELAY, 1);
        set(SOL_SOCKET, SO_KEEPALIVE, 1);
        set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepIdle);
        set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepInterval);
        set(IPPROTO_TCP, TCP_KEEPCNT, kKeepCount);
    }
    static std::string peer_of(int socket) {
        sockaddr_storage address{};
        socklen_t size = sizeof address;
        char text[INET6_ADDRSTRLEN] = "?";
        if (getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return text;
        if (address.ss_family == AF_INET)
            inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(&address)->sin_addr, text, sizeof text);
        else
            inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr, text, sizeof text);
        return text;
    }

    void close_all(std::function<void()> done) {
        closing_ = true;
        closed_ = std::move(done);
        for (Door* door : {&local_, &remote_}) {
            reactor_.cancel(door->accept);
            reactor_.cancel(door->retry);
        }
        for (auto& [id, connection] : connections_)
            connection->close();
        finish_closing();
    }
    void finish_closing() {
        if (!closed_ || !connections_.empty()) return;
        for (const Door* door : {&local_, &remote_})
            if (door->accept.in_flight || door->retry.in_flight) return;
        gate_.close(std::exchange(closed_, {}));
    }

    Reactor& reactor_;
    NbdOptions options_;
    nbd::ExportInfo info_;
    RequestGate gate_;
    Door local_, remote_;
    unsigned reports_ = 0;
    std::chrono::steady_clock::time_point reports_since_;
    std::map<std::uint64_t, std::unique_ptr<NbdConnection>> connections_;
    std::uint64_t next_id_ = 0;
    ExportStatistics statistics_;
    bool closing_ = false;
    bool released_ = false;
    std::function<void()> closed_;
};

Result<Descriptor> listen_at(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return fail(Code::bad_argument, "the path of an NBD socket must have 1 to {} characters: \"{}\"",
                    sizeof address.sun_path - 1, path);
    path.copy(address.sun_path, path.size());
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);

    struct stat status {};
    if (lstat(path.c_str(), &status) == 0) {
        if (!S_ISSOCK(status.st_mode))
            return fail(Code::exists, "{} exists and is not a socket; choose another path", path);
        const Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (connect(probe.get(), generic, sizeof address) == 0 || errno == EAGAIN)
            return fail(Code::exists, "another server answers at {}", path);
        unlink(path.c_str());
    }
    Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!listener.valid() || bind(listener.get(), generic, sizeof address) != 0 ||
        chmod(path.c_str(), 0600) != 0 || listen(listener.get(), kBacklog) != 0)
        return fail(Code::failure, "cannot listen at {}: {}", path, std::strerror(errno));
    return listener;
}

Result<Descriptor> listen_at(const NbdTcpOptions& tcp) {
    sockaddr_storage address{};
    auto& four = reinterpret_cast<sockaddr_in&>(address);
    auto& six = reinterpret_cast<sockaddr_in6&>(address);
    socklen_t size = 0;
    if (inet_pton(AF_INET, tcp.address.c_str(), &four.sin_addr) == 1) {
        four.sin_family = AF_INET;
        four.sin_port = htons(tcp.port);
        size = sizeof four;
    } else if (inet_pton(AF_INET6, tcp.address.c_str(), &six.sin6_addr) == 1) {
        six.sin6_family = AF_INET6;
        six.sin6_port = htons(tcp.port);
        size = sizeof six;
    } else {
        return fail(Code::bad_argument, "\"{}\" is no address", tcp.address);
    }
    Descriptor listener(socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto set = [&listener](int level, int option) {
        const int on = 1;
        setsockopt(listener.get(), level, option, &on, sizeof on);
    };
    set(SOL_SOCKET, SO_REUSEADDR);
    // An address that moves with the volume may come after it.
    set(IPPROTO_IP, IP_FREEBIND);
    if (address.ss_family == AF_INET6) set(IPPROTO_IPV6, IPV6_V6ONLY);
    if (!listener.valid() || bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener.get(), kBacklog) != 0)
        return fail(Code::failure, "cannot listen at {}, port {}: {}", tcp.address, tcp.port,
                    std::strerror(errno));
    return listener;
}

Result<std::unique_ptr<Export>> make(Reactor& reactor, BlockBackend& backend, NbdOptions options) {
    constexpr std::uint32_t kLargestRequest = 32 << 20;
    if (options.max_connections == 0 || options.slots_per_connection == 0 ||
        options.max_request < backend.sector_size() || options.max_request > kLargestRequest ||
        options.max_request % backend.sector_size() != 0)
        return fail(Code::bad_argument, "NBD export of {}: {} connections with {} requests of {} bytes",
                    options.volume.str(), options.max_connections, options.slots_per_connection,
                    options.max_request);
    UNDERSTUDY_TRY(Descriptor listener, listen_at(options.socket_path));
    Descriptor tcp_listener;
    if (options.tcp) {
        auto listening = listen_at(*options.tcp);
        if (listening)
            tcp_listener = std::move(*listening);
        else
            options.tcp->report(fmt::format("volume {}: no NBD clients by TCP: {}", options.volume.str(),
                                            listening.error().text));
    }
    return std::make_unique<NbdExport>(reactor, backend, std::move(options), std::move(listener),
                                       std::move(tcp_listener));
}

}  // namespace

void make_nbd_export(Reactor& reactor, BlockBackend& backend, NbdOptions options, ExportReady ready) {
    auto made = std::make_shared<Result<std::unique_ptr<Export>>>(make(reactor, backend, std::move(options)));
    reactor.post([made, ready = std::move(ready)] { ready(std::move(*made)); });
}

}  // namespace understudy::mirror
