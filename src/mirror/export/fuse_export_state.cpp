#include "mirror/export/fuse_export_state.h"

#include "base/text.h"

#include <map>

namespace understudy::mirror {

std::string write_state(const FuseExportState& state) {
    return fmt::format(
        "format=1\nminor={}\nmax_request={}\nresend={}\nsize={}\nsector_size={}\nread_only={}\nmount_"
        "directory={}\n",
        state.negotiated.minor, state.negotiated.max_request, state.negotiated.resend ? 1 : 0,
        state.volume.size, state.volume.sector_size, state.volume.read_only ? 1 : 0, state.mount_directory);
}

Result<FuseExportState> read_state(std::string_view text) {
    std::map<std::string, std::string, std::less<>> values;
    for (const auto& line : text::split(text, '\n'))
        if (const auto equals = line.find('='); equals != std::string::npos)
            values[line.substr(0, equals)] = line.substr(equals + 1);

    std::string bad;
    auto number = [&](std::string_view key, std::int64_t low, std::int64_t high) {
        const auto found = values.find(key);
        const auto value = found == values.end() ? std::nullopt : text::to_int(found->second);
        if (!value || *value < low || *value > high) {
            bad = key;
            return low;
        }
        return *value;
    };
    FuseExportState state;
    number("format", 1, 1);
    state.negotiated.minor = static_cast<std::uint32_t>(number("minor", 0, 1 << 20));
    state.negotiated.max_request =
        static_cast<std::uint32_t>(number("max_request", FuseSession::kMinRequest, FuseSession::kMaxRequest));
    state.negotiated.resend = number("resend", 0, 1) == 1;
    state.volume.size = static_cast<std::uint64_t>(number("size", 512, INT64_MAX));
    state.volume.sector_size = static_cast<std::uint32_t>(number("sector_size", 512, 4096));
    state.volume.read_only = number("read_only", 0, 1) == 1;
    state.mount_directory = values["mount_directory"];
    if (!state.mount_directory.starts_with('/')) bad = "mount_directory";
    if (state.volume.size % state.volume.sector_size != 0) bad = "size";
    if (!bad.empty())
        return fail(Code::internal, "the keeper's state of the export has no good value of {}", bad);
    return state;
}

}  // namespace understudy::mirror
