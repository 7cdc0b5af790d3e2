#pragma once
// Numeric addresses, as comm paths use them (Spec: CLU-040): enough to tell legal ones from others without
// asking an operating system. Pure; any thread.

#include "base/result.h"

#include <array>
#include <cstdint>
#include <string_view>

namespace understudy::config {

struct Address {
    bool v6 = false;
    std::array<std::uint8_t, 16> bytes{};  // the first 4 of an IPv4 address
    friend auto operator<=>(const Address&, const Address&) = default;
};

/// "192.168.1.10" or "fd00::1"; no zone, no port, no mask. Code::bad_argument otherwise.
Result<Address> parse_address(std::string_view text);

/// Whether a socket takes it without asking a resolver: as above, and an IPv6 address with a zone
/// ("fe80::1%eth0").
bool is_numeric_address(std::string_view text);
/// Of a numeric address.
inline bool is_v6(std::string_view address) {
    return address.find(':') != std::string_view::npos;
}

/// 169.254.0.0/16 and fe80::/10. Spec: CLU-013.
bool is_link_local(const Address& address);
/// An address that one host can have: not the unspecified one, no multicast, no broadcast.
bool is_unicast(const Address& address);

}  // namespace understudy::config
