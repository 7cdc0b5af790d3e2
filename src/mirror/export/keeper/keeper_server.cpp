#include "mirror/export/keeper/keeper_server.h"

#include "mirror/export/descriptor.h"
#include "mirror/export/keeper/keeper_protocol.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace understudy::mirror::keeper {
namespace {

constexpr int kBacklog = 128;
// Each exported volume keeps one connection to see that the keeper lives; the rest asks and goes.
constexpr std::size_t kMaxClients = kMaxEntries + 64;
constexpr int kEventsAtOnce = 16;

struct Entry {
    std::string state;
    std::vector<Descriptor> descriptors;
};

struct Packet {
    std::string_view text;
    std::vector<Descriptor> descriptors;
    bool truncated = false;
};

class KeeperServer final : public Server {
  public:
    KeeperServer(Descriptor lock, Descriptor listener, Descriptor wake, std::string path)
        : lock_(std::move(lock)),
          listener_(std::move(listener)),
          wake_(std::move(wake)),
          path_(std::move(path)) {}
    ~KeeperServer() override { unlink(path_.c_str()); }

    Result<> run() override;
    void stop() override {
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
    }

  private:
    void accept_client();
    void serve(int client);
    void drop_client(int client);
    std::optional<Packet> receive(int client);
    void answer(int client, std::string_view text, const std::vector<Descriptor>& descriptors = {});
    void obey(int client, const Command& command, std::vector<Descriptor> descriptors);
    bool watch(int fd);

    Descriptor lock_, listener_, wake_, epoll_;
    std::string path_;
    std::map<int, Descriptor> clients_;
    std::map<std::string, Entry, std::less<>> entries_;
    std::array<char, kMaxPacket> buffer_{};
};

bool KeeperServer::watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

Result<> KeeperServer::run() {
    epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_.valid() || !watch(listener_.get()) || !watch(wake_.get()))
        return fail(Code::failure, "the keeper cannot watch its socket: {}", std::strerror(errno));
    std::array<epoll_event, kEventsAtOnce> events{};
    while (true) {
        const int count = epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, -1);
        if (count < 0 && errno != EINTR)
            return fail(Code::failure, "the keeper cannot wait for its clients: {}", std::strerror(errno));
        for (int i = 0; i < count; ++i) {
            const int fd = events[static_cast<std::size_t>(i)].data.fd;
            if (fd == wake_.get()) return {};
            if (fd == listener_.get())
                accept_client();
            else if (clients_.contains(fd))
                serve(fd);
        }
    }
}

void KeeperServer::accept_client() {
    Descriptor client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client.valid()) return;
    ucred peer{};
    socklen_t size = sizeof peer;
    if (getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return;
    if (peer.uid != 0 && peer.uid != geteuid())
        return answer(client.get(), "error only root may use the keeper\n");
    if (clients_.size() >= kMaxClients) return answer(client.get(), "error too many clients\n");
    const int fd = client.get();
    if (watch(fd)) clients_.emplace(fd, std::move(client));
}

void KeeperServer::drop_client(int client) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, client, nullptr);
    clients_.erase(client);
}

std::optional<Packet> KeeperServer::receive(int client) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
    iovec vector{buffer_.data(), buffer_.size()};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t size = recvmsg(client, &message, MSG_CMSG_CLOEXEC);
    if (size < 0) return std::nullopt;
    Packet packet;
    packet.text = std::string_view(buffer_.data(), static_cast<std::size_t>(size));
    packet.truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
            packet.descriptors.emplace_back(fd);
        }
    }
    return packet;
}

void KeeperServer::serve(int client) {
    auto packet = receive(client);
    if (!packet) {
        if (errno != EAGAIN && errno != EINTR) drop_client(client);
        return;
    }
    if (packet->text.empty()) return drop_client(client);  // the peer has closed
    const auto command = packet->truncated ? std::nullopt : parse(packet->text);
    if (!command) return answer(client, "error not a command of the keeper\n");
    obey(client, *command, std::move(packet->descriptors));
}

void KeeperServer::obey(int client, const Command& command, std::vector<Descriptor> descriptors) {
    switch (command.verb) {
        case Verb::put: {
            const auto old = entries_.find(command.name);
            if (old == entries_.end() && entries_.size() >= kMaxEntries)
                return answer(client, "error the keeper is full\n");
            Entry entry{std::string(command.state), std::move(descriptors)};
            if (old != entries_.end())
                old->second = std::move(entry);
            else
                entries_.emplace(command.name, std::move(entry));
            return answer(client, "ok\n");
        }
        case Verb::get: {
            const auto found = entries_.find(command.name);
            if (found == entries_.end()) return answer(client, "missing no such entry\n");
            return answer(client, "ok\n" + found->second.state, found->second.descriptors);
        }
        case Verb::drop:
            if (const auto found = entries_.find(command.name); found != entries_.end())
                entries_.erase(found);
            return answer(client, "ok\n");
        case Verb::list: {
            std::string text = "ok\n";
            for (const auto& [name, entry] : entries_)
                text += name + "\n";
            return answer(client, text);
        }
    }
}

/// A client that does not read its answers is not waited for.
void KeeperServer::answer(int client, std::string_view text, const std::vector<Descriptor>& descriptors) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
    iovec vector{const_cast<char*>(text.data()), text.size()};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
        cmsghdr* part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
        for (std::size_t i = 0; i < descriptors.size(); ++i) {
            const int fd = descriptors[i].get();
            std::memcpy(CMSG_DATA(part) + i * sizeof(int), &fd, sizeof fd);
        }
    }
    [[maybe_unused]] const ssize_t sent = sendmsg(client, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

Result<std::unique_ptr<Server>> Server::listen(const std::string& socket_path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket_path.empty() || socket_path.size() >= sizeof address.sun_path)
        return fail(Code::bad_argument, "the keeper's socket path must have 1 to {} characters: \"{}\"",
                    sizeof address.sun_path - 1, socket_path);
    socket_path.copy(address.sun_path, socket_path.size());

    const std::string lock_path = socket_path + ".lock";
    Descriptor lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock.valid()) return fail(Code::failure, "cannot open {}: {}", lock_path, std::strerror(errno));
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
        return fail(Code::exists, "another keeper serves {}", socket_path);

    unlink(socket_path.c_str());  // with the lock held it is a dead keeper's
    Descriptor listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const mode_t old_mask = umask(0177);
    const bool bound =
        listener.valid() &&
        bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
        ::listen(listener.get(), kBacklog) == 0;
    const int error = errno;
    umask(old_mask);
    if (!bound)
        return fail(Code::failure, "the keeper cannot listen at {}: {}", socket_path, std::strerror(error));
    Descriptor wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake.valid())
        return fail(Code::failure, "the keeper cannot make an eventfd: {}", std::strerror(errno));
    return std::make_unique<KeeperServer>(std::move(lock), std::move(listener), std::move(wake), socket_path);
}

}  // namespace understudy::mirror::keeper
