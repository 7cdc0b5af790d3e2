#include "config/history.h"

#include "config/edit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

namespace understudy::config {
namespace {

/// Well below what a frame holds, so that several nodes' answers fit beside each other in memory and pauses.
constexpr std::size_t kMaxHistoryMessage = 4UL << 20;

/// A record's fields as people read them, in a fixed order.
using Fields = std::vector<std::pair<std::string_view, std::string>>;

Fields fields_of(const Instance& each) {
    return {{"app", each.app.str()},
            {"type", each.type.str()},
            {"id", each.id.str()},
            {"state", std::string(to_string(each.state))},
            {"reason", each.reason},
            {"info", each.info},
            {"init", std::string(to_string(each.init))},
            {"quick check", fmt::format("{} s", each.quick_interval_s)},
            {"deep check", fmt::format("{} s", each.deep_interval_s)},
            {"local recovery", each.local_recovery ? "yes" : "no"},
            {"switchback", std::string(to_string(each.switchback))}};
}

Fields fields_of(const Equivalency& each) {
    return {{"priority", std::to_string(each.priority.value)},
            {"other priority", std::to_string(each.other_priority.value)}};
}

Fields fields_of(const Path& each) {
    return {{"remote", each.remote.str()},
            {"remote address", each.remote_address},
            {"local address", each.local_address},
            {"priority", std::to_string(each.priority)},
            {"interval", fmt::format("{} ms", each.interval_ms)},
            {"misses", std::to_string(each.misses)}};
}

std::string text_of(const Fields& fields, const Fields* other) {
    std::string text;
    for (std::size_t i = 0; i < fields.size(); ++i) {
        if (other != nullptr ? (*other)[i].second == fields[i].second : fields[i].second.empty()) continue;
        text += fmt::format("{}{}={}", text.empty() ? "" : ", ", fields[i].first,
                            fields[i].second.empty() ? "\"\"" : fields[i].second);
    }
    return text;
}

/// The item of a record with fields; nothing when they are equal.
template <class Record>
std::optional<HistoryItem> item(std::string kind, std::string subject, const Record* before,
                                const Record* after) {
    HistoryItem made{std::move(kind), std::move(subject), "", ""};
    const auto was = before == nullptr ? Fields{} : fields_of(*before);
    const auto is = after == nullptr ? Fields{} : fields_of(*after);
    if (before != nullptr) made.before = text_of(was, after == nullptr ? nullptr : &is);
    if (after != nullptr) made.after = text_of(is, before == nullptr ? nullptr : &was);
    if (before != nullptr && after != nullptr && made.before.empty() && made.after.empty())
        return std::nullopt;
    return made;
}

/// The item of a record that is only there or not.
std::optional<HistoryItem> presence(std::string kind, std::string subject, bool before, bool after) {
    if (before == after) return std::nullopt;
    return HistoryItem{std::move(kind), std::move(subject), before ? "present" : "", after ? "present" : ""};
}

constexpr std::string_view kNeeds = " needs ";
constexpr std::string_view kSameAs = " = ";

std::string name_of(const Tag& parent, const Tag& child) {
    return fmt::format("{}{}{}", parent.str(), kNeeds, child.str());
}

std::string name_of(const Tag& tag, const NodeName& node, const Tag& other) {
    return fmt::format("{}{}{}:{}", tag.str(), kSameAs, node.str(), other.str());
}

struct Describer {
    const NodeConfig& before;
    using Item = std::optional<HistoryItem>;

