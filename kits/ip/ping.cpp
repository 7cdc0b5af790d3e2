#include "kits/ip/ping.h"

#include "kits/ip/address.h"
#include "kits/ip/settings.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>

namespace understudy::kits {
namespace {

using Clock = std::chrono::steady_clock;

struct Endpoint {
    sockaddr_storage address{};
    socklen_t size = 0;
};

Endpoint endpoint(const std::string& text, unsigned interface) {
    Endpoint result;
    if (is_ipv4(text)) {
        auto* four = reinterpret_cast<sockaddr_in*>(&result.address);
        four->sin_family = AF_INET;
        inet_pton(AF_INET, text.c_str(), &four->sin_addr);
        result.size = sizeof *four;
    } else {
        auto* six = reinterpret_cast<sockaddr_in6*>(&result.address);
        six->sin6_family = AF_INET6;
        inet_pton(AF_INET6, text.c_str(), &six->sin6_addr);
        if (IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr) || IN6_IS_ADDR_MULTICAST(&six->sin6_addr))
            six->sin6_scope_id = interface;
        result.size = sizeof *six;
    }
    return result;
}

std::uint16_t checksum(const unsigned char* data, std::size_t size) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < size; i += 2)
        sum += static_cast<std::uint32_t>(data[i] << 8 | data[i + 1]);
    while (sum >> 16 != 0)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return htons(static_cast<std::uint16_t>(~sum));
}

/// One family's raw socket.
class Pinger {
  public:
    Pinger(bool ipv4, const PingRequest& request)
        : ipv4_(ipv4), interface_(if_nametoindex(request.interface.c_str())) {
        fd_ = socket(ipv4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC,
                     ipv4 ? static_cast<int>(IPPROTO_ICMP) : static_cast<int>(IPPROTO_ICMPV6));
        if (fd_ < 0) return;
        if (!request.source.empty() && is_ipv4(request.source) == ipv4) {
            const auto from = endpoint(request.source, interface_);
            if (bind(fd_, reinterpret_cast<const sockaddr*>(&from.address), from.size) != 0) bound_ = false;
        }
        const int on = 1;
        const int off = 0;
        if (ipv4) {
            setsockopt(fd_, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
        } else {
            setsockopt(fd_, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &off, sizeof off);
            setsockopt(fd_, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface_, sizeof interface_);
        }
    }
    Pinger(const Pinger&) = delete;
    Pinger& operator=(const Pinger&) = delete;
    ~Pinger() {
        if (fd_ >= 0) close(fd_);
    }
    [[nodiscard]] bool usable() const { return fd_ >= 0 && bound_; }
    [[nodiscard]] bool open() const { return fd_ >= 0; }
    [[nodiscard]] int fd() const { return fd_; }

    void send(const std::string& target, std::uint16_t id, std::uint16_t sequence) const {
        std::array<unsigned char, 16> packet{};
        packet[0] =
            ipv4_ ? static_cast<unsigned char>(ICMP_ECHO) : static_cast<unsigned char>(ICMP6_ECHO_REQUEST);
        packet[4] = static_cast<unsigned char>(id >> 8);
        packet[5] = static_cast<unsigned char>(id);
        packet[6] = static_cast<unsigned char>(sequence >> 8);
        packet[7] = static_cast<unsigned char>(sequence);
        if (ipv4_) {  // the kernel does it for IPv6
            const auto sum = checksum(packet.data(), packet.size());
            std::memcpy(&packet[2], &sum, sizeof sum);
        }
        const auto to = endpoint(target, interface_);
        // A target without a route is silent, which is what its answer will be taken for.
        (void)!sendto(fd_, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&to.address),
                      to.size);
    }

    /// Who sent the echo reply that is waiting; empty when it is something else.
    [[nodiscard]] std::string receive(std::uint16_t id) const {
        std::array<unsigned char, 512> packet{};
        sockaddr_storage from{};
        socklen_t from_size = sizeof from;
        const auto got = recvfrom(fd_, packet.data(), packet.size(), MSG_DONTWAIT,
                                  reinterpret_cast<sockaddr*>(&from), &from_size);
        if (got <= 0) return {};
        const auto* icmp = packet.data();
        auto size = static_cast<std::size_t>(got);
        if (ipv4_) {
            const auto header = static_cast<std::size_t>(packet[0] & 0x0F) * 4;
            if (size < header + 8) return {};
            icmp += header;
            size -= header;
        }
        const auto reply =
            ipv4_ ? static_cast<unsigned char>(ICMP_ECHOREPLY) : static_cast<unsigned char>(ICMP6_ECHO_REPLY);
        if (size < 8 || icmp[0] != reply || (icmp[4] << 8 | icmp[5]) != id) return {};
        std::array<char, INET6_ADDRSTRLEN> text{};
        const void* address =
            ipv4_ ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(&from)->sin_addr)
                  : static_cast<const void*>(&reinterpret_cast<sockaddr_in6*>(&from)->sin6_addr);
        inet_ntop(ipv4_ ? AF_INET : AF_INET6, address, text.data(), text.size());
        return text.data();
    }

  private:
    bool ipv4_;
    unsigned interface_;
    int fd_ = -1;
    bool bound_ = true;
};

bool same_address(const std::string& one, const std::string& other) {
    return same_subnet(one, other, is_ipv4(one) ? 32 : 128);
}

}  // namespace

Result<std::string> ping(const PingRequest& request) {
    const Pinger four(true, request);
    const Pinger six(false, request);
    if (!four.open()) return fail(Code::failure, "no raw socket to ping with: {}", std::strerror(errno));
    const auto id = static_cast<std::uint16_t>(std::random_device{}());
    const auto counts = [&](const std::string& from) {
        if (from.empty()) return false;
        if (!request.anybody)
            return std::any_of(request.targets.begin(), request.targets.end(),
                               [&](const std::string& target) { return same_address(target, from); });
        const auto ours = holder_of(from);
        return ours && !ours->has_value();  // another host's
    };
    for (int attempt = 0; attempt < request.tries; ++attempt) {
        for (const auto& target : request.targets) {
            const auto& pinger = is_ipv4(target) ? four : six;
            if (pinger.usable()) pinger.send(target, id, static_cast<std::uint16_t>(attempt));
        }
        const auto until = Clock::now() + request.per_try;
        while (true) {
            const auto left =
                std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
            std::array<pollfd, 2> readable{{{four.fd(), POLLIN, 0}, {six.fd(), POLLIN, 0}}};
            if (left <= 0 || poll(readable.data(), readable.size(), static_cast<int>(left)) <= 0) break;
            for (const auto* pinger : {&four, &six}) {
                if (!pinger->open()) continue;
                if (auto from = pinger->receive(id); counts(from)) return from;
            }
        }
    }
    return std::string();
}

}  // namespace understudy::kits
