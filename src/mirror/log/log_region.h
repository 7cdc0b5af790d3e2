#pragma once
// An intent log that is part of a device instead of a file: "DEVICE@OFFSET+BYTES". Of a volume that several
// hosts share the log lies beside it, where its next owner can read it. Pure. Spec: REP-058, MOP-067.

#include "base/text.h"
#include "mirror/log/intent_log.h"
#include "mirror/log/log_format.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

namespace understudy::mirror {

struct LogRegion {
    std::string device;
    std::uint64_t offset = 0;  // both in bytes, multiples of a page of the log
    std::uint64_t bytes = 0;

    [[nodiscard]] std::string path() const { return fmt::format("{}@{}+{}", device, offset, bytes); }
    friend bool operator==(const LogRegion&, const LogRegion&) = default;
};

/// nullopt: the path is one of a file.
inline std::optional<LogRegion> parse_region(const std::string& path) {
    const auto at = path.rfind('@');
    const auto plus = path.rfind('+');
    if (at == std::string::npos || plus == std::string::npos || plus < at || at == 0) return std::nullopt;
    const auto offset = text::to_int(path.substr(at + 1, plus - at - 1));
    const auto bytes = text::to_int(path.substr(plus + 1));
    if (!offset || !bytes || *offset < 0 || *bytes <= 0) return std::nullopt;
    LogRegion out{path.substr(0, at), static_cast<std::uint64_t>(*offset),
                  static_cast<std::uint64_t>(*bytes)};
    if (out.offset % log_format::kPageBytes != 0 || out.bytes % log_format::kPageBytes != 0)
        return std::nullopt;
    return out;
}

/// What the log of a volume of so many bytes takes.
inline std::uint64_t log_bytes(std::uint64_t volume_bytes) {
    const std::uint64_t pages = (blocks_of(volume_bytes) + kBlocksPerPage - 1) / kBlocksPerPage;
    return log_format::kBitmapOffset + std::max<std::uint64_t>(1, pages) * kMapPageBytes;
}

}  // namespace understudy::mirror
