#include "config/address.h"

#include "base/text.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

namespace understudy::config {
namespace {

std::optional<std::array<std::uint8_t, 4>> parse_v4(std::string_view input) {
    const auto parts = text::split(input, '.');
    if (parts.size() != 4) return std::nullopt;
    std::array<std::uint8_t, 4> bytes{};
    for (std::size_t i = 0; i < 4; ++i) {
        const auto& part = parts[i];
        const bool digits =
            std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
        // A leading zero means octal to some programs and decimal to others.
        if (part.empty() || part.size() > 3 || !digits || (part.size() > 1 && part.front() == '0'))
            return std::nullopt;
        const auto value = text::to_int(part);
        if (!value || *value > 255) return std::nullopt;
        bytes[i] = static_cast<std::uint8_t>(*value);
    }
    return bytes;
}

std::optional<std::vector<std::uint16_t>> parse_groups(std::string_view input) {
    std::vector<std::uint16_t> groups;
    if (input.empty()) return groups;
    for (const auto& part : text::split(input, ':')) {
        unsigned value = 0;
        const auto* end = part.data() + part.size();
        const auto [parsed, error] = std::from_chars(part.data(), end, value, 16);
        if (part.empty() || part.size() > 4 || error != std::errc() || parsed != end) return std::nullopt;
        groups.push_back(static_cast<std::uint16_t>(value));
    }
    return groups;
}

std::optional<std::array<std::uint8_t, 16>> parse_v6(std::string_view input) {
    constexpr std::size_t kGroups = 8;
    std::string rewritten(input);
    // A dotted tail, as in ::ffff:10.0.0.1, stands for the last two groups.
    if (input.find('.') != std::string_view::npos) {
        const auto colon = input.rfind(':');
        if (colon == std::string_view::npos) return std::nullopt;
        const auto tail = parse_v4(input.substr(colon + 1));
        if (!tail) return std::nullopt;
        rewritten = fmt::format("{}{:x}:{:x}", input.substr(0, colon + 1), (*tail)[0] * 256 + (*tail)[1],
                                (*tail)[2] * 256 + (*tail)[3]);
    }
    const std::string_view whole = rewritten;
    const auto gap = whole.find("::");
    std::vector<std::uint16_t> groups;
    if (gap == std::string_view::npos) {
        auto all = parse_groups(whole);
        if (!all || all->size() != kGroups) return std::nullopt;
        groups = std::move(*all);
    } else {
        const auto head = parse_groups(whole.substr(0, gap));
        const auto tail = parse_groups(whole.substr(gap + 2));
        if (!head || !tail || head->size() + tail->size() >= kGroups) return std::nullopt;
        groups = *head;
        groups.resize(kGroups - tail->size(), 0);
        groups.insert(groups.end(), tail->begin(), tail->end());
    }
    std::array<std::uint8_t, 16> bytes{};
    for (std::size_t i = 0; i < kGroups; ++i) {
        bytes[2 * i] = static_cast<std::uint8_t>(groups[i] >> 8);
        bytes[2 * i + 1] = static_cast<std::uint8_t>(groups[i] & 0xff);
    }
    return bytes;
}

/// An IPv4 address inside ::ffff:0:0/96 is judged as what it is.
Address unmapped(const Address& address) {
    constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (!address.v6 || !std::equal(kMapped.begin(), kMapped.end(), address.bytes.begin())) return address;
    Address v4;
    std::copy(address.bytes.begin() + 12, address.bytes.end(), v4.bytes.begin());
    return v4;
}

}  // namespace

Result<Address> parse_address(std::string_view text) {
    Address address;
    if (const auto v4 = parse_v4(text)) {
        std::copy(v4->begin(), v4->end(), address.bytes.begin());
        return address;
    }
    if (const auto v6 = parse_v6(text)) {
        address.v6 = true;
        address.bytes = *v6;
        return address;
    }
    return fail(Code::bad_argument, "\"{}\" is not a numeric address such as 192.168.1.10 or fd00::1", text);
}

bool is_numeric_address(std::string_view text) {
    const auto zone = is_v6(text) ? text.find('%') : std::string_view::npos;
    return zone + 1 != text.size() && parse_address(text.substr(0, zone)).has_value();
}

bool is_link_local(const Address& address) {
    const auto plain = unmapped(address);
    if (plain.v6) return plain.bytes[0] == 0xfe && (plain.bytes[1] & 0xc0) == 0x80;
    return plain.bytes[0] == 169 && plain.bytes[1] == 254;
}

bool is_unicast(const Address& address) {
    const auto plain = unmapped(address);
    if (std::all_of(plain.bytes.begin(), plain.bytes.end(), [](std::uint8_t byte) { return byte == 0; }))
        return false;
    if (plain.v6) return plain.bytes[0] != 0xff;
    return plain.bytes[0] != 0 && plain.bytes[0] < 224;
}

}  // namespace understudy::config
