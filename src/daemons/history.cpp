#include "daemons/history.h"

#include "base/text.h"
#include "daemons/gathering.h"
#include "daemons/status.h"

#include <ctime>
#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::Command;
using config::HistoryEntry;
using config::HistoryQuery;
using config::Reply;
using nlohmann::json;

constexpr auto kGatherLimit = std::chrono::seconds(10);
constexpr std::int64_t kDefaultCount = 50;
constexpr std::int64_t kMicroseconds = 1'000'000;
/// Commands of some length that run at once and are remembered for what they change.
constexpr std::size_t kMaxOperations = 1024;

std::string who(const HistoryEntry& entry) {
    if (entry.origin.command.empty()) return "understudyd";
    return fmt::format("{}@{}: {}", entry.origin.user.empty() ? "understudyd" : entry.origin.user,
                       entry.origin.node.str(), entry.origin.command);
}

std::string render(const HistoryEntry& entry) {
    auto out = fmt::format("{}  {:<10} {}\n", local_time(entry.wall_us), entry.node.str(), who(entry));
    for (const auto& item : entry.items)
        out +=
            fmt::format("    {} {}: {} -> {}\n", item.kind, item.subject,
                        item.before.empty() ? "none" : item.before, item.after.empty() ? "none" : item.after);
    if (entry.omitted > 0) out += fmt::format("    and {} more\n", entry.omitted);
    return out;
}

/// Bytes that are no UTF-8 (kits' texts need not be) become replacement characters.
json to_json(const HistoryEntry& entry) {
    json items = json::array();
    for (const auto& item : entry.items)
        items.push_back(
            {{"kind", item.kind}, {"subject", item.subject}, {"before", item.before}, {"after", item.after}});
    return {{"id", entry.id},
            {"time_us", entry.wall_us},
            {"node", entry.node.str()},
            {"generation", entry.generation},
            {"user", entry.origin.user},
            {"from", entry.origin.node.str()},
            {"command", entry.origin.command},
            {"items", std::move(items)},
            {"omitted", entry.omitted}};
}

struct TagsOf {
    std::vector<Tag> operator()(const config::PutInstance& edit) const { return {edit.instance.tag}; }
    std::vector<Tag> operator()(const config::DropInstance& edit) const { return {edit.tag}; }
    std::vector<Tag> operator()(const config::PutDependency& edit) const {
        return {edit.dependency.parent, edit.dependency.child};
    }
    std::vector<Tag> operator()(const config::DropDependency& edit) const {
        return {edit.parent, edit.child};
    }
    std::vector<Tag> operator()(const config::PutEquivalency& edit) const { return {edit.equivalency.tag}; }
    std::vector<Tag> operator()(const config::DropEquivalency& edit) const { return {edit.tag}; }
    template <class Other>
    std::vector<Tag> operator()(const Other&) const {
        return {};
    }
};

}  // namespace

Result<std::int64_t> parse_moment(std::string_view text, std::int64_t now_us) {
    const std::string whole(text);
    const auto wrong = [&] {
        return fail(Code::bad_argument,
                    "\"{}\" is not a time; use 2026-11-22, \"2026-11-22 14:05\", 90s, 15m, 2h or 3d", whole);
    };
    if (text.empty()) return wrong();
    const std::string_view units = "smhd";
    if (const auto unit = units.find(text.back()); unit != std::string_view::npos) {
        constexpr std::int64_t kSeconds[] = {1, 60, 3600, 86400};
        const auto count = text::to_int(text.substr(0, text.size() - 1));
        if (!count || *count < 0 || *count > 100 * 365 * 86400LL / kSeconds[unit]) return wrong();
        return now_us - *count * kSeconds[unit] * kMicroseconds;
    }
    for (const auto* format : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"}) {
        std::tm parts{};
        const auto* end = strptime(whole.c_str(), format, &parts);
        if (end == nullptr || *end != '\0') continue;
        parts.tm_isdst = -1;
        const auto seconds = std::mktime(&parts);
        if (seconds == -1) return wrong();
        return seconds * kMicroseconds;
    }
    return wrong();
}

std::string missing_answers(const Answers& answers, const std::set<NodeName>& systems) {
    std::vector<std::string> missing;
    for (const auto& [node, answer] : answers)
        if (!answer) missing.push_back(fmt::format("{} did not answer", node.str()));
    for (const auto& system : systems)
        if (!answers.contains(system)) missing.push_back(fmt::format("{} is not reachable", system.str()));
    return text::join(missing, "; ");
}

HistoryService::HistoryService(runtime::World world, config::Database& database, comm::Cluster& cluster)
    : world_(world), database_(database), cluster_(cluster) {}

HistoryService::~HistoryService() {
    *alive_ = false;
}

void HistoryService::start() {
    cluster_.serve("history.read",
                   [this](const NodeName&, std::string_view payload, const comm::Cluster::Answer& answer) {
                       read_here(std::string(payload), answer);
                   });
    database_.attribute_by([this](const std::vector<config::Edit>& edits) { return find_origin(edits); });
}

