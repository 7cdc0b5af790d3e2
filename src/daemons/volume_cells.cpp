#include "daemons/volume_cells.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace understudy::daemons {

namespace {

using nlohmann::json;

/// The mirror of a volume on one server; null when it has none.
json mirror_of(const json& mirrors, const std::string& node, const std::string& volume) {
    const auto at = mirrors.find(node);
    if (at == mirrors.end() || !at->is_array()) return {};
    for (const json& one : *at)
        if (one.is_object() && one.value("volume", "") == volume) return one;
    return {};
}

/// The mirror to `target` as a source of the volume tells it; null when none does.
json as_sources_say(const json& mirrors, const std::string& volume, const std::string& target) {
    for (const auto& [node, list] : mirrors.items()) {
        const json found = mirror_of(mirrors, node, volume);
        if (found.is_null() || found.value("role", "") != "source") continue;
        for (const json& one : found.value("targets", json::array())) {
            if (!one.is_object() || one.value("peer", "") != target) continue;
            json out = one;
            out["size"] = found.value("size", std::uint64_t{0});
            return out;
        }
    }
    return {};
}

std::string_view word(std::string_view state) {
    if (state == "mirroring") return "Mirroring";
    if (state == "resync") return "Resync";
    if (state == "resync pending") return "Resync Pending";
    if (state == "paused") return "Paused";
    if (state == "broken") return "Broken";
    return {};
}

void show(json& cell, const json& mirrors, const std::string& node, const std::string& volume) {
    const json own = mirror_of(mirrors, node, volume);
    if (own.is_null()) return;  // a shared volume, or its mirrors are not known
    if (own.value("role", "") == "source") {
        cell["shown"] = "Offline";
        return;
    }
    json told = as_sources_say(mirrors, volume, node);
    if (told.is_null()) told = own;
    const std::string state = told.value("state", "");
    if (word(state).empty()) return;
    cell["shown"] = word(state);
    cell["mirror"] = {{"state", state}};
    const auto left = told.value("dirty_bytes", std::uint64_t{0});
    const auto size = told.value("size", std::uint64_t{0});
    if (left == 0 || size == 0) return;
    cell["mirror"]["left_bytes"] = left;
    const auto done = static_cast<double>(size - std::min(left, size)) / static_cast<double>(size);
    cell["mirror"]["percent"] = std::min(99, static_cast<int>(100 * done));
}

}  // namespace

void show_mirrors(json& resources, const json& mirrors) {
    for (json& row : resources) {
        if (row.value("type", "") != "volume" || !row.contains("instances")) continue;
        for (auto& [node, cell] : row["instances"].items())
            if (cell.value("shown", "") == "StandBy") show(cell, mirrors, node, row.value("id", ""));
    }
}

}  // namespace understudy::daemons
