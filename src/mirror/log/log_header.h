#pragma once
// The intent log's header in memory, and its two copies. Pure; any thread.

#include "mirror/log/log_format.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace understudy::mirror {

struct LogHeader {
    std::array<std::uint8_t, 16> uuid{};
    std::uint64_t volume_bytes = 0;
    std::uint64_t generation = 0;
    std::uint64_t serial = 0;
    std::uint32_t version = log_format::kVersion;
    bool clean = false;
    bool valid = true;
    bool inconsistent = false;
    bool fresh = false;

    friend bool operator==(const LogHeader&, const LogHeader&) = default;
};

using LogHeaderPage = std::array<std::byte, log_format::kPageBytes>;

void encode(const LogHeader& header, std::span<std::byte, log_format::kPageBytes> page);
/// Nothing when the page is not a whole header.
std::optional<LogHeader> decode_log_header(std::span<const std::byte> page);
/// The page begins like a header, whole or not.
bool looks_like_log_header(std::span<const std::byte> page);
/// The copy in force: the whole one with the higher serial. Spec: REP-055.
std::optional<LogHeader> newest(std::span<const std::byte> copy0, std::span<const std::byte> copy1);

}  // namespace understudy::mirror
