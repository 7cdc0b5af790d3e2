#include "mirror/log/log_header.h"

#include "base/checksum.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace understudy::mirror {
namespace {

static_assert(std::endian::native == std::endian::little, "formats are little-endian; add byte swaps here");

template <class T>
void put(std::span<std::byte> page, std::size_t at, T value) {
    std::memcpy(page.data() + at, &value, sizeof value);
}

template <class T>
T get(std::span<const std::byte> page, std::size_t at) {
    T value;
    std::memcpy(&value, page.data() + at, sizeof value);
    return value;
}

}  // namespace

void encode(const LogHeader& header, std::span<std::byte, log_format::kPageBytes> page) {
    std::fill(page.begin(), page.end(), std::byte{0});
    put(page, log_format::kAtMagic, log_format::kMagic);
    put(page, log_format::kAtVersion, header.version);
    put(page, log_format::kAtFlags,
        (header.clean ? log_format::kClean : 0) | (header.valid ? log_format::kValid : 0) |
            (header.inconsistent ? log_format::kInconsistent : 0) | (header.fresh ? log_format::kFresh : 0));
    std::memcpy(page.data() + log_format::kAtUuid, header.uuid.data(), header.uuid.size());
    put(page, log_format::kAtSize, header.volume_bytes);
    put(page, log_format::kAtBlockBytes, std::uint32_t{65536});
    put(page, log_format::kAtGeneration, header.generation);
    put(page, log_format::kAtSerial, header.serial);
    put(page, log_format::kAtChecksum, crc32c(page.first(log_format::kAtChecksum)));
}

bool looks_like_log_header(std::span<const std::byte> page) {
    return page.size() >= log_format::kHeaderBytes &&
           get<std::uint64_t>(page, log_format::kAtMagic) == log_format::kMagic;
}

std::optional<LogHeader> decode_log_header(std::span<const std::byte> page) {
    if (!looks_like_log_header(page)) return std::nullopt;
    if (get<std::uint32_t>(page, log_format::kAtChecksum) != crc32c(page.first(log_format::kAtChecksum)))
        return std::nullopt;
    if (get<std::uint32_t>(page, log_format::kAtBlockBytes) != 65536) return std::nullopt;
    LogHeader header;
    header.version = get<std::uint32_t>(page, log_format::kAtVersion);
    const auto flags = get<std::uint32_t>(page, log_format::kAtFlags);
    header.clean = (flags & log_format::kClean) != 0;
    header.valid = (flags & log_format::kValid) != 0;
    header.inconsistent = (flags & log_format::kInconsistent) != 0;
    header.fresh = (flags & log_format::kFresh) != 0;
    std::memcpy(header.uuid.data(), page.data() + log_format::kAtUuid, header.uuid.size());
    header.volume_bytes = get<std::uint64_t>(page, log_format::kAtSize);
    header.generation = get<std::uint64_t>(page, log_format::kAtGeneration);
    header.serial = get<std::uint64_t>(page, log_format::kAtSerial);
    return header;
}

std::optional<LogHeader> newest(std::span<const std::byte> copy0, std::span<const std::byte> copy1) {
    const auto first = decode_log_header(copy0), second = decode_log_header(copy1);
    if (!first) return second;
    if (!second) return first;
    return first->serial >= second->serial ? first : second;
}

}  // namespace understudy::mirror
