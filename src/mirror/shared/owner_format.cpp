#include "mirror/shared/owner_format.h"

#include "base/checksum.h"
#include "mirror/shared/fields.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <iterator>
#include <set>

namespace understudy::mirror::shared {
namespace {

constexpr std::size_t kHeaderChecksum = kAreaBlock - 4;
constexpr std::size_t kSlotChecksum = 508;
constexpr std::size_t kNames = 96;
static_assert(kNames + kMostHosts * kNameBytes <= kHeaderChecksum);

void put_name(std::string& block, std::size_t at, const std::string& name) {
    assert(name.size() < kNameBytes);
    block[at] = static_cast<char>(name.size());
    std::memcpy(block.data() + at + 1, name.data(), name.size());
}

std::string get_name(std::string_view block, std::size_t at) {
    const auto size = std::min<std::size_t>(static_cast<unsigned char>(block[at]), kNameBytes - 1);
    return std::string(block.substr(at + 1, size));
}

std::uint32_t checksum(std::string_view block, std::size_t bytes) {
    return crc32c(std::as_bytes(std::span(block.data(), bytes)));
}

bool whole(std::string_view block, std::string_view magic, std::size_t checksum_at) {
    return block.substr(0, magic.size()) == magic &&
           get<std::uint32_t>(block, checksum_at) == checksum(block, checksum_at);
}

bool empty(std::string_view block) {
    return std::all_of(block.begin(), block.end(), [](char byte) { return byte == '\0'; });
}

std::optional<OwnerRecord> decode_copy(std::string_view block, std::uint64_t area) {
    if (!whole(block, kSlotMagic, kSlotChecksum)) return std::nullopt;
    if (get<std::uint32_t>(block, 8) != kAreaVersion || get<std::uint64_t>(block, 16) != area)
        return std::nullopt;
    OwnerRecord record;
    record.lease_ms = get<std::uint32_t>(block, 12);
    record.beat = get<std::uint64_t>(block, 24);
    record.incarnation = get<std::uint64_t>(block, 32);
    record.host = get<std::uint64_t>(block, 40);
    record.decided = get<std::uint64_t>(block, 48);
    record.released = get<std::uint64_t>(block, 56);
    record.voted = get<std::uint64_t>(block, 64);
    record.ballot = get<std::uint64_t>(block, 72);
    record.accepted_ballot = get<std::uint64_t>(block, 80);
    record.owner = get<std::uint32_t>(block, 88);
    record.accepted = get<std::uint32_t>(block, 92);
    return record;
}

}  // namespace

std::optional<std::uint32_t> AreaHeader::slot_of(const NodeName& host) const {
    const auto at = std::find(hosts.begin(), hosts.end(), host);
    if (at == hosts.end() || host.empty()) return std::nullopt;
    return static_cast<std::uint32_t>(at - hosts.begin());
}

std::vector<NodeName> AreaHeader::members() const {
    std::vector<NodeName> out;
    std::copy_if(hosts.begin(), hosts.end(), std::back_inserter(out),
                 [](const NodeName& host) { return !host.empty(); });
    return out;
}

Result<> check_header(const AreaHeader& header) {
    if (header.members().empty()) return fail(Code::bad_argument, "no hosts are named");
    if (header.hosts.size() > kMostHosts)
        return fail(Code::bad_argument, "{} hosts: at most {} can share a volume", header.hosts.size(),
                    kMostHosts);
    if (header.volume.str().size() >= kNameBytes)
        return fail(Code::bad_argument, "the name of volume {} is too long", header.volume.str());
    std::set<NodeName> seen;
    for (const NodeName& host : header.hosts) {
        if (host.empty()) continue;
        if (host.str().size() >= kNameBytes)
            return fail(Code::bad_argument, "\"{}\" is no name of a host", host.str());
        if (!seen.insert(host).second) return fail(Code::bad_argument, "{} is named twice", host.str());
    }
    return {};
}

std::string encode(const AreaHeader& header) {
    assert(check_header(header).has_value());
    std::string block(kAreaBlock, '\0');
    std::memcpy(block.data(), kHeaderMagic.data(), kHeaderMagic.size());
    put(block, 8, kAreaVersion);
    put(block, 12, static_cast<std::uint32_t>(header.hosts.size()));
    put(block, 16, header.serial);
    put(block, 24, header.id);
    put_name(block, 32, header.volume.str());
    for (std::size_t i = 0; i < header.hosts.size(); ++i)
        put_name(block, kNames + i * kNameBytes, header.hosts[i].str());
    put(block, kHeaderChecksum, checksum(block, kHeaderChecksum));
    return block;
}

std::string encode(const OwnerRecord& record, std::uint64_t area) {
    std::string block(kAreaBlock, '\0');
    std::memcpy(block.data(), kSlotMagic.data(), kSlotMagic.size());
    put(block, 8, kAreaVersion);
    put(block, 12, record.lease_ms);
    put(block, 16, area);
    put(block, 24, record.beat);
    put(block, 32, record.incarnation);
    put(block, 40, record.host);
    put(block, 48, record.decided);
    put(block, 56, record.released);
    put(block, 64, record.voted);
    put(block, 72, record.ballot);
    put(block, 80, record.accepted_ballot);
    put(block, 88, record.owner);
    put(block, 92, record.accepted);
    put(block, kSlotChecksum, checksum(block, kSlotChecksum));
    return block;
}

Result<AreaHeader> decode_header(std::string_view blocks) {
    assert(blocks.size() >= 2 * kAreaBlock);
    std::optional<AreaHeader> newest;
    for (unsigned copy = 0; copy < 2; ++copy) {
        const auto block = blocks.substr(copy * kAreaBlock, kAreaBlock);
        if (!whole(block, kHeaderMagic, kHeaderChecksum)) continue;
        if (const auto version = get<std::uint32_t>(block, 8); version != kAreaVersion)
            return fail(Code::failure, "the lock area is of version {}; this program knows version {}",
                        version, kAreaVersion);
        AreaHeader header;
        header.serial = get<std::uint64_t>(block, 16);
        header.id = get<std::uint64_t>(block, 24);
        header.volume = VolumeId(get_name(block, 32));
        const auto count = get<std::uint32_t>(block, 12);
        if (count > kMostHosts) return fail(Code::failure, "the lock area names {} hosts", count);
        for (std::uint32_t i = 0; i < count; ++i)
            header.hosts.emplace_back(get_name(block, kNames + i * kNameBytes));
        if (!newest || header.serial > newest->serial) newest = std::move(header);
    }
    if (newest) return std::move(*newest);
    if (empty(blocks.substr(0, 2 * kAreaBlock))) return fail(Code::not_found, "there is no lock area yet");
    return fail(Code::failure, "what stands there is no lock area");
}

Slot decode_slot(std::string_view blocks, std::uint64_t area) {
    assert(blocks.size() >= 2 * kAreaBlock);
    Slot slot;
    bool unwritten = false;  // the first write of all may have been torn; nothing is lost then
    for (unsigned copy = 0; copy < 2; ++copy) {
        const auto block = blocks.substr(copy * kAreaBlock, kAreaBlock);
        unwritten = unwritten || empty(block);
        auto record = decode_copy(block, area);
        if (!record || (slot.record && slot.record->beat >= record->beat)) continue;
        slot.record = std::move(record);
        slot.copy = copy;
    }
    slot.damaged = !slot.record && !unwritten;
    return slot;
}

std::optional<std::uint32_t> free_slot(const AreaHeader& header, const std::vector<Slot>& slots,
                                       std::size_t most) {
    if (header.hosts.size() < most) return static_cast<std::uint32_t>(header.hosts.size());
    std::uint64_t decided = 0;
    for (const Slot& slot : slots)
        if (slot.record) decided = std::max(decided, slot.record->decided);
    for (std::uint32_t i = 0; i < slots.size() && i < header.hosts.size(); ++i) {
        if (!header.hosts[i].empty() || slots[i].damaged) continue;
        const auto& left = slots[i].record;
        if (!left) return i;
        const bool owns = left->decided == decided && left->owner == i && left->released < decided;
        if (left->voted <= decided && !owns) return i;
    }
    return std::nullopt;
}

std::vector<Slot> decode_slots(std::string_view area, const AreaHeader& header) {
    assert(area.size() >= bytes_of_hosts(header.hosts.size()));
    std::vector<Slot> slots;
    for (std::uint32_t i = 0; i < header.hosts.size(); ++i)
        slots.push_back(decode_slot(area.substr(offset_of_copy(i, 0), 2 * kAreaBlock), header.id));
    return slots;
}

}  // namespace understudy::mirror::shared
