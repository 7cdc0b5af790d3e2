#include "config/maintenance.h"

#include "base/text.h"

#include <algorithm>
#include <map>

namespace understudy::config {
namespace {

constexpr std::string_view kTagPrefix = "Maintenance_";
constexpr std::string_view kNodePrefix = "!maintenance!node!";
constexpr std::string_view kReasonPrefix = "!maintenance!why!";
constexpr std::string_view kOfNode = "n";
constexpr std::string_view kOfTag = "t";
constexpr std::size_t kFields = 6;

/// Bytes that end a field, or that a flag's name must not have, in hexadecimal behind a percent sign.
std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '!' || c == '%' || byte <= 0x20 || byte == 0x7f)
            out += fmt::format("%{:02x}", byte);
        else
            out += c;
    }
    return out;
}

std::string unescaped(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte =
            text[i] == '%' && i + 2 < text.size() ? text::from_hex(text.substr(i + 1, 2)) : std::nullopt;
        if (byte) {
            out += static_cast<char>(byte->front());
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

/// The longest prefix of so many bytes that ends with a whole UTF-8 character.
std::string cut(const std::string& text, std::size_t bytes) {
    if (text.size() <= bytes) return text;
    auto end = bytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
        --end;
    return text.substr(0, end);
}

}  // namespace

FlagName maintenance_flag(const Tag& tag) {
    return FlagName(fmt::format("{}{}", kTagPrefix, tag.str()));
}

FlagName node_maintenance_flag(const NodeName& node) {
    return FlagName(fmt::format("{}{}", kNodePrefix, node.str()));
}

FlagName reason_flag(const Maintenance& maintenance) {
    return FlagName(fmt::format("{}{}!{}!{}!{}!{}!{}", kReasonPrefix, maintenance.node ? kOfNode : kOfTag,
                                escaped(maintenance.subject), maintenance.since_s, maintenance.until_s,
                                escaped(maintenance.who),
                                escaped(cut(maintenance.why, kMaxMaintenanceReason))));
}

std::optional<Maintenance> maintenance_of(const FlagName& flag) {
    if (!flag.str().starts_with(kReasonPrefix)) return std::nullopt;
    const auto fields = text::split(std::string_view(flag.str()).substr(kReasonPrefix.size()), '!');
    if (fields.size() != kFields || (fields[0] != kOfNode && fields[0] != kOfTag)) return std::nullopt;
    const auto since = text::to_int(fields[2]);
    const auto until = text::to_int(fields[3]);
    if (!since || !until) return std::nullopt;
    return Maintenance{fields[0] == kOfNode, unescaped(fields[1]), *since, *until,
                       unescaped(fields[4]), unescaped(fields[5])};
}

bool in_maintenance(const NodeConfig& config, const NodeName& owner, const Tag& tag) {
    return config.flags.contains(maintenance_flag(tag)) || node_in_maintenance(config, owner);
}

bool node_in_maintenance(const NodeConfig& config, const NodeName& node) {
    return config.flags.contains(node_maintenance_flag(node));
}

bool hierarchy_in_maintenance(const NodeConfig& config, const std::vector<Tag>& roots) {
    return std::any_of(roots.begin(), roots.end(),
                       [&](const Tag& root) { return config.flags.contains(maintenance_flag(root)); });
}

std::vector<Maintenance> maintenances(const NodeConfig& config) {
    std::map<std::pair<bool, std::string>, Maintenance> found;
    for (const auto& flag : config.flags) {
        const auto& name = flag.str();
        for (const bool node : {false, true}) {
            const auto prefix = node ? kNodePrefix : kTagPrefix;
            if (!name.starts_with(prefix)) continue;
            auto& entry = found[{node, name.substr(prefix.size())}];
            entry.node = node;
            entry.subject = name.substr(prefix.size());
        }
    }
    for (const auto& flag : config.flags) {
        auto reason = maintenance_of(flag);
        if (!reason) continue;
        const auto at = found.find({reason->node, reason->subject});
        if (at != found.end()) at->second = std::move(*reason);
    }
    std::vector<Maintenance> result;
    result.reserve(found.size());
    for (auto& [key, entry] : found)
        result.push_back(std::move(entry));
    return result;
}

std::vector<Edit> begin_maintenance(const NodeConfig& config, const Maintenance& maintenance,
                                    const std::vector<Tag>& tags) {
    auto edits = end_maintenance(config, maintenance.node, maintenance.subject, {});
    const auto put = [&](const FlagName& flag) { edits.emplace_back(PutFlag{flag}); };
    if (maintenance.node) {
        put(node_maintenance_flag(NodeName(maintenance.subject)));
        put(reason_flag(maintenance));
        return edits;
    }
    for (const auto& tag : tags) {
        auto of_tag = maintenance;
        of_tag.subject = tag.str();
        for (auto& edit : end_maintenance(config, false, of_tag.subject, {}))
            edits.push_back(std::move(edit));
        put(maintenance_flag(tag));
        put(reason_flag(of_tag));
    }
    return edits;
}

std::vector<Edit> end_maintenance(const NodeConfig& config, bool node, const std::string& subject,
                                  const std::vector<Tag>& tags) {
    std::set<std::string> subjects{subject};
    if (!node)
        for (const auto& tag : tags)
            subjects.insert(tag.str());
    std::vector<Edit> edits;
    for (const auto& flag : config.flags) {
        const auto reason = maintenance_of(flag);
        bool meant = reason && reason->node == node && subjects.contains(reason->subject);
        const auto prefix = node ? kNodePrefix : kTagPrefix;
        meant |= flag.str().starts_with(prefix) && subjects.contains(flag.str().substr(prefix.size()));
        if (meant) edits.emplace_back(DropFlag{flag});
    }
    return edits;
}

}  // namespace understudy::config
