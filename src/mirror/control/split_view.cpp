#include "mirror/control/split_view.h"

#include "base/text.h"

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <span>

namespace understudy::mirror::control {

namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kSideBlockBytes = 65536;

std::string time_text(std::int64_t seconds) {
    const std::time_t time = seconds;
    std::tm parts{};
    gmtime_r(&time, &parts);
    char out[32];
    std::strftime(out, sizeof out, "%Y-%m-%d %H:%M:%S UTC", &parts);
    return out;
}

std::string side_text(const SideChanges& side) {
    std::string out = fmt::format("{}: ", side.node);
    if (!side.known)
        out += "its log was lost: any block may have changed";
    else if (side.blocks == 0)
        out += "nothing has changed";
    else
        out += fmt::format("{} blocks of 64 KiB ({}) may have changed", side.blocks,
                           text::human_bytes(side.blocks * kSideBlockBytes));
    if (side.since_s != 0) out += ", alone since " + time_text(side.since_s);
    if (!side.source) out += "; as target it takes what the other has";
    out += "\n";
    if (side.files_found > 0)
        out += fmt::format("        {} files and directories lie there:\n", side.files_found);
    for (const std::string& name : std::span(side.files).first(std::min(side.files.size(), kMostShownFiles)))
        out += fmt::format("            {}\n", name);
    if (side.files_found > std::min(side.files.size(), kMostShownFiles)) out += "            ...\n";
    if (!side.files_note.empty()) out += fmt::format("        files: {}\n", side.files_note);
    return out;
}

Json json_of(const SideChanges& side) {
    Json ranges = Json::array();
    for (const BlockRange& range : side.ranges)
        ranges.push_back({range.first, range.count});
    return {{"node", side.node},
            {"known", side.known},
            {"source", side.source},
            {"blocks", side.blocks},
            {"since_s", side.since_s},
            {"complete", side.complete},
            {"ranges", ranges},
            {"files", side.files},
            {"files_found", side.files_found},
            {"files_note", side.files_note}};
}

}  // namespace

SideChanges side_of(std::string node, BlockRanges ranges) {
    SideChanges side;
    side.node = std::move(node);
    for (const BlockRange& range : ranges)
        side.blocks += range.count;
    side.complete = ranges.size() <= kMostSideRanges;
    if (side.complete) side.ranges = std::move(ranges);
    return side;
}

std::string encode(const SideChanges& side) {
    // A name that is not UTF-8 travels with replacement characters.
    return json_of(side).dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<SideChanges> decode_side(std::string_view text) {
    const auto damaged = fail(Code::internal, "the peer's list of changes is damaged");
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return damaged;
    const auto of_kind = [&json](const char* key, bool (Json::*kind)() const noexcept) {
        const auto at = json.find(key);
        return at != json.end() && ((*at).*kind)();
    };
    for (const char* key : {"known", "source", "complete"})
        if (!of_kind(key, &Json::is_boolean)) return damaged;
    if (!of_kind("node", &Json::is_string) || !of_kind("blocks", &Json::is_number_unsigned) ||
        !of_kind("since_s", &Json::is_number_integer) || !of_kind("ranges", &Json::is_array) ||
        json["ranges"].size() > kMostSideRanges)
        return damaged;
    SideChanges side;
    side.node = json["node"].get<std::string>();
    side.known = json["known"].get<bool>();
    side.source = json["source"].get<bool>();
    side.complete = json["complete"].get<bool>();
    side.blocks = json["blocks"].get<std::uint64_t>();
    side.since_s = json["since_s"].get<std::int64_t>();
    // Younger than the rest.
    if (json.contains("files")) {
        if (!of_kind("files", &Json::is_array) || !of_kind("files_found", &Json::is_number_unsigned) ||
            !of_kind("files_note", &Json::is_string) || json["files"].size() > kMostSideFiles)
            return damaged;
        for (const Json& name : json["files"]) {
            if (!name.is_string() || name.get_ref<const std::string&>().size() > kMostNameBytes)
                return damaged;
            side.files.push_back(name.get<std::string>());
        }
        side.files_found = json["files_found"].get<std::uint64_t>();
        side.files_note = json["files_note"].get<std::string>();
        if (side.files_found < side.files.size()) return damaged;
    }
    std::uint64_t end = 0;
    for (const Json& pair : json["ranges"]) {
        if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() ||
            !pair[1].is_number_unsigned())
            return damaged;
        const BlockRange range{pair[0].get<std::uint64_t>(), pair[1].get<std::uint64_t>()};
        if (range.first < end || range.count == 0 || range.count > ~std::uint64_t{0} - range.first)
            return damaged;
        end = range.first + range.count;
        side.ranges.push_back(range);
    }
    return side;
}

std::optional<std::uint64_t> common_blocks(const SideChanges& one, const SideChanges& other) {
    if (!one.complete || !other.complete || !one.known || !other.known) return std::nullopt;
    std::uint64_t common = 0;
    for (std::size_t a = 0, b = 0; a < one.ranges.size() && b < other.ranges.size();) {
        const BlockRange &mine = one.ranges[a], &theirs = other.ranges[b];
        const std::uint64_t mine_end = mine.first + mine.count, theirs_end = theirs.first + theirs.count;
        const std::uint64_t begin = std::max(mine.first, theirs.first), end = std::min(mine_end, theirs_end);
        if (begin < end) common += end - begin;
        mine_end < theirs_end ? ++a : ++b;
    }
    return common;
}

std::string describe_split(const std::string& volume, const SideChanges& self, const SideChanges& peer) {
    std::string out = fmt::format("volume {}\n    {}    {}", volume, side_text(self), side_text(peer));
    const auto common = common_blocks(self, peer);
    out += common ? fmt::format("    {} of these blocks on both\n", *common)
                  : std::string("    how many of these blocks on both is not known\n");
    return out;
}

std::string split_json(const std::string& volume, const SideChanges& self, const SideChanges& peer) {
    const auto common = common_blocks(self, peer);
    const Json json = {{"volume", volume},
                       {"sides", {json_of(self), json_of(peer)}},
                       {"common_blocks", common ? Json(*common) : Json()}};
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace understudy::mirror::control
