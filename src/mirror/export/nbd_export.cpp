// A volume as an NBD server on a unix socket: listener, connections, and one gate in front of the backend.

#include "mirror/export/descriptor.h"
#include "mirror/export/export.h"
#include "mirror/export/nbd_connection.h"
#include "mirror/export/nbd_protocol.h"
#include "mirror/export/request_gate.h"

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
constexpr auto kAcceptRetry = std::chrono::milliseconds(100);  // out of descriptors

class NbdExport final : public Export {
  public:
    NbdExport(Reactor& reactor, BlockBackend& backend, NbdOptions options, Descriptor listener)
        : reactor_(reactor), options_(std::move(options)), gate_(reactor), listener_(std::move(listener)) {
        info_ = {options_.volume.str(), backend.size(), backend.sector_size(), options_.max_request,
                 options_.read_only};
        gate_.serve(backend);
        accept_.owner = retry_.owner = this;
        accept_.done = [](IoOperation& op, int result) {
            static_cast<NbdExport*>(op.owner)->accepted(result);
        };
        retry_.done = [](IoOperation& op, int) { static_cast<NbdExport*>(op.owner)->accept_more(); };
        accept_more();
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
    void accept_more() {
        if (closing_) return finish_closing();
        if (accept_.in_flight || retry_.in_flight || connections_.size() >= options_.max_connections) return;
        reactor_.accept(accept_, listener_.get());
    }

    void accepted(int result) {
        if (closing_) {
            if (result >= 0) ::close(result);
            return finish_closing();
        }
        if (result < 0) {
            if (result == -EMFILE || result == -ENFILE || result == -ENOMEM || result == -ENOBUFS)
                return reactor_.timeout(retry_, kAcceptRetry);
            return accept_more();
        }
        const std::uint64_t id = next_id_++;
        connections_[id] = NbdConnection::start(reactor_, gate_, result, info_, options_.slots_per_connection,
                                                statistics_, [this, id] {
                                                    connections_.erase(id);
                                                    accept_more();
                                                });
        accept_more();
    }

    void close_all(std::function<void()> done) {
        closing_ = true;
        closed_ = std::move(done);
        reactor_.cancel(accept_);
        reactor_.cancel(retry_);
        for (auto& [id, connection] : connections_)
            connection->close();
        finish_closing();
    }
    void finish_closing() {
        if (!closed_ || !connections_.empty() || accept_.in_flight || retry_.in_flight) return;
        gate_.close(std::exchange(closed_, {}));
    }

    Reactor& reactor_;
    NbdOptions options_;
    nbd::ExportInfo info_;
    RequestGate gate_;
    Descriptor listener_;
    IoOperation accept_, retry_;
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

Result<std::unique_ptr<Export>> make(Reactor& reactor, BlockBackend& backend, NbdOptions options) {
    constexpr std::uint32_t kLargestRequest = 32 << 20;
    if (options.max_connections == 0 || options.slots_per_connection == 0 ||
        options.max_request < backend.sector_size() || options.max_request > kLargestRequest ||
        options.max_request % backend.sector_size() != 0)
        return fail(Code::bad_argument, "NBD export of {}: {} connections with {} requests of {} bytes",
                    options.volume.str(), options.max_connections, options.slots_per_connection,
                    options.max_request);
    UNDERSTUDY_TRY(Descriptor listener, listen_at(options.socket_path));
    return std::make_unique<NbdExport>(reactor, backend, std::move(options), std::move(listener));
}

}  // namespace

void make_nbd_export(Reactor& reactor, BlockBackend& backend, NbdOptions options, ExportReady ready) {
    auto made = std::make_shared<Result<std::unique_ptr<Export>>>(make(reactor, backend, std::move(options)));
    reactor.post([made, ready = std::move(ready)] { ready(std::move(*made)); });
}

}  // namespace understudy::mirror
