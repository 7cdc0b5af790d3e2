// Which facts belong to one incident, and whose clock tells its times.

#include "base/text.h"
#include "recovery/incident_report.h"

#include <algorithm>
#include <limits>
#include <set>

namespace understudy::recovery {
namespace {

using config::JournalEntry;

constexpr std::int64_t kOpen = std::numeric_limits<std::int64_t>::max();
/// What mirrord told a node that had just started is known within this time.
constexpr std::int64_t kAfterStart_us = 60'000'000;

std::string detail(const JournalEntry& entry, const std::string& name) {
    const auto at = entry.details.find(name);
    return at == entry.details.end() ? std::string() : at->second;
}

/// Where one node's own record of an incident begins and ends.
struct Part {
    std::string id;
    const JournalEntry* begin = nullptr;
    std::int64_t from_us = 0;  // by the asking node's clock
    std::int64_t until_us = kOpen;
    std::size_t group = 0;
};

std::int64_t offset_of(const std::map<NodeName, ClockDifference>& clocks, const NodeName& node) {
    const auto at = clocks.find(node);
    return at == clocks.end() ? 0 : at->second.offset_us;
}

/// "OFFSET UNCERTAINTY" as IncidentLog writes it.
std::optional<ClockDifference> parse_clock(const std::string& text) {
    const auto words = text::split(text, ' ');
    if (words.size() != 2) return std::nullopt;
    const auto offset = text::to_int(words[0]);
    const auto uncertainty = text::to_int(words[1]);
    if (!offset || !uncertainty) return std::nullopt;
    return ClockDifference{*offset, *uncertainty};
}

class Joiner {
  public:
    Joiner(const std::vector<JournalEntry>& entries, const std::map<NodeName, ClockDifference>& clocks)
        : clocks_(clocks) {
        for (const auto& entry : entries)
            if (!entry.fact.empty()) facts_.push_back(&entry);
        std::stable_sort(facts_.begin(), facts_.end(), [this](const auto* a, const auto* b) {
            return std::tuple(now_us(*a), a->node, a->id) < std::tuple(now_us(*b), b->node, b->id);
        });
        find_parts();
        group_parts();
    }

    std::vector<Incident> incidents() {
        std::set<std::size_t> groups;
        for (const auto& part : parts_)
            groups.insert(part.group);
        std::vector<Incident> result;
        for (const auto group : groups)
            result.push_back(make(group));
        std::stable_sort(result.begin(), result.end(),
                         [](const Incident& a, const Incident& b) { return a.began_us < b.began_us; });
        return result;
    }

  private:
    [[nodiscard]] std::int64_t now_us(const JournalEntry& entry) const {
        return entry.wall_us - offset_of(clocks_, entry.node);
    }

    void find_parts() {
        for (const auto* entry : facts_) {
            if (entry->fact != fact::begin || entry->incident.empty()) continue;
            Part part;
            part.id = entry->incident;
            part.begin = entry;
            part.from_us = now_us(*entry);
            part.group = parts_.size();
            if (is_loss(part)) part.until_us = end_of(part);
            parts_.push_back(part);
        }
    }

    [[nodiscard]] std::int64_t end_of(const Part& part) const {
        for (const auto* later : facts_) {
            if (later->node != part.begin->node || now_us(*later) < part.from_us || later == part.begin)
                continue;
            const bool returned = later->fact == fact::returned && later->incident == part.id;
            const bool restarted = later->fact == fact::started;
            const bool again = later->fact == fact::begin && later->subject == part.begin->subject;
            if (returned || restarted || again) return now_us(*later);
        }
        return kOpen;
    }

    /// Two nodes' records of the loss of the same node are one incident when neither saw it return before the
    /// other noticed the loss. Records with the same id are one in any case.
    void group_parts() {
        for (std::size_t i = 0; i < parts_.size(); ++i)
            for (std::size_t j = 0; j < i; ++j) {
                const auto &a = parts_[i], &b = parts_[j];
                const bool losses = is_loss(a) && is_loss(b) && a.begin->subject == b.begin->subject &&
                                    a.begin->node != b.begin->node;
                const bool overlap = a.from_us < b.until_us && b.from_us < a.until_us;
                if (a.id != b.id && !(losses && overlap)) continue;
                const auto from = a.group, to = b.group;
                if (from == to || (a.id != b.id && share_a_node(from, to))) continue;
                for (auto& part : parts_)
                    if (part.group == from) part.group = to;
            }
    }

    /// A node that told two losses tells two incidents, whatever another one missed between them.
    [[nodiscard]] bool share_a_node(std::size_t one, std::size_t other) const {
        return std::any_of(parts_.begin(), parts_.end(), [&](const Part& a) {
            return a.group == one && std::any_of(parts_.begin(), parts_.end(), [&](const Part& b) {
                       return b.group == other && a.begin->node == b.begin->node;
                   });
        });
    }

    static bool is_loss(const Part& part) {
        return detail(*part.begin, "kind") == to_string(IncidentKind::node_failure);
    }

