#pragma once
// Small text helpers. All functions are pure and may be called from any thread.

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::text {

/// Splits at every `separator`; "a,,b" gives three fields, "" gives one empty field.
std::vector<std::string> split(std::string_view input, char separator);
/// Splits at runs of white space; never yields empty words.
std::vector<std::string> words(std::string_view input);
std::string join(std::span<const std::string> parts, std::string_view separator);
std::string_view trim(std::string_view input);
std::string lower(std::string_view input);
bool iequals(std::string_view a, std::string_view b);

/// Whole input as a decimal number, nothing else around it.
std::optional<std::int64_t> to_int(std::string_view input);

std::string hex(std::span<const std::byte> data);
std::optional<std::vector<std::byte>> from_hex(std::string_view input);

/// "1536 KiB", "2.0 GiB": for people, never for parsing.
std::string human_bytes(std::uint64_t count);
/// Accepts "4096", "64K", "10M", "2G", "1T" (powers of 1024).
std::optional<std::uint64_t> parse_bytes(std::string_view input);

}  // namespace understudy::text
