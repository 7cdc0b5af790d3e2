#include "kits/volume/fields.h"

#include "base/text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::kits {
namespace {

using Json = nlohmann::json;

const std::vector<std::string> kLasting{"mount", "fs", "options", "volume_type", "delete_mirror"};
const std::vector<std::string> kOnce{"device",         "area",           "target",     "target_device",
                                     "source_address", "target_address", "mirror_type"};

Result<> check_choice(const Words& words, const char* key, const std::vector<std::string>& values) {
    const auto value = word(words, key, values.front());
    if (std::find(values.begin(), values.end(), value) != values.end()) return {};
    return fail(Code::bad_argument, "{}={} is not one of {}", key, value, text::join(values, ", "));
}

/// Of several mirrors a list with commas.
Result<> check_mirror_types(const Words& words) {
    if (!words.contains("mirror_type")) return {};
    for (const auto& type : text::split(words.at("mirror_type"), ','))
        UNDERSTUDY_CHECK(check_choice({{"mirror_type", type}}, "mirror_type", {"sync", "async"}));
    return {};
}

bool any_of(const Words& words, const std::vector<std::string>& keys) {
    return std::any_of(keys.begin(), keys.end(),
                       [&](const std::string& key) { return !word(words, key).empty(); });
}

Result<> need(const Words& words, const std::vector<std::string>& keys, std::string_view optional) {
    std::vector<std::string> missing;
    for (const auto& key : keys)
        if (word(words, key).empty()) missing.push_back(key + "=");
    if (missing.empty()) return {};
    return fail(Code::bad_argument, "{} missing: a mirror is made of {}= ({})",
                text::join(missing, ", ") + (missing.size() == 1 ? " is" : " are"), text::join(keys, "=, "),
                optional);
}

}  // namespace

Result<> check_fields(const Words& words) {
    auto known = kLasting;
    known.insert(known.end(), kOnce.begin(), kOnce.end());
    known.emplace_back(kMirrorMade);
    UNDERSTUDY_CHECK(check_words(words, known));
    if (!word(words, "mount").starts_with('/'))
        return fail(Code::bad_argument, "mount: give the full path of the directory (mount=DIR)");
    const auto type = word(words, "fs");
    if (!type.empty() && type != "ext4" && type != "xfs")  // Spec: KIT-059
        return fail(Code::bad_argument, "fs: the file system is {}; ext4 and xfs can be protected", type);
    UNDERSTUDY_CHECK(check_mirror_types(words));
    UNDERSTUDY_CHECK(check_choice(words, "volume_type", {"mirror", "shared", "mixed"}));
    UNDERSTUDY_CHECK(check_choice(words, "delete_mirror", {"no", "yes"}));
    if (word(words, "volume_type") != "shared" && !word(words, "area").empty())
        return fail(Code::bad_argument, "area: the lock area is one of volume_type=shared");
    if (word(words, "volume_type") == "shared" &&
        any_of(words, {"target", "target_device", "source_address", "target_address", "mirror_type"}))
        return fail(
            Code::bad_argument,
            "volume_type=shared: a mirror of such a volume is made by its owner (emcmd CREATEMIRROR), not "
            "with target, target_device, source_address, target_address and mirror_type");
    if (word(words, "volume_type") == "mixed" && any_of(words, kOnce))
        return fail(
            Code::bad_argument,
            "volume_type=mixed: the mirror of a shared volume is there before (emcmd CREATEMIRROR on its "
            "owner); leave {} out",
            text::join(kOnce, ", "));
    return {};
}

Result<std::optional<NewMirror>> first_mirror(const Words& words) {
    const std::vector<std::string> needed{"target", "device", "source_address", "target_address"};
    if (!any_of(words, needed) && word(words, "target_device").empty()) return std::nullopt;
    if (!any_of(words, {"target", "target_device", "source_address", "target_address", "mirror_type"})) {
        NewMirror alone;
        alone.device = word(words, "device");
        return alone;
    }
    UNDERSTUDY_CHECK(need(words, needed, "and target_device=, if it is another, mirror_type=sync or async"));
    return NewMirror{word(words, "target"),
                     word(words, "device"),
                     word(words, "target_device", word(words, "device")),
                     word(words, "source_address"),
                     word(words, "target_address"),
                     word(words, "mirror_type", "sync")};
}

Result<std::optional<NewMirror>> one_target_more(const Words& words, const std::string& node) {
    const std::vector<std::string> needed{"device", "source_address", "target_address"};
    for (const char* key : {"target", "target_device"})
        if (!word(words, key).empty())
            return fail(Code::bad_argument,
                        "{}: the target is {}, with device=, source_address= and target_address=", key, node);
    if (!any_of(words, needed)) return std::nullopt;
    UNDERSTUDY_CHECK(need(words, needed, "and mirror_type=sync or async"));
    return NewMirror{node,
                     word(words, "device"),
                     word(words, "device"),
                     word(words, "source_address"),
                     word(words, "target_address"),
                     word(words, "mirror_type", "sync")};
}

Words lasting(Words words) {
    for (const auto& key : kOnce)
        words.erase(key);
    words.erase(kMirrorMade);
    return words;
}

Words noted(Words words, const std::string& node) {
    words = lasting(std::move(words));
    words.emplace("delete_mirror", "yes");
    words[kMirrorMade] = node;
    return words;
}

Result<std::string> information(const Words& words) {
    std::vector<std::string> fields;
    for (const auto& [key, value] : words) {
        UNDERSTUDY_TRY(auto field, info_word(key, value));
        fields.push_back(std::move(field));
    }
    return text::join(fields, " ");
}

bool MirrorView::has(const std::string& node) const {
    return std::find(peers.begin(), peers.end(), node) != peers.end();
}

Result<std::optional<MirrorView>> parse_status(std::string_view json, const std::string& volume) {
    const auto answer = Json::parse(json, nullptr, false);
    if (!answer.is_object() || !answer.contains("mirrors") || !answer["mirrors"].is_array())
        return fail(Code::internal, "understudy mirror status gave no list of mirrors");
    const auto node = answer.value("node", "");
    for (const auto& one : answer["mirrors"]) {
        if (!one.is_object() || one.value("volume", "") != volume) continue;
        MirrorView view;
        view.source = one.value("role", "") == "source";
        view.id = one.value("id", "");
        view.mirroring = one.value("state", "") == "mirroring";
        view.source_node = view.source ? node : one.value("peer", "");
        for (const auto& peer : one.value("peers", Json::array()))
            view.peers.push_back(peer.value("node", ""));
        return view;
    }
    return std::nullopt;
}

Result<unsigned> parse_attributes(std::string_view printed) {
    constexpr std::string_view kMask = "Configuration mask";
    for (const auto& line : text::split(printed, '\n')) {
        if (!line.starts_with(kMask)) continue;
        const auto fields = text::words(line.substr(kMask.size()));  // = 288 (120h)
        const auto mask = fields.size() < 2 ? std::nullopt : text::to_int(fields[1]);
        if (mask && *mask >= 0 && *mask <= std::numeric_limits<std::uint16_t>::max())
            return static_cast<unsigned>(*mask);
    }
    return fail(Code::internal, "GETCONFIGURATION gave no configuration mask");
}

}  // namespace understudy::kits