    /// The node that did most: steps, then an end, then who noticed first.
    [[nodiscard]] NodeName reference_of(const std::set<std::string>& ids, const NodeName& first) const {
        std::map<NodeName, int> weight;
        for (const auto* entry : facts_) {
            if (!ids.contains(entry->incident)) continue;
            if (entry->fact == fact::step && detail(*entry, "result") == "ok") weight[entry->node] += 10;
            if (entry->fact == fact::step) weight[entry->node] += 1;
            if (entry->fact == fact::end) weight[entry->node] += 1;
        }
        NodeName best = first;
        for (const auto& [node, points] : weight)
            if (points > (weight.contains(best) ? weight.at(best) : 0)) best = node;
        return best;
    }

    [[nodiscard]] ClockDifference clock_against(const NodeName& node, const NodeName& reference,
                                                const std::vector<const JournalEntry*>& begins) const {
        if (node == reference) return {0, 0};
        for (const auto* begin : begins) {
            if (begin->node == reference)
                if (const auto told = parse_clock(detail(*begin, "clock." + node.str()))) return *told;
            if (begin->node == node)
                if (const auto told = parse_clock(detail(*begin, "clock." + reference.str())))
                    return {-told->offset_us, told->uncertainty_us};
        }
        // As it is now, by way of the asking node.
        const auto there = clocks_.find(node);
        const auto here = clocks_.find(reference);
        if (there == clocks_.end() || here == clocks_.end() || !there->second.uncertainty_us ||
            !here->second.uncertainty_us)
            return {};
        return {there->second.offset_us - here->second.offset_us,
                *there->second.uncertainty_us + *here->second.uncertainty_us};
    }

    Incident make(std::size_t group) const {
        Incident incident;
        std::set<std::string> ids;
        std::vector<const JournalEntry*> begins;
        std::int64_t from = kOpen;
        std::int64_t until = 0;
        for (const auto& part : parts_) {
            if (part.group != group) continue;
            ids.insert(part.id);
            begins.push_back(part.begin);
            from = std::min(from, part.from_us);
            until = std::max(until, part.until_us);
        }
        const auto& first = *begins.front();
        incident.subject = first.subject;
        for (const auto kind :
             {IncidentKind::node_failure, IncidentKind::resource_failure, IncidentKind::move})
            if (detail(first, "kind") == to_string(kind)) incident.kind = kind;
        incident.reference = reference_of(ids, first.node);
        incident.id = first.incident;
        for (const auto* begin : begins)
            if (begin->node == incident.reference) incident.id = begin->incident;
        incident.ids.assign(ids.begin(), ids.end());

        std::vector<const JournalEntry*> mine;
        for (const auto* entry : facts_)
            if (ids.contains(entry->incident)) mine.push_back(entry);
        if (incident.kind == IncidentKind::node_failure) {
            const NodeName lost(incident.subject);
            const auto next = next_loss(lost, group, from);
            add_return(lost, from, next, mine);
            add_other_side(lost, from, std::min(until, next), mine);
        }
        for (const auto* entry : mine)
            if (!incident.clocks.contains(entry->node))
                incident.clocks[entry->node] = clock_against(entry->node, incident.reference, begins);
        for (const auto* entry : mine) {
            incident.facts.push_back(*entry);
            incident.facts.back().wall_us -= incident.clocks.at(entry->node).offset_us;
        }
        std::stable_sort(incident.facts.begin(), incident.facts.end(),
                         [](const auto& a, const auto& b) { return a.wall_us < b.wall_us; });
        incident.began_us = kOpen;
        for (const auto& entry : incident.facts)
            if (entry.fact == fact::begin && entry.subject == incident.subject)
                incident.began_us = std::min(incident.began_us, entry.wall_us);
        return incident;
    }

    /// When the same node was lost the next time.
    [[nodiscard]] std::int64_t next_loss(const NodeName& lost, std::size_t group, std::int64_t from) const {
        auto next = kOpen;
        for (const auto& part : parts_)
            if (part.group != group && is_loss(part) && part.begin->subject == lost.str() &&
                part.from_us > from)
                next = std::min(next, part.from_us);
        return next;
    }

    /// What the lost node tells since it is back: its daemon's start, and what its mirrors were like then.
    void add_return(const NodeName& lost, std::int64_t from, std::int64_t next,
                    std::vector<const JournalEntry*>& to) const {
        const JournalEntry* started = nullptr;
        for (const auto* entry : facts_) {
            if (entry->node != lost || now_us(*entry) < from || now_us(*entry) >= next) continue;
            if (entry->fact == fact::started && started == nullptr) to.push_back(started = entry);
            if (entry->fact == fact::mirror && entry->incident.empty() && started != nullptr &&
                now_us(*entry) < now_us(*started) + kAfterStart_us)
                to.push_back(entry);
        }
    }

    /// A lost node that lived saw the others go: a broken network, not a dead node.
    void add_other_side(const NodeName& lost, std::int64_t from, std::int64_t until,
                        std::vector<const JournalEntry*>& to) const {
        for (const auto& part : parts_)
            if (is_loss(part) && part.begin->node == lost && part.from_us < until && from < part.until_us)
                to.push_back(part.begin);
    }

    const std::map<NodeName, ClockDifference>& clocks_;
    std::vector<const JournalEntry*> facts_;  // in order of the asking node's time
    std::vector<Part> parts_;
};

}  // namespace

std::vector<Incident> join_incidents(const std::vector<JournalEntry>& entries,
                                     const std::map<NodeName, ClockDifference>& clocks) {
    return Joiner(entries, clocks).incidents();
}

}  // namespace understudy::recovery
