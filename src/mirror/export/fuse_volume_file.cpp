#include "mirror/export/fuse_volume_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace understudy::mirror::fuse {
namespace {

constexpr std::uint32_t kPage = 4096;
constexpr std::uint16_t kMaxBackground =
    256;                                  // asynchronous requests the kernel lets through before it queues
constexpr std::size_t kOldInitSize = 16;  // before 7.36 the structure ended after `flags`

constexpr std::uint64_t kWanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
                                  FUSE_MAX_PAGES | kInitExt | kHasResend;

}  // namespace

std::optional<InitAnswer> negotiate(std::span<const std::byte> argument, std::uint32_t max_request) {
    if (argument.size() < kOldInitSize) return std::nullopt;
    fuse_init_in in{};
    std::memcpy(&in, argument.data(), std::min(argument.size(), sizeof in));
    if (in.major != FUSE_KERNEL_VERSION) return std::nullopt;
    std::uint64_t offered = in.flags;
    if ((in.flags & kInitExt) != 0) offered |= std::uint64_t{in.flags2} << 32;
    const std::uint64_t agreed = offered & kWanted;

    InitAnswer answer;
    answer.negotiated.minor = std::min<std::uint32_t>(in.minor, FUSE_KERNEL_MINOR_VERSION);
    answer.negotiated.max_request = max_request;
    answer.negotiated.resend = (agreed & kHasResend) != 0;
    answer.out.major = FUSE_KERNEL_VERSION;
    answer.out.minor = answer.negotiated.minor;
    answer.out.flags = static_cast<std::uint32_t>(agreed);
    answer.out.flags2 = static_cast<std::uint32_t>(agreed >> 32);
    answer.out.max_background = kMaxBackground;
    answer.out.congestion_threshold = kMaxBackground;
    answer.out.max_write = max_request;
    answer.out.max_pages = static_cast<std::uint16_t>(max_request / kPage);
    answer.out.time_gran = 1;
    return answer;
}

fuse_attr attributes(const FuseVolume& volume, std::uint64_t node) {
    fuse_attr out{};
    out.ino = node;
    out.blksize = kPage;
    if (node == kRootNode) {
        out.mode = S_IFDIR | 0500;
        out.nlink = 2;
    } else {
        out.mode = S_IFREG | (volume.read_only ? 0400 : 0600);
        out.nlink = 1;
        out.size = volume.size;
        out.blocks = volume.size / 512;
    }
    return out;
}

std::optional<fuse_entry_out> look_up(const FuseVolume& volume, std::uint64_t parent, std::string_view name) {
    if (parent != kRootNode || name != std::string_view(kVolumeName, sizeof kVolumeName)) return std::nullopt;
    fuse_entry_out out{};
    out.nodeid = kVolumeNode;
    out.entry_valid = out.attr_valid = kAttributesValidSeconds;
    out.attr = attributes(volume, kVolumeNode);
    return out;
}

fuse_statfs_out file_system_size(const FuseVolume& volume) {
    constexpr std::uint32_t kLongestName = 255;
    fuse_statfs_out out{};
    out.st.bsize = out.st.frsize = kPage;
    out.st.blocks = volume.size / kPage;
    out.st.files = 1;
    out.st.namelen = kLongestName;
    return out;
}

std::size_t list_directory(std::uint64_t first, std::span<std::byte> output) {
    struct Name {
        std::uint64_t node;
        std::uint32_t type;
        std::string_view name;
    };
    constexpr std::array<Name, 3> kNames = {{{kRootNode, S_IFDIR >> 12, "."},
                                             {kRootNode, S_IFDIR >> 12, ".."},
                                             {kVolumeNode, S_IFREG >> 12, kVolumeName}}};
    std::size_t used = 0;
    for (std::uint64_t i = first; i < kNames.size(); ++i) {
        const std::size_t length = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + kNames[i].name.size());
        if (used + length > output.size()) break;
        std::byte* const at = output.data() + used;
        std::memset(at, 0, length);
        fuse_dirent entry{};
        entry.ino = kNames[i].node;
        entry.off = i + 1;
        entry.namelen = static_cast<std::uint32_t>(kNames[i].name.size());
        entry.type = kNames[i].type;
        std::memcpy(at, &entry, FUSE_NAME_OFFSET);
        std::memcpy(at + FUSE_NAME_OFFSET, kNames[i].name.data(), kNames[i].name.size());
        used += length;
    }
    return used;
}

}  // namespace understudy::mirror::fuse
