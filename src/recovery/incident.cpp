#include "recovery/incident.h"

#include <fmt/chrono.h>

namespace understudy::recovery {
namespace {

std::int64_t microseconds(runtime::Duration duration) {
    return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

std::string_view journal_kind(std::string_view fact) {
    if (fact == fact::path) return "path";
    if (fact == fact::gate || fact == fact::refused || fact == fact::returned) return "node";
    if (fact == fact::mirror || fact == fact::lag) return "mirror";
    if (fact == fact::started) return "engine";
    return "resource";
}

/// Flags that stop or suspend what is automatic. Spec: CLU-171, CLU-182, CLU-210, CLU-219.
bool concerns_recovery(const FlagName& flag) {
    for (const auto* prefix : {"!nofailover!", "!nosysfailover!", "!noresfailover!", "Maintenance_"})
        if (flag.str().starts_with(prefix)) return true;
    return false;
}

}  // namespace

std::string_view to_string(IncidentKind kind) {
    switch (kind) {
        case IncidentKind::node_failure:
            return "node failure";
        case IncidentKind::resource_failure:
            return "resource failure";
        case IncidentKind::move:
            return "move";
    }
    return "";
}

std::int64_t IncidentLog::now_us() const {
    return world_.clock.wall().time_since_epoch().count();
}

std::int64_t IncidentLog::wall_us(runtime::TimePoint at) const {
    return now_us() - microseconds(world_.clock.now() - at);
}

std::string IncidentLog::new_id(const std::string& subject) {
    const std::time_t seconds = now_us() / 1'000'000;
    auto id = fmt::format("{:%Y%m%d-%H%M%S}-{}", fmt::gmtime(seconds), subject);
    if (id != last_id_) {
        same_id_ = 1;
        return last_id_ = std::move(id);
    }
    return fmt::format("{}.{}", id, ++same_id_);
}

std::string IncidentLog::begin(IncidentKind kind, const std::string& subject, Details details,
                               std::string text, int event) {
    auto id = new_id(subject);
    details["kind"] = to_string(kind);
    for (const auto& node : database_.own().systems)
        if (const auto clock = peers_.clock_of(node))
            details["clock." + node.str()] =
                fmt::format("{} {}", microseconds(clock->offset), microseconds(clock->uncertainty));
    config::JournalEntry entry;
    entry.event = event;
    entry.kind = kind == IncidentKind::node_failure ? "node" : "resource";
    entry.subject = subject;
    entry.text = std::move(text);
    entry.incident = id;
    entry.fact = fact::begin;
    entry.details = std::move(details);
    database_.journal(std::move(entry));
    return id;
}

void IncidentLog::add(const std::string& incident, std::string_view fact, std::string subject,
                      Details details, std::string text, int event) {
    if (incident.empty()) return;
    config::JournalEntry entry;
    entry.event = event;
    entry.kind = journal_kind(fact);
    entry.subject = std::move(subject);
    entry.text = std::move(text);
    entry.incident = incident;
    entry.fact = fact;
    entry.details = std::move(details);
    database_.journal(std::move(entry));
}

std::string IncidentLog::node_lost(const NodeName& peer, int event) {
    const auto paths = peers_.paths_to(peer);
    Details details;
    std::optional<runtime::TimePoint> heard;
    for (const auto& path : paths)
        if (path.last_heard && (!heard || *path.last_heard > *heard)) heard = path.last_heard;
    if (heard) details["known_good_us"] = std::to_string(wall_us(*heard));
    const auto id = begin(IncidentKind::node_failure, peer.str(), std::move(details),
                          "failure detected: every path is DEAD", event);
    for (const auto& path : paths) {
        Details of_path{{"peer", peer.str()},
                        {"interval_ms", std::to_string(path.path.interval_ms)},
                        {"misses", std::to_string(path.path.misses)},
                        {"problem", path.problem}};
        if (path.last_heard) of_path["heard_us"] = std::to_string(wall_us(*path.last_heard));
        add(id, fact::path, path.path.device, std::move(of_path));
    }
    lost_[peer] = id;
    return id;
}

void IncidentLog::node_returned(const NodeName& peer) {
    const auto at = lost_.find(peer);
    if (at == lost_.end()) return;
    add(at->second, fact::returned, peer.str(), {}, "is ALIVE again");
    lost_.erase(at);
}

void IncidentLog::gate(const std::string& incident, const std::string& name,
                       const TakeoverGate::Verdict& verdict, runtime::Duration took) {
    add(incident, fact::gate, name,
        {{"answer", verdict.proceed ? "go on" : "stop"},
         {"why", verdict.why},
         {"took_us", std::to_string(microseconds(took))}});
}

void IncidentLog::decision(const std::string& incident, const ClusterView& view, const Plan& plan) {
    if (incident.empty()) return;
    for (const auto& [name, node] : view.nodes)
        for (const auto& flag : node.config.flags)
            if (concerns_recovery(flag)) add(incident, fact::flag, flag.str(), {{"node", name.str()}});
    const auto self = view.nodes.find(view.self);
    std::size_t order = 0;
    std::set<Tag> told;
    for (const auto& step : plan.steps) {
        add(incident, fact::plan, step.tag.str(),
            {{"order", std::to_string(++order)},
             {"node", step.node.str()},
             {"action", std::string(to_string(step.action))},
             {"why", step.why}});
        if (self == view.nodes.end() || step.node != view.self || !told.insert(step.tag).second) continue;
        if (!self->second.config.parents(step.tag).empty()) continue;  // one choice a hierarchy
        const auto pairs = self->second.config.equivalents(step.tag);
        Details candidates;
        if (!pairs.empty())
            candidates["node." + view.self.str()] =
                fmt::format("priority {}, this node", pairs.front().priority.value);
        for (const auto& pair : pairs) {
            const auto node = view.nodes.find(pair.other_node);
            const bool alive = node != view.nodes.end() && node->second.alive;
            candidates["node." + pair.other_node.str()] =
                fmt::format("priority {}, {}", pair.other_priority.value, alive ? "ALIVE" : "DEAD");
            const auto* there = node == view.nodes.end() ? nullptr : node->second.config.find(pair.other_tag);
            if (there != nullptr)
                candidates["state." + pair.other_node.str()] = std::string(to_string(there->state));
        }
        if (!candidates.empty()) add(incident, fact::candidates, step.tag.str(), std::move(candidates));
    }
}

void IncidentLog::step(const std::string& incident, const Step& step, runtime::Duration took,
                       std::string_view result, const std::string& why) {
    if (incident.empty()) return;
    Details details{{"node", step.node.str()},
                    {"action", std::string(to_string(step.action))},
                    {"began_us", std::to_string(now_us() - microseconds(took))},
                    {"took_us", std::to_string(microseconds(took))},
                    {"result", std::string(result)}};
    if (!why.empty()) details["why"] = why;
    add(incident, fact::step, step.tag.str(), std::move(details));
}

void IncidentLog::started(std::string_view after) {
    config::JournalEntry entry;
    entry.kind = journal_kind(fact::started);
    entry.subject = database_.self().str();
    entry.fact = fact::started;
    entry.details = {{"after", std::string(after)}};
    database_.journal(std::move(entry));
}

}  // namespace understudy::recovery
