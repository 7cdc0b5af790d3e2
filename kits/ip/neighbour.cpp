#include "kits/ip/neighbour.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace understudy::kits {
namespace {

constexpr int kProbes = 3;
constexpr int kAnnouncements = 3;
constexpr auto kAnnouncementGap = std::chrono::milliseconds(5);

class Socket {
  public:
    Socket(int family, int type, int protocol) : fd_(socket(family, type | SOCK_CLOEXEC, protocol)) {}
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() {
        if (fd_ >= 0) close(fd_);
    }
    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] bool valid() const { return fd_ >= 0; }

  private:
    int fd_;
};

struct ArpFrame {
    ether_header ethernet;
    ether_arp arp;
} __attribute__((packed));
static_assert(sizeof(ArpFrame) == 42);

ArpFrame arp_request(const Interface& interface, in_addr sender, in_addr target) {
    ArpFrame frame{};
    std::memset(frame.ethernet.ether_dhost, 0xFF, ETH_ALEN);
    std::memcpy(frame.ethernet.ether_shost, interface.mac, ETH_ALEN);
    frame.ethernet.ether_type = htons(ETHERTYPE_ARP);
    frame.arp.ea_hdr.ar_hrd = htons(ARPHRD_ETHER);
    frame.arp.ea_hdr.ar_pro = htons(ETHERTYPE_IP);
    frame.arp.ea_hdr.ar_hln = ETH_ALEN;
    frame.arp.ea_hdr.ar_pln = 4;
    frame.arp.ea_hdr.ar_op = htons(ARPOP_REQUEST);
    std::memcpy(frame.arp.arp_sha, interface.mac, ETH_ALEN);
    std::memcpy(frame.arp.arp_spa, &sender, 4);
    std::memcpy(frame.arp.arp_tpa, &target, 4);
    return frame;
}

sockaddr_ll link_address(const Interface& interface) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ARP);
    address.sll_ifindex = interface.index;
    address.sll_halen = ETH_ALEN;
    std::memset(address.sll_addr, 0xFF, ETH_ALEN);
    return address;
}

Result<> send_frame(const Socket& socket, const Interface& interface, const ArpFrame& frame) {
    const auto to = link_address(interface);
    if (sendto(socket.fd(), &frame, sizeof frame, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
        return fail(Code::failure, "cannot send on {}: {}", interface.name, std::strerror(errno));
    return {};
}

Result<> announce_ipv6(const Interface& interface, const in6_addr& address) {
    const Socket socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    if (!socket.valid())
        return fail(Code::failure, "no raw socket for neighbour advertisements: {}", std::strerror(errno));
    struct {
        nd_neighbor_advert advert;
        nd_opt_hdr option;
        unsigned char mac[ETH_ALEN];
    } __attribute__((packed)) message{};
    message.advert.nd_na_type = ND_NEIGHBOR_ADVERT;
    message.advert.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
    message.advert.nd_na_target = address;
    message.option.nd_opt_type = ND_OPT_TARGET_LINKADDR;
    message.option.nd_opt_len = 1;
    std::memcpy(message.mac, interface.mac, ETH_ALEN);
    const int hops = 255;
    setsockopt(socket.fd(), IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops);
    setsockopt(socket.fd(), IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface.index, sizeof interface.index);
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;
    inet_pton(AF_INET6, "ff02::1", &to.sin6_addr);
    to.sin6_scope_id = static_cast<std::uint32_t>(interface.index);
    for (int i = 0; i < kAnnouncements; ++i) {
        if (sendto(socket.fd(), &message, sizeof message, 0, reinterpret_cast<const sockaddr*>(&to),
                   sizeof to) < 0)
            return fail(Code::failure, "cannot advertise on {}: {}", interface.name, std::strerror(errno));
        usleep(static_cast<useconds_t>(std::chrono::microseconds(kAnnouncementGap).count()));
    }
    return {};
}

}  // namespace

Result<Interface> find_interface(const std::string& name) {
    Interface result;
    result.name = name;
    result.index = static_cast<int>(if_nametoindex(name.c_str()));
    if (result.index == 0 || name.size() >= IFNAMSIZ)
        return fail(Code::not_found, "this host has no network interface {}", name);
    const Socket socket(AF_INET, SOCK_DGRAM, 0);
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), name.size());
    if (ioctl(socket.fd(), SIOCGIFFLAGS, &request) == 0)
        result.link_up = (request.ifr_flags & IFF_UP) != 0 && (request.ifr_flags & IFF_RUNNING) != 0;
    if (ioctl(socket.fd(), SIOCGIFHWADDR, &request) == 0)
        std::memcpy(result.mac, request.ifr_hwaddr.sa_data, sizeof result.mac);
    return result;
}

Result<std::optional<std::string>> who_has(const Interface& interface, const std::string& address,
                                           std::chrono::milliseconds limit) {
    in_addr wanted{};
    if (inet_pton(AF_INET, address.c_str(), &wanted) != 1)
        return fail(Code::bad_argument, "\"{}\" is not an IPv4 address", address);
    const Socket socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ARP));
    if (!socket.valid())
        return fail(Code::failure, "no packet socket for the ARP probe: {}", std::strerror(errno));
    auto bound = link_address(interface);
    if (bind(socket.fd(), reinterpret_cast<const sockaddr*>(&bound), sizeof bound) != 0)
        return fail(Code::failure, "cannot listen on {}: {}", interface.name, std::strerror(errno));
    // A probe has no sender address, so that it changes nobody's table (RFC 5227).
    const auto probe = arp_request(interface, {}, wanted);
    for (int i = 0; i < kProbes; ++i) {
        UNDERSTUDY_CHECK(send_frame(socket, interface, probe));
        const auto until = std::chrono::steady_clock::now() + limit / kProbes;
        while (true) {
            const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                                  until - std::chrono::steady_clock::now())
                                  .count();
            pollfd readable{socket.fd(), POLLIN, 0};
            if (left <= 0 || poll(&readable, 1, static_cast<int>(left)) <= 0) break;
            ArpFrame frame{};
            const auto size = recv(socket.fd(), &frame, sizeof frame, 0);
            if (size < static_cast<ssize_t>(sizeof frame) || std::memcmp(frame.arp.arp_spa, &wanted, 4) != 0)
                continue;
            const auto* mac = frame.arp.arp_sha;
            if (std::memcmp(mac, interface.mac, ETH_ALEN) == 0) continue;  // ourselves
            return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3],
                               mac[4], mac[5]);
        }
    }
    return std::nullopt;
}

Result<> announce(const Interface& interface, const std::string& address) {
    in6_addr six{};
    if (inet_pton(AF_INET6, address.c_str(), &six) == 1) return announce_ipv6(interface, six);
    in_addr four{};
    if (inet_pton(AF_INET, address.c_str(), &four) != 1)
        return fail(Code::bad_argument, "\"{}\" is not an address", address);
    const Socket socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ARP));
    if (!socket.valid())
        return fail(Code::failure, "no packet socket for announcements: {}", std::strerror(errno));
    auto frame = arp_request(interface, four, four);
    for (int i = 0; i < kAnnouncements; ++i) {
        UNDERSTUDY_CHECK(send_frame(socket, interface, frame));
        // Some hosts learn from requests only, some from replies only.
        frame.arp.ea_hdr.ar_op =
            frame.arp.ea_hdr.ar_op == htons(ARPOP_REQUEST) ? htons(ARPOP_REPLY) : htons(ARPOP_REQUEST);
        usleep(static_cast<useconds_t>(std::chrono::microseconds(kAnnouncementGap).count()));
    }
    return {};
}

}  // namespace understudy::kits
