#include "kits/ip/settings.h"

#include "base/text.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace understudy::kits {
namespace {

struct Bytes {
    std::array<unsigned char, 16> of{};
    std::size_t size = 0;
};

std::optional<Bytes> bytes_of(const std::string& address) {
    Bytes result;
    if (inet_pton(AF_INET, address.c_str(), result.of.data()) == 1)
        result.size = 4;
    else if (inet_pton(AF_INET6, address.c_str(), result.of.data()) == 1)
        result.size = 16;
    else
        return std::nullopt;
    return result;
}

/// The byte of a mask of `prefix` bits.
unsigned char mask_byte(int prefix, std::size_t index) {
    const int bits = std::clamp(prefix - 8 * static_cast<int>(index), 0, 8);
    return static_cast<unsigned char>(0xFF00U >> static_cast<unsigned>(bits));
}

int most_bits(bool ipv4) {
    return ipv4 ? 32 : 128;
}

}  // namespace

bool is_ipv4(const std::string& address) {
    return address.find(':') == std::string::npos;
}

std::optional<int> prefix_of(const std::string& mask, bool ipv4) {
    if (const auto number = text::to_int(mask))
        return *number >= 1 && *number <= most_bits(ipv4) ? std::optional(static_cast<int>(*number))
                                                          : std::nullopt;
    const auto bytes = bytes_of(mask);
    if (!ipv4 || !bytes || bytes->size != 4) return std::nullopt;
    for (int prefix = 1; prefix <= 32; ++prefix) {
        bool equal = true;
        for (std::size_t i = 0; i < 4; ++i)
            equal = equal && bytes->of[i] == mask_byte(prefix, i);
        if (equal) return prefix;
    }
    return std::nullopt;
}

int usual_prefix(const std::string& address) {
    const auto bytes = bytes_of(address);
    if (!bytes || bytes->size != 4) return 64;
    if (bytes->of[0] < 128) return 8;
    return bytes->of[0] < 192 ? 16 : 24;
}

bool same_subnet(const std::string& one, const std::string& other, int prefix) {
    const auto a = bytes_of(one);
    const auto b = bytes_of(other);
    if (!a || !b || a->size != b->size) return false;
    for (std::size_t i = 0; i < a->size; ++i)
        if ((a->of[i] & mask_byte(prefix, i)) != (b->of[i] & mask_byte(prefix, i))) return false;
    return true;
}

std::optional<std::string> broadcast_of(const std::string& address, int prefix) {
    const auto bytes = bytes_of(address);
    if (!bytes || bytes->size != 4 || prefix > 30) return std::nullopt;
    std::array<int, 4> result{};
    for (std::size_t i = 0; i < 4; ++i)
        result[i] = (bytes->of[i] | (0xFF & ~mask_byte(prefix, i))) & 0xFF;
    return fmt::format("{}.{}.{}.{}", result[0], result[1], result[2], result[3]);
}

Result<IpSettings> ip_settings(const std::string& id, const std::map<std::string, std::string>& info) {
    const auto value = [&](const char* key) {
        const auto at = info.find(key);
        return at == info.end() ? std::string() : at->second;
    };
    IpSettings settings;
    settings.address = id;
    if (!bytes_of(id)) return fail(Code::bad_argument, "the id must be the address, not \"{}\"", id);
    settings.device = value("device");
    if (settings.device.empty())
        return fail(Code::bad_argument,
                    "info field damaged: it has no device=...; set \"device=INTERFACE "
                    "prefix=LENGTH\" with ins_setin -v");
    settings.backup = value("backup");
    if (settings.backup == settings.device) settings.backup.clear();  // no spare interface. Spec: CMD-145
    const bool ipv4 = is_ipv4(id);
    const auto given = value("prefix");
    const auto prefix = prefix_of(given.empty() ? (ipv4 ? "24" : "64") : given, ipv4);
    if (!prefix)
        return fail(Code::bad_argument, "prefix={} is no prefix length from 1 to {}", given, most_bits(ipv4));
    settings.prefix = *prefix;
    const auto mode = text::lower(value("restore_mode"));
    if (!mode.empty() && mode != "enable" && mode != "disable")
        return fail(Code::bad_argument, "restore_mode={} is neither enable nor disable", mode);
    settings.disabled = mode == "disable";
    return settings;
}

std::string ip_info(const IpSettings& settings) {
    auto text = fmt::format("device={} prefix={}", settings.device, settings.prefix);
    if (!settings.backup.empty()) text += " backup=" + settings.backup;
    if (settings.disabled) text += " restore_mode=disable";
    return text;
}

std::vector<std::string> parse_ping_list(std::string_view text, std::vector<std::string>* bad) {
    std::vector<std::string> addresses;
    for (const auto& line : text::split(text, '\n')) {
        const std::string word(text::trim(std::string_view(line).substr(0, line.find('#'))));
        if (word.empty()) continue;
        if (bytes_of(word))
            addresses.push_back(word);
        else if (bad != nullptr)
            bad->push_back(word);
    }
    return addresses;
}

}  // namespace understudy::kits
