#pragma once
// Addresses as a mirror's record has them. Pure.

#include "base/text.h"

#include <algorithm>
#include <string_view>

namespace understudy::mirror::control {

/// Whether it looks like a numeric IPv4 or IPv6 address; a mirror is never asked of a resolver, which may be
/// away when it is needed most.
[[nodiscard]] inline bool is_numeric_address(std::string_view address) {
    if (address.find(':') != std::string_view::npos) {
        const auto zone = address.substr(0, address.find('%'));
        return zone.find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos;
    }
    const auto parts = text::split(address, '.');
    return parts.size() == 4 && std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
               const auto number = text::to_int(part);
               return part.size() <= 3 && number && *number >= 0 && *number <= 255;
           });
}

}  // namespace understudy::mirror::control
