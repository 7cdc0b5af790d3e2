#include "mirror/io/link_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace understudy::mirror {

LinkSocket::LinkSocket(int descriptor) : descriptor_(descriptor) {
    const int on = 1;
    ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // fails harmlessly on other sockets
}

LinkSocket& LinkSocket::operator=(LinkSocket&& other) noexcept {
    if (this != &other) {
        reset();
        descriptor_ = std::exchange(other.descriptor_, -1);
    }
    return *this;
}

LinkSocket::~LinkSocket() {
    reset();
}

void LinkSocket::reset() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

void LinkSocket::end_reading() {
    ::shutdown(descriptor_, SHUT_RD);
}

void LinkSocket::end() {
    ::shutdown(descriptor_, SHUT_RDWR);
}

void LinkSocket::send_what_fits(std::span<const std::byte> data) {
    [[maybe_unused]] const auto count =
        ::send(descriptor_, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace understudy::mirror