    Item operator()(const PutApp& edit) const {
        return presence("app", edit.app.str(), before.apps.contains(edit.app), true);
    }
    Item operator()(const DropApp& edit) const {
        return presence("app", edit.app.str(), before.apps.contains(edit.app), false);
    }
    Item operator()(const PutType& edit) const { return type(edit.type, true); }
    Item operator()(const DropType& edit) const { return type(edit.type, false); }
    [[nodiscard]] Item type(const ResourceType& type, bool after) const {
        return presence("type", fmt::format("{}/{}", type.app.str(), type.type.str()),
                        before.types.contains(type), after);
    }
    Item operator()(const PutInstance& edit) const {
        return item("instance", edit.instance.tag.str(), before.find(edit.instance.tag), &edit.instance);
    }
    Item operator()(const DropInstance& edit) const {
        const auto* was = before.find(edit.tag);
        if (was == nullptr) return std::nullopt;
        return item<Instance>("instance", edit.tag.str(), was, nullptr);
    }
    Item operator()(const PutDependency& edit) const {
        return dependency(edit.dependency.parent, edit.dependency.child, true);
    }
    Item operator()(const DropDependency& edit) const { return dependency(edit.parent, edit.child, false); }
    [[nodiscard]] Item dependency(const Tag& parent, const Tag& child, bool after) const {
        const auto children = before.children(parent);
        const bool was = std::find(children.begin(), children.end(), child) != children.end();
        return presence("dependency", name_of(parent, child), was, after);
    }
    Item operator()(const PutEquivalency& edit) const {
        const auto& record = edit.equivalency;
        const auto was = find(record.tag, record.other_node, record.other_tag);
        return item("equivalency", name_of(record.tag, record.other_node, record.other_tag),
                    was ? &*was : nullptr, &record);
    }
    Item operator()(const DropEquivalency& edit) const {
        const auto was = find(edit.tag, edit.other_node, edit.other_tag);
        if (!was) return std::nullopt;
        return item<Equivalency>("equivalency", name_of(edit.tag, edit.other_node, edit.other_tag), &*was,
                                 nullptr);
    }
    [[nodiscard]] std::optional<Equivalency> find(const Tag& tag, const NodeName& node,
                                                  const Tag& other) const {
        for (auto& each : before.equivalents(tag))
            if (each.other_node == node && each.other_tag == other) return each;
        return std::nullopt;
    }
    Item operator()(const PutSystem& edit) const {
        return presence("system", edit.system.str(), before.systems.contains(edit.system), true);
    }
    Item operator()(const DropSystem& edit) const {
        return presence("system", edit.system.str(), before.systems.contains(edit.system), false);
    }
    Item operator()(const PutFlag& edit) const {
        return presence("flag", edit.flag.str(), before.flags.contains(edit.flag), true);
    }
    Item operator()(const DropFlag& edit) const {
        return presence("flag", edit.flag.str(), before.flags.contains(edit.flag), false);
    }
    Item operator()(const PutPath& edit) const {
        return item("path", edit.path.device, before.find_path(edit.path.device), &edit.path);
    }
    Item operator()(const DropPath& edit) const {
        const auto* was = before.find_path(edit.device);
        if (was == nullptr) return std::nullopt;
        return item<Path>("path", edit.device, was, nullptr);
    }
};

bool contains_ignoring_case(std::string_view text, std::string_view part) {
    const auto same = [](char a, char b) {
        return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
    };
    return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end();
}

}  // namespace

std::vector<HistoryItem> describe_changes(const NodeConfig& before, const std::vector<Edit>& edits) {
    std::vector<HistoryItem> items;
    for (const auto& edit : edits)
        if (auto made = std::visit(Describer{before}, edit)) items.push_back(std::move(*made));
    return items;
}

bool concerns(const HistoryItem& item, std::string_view tag) {
    if (item.kind == "instance") return item.subject == tag;
    const auto separator = item.kind == "dependency" ? kNeeds : kSameAs;
    if (item.kind != "dependency" && item.kind != "equivalency") return false;
    const std::string_view subject = item.subject;
    const auto at = subject.find(separator);
    if (at == std::string_view::npos) return false;
    if (subject.substr(0, at) == tag) return true;
    auto second = subject.substr(at + separator.size());
    if (item.kind == "equivalency") second = second.substr(std::min(second.find(':') + 1, second.size()));
    return second == tag;
}

HistoryList fit_into_message(std::vector<HistoryEntry> entries) {
    std::size_t room = kMaxHistoryMessage;
    auto at = entries.size();
    while (at > 0) {
        const auto bytes = encode(entries[at - 1]).size();
        if (bytes > room) break;
        room -= bytes;
        --at;
    }
    entries.erase(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(at));
    return {std::move(entries), at > 0};
}

bool matches(const HistoryEntry& entry, const HistoryQuery& query) {
    if (entry.wall_us < query.since_us) return false;
    if (query.until_us != 0 && entry.wall_us > query.until_us) return false;
    if (!query.tag.empty() && std::none_of(entry.items.begin(), entry.items.end(),
                                           [&](const auto& each) { return concerns(each, query.tag); }))
        return false;
    if (query.text.empty()) return true;
    const auto found = [&](std::string_view text) { return contains_ignoring_case(text, query.text); };
    return found(entry.origin.command) || found(entry.origin.user) || found(entry.origin.node.str()) ||
           std::any_of(entry.items.begin(), entry.items.end(), [&](const HistoryItem& each) {
               return found(each.kind) || found(each.subject) || found(each.before) || found(each.after);
           });
}

}  // namespace understudy::config
