#include "comm/disk_format.h"

#include "base/checksum.h"

#include <algorithm>
#include <concepts>

namespace understudy::comm::disk {
namespace {

constexpr std::size_t kNameBytes = 64;
constexpr std::size_t kChecksumAt = kRecordBytes - 4;
static_assert(kHeaderMagic.size() == 8 && kSlotMagic.size() == 8);

class Writer {
  public:
    explicit Writer(std::string_view magic) : block_(kBlockBytes, '\0') {
        magic.copy(block_.data(), magic.size());
        put(8, kFormatVersion);
    }
    template <std::integral T>
    void put(std::size_t at, T value) {
        for (std::size_t i = 0; i < sizeof(T); ++i)
            block_[at + i] = static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i));
    }
    void put_name(std::size_t at, std::string_view name) {
        const auto size = std::min(name.size(), kNameBytes - 1);
        put(at, static_cast<std::uint8_t>(size));
        name.copy(block_.data() + at + 1, size);
    }
    std::string finish() {
        put(kChecksumAt, crc32c(std::as_bytes(std::span(block_.data(), kChecksumAt))));
        return std::move(block_);
    }

  private:
    std::string block_;
};

class Reader {
  public:
    explicit Reader(std::span<const std::byte> block) : block_(block) {}
    [[nodiscard]] bool is(std::string_view magic) const {
        if (block_.size() < kRecordBytes) return false;
        const std::string_view text(reinterpret_cast<const char*>(block_.data()), magic.size());
        return text == magic && get<std::uint32_t>(kChecksumAt) == crc32c(block_.first(kChecksumAt)) &&
               get<std::uint32_t>(8) == kFormatVersion;
    }
    template <std::integral T>
    [[nodiscard]] T get(std::size_t at) const {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i)
            value |= static_cast<std::uint64_t>(block_[at + i]) << (8 * i);
        return static_cast<T>(value);
    }
    /// Empty when it cannot be a node's name.
    [[nodiscard]] std::string name(std::size_t at) const {
        const auto size = std::min<std::size_t>(get<std::uint8_t>(at), kNameBytes - 1);
        std::string out(reinterpret_cast<const char*>(block_.data()) + at + 1, size);
        return wire::is_node_name(out) ? out : std::string();
    }

  private:
    std::span<const std::byte> block_;
};

}  // namespace

std::string encode_header(const Pair& pair, std::int64_t wall_us) {
    Writer out(kHeaderMagic);
    out.put_name(16, pair.first.str());
    out.put_name(80, pair.second.str());
    out.put(144, wall_us);
    return out.finish();
}

std::optional<Pair> decode_header(std::span<const std::byte> block) {
    const Reader in(block);
    if (!in.is(kHeaderMagic)) return std::nullopt;
    const auto first = in.name(16);
    const auto second = in.name(80);
    if (first.empty() || second.empty()) return std::nullopt;
    return Pair{NodeName(first), NodeName(second)};
}

std::string encode_record(const Record& record) {
    Writer out(kSlotMagic);
    const auto& beat = record.heartbeat;
    out.put(12, static_cast<std::uint32_t>(beat.view));
    out.put_name(16, record.node);
    out.put(80, record.incarnation);
    out.put(88, record.seen_incarnation);
    out.put(96, beat.sequence);
    out.put(104, beat.last_seen);
    out.put(112, record.interval_ms);
    out.put(116, record.misses);
    out.put(120, beat.wall_us);
    out.put(128, beat.sent_ns);
    out.put(136, beat.echo_ns);
    out.put(144, beat.held_ns);
    return out.finish();
}

std::optional<Record> decode_record(std::span<const std::byte> block) {
    const Reader in(block);
    if (!in.is(kSlotMagic)) return std::nullopt;
    Record out;
    out.node = in.name(16);
    const auto view = in.get<std::uint32_t>(12);
    out.incarnation = in.get<std::uint64_t>(80);
    out.heartbeat.sequence = in.get<std::uint64_t>(96);
    if (out.node.empty() || view > static_cast<std::uint32_t>(wire::View::silent) || out.incarnation == 0 ||
        out.heartbeat.sequence == 0)
        return std::nullopt;
    out.heartbeat.view = static_cast<wire::View>(view);
    out.seen_incarnation = in.get<std::uint64_t>(88);
    out.heartbeat.last_seen = in.get<std::uint64_t>(104);
    out.interval_ms = in.get<std::uint32_t>(112);
    out.misses = in.get<std::uint32_t>(116);
    out.heartbeat.wall_us = in.get<std::int64_t>(120);
    out.heartbeat.sent_ns = in.get<std::int64_t>(128);
    out.heartbeat.echo_ns = in.get<std::int64_t>(136);
    out.heartbeat.held_ns = in.get<std::int64_t>(144);
    return out;
}

Probe probe(std::span<const std::byte> start, const Pair& pair) {
    if (const auto found = decode_header(start))
        return {*found == pair ? Contents::ours : Contents::other_pair, found};
    const bool zero = std::all_of(start.begin(), start.end(), [](std::byte b) { return b == std::byte{0}; });
    return {zero ? Contents::blank : Contents::foreign, std::nullopt};
}

}  // namespace understudy::comm::disk
