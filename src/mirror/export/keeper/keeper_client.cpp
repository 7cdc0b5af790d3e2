#include "mirror/export/keeper/keeper_client.h"

#include "base/text.h"
#include "mirror/export/keeper/keeper_protocol.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace understudy::mirror::keeper {
namespace {

using Control = std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))>;

Result<> send_packet(int socket, std::string_view line, std::string_view state,
                     std::span<const int> descriptors) {
    alignas(cmsghdr) Control control{};
    std::array<iovec, 2> vectors{
        {{const_cast<char*>(line.data()), line.size()}, {const_cast<char*>(state.data()), state.size()}}};
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = vectors.size();
    if (!descriptors.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
        cmsghdr* part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size_bytes());
    }
    if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        return fail(Code::unreachable, "cannot send to the keeper: {}", std::strerror(errno));
    return {};
}

Result<Kept> receive_packet(int socket) {
    pollfd wait{socket, POLLIN, 0};
    if (poll(&wait, 1, static_cast<int>(kLimit.count())) <= 0)
        return fail(Code::unreachable, "the keeper does not answer");
    std::string buffer(kMaxPacket, '\0');
    alignas(cmsghdr) Control control{};
    iovec vector{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (size <= 0) return fail(Code::unreachable, "the keeper closed the connection");
    Kept kept;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        for (std::size_t at = 0; at + sizeof(int) <= part->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
            kept.descriptors.emplace_back(fd);
        }
    }
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        return fail(Code::failure, "the keeper's answer did not fit; is the limit of open files too low?");
    buffer.resize(static_cast<std::size_t>(size));
    const std::size_t end = buffer.find('\n');
    const std::string line = buffer.substr(0, end);
    if (line.starts_with("missing")) return fail(Code::not_found, "the keeper: {}", line.substr(8));
    if (line != "ok" || end == std::string::npos) return fail(Code::failure, "the keeper: {}", line);
    kept.state = buffer.substr(end + 1);
    return kept;
}

Result<Kept> ask(const std::string& socket_path, std::string_view line, std::string_view state = {},
                 std::span<const int> descriptors = {}) {
    UNDERSTUDY_TRY(const Descriptor socket, connect(socket_path));
    UNDERSTUDY_CHECK(send_packet(socket.get(), line, state, descriptors));
    return receive_packet(socket.get());
}

Result<> check_name(std::string_view name) {
    if (!valid_name(name)) return fail(Code::bad_argument, "\"{}\" is not a name for the keeper", name);
    return {};
}

}  // namespace

Result<Descriptor> connect(const std::string& socket_path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket_path.empty() || socket_path.size() >= sizeof address.sun_path)
        return fail(Code::bad_argument, "not a path of a socket: \"{}\"", socket_path);
    socket_path.copy(address.sun_path, socket_path.size());
    Descriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    timeval limit{.tv_sec = kLimit.count() / 1000, .tv_usec = kLimit.count() % 1000 * 1000};
    if (!socket.valid() || setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
        return fail(Code::failure, "cannot make a socket: {}", std::strerror(errno));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return fail(Code::unreachable, "no keeper at {}: {}; start understudy-keeper", socket_path,
                    std::strerror(errno));
    return socket;
}

Result<> put(const std::string& socket_path, std::string_view name, std::string_view state,
             std::span<const int> descriptors) {
    UNDERSTUDY_CHECK(check_name(name));
    if (state.size() > kMaxState || descriptors.size() > kMaxDescriptors)
        return fail(Code::out_of_range, "{} bytes and {} descriptors are too much for the keeper",
                    state.size(), descriptors.size());
    UNDERSTUDY_TRY([[maybe_unused]] const auto answer,
                   ask(socket_path, fmt::format("put {}\n", name), state, descriptors));
    return {};
}

Result<Kept> get(const std::string& socket_path, std::string_view name) {
    UNDERSTUDY_CHECK(check_name(name));
    return ask(socket_path, fmt::format("get {}\n", name));
}

Result<> drop(const std::string& socket_path, std::string_view name) {
    UNDERSTUDY_CHECK(check_name(name));
    UNDERSTUDY_TRY([[maybe_unused]] const auto answer, ask(socket_path, fmt::format("drop {}\n", name)));
    return {};
}

Result<std::vector<std::string>> list(const std::string& socket_path) {
    UNDERSTUDY_TRY(const Kept answer, ask(socket_path, "list\n"));
    std::vector<std::string> names;
    for (auto& name : text::split(answer.state, '\n'))
        if (!name.empty()) names.push_back(std::move(name));
    return names;
}

}  // namespace understudy::mirror::keeper