HistoryService::Watch HistoryService::watch(const Command& command, const NodeName& from, Done done) {
    const config::Origin origin{command.user, from, config::command_line(command)};
    if (operations_.size() >= kMaxOperations) return {database_.attribute(origin), std::move(done)};
    const auto at = operations_.insert(operations_.end(), {origin, tags_of(command)});
    return {database_.attribute(origin),
            [this, at, alive = alive_, done = std::move(done)](const Reply& reply) {
                if (*alive) operations_.erase(at);
                done(reply);
            }};
}

std::optional<std::set<Tag>> HistoryService::tags_of(const Command& command) const {
    if (command.name == "lkstop") return std::nullopt;
    std::string named = command.get("t");
    if (named.empty() && !command.arguments.empty()) named = command.arguments.front();
    const auto& own = database_.own();
    std::set<Tag> tags;
    for (const auto& root : own.roots_above(Tag(named)))
        for (const auto& tag : own.subtree(root))
            tags.insert(tag);
    return tags;
}

config::Origin HistoryService::find_origin(const std::vector<config::Edit>& edits) const {
    for (const auto& operation : operations_) {
        if (!operation.tags) return operation.origin;
        for (const auto& edit : edits)
            for (const auto& tag : std::visit(TagsOf{}, edit))
                if (operation.tags->contains(tag)) return operation.origin;
    }
    return {};
}

void HistoryService::read_here(const std::string& query,
                               const std::function<void(Result<std::string>)>& answer) {
    const auto wanted = config::decode_history_query(query);
    if (!wanted) return answer(fail(wanted.error()));
    database_.read_history(*wanted, [answer](Result<std::vector<HistoryEntry>> entries) {
        if (!entries) return answer(fail(entries.error()));
        answer(config::encode(config::fit_into_message(std::move(*entries))));
    });
}

Result<HistoryQuery> HistoryService::query_of(const Command& command) const {
    const auto now_us = world_.clock.wall().time_since_epoch().count();
    HistoryQuery query;
    if (command.has("since")) {
        UNDERSTUDY_TRY(query.since_us, parse_moment(command.get("since"), now_us));
    }
    if (command.has("until")) {
        UNDERSTUDY_TRY(query.until_us, parse_moment(command.get("until"), now_us));
    }
    const auto count = text::to_int(command.get("count", std::to_string(kDefaultCount)));
    if (!count) return fail(Code::bad_argument, "--count takes a number, not \"{}\"", command.get("count"));
    if (*count < 1 || *count > static_cast<std::int64_t>(config::kMaxHistoryAnswer))
        return fail(Code::out_of_range, "--count takes 1 to {}", config::kMaxHistoryAnswer);
    query.limit = static_cast<std::size_t>(*count);
    query.tag = command.get("tag");
    query.text = command.get("text");
    return query;
}

bool HistoryService::run(const Command& command, const Done& done) {
    if (command.name != "understudy history") return false;
    const auto query = query_of(command);
    if (!query) {
        done(config::failure(query.error()));
        return true;
    }
    std::optional<NodeName> only;
    if (command.has("node")) {
        only = NodeName(command.get("node"));
        if (!database_.own().systems.contains(*only)) {
            done(config::failure(
                {Code::not_found,
                 fmt::format("no system \"{}\"; sys_list names those that exist", only->str()), 0}));
            return true;
        }
    }
    const auto finish = [this, done, limit = query->limit, only, as_json = command.has("json"),
                         alive = alive_](const Answers& answers) {
        if (!*alive) return;
        std::vector<HistoryEntry> all;
        bool cut = false;
        auto asked = database_.own().systems;
        if (only) asked = {*only};
        for (const auto& [node, answer] : answers) {
            if (!answer || !asked.contains(node)) continue;
            auto list = config::decode_history_list(*answer);
            if (!list) continue;
            cut = cut || list->cut;
            all.insert(all.end(), list->entries.begin(), list->entries.end());
        }
        std::stable_sort(all.begin(), all.end(), [](const HistoryEntry& a, const HistoryEntry& b) {
            return std::tie(a.wall_us, a.node, a.id) < std::tie(b.wall_us, b.node, b.id);
        });
        if (all.size() > limit) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(limit));
        Reply reply;
        if (as_json) {
            json list = json::array();
            for (const auto& entry : all)
                list.push_back(to_json(entry));
            reply.out = list.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
        } else {
            for (const auto& entry : all)
                reply.out += render(entry);
        }
        Answers relevant = answers;
        std::erase_if(relevant, [&](const auto& each) { return !asked.contains(each.first); });
        auto missing = missing_answers(relevant, asked);
        if (cut) missing += fmt::format("{}older entries do not fit", missing.empty() ? "" : "; ");
        if (!missing.empty()) reply.err = fmt::format("*WARNING* the history is incomplete: {}", missing);
        done(reply);
    };
    const auto payload = config::encode(*query);
    gather(
        cluster_, database_.self(), "history.read", payload, kGatherLimit,
        [this, payload](const std::function<void(Result<std::string>)>& answer) {
            read_here(payload, answer);
        },
        finish);
    return true;
}

}  // namespace understudy::daemons
