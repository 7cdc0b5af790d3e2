// understudy-fsmap: asks the file system on a volume which blocks it does not use, or which files lie in some
// of them. mirrord's helper: file systems can be damaged, slow or frozen, and mirrord must not wait for one.

#include "base/text.h"
#include "mirror/filesystem/changed_files.h"
#include "mirror/filesystem/free_space.h"
#include "mirror/filesystem/fsmap_protocol.h"

#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

namespace {

using namespace understudy;
using namespace understudy::mirror;
namespace fsm = understudy::mirror::filesystem;

constexpr char kUsage[] =
    "usage: understudy-fsmap free DEVICE [--export DEVICE] --directory DIR\n"
    "       understudy-fsmap files DEVICE [--export DEVICE] --directory DIR [--limit-ms N] [--most N] "
    "FIRST+COUNT...\n"
    "Prints which blocks of 64 KiB the ext4 or XFS file system on a volume's device does not use, or the "
    "files\n"
    "that lie in some blocks. With --export, the file system is asked where that device is mounted. DIR is\n"
    "where a device node may be made for a moment. mirrord's helper.\n";

struct Arguments {
    bool files = false;
    std::string device, exported, directory;
    std::chrono::milliseconds limit{10000};
    std::size_t most = 100;
    BlockRanges blocks;
};

std::optional<BlockRange> range_of(std::string_view word) {
    const auto plus = word.find('+');
    if (plus == std::string_view::npos) return std::nullopt;
    const auto first = text::to_int(word.substr(0, plus)), count = text::to_int(word.substr(plus + 1));
    if (!first || !count || *first < 0 || *count <= 0) return std::nullopt;
    return BlockRange{static_cast<std::uint64_t>(*first), static_cast<std::uint64_t>(*count)};
}

std::optional<Arguments> parse(int argc, char** argv) {
    Arguments out;
    const std::string_view what = argc > 1 ? argv[1] : "";
    if (what != "free" && what != "files") return std::nullopt;
    out.files = what == "files";
    for (int i = 2; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word.starts_with("--")) {
            if (i + 1 == argc) return std::nullopt;
            const std::string_view value = argv[++i];
            const auto number = text::to_int(value);
            const bool sane = number && *number >= 0 && *number <= 3600000;
            if (word == "--export")
                out.exported = value;
            else if (word == "--directory")
                out.directory = value;
            else if (word == "--limit-ms" && sane)
                out.limit = std::chrono::milliseconds(*number);
            else if (word == "--most" && sane)
                out.most = static_cast<std::size_t>(*number);
            else
                return std::nullopt;
        } else if (out.device.empty()) {
            out.device = word;
        } else {
            const auto range = range_of(word);
            const std::uint64_t end =
                out.blocks.empty() ? 0 : out.blocks.back().first + out.blocks.back().count;
            if (!out.files || !range || range->first < end) return std::nullopt;
            out.blocks.push_back(*range);
        }
    }
    if (out.device.empty() || out.directory.empty()) return std::nullopt;
    return out;
}

Result<std::string> files(const Arguments& arguments) {
    Result<fsm::OpenFileSystem> fs = arguments.exported.empty() ? fail(Code::not_found, "not offered")
                                                                : fsm::open_mounted(arguments.exported);
    if (!fs) {
        if (fs.error().code != Code::not_found) return fail(fs.error());
        fs = fsm::mount_privately(arguments.device, arguments.directory, true);
        if (!fs) return fail(fs.error());
    }
    return fsm::lines_of(fsm::changed_files(*fs, arguments.blocks, arguments.limit, arguments.most));
}

Result<std::string> free_blocks(const Arguments& arguments) {
    UNDERSTUDY_TRY(const fsm::FreeSpace space,
                   fsm::free_space(arguments.device, arguments.exported, arguments.directory));
    return fsm::lines_of(space);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1 && std::string_view(argv[1]) == "--help") {
        std::fputs(kUsage, stdout);
        return 0;
    }
    const auto arguments = parse(argc, argv);
    if (!arguments) {
        std::fputs(kUsage, stderr);
        return 2;
    }
    const Result<std::string> said = arguments->files ? files(*arguments) : free_blocks(*arguments);
    if (!said) {
        std::fprintf(stderr, "%s\n", said.error().text.c_str());
        return 1;
    }
    std::fputs(said->c_str(), stdout);
    return std::fflush(stdout) == 0 ? 0 : 1;
}
