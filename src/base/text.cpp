#include "base/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace understudy::text {

std::vector<std::string> split(std::string_view input, char separator) {
    std::vector<std::string> fields;
    std::size_t start = 0;
    while (true) {
        const auto end = input.find(separator, start);
        fields.emplace_back(input.substr(start, end == std::string_view::npos ? end : end - start));
        if (end == std::string_view::npos) return fields;
        start = end + 1;
    }
}

std::vector<std::string> words(std::string_view input) {
    std::vector<std::string> result;
    std::size_t at = 0;
    while (at < input.size()) {
        while (at < input.size() && std::isspace(static_cast<unsigned char>(input[at])) != 0)
            ++at;
        const auto start = at;
        while (at < input.size() && std::isspace(static_cast<unsigned char>(input[at])) == 0)
            ++at;
        if (at > start) result.emplace_back(input.substr(start, at - start));
    }
    return result;
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
    std::string result;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (i > 0) result += separator;
        result += parts[i];
    }
    return result;
}

std::string_view trim(std::string_view input) {
    while (!input.empty() && std::isspace(static_cast<unsigned char>(input.front())) != 0)
        input.remove_prefix(1);
    while (!input.empty() && std::isspace(static_cast<unsigned char>(input.back())) != 0)
        input.remove_suffix(1);
    return input;
}

std::string lower(std::string_view input) {
    std::string result(input);
    std::transform(result.begin(), result.end(), result.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return result;
}

bool iequals(std::string_view a, std::string_view b) {
    return lower(a) == lower(b);
}

std::optional<std::int64_t> to_int(std::string_view input) {
    std::int64_t value = 0;
    const auto* end = input.data() + input.size();
    const auto [parsed, error] = std::from_chars(input.data(), end, value);
    if (error != std::errc{} || parsed != end || input.empty()) return std::nullopt;
    return value;
}

std::string hex(std::span<const std::byte> data) {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    std::string result;
    result.reserve(data.size() * 2);
    for (const auto b : data) {
        result += kDigits[std::to_integer<unsigned>(b) >> 4];
        result += kDigits[std::to_integer<unsigned>(b) & 15];
    }
    return result;
}

std::optional<std::vector<std::byte>> from_hex(std::string_view input) {
    if (input.size() % 2 != 0) return std::nullopt;
    std::vector<std::byte> result;
    result.reserve(input.size() / 2);
    for (std::size_t i = 0; i < input.size(); i += 2) {
        unsigned value = 0;
        const auto [parsed, error] = std::from_chars(input.data() + i, input.data() + i + 2, value, 16);
        if (error != std::errc{} || parsed != input.data() + i + 2) return std::nullopt;
        result.push_back(static_cast<std::byte>(value));
    }
    return result;
}

namespace {
constexpr std::array<std::string_view, 6> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
}

std::string human_bytes(std::uint64_t count) {
    if (count < 1024) return fmt::format("{} B", count);
    auto value = static_cast<double>(count);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::optional<std::uint64_t> parse_bytes(std::string_view input) {
    if (input.empty()) return std::nullopt;
    std::uint64_t factor = 1;
    switch (std::toupper(static_cast<unsigned char>(input.back()))) {
        case 'K':
            factor = 1ULL << 10;
            break;
        case 'M':
            factor = 1ULL << 20;
            break;
        case 'G':
            factor = 1ULL << 30;
            break;
        case 'T':
            factor = 1ULL << 40;
            break;
        default:
            break;
    }
    if (factor != 1) input.remove_suffix(1);
    const auto value = to_int(input);
    if (!value || *value < 0 || static_cast<std::uint64_t>(*value) > ~0ULL / factor) return std::nullopt;
    return static_cast<std::uint64_t>(*value) * factor;
}

}  // namespace understudy::text
