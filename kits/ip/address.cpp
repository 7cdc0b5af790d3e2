#include "kits/ip/address.h"

#include "base/text.h"
#include "kits/sdk/kit.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>

#include <array>
#include <cstring>
#include <fstream>
#include <memory>

namespace understudy::kits {
namespace {

constexpr auto kDuplicateDetectionLimit = std::chrono::seconds(5);

template <class T, void (*free_function)(T*)>
struct Freed {
    void operator()(T* object) const { free_function(object); }
};
using Session = std::unique_ptr<nl_sock, Freed<nl_sock, nl_socket_free>>;
using Cache = std::unique_ptr<nl_cache, Freed<nl_cache, nl_cache_free>>;
using RouteAddress = std::unique_ptr<rtnl_addr, Freed<rtnl_addr, rtnl_addr_put>>;
using Address = std::unique_ptr<nl_addr, Freed<nl_addr, nl_addr_put>>;

Result<Session> open_session() {
    Session session(nl_socket_alloc());
    if (!session || nl_connect(session.get(), NETLINK_ROUTE) < 0)
        return fail(Code::failure, "the kernel's network configuration cannot be reached");
    return session;
}

Result<Address> parse(const std::string& text, int prefix) {
    if (!is_address(text)) return fail(Code::bad_argument, "\"{}\" is not an address", text);
    nl_addr* parsed = nullptr;
    if (nl_addr_parse(text.c_str(), AF_UNSPEC, &parsed) < 0)
        return fail(Code::bad_argument, "\"{}\" is not an address", text);
    Address address(parsed);
    const int most = nl_addr_get_family(parsed) == AF_INET ? 32 : 128;
    if (prefix < 1 || prefix > most)
        return fail(Code::bad_argument, "prefix length {} of {} is not from 1 to {}", prefix, text, most);
    nl_addr_set_prefixlen(parsed, prefix);
    return address;
}

struct Found {
    std::string interface;
    int prefix = 0;
    unsigned flags = 0;
};

Result<Cache> all_addresses() {
    UNDERSTUDY_TRY(const auto session, open_session());
    nl_cache* allocated = nullptr;
    if (rtnl_addr_alloc_cache(session.get(), &allocated) < 0)
        return fail(Code::failure, "the host's addresses cannot be read");
    return Cache(allocated);
}

/// Without this the kernel removes every later address of the subnet together with the first one, another
/// resource's among them.
void keep_other_addresses(const std::string& interface) {
    std::ofstream("/proc/sys/net/ipv4/conf/" + interface + "/promote_secondaries") << "1\n";
}

Result<std::optional<Found>> find(const std::string& text, const std::string& interface) {
    if (!is_address(text)) return fail(Code::bad_argument, "\"{}\" is not an address", text);
    UNDERSTUDY_TRY(const auto cache, all_addresses());
    std::array<unsigned char, 16> wanted{};
    const int family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
    inet_pton(family, text.c_str(), wanted.data());
    const std::size_t size = family == AF_INET ? 4 : 16;
    for (auto* object = nl_cache_get_first(cache.get()); object != nullptr;
         object = nl_cache_get_next(object)) {
        auto* entry = reinterpret_cast<rtnl_addr*>(object);
        auto* local = rtnl_addr_get_local(entry);
        if (local == nullptr || rtnl_addr_get_family(entry) != family || nl_addr_get_len(local) != size ||
            std::memcmp(nl_addr_get_binary_addr(local), wanted.data(), size) != 0)
            continue;
        char name[IF_NAMESIZE] = {};
        if_indextoname(static_cast<unsigned>(rtnl_addr_get_ifindex(entry)), name);
        if (!interface.empty() && interface != name) continue;
        return Found{name, rtnl_addr_get_prefixlen(entry), rtnl_addr_get_flags(entry)};
    }
    return std::nullopt;
}

}  // namespace

bool is_address(const std::string& text) {
    std::array<unsigned char, 16> bytes{};
    return inet_pton(AF_INET, text.c_str(), bytes.data()) == 1 ||
           inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1;
}

Result<std::vector<InterfaceAddress>> host_addresses() {
    UNDERSTUDY_TRY(const auto cache, all_addresses());
    std::vector<InterfaceAddress> result;
    for (auto* object = nl_cache_get_first(cache.get()); object != nullptr;
         object = nl_cache_get_next(object)) {
        auto* entry = reinterpret_cast<rtnl_addr*>(object);
        auto* local = rtnl_addr_get_local(entry);
        char name[IF_NAMESIZE] = {};
        if_indextoname(static_cast<unsigned>(rtnl_addr_get_ifindex(entry)), name);
        if (local == nullptr || std::strcmp(name, "lo") == 0) continue;
        char text[INET6_ADDRSTRLEN] = {};
        inet_ntop(rtnl_addr_get_family(entry), nl_addr_get_binary_addr(local), text, sizeof text);
        result.push_back({name, text, rtnl_addr_get_prefixlen(entry)});
    }
    return result;
}

void prefer_other_routes(const std::string& interface, bool ipv4) {
    std::ofstream(fmt::format("/proc/sys/net/{}/conf/{}/ignore_routes_with_linkdown", ipv4 ? "ipv4" : "ipv6",
                              interface))
        << "1\n";
}

bool has_default_gateway() {
    std::ifstream four("/proc/net/route");
    for (std::string line; std::getline(four, line);)
        if (const auto fields = text::words(line); fields.size() > 7 && fields[1] == "00000000") return true;
    std::ifstream six("/proc/net/ipv6_route");
    for (std::string line; std::getline(six, line);)
        if (const auto fields = text::words(line);
            fields.size() > 9 && fields[1] == "00" && fields[9] != "lo" && fields[0] == std::string(32, '0'))
            return true;
    return false;
}

Result<std::optional<std::string>> holder_of(const std::string& address) {
    UNDERSTUDY_TRY(const auto found, find(address, ""));
    if (!found) return std::nullopt;
    return found->interface;
}

Result<> add_address(const std::string& address, int prefix, const std::string& interface) {
    UNDERSTUDY_TRY(const auto session, open_session());
    UNDERSTUDY_TRY(const auto local, parse(address, prefix));
    const auto index = if_nametoindex(interface.c_str());
    if (index == 0) return fail(Code::not_found, "this host has no network interface {}", interface);
    const RouteAddress entry(rtnl_addr_alloc());
    rtnl_addr_set_ifindex(entry.get(), static_cast<int>(index));
    rtnl_addr_set_local(entry.get(), local.get());
    if (const int error = rtnl_addr_add(session.get(), entry.get(), 0); error < 0 && error != -NLE_EXIST)
        return fail(Code::failure, "cannot add {}/{} to {}: {}", address, prefix, interface,
                    nl_geterror(error));
    if (nl_addr_get_family(local.get()) == AF_INET) return {};
    // The kernel asks the network whether somebody has this IPv6 address; until then it is tentative.
    std::optional<Found> found;
    const bool settled = wait_until(kDuplicateDetectionLimit, [&] {
        const auto now = find(address, interface);
        if (now) found = *now;
        return now && found && (found->flags & IFA_F_TENTATIVE) == 0;
    });
    if (settled && (found->flags & IFA_F_DADFAILED) == 0) return {};
    if (const auto removed = remove_address(address, interface); !removed) say(removed.error().text);
    return fail(Code::failure, "{} is in use on the network of {}", address, interface);
}

Result<> remove_address(const std::string& address, const std::string& interface) {
    UNDERSTUDY_TRY(const auto found, find(address, interface));
    if (!found) return {};
    if (address.find(':') == std::string::npos) keep_other_addresses(interface);
    UNDERSTUDY_TRY(const auto session, open_session());
    UNDERSTUDY_TRY(const auto local, parse(address, found->prefix));
    const RouteAddress entry(rtnl_addr_alloc());
    rtnl_addr_set_ifindex(entry.get(), static_cast<int>(if_nametoindex(interface.c_str())));
    rtnl_addr_set_local(entry.get(), local.get());
    if (const int error = rtnl_addr_delete(session.get(), entry.get(), 0);
        error < 0 && error != -NLE_OBJ_NOTFOUND && error != -NLE_NOADDR)
        return fail(Code::failure, "cannot remove {} from {}: {}", address, interface, nl_geterror(error));
    return {};
}

}  // namespace understudy::kits
