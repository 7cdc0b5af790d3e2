// What MSG_ZEROCOPY would do for a mirror's link: bytes per second of one TCP connection over loopback, in
// frames of the size given, copied or handed over. Prints "copied C zerocopy Z" in MiB/s; run by
// benchmarks/datapath_rows.py.

// The second needs the first.
// clang-format off
#include <time.h>
#include <linux/errqueue.h>
// clang-format on
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr auto kMeasure = std::chrono::seconds(2);
constexpr unsigned kMostUnfinished = 64;  // sends whose memory the kernel may still hold

[[noreturn]] void give_up(const char* what) {
    std::fprintf(stderr, "understudy-zerocopy-bench: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

struct Pair {
    int sender = -1;
    int receiver = -1;
};

Pair connected() {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (listener < 0 || ::bind(listener, generic, length) != 0 || ::listen(listener, 1) != 0)
        give_up("listen");
    if (::getsockname(listener, generic, &length) != 0) give_up("getsockname");
    Pair pair;
    pair.sender = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (pair.sender < 0 || ::connect(pair.sender, generic, length) != 0) give_up("connect");
    pair.receiver = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (pair.receiver < 0) give_up("accept");
    ::close(listener);
    return pair;
}

/// How many sends the kernel has given back, waiting for one at most if `wait`.
unsigned given_back(int socket, bool wait) {
    if (wait) {
        pollfd poll_for{socket, 0, 0};
        if (::poll(&poll_for, 1, 5000) <= 0) give_up("poll for what is sent");
    }
    unsigned count = 0;
    while (true) {
        char control[128];
        msghdr message{};
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        if (::recvmsg(socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return count;
        for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
            sock_extended_err told{};
            std::memcpy(&told, CMSG_DATA(part), sizeof(told));
            if (told.ee_origin == SO_EE_ORIGIN_ZEROCOPY) count += told.ee_data - told.ee_info + 1;
        }
    }
}

double mib_per_second(std::size_t frame, bool zerocopy) {
    const Pair pair = connected();
    const int on = 1;
    if (zerocopy && ::setsockopt(pair.sender, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)) != 0)
        give_up("SO_ZEROCOPY");
    std::thread reader([&] {
        std::vector<char> buffer(1 << 20);
        while (::recv(pair.receiver, buffer.data(), buffer.size(), 0) > 0) {
        }
    });
    std::vector<char> frames(frame * kMostUnfinished, 'x');
    const auto start = std::chrono::steady_clock::now();
    std::size_t bytes = 0;
    unsigned unfinished = 0;
    for (std::size_t turn = 0; std::chrono::steady_clock::now() - start < kMeasure; ++turn) {
        if (zerocopy) {
            unfinished -= given_back(pair.sender, false);
            while (unfinished >= kMostUnfinished)
                unfinished -= given_back(pair.sender, true);
        }
        const char* next = frames.data() + frame * (turn % kMostUnfinished);
        for (std::size_t left = frame; left > 0;) {
            const ssize_t sent =
                ::send(pair.sender, next, left, MSG_NOSIGNAL | (zerocopy ? MSG_ZEROCOPY : 0));
            if (sent <= 0) give_up("send");
            if (zerocopy) ++unfinished;
            next += sent;
            left -= static_cast<std::size_t>(sent);
            bytes += static_cast<std::size_t>(sent);
        }
    }
    ::shutdown(pair.sender, SHUT_WR);
    reader.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ::close(pair.sender);
    ::close(pair.receiver);
    return static_cast<double>(bytes) / (1 << 20) / seconds;
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t frame = argc == 2 ? std::strtoul(argv[1], nullptr, 10) : 0;
    if (frame == 0 || frame > (16U << 20)) {
        std::fprintf(stderr, "usage: understudy-zerocopy-bench FRAME_BYTES (1 to 16777216)\n");
        return 1;
    }
    const double copied = mib_per_second(frame, false);
    std::printf("copied %.0f zerocopy %.0f\n", copied, mib_per_second(frame, true));
    return 0;
}
