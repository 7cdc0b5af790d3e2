#include "mirror/shared/mirror_state.h"

#include "base/checksum.h"
#include "mirror/log/log_region.h"
#include "mirror/shared/fields.h"

#include <cassert>
#include <cstring>
#include <span>
#include <tuple>

namespace understudy::mirror::shared {
namespace {

constexpr std::uint32_t kStateVersion = 1;
constexpr std::size_t kChecksumAt = 40;
/// Logs begin and end at multiples of this.
constexpr std::uint64_t kLogGrain = 65536;

std::uint32_t checksum(std::string_view block, std::size_t text) {
    const auto head = crc32c(std::as_bytes(std::span(block.data(), kChecksumAt)));
    return crc32c(std::as_bytes(std::span(block.data() + kRecordTextAt, text)), head);
}

}  // namespace

std::string encode(const StateRecord& record, std::uint64_t area) {
    assert(record.text.size() <= kMostRecordText);
    std::string out(kRecordBytes, '\0');
    std::memcpy(out.data(), kRecordMagic.data(), kRecordMagic.size());
    put(out, 8, kStateVersion);
    put(out, 12, static_cast<std::uint32_t>(record.text.size()));
    put(out, 16, area);
    put(out, 24, record.generation);
    put(out, 32, record.serial);
    std::memcpy(out.data() + kRecordTextAt, record.text.data(), record.text.size());
    put(out, kChecksumAt, checksum(out, record.text.size()));
    return out;
}

std::optional<StateRecord> decode_state(std::string_view copy, std::uint64_t area) {
    if (copy.size() != kRecordBytes || copy.substr(0, kRecordMagic.size()) != kRecordMagic)
        return std::nullopt;
    const auto length = get<std::uint32_t>(copy, 12);
    if (length > kMostRecordText || get<std::uint32_t>(copy, 8) != kStateVersion ||
        get<std::uint64_t>(copy, 16) != area ||
        get<std::uint32_t>(copy, kChecksumAt) != checksum(copy, length))
        return std::nullopt;
    StateRecord out;
    out.generation = get<std::uint64_t>(copy, 24);
    out.serial = get<std::uint64_t>(copy, 32);
    out.text = copy.substr(kRecordTextAt, length);
    return out;
}

States decode_states(std::string_view bytes, std::size_t hosts, std::uint64_t area) {
    States out;
    std::pair<std::uint64_t, std::uint64_t> best{};
    for (std::uint32_t slot = 0; slot < hosts; ++slot) {
        States::OfSlot& mine = out.slots.emplace_back();
        for (unsigned copy = 0; copy < 2; ++copy) {
            const std::size_t at = (2 * std::size_t{slot} + copy) * kRecordBytes;
            auto found = decode_state(bytes.substr(at, kRecordBytes), area);
            if (!found || (mine.record && mine.record->serial > found->serial)) continue;
            mine.record = std::move(found);
            mine.copy = copy;
        }
        if (!mine.record) continue;
        const std::pair<std::uint64_t, std::uint64_t> age{mine.record->generation, mine.record->serial};
        // A generation has one owner: no two slots have records of the same.
        if (out.newest && age <= best) continue;
        out.newest = slot;
        best = age;
    }
    return out;
}

std::uint64_t log_room(std::uint64_t volume_bytes) {
    return (log_bytes(2 * volume_bytes) + kLogGrain - 1) / kLogGrain * kLogGrain;
}

}  // namespace understudy::mirror::shared
