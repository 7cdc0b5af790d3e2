#include "mirror/emcmd/file_system.h"

#include "base/text.h"

#include <array>
#include <string_view>

namespace understudy::mirror::emcmd {

namespace {

std::string_view bytes_at(std::span<const std::byte> start, std::size_t offset, std::size_t count) {
    if (offset + count > start.size()) return {};
    return {reinterpret_cast<const char*>(start.data()) + offset, count};
}

std::string text_at(std::span<const std::byte> start, std::size_t offset, std::size_t count) {
    const std::string_view field = bytes_at(start, offset, count);
    return std::string(text::trim(field.substr(0, field.find('\0'))));
}

unsigned little(std::span<const std::byte> start, std::size_t offset) {
    unsigned value = 0;
    const std::string_view field = bytes_at(start, offset, 4);
    for (std::size_t i = field.size(); i > 0; --i)
        value = value << 8 | static_cast<unsigned char>(field[i - 1]);
    return value;
}

/// ext2, ext3 and ext4 differ in what they must be able to do.
std::string ext_type(std::span<const std::byte> start) {
    constexpr unsigned kJournal = 0x4;                                       // compatible features
    constexpr unsigned kExtents = 0x40, k64Bit = 0x80, kFlexGroups = 0x200;  // incompatible features
    if ((little(start, 1024 + 0x60) & (kExtents | k64Bit | kFlexGroups)) != 0) return "ext4";
    return (little(start, 1024 + 0x5C) & kJournal) != 0 ? "ext3" : "ext2";
}

struct Signature {
    std::size_t offset;
    std::string_view magic;
    std::string_view type;
    std::size_t label_offset;
    std::size_t label_bytes;
};
constexpr std::array kSignatures{
    Signature{0, "XFSB", "xfs", 0x6C, 12},         Signature{0x10040, "_BHRfS_M", "btrfs", 0x1012B, 64},
    Signature{3, "NTFS    ", "ntfs", 0, 0},        Signature{3, "EXFAT   ", "exfat", 0, 0},
    Signature{0x52, "FAT32   ", "vfat", 0x47, 11}, Signature{0x36, "FAT16   ", "vfat", 0x2B, 11},
    Signature{0x36, "FAT12   ", "vfat", 0x2B, 11}, Signature{4086, "SWAPSPACE2", "swap", 1052, 16},
};

}  // namespace

FileSystem probe_file_system(std::span<const std::byte> start) {
    using namespace std::string_view_literals;
    if (bytes_at(start, 0x438, 2) == "\x53\xEF"sv) return {ext_type(start), text_at(start, 0x478, 16)};
    for (const Signature& one : kSignatures)
        if (bytes_at(start, one.offset, one.magic.size()) == one.magic)
            return {std::string(one.type), text_at(start, one.label_offset, one.label_bytes)};
    return {};
}

}  // namespace understudy::mirror::emcmd
