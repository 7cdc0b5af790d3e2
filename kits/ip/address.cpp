#include "kits/ip/address.h"

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

Result<std::optional<Found>> find(const std::string& text, const std::string& interface) {
    if (!is_address(text)) return fail(Code::bad_argument, "\"{}\" is not an address", text);
    UNDERSTUDY_TRY(const auto session, open_session());
    nl_cache* allocated = nullptr;
    if (rtnl_addr_alloc_cache(session.get(), &allocated) < 0)
        return fail(Code::failure, "the host's addresses cannot be read");
    const Cache cache(allocated);
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
