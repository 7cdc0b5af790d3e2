#pragma once
// From the facts of all nodes' journals to one page a person reads at 3 a.m. Pure: no clock, no I/O.
//
//   journals' entries --join_incidents()--> incidents --report()--> IncidentReport --render()--> text
//
// Nodes' wall clocks differ: times are told by the clock of the node that acted (the reference); other nodes'
// times are moved by the offsets that heartbeats measured at the incident's begin, each with its uncertainty.
// What no fact tells is reported as unknown, never guessed.

#include "config/database.h"
#include "recovery/incident.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace understudy::recovery {

/// A node's wall clock against another's.
struct ClockDifference {
    std::int64_t offset_us = 0;                  // the node's minus the other's
    std::optional<std::int64_t> uncertainty_us;  // empty: nothing is known of it, offset_us is 0
};

struct Incident {
    std::string id;                // of the reference's own begin
    std::vector<std::string> ids;  // every id under which a node keeps facts of it, `id` included
    IncidentKind kind = IncidentKind::node_failure;
    std::string subject;
    NodeName reference;
    std::map<NodeName, ClockDifference> clocks;  // against the reference, of every node with a fact
    std::vector<config::JournalEntry> facts;     // wall_us by the reference's clock, in order of time
    std::int64_t began_us = 0;                   // first detection
};

/// Joins the entries of all nodes; those without a fact are left out. `clocks`: each node's wall clock
/// against the asking node's, as known now. In order of began_us.
std::vector<Incident> join_incidents(const std::vector<config::JournalEntry>& entries,
                                     const std::map<NodeName, ClockDifference>& clocks);

/// What is the case when the report is made.
struct IncidentNow {
    std::map<NodeName, bool> alive;  // every node of the cluster
    std::vector<NodeName> silent;    // whose journal could not be read
    struct Resource {
        Tag tag;                                 // a hierarchy's root
        std::map<NodeName, std::string> states;  // "ISP", also of DEAD nodes as last known
        bool maintenance = false;
    };
    std::vector<Resource> resources;
    struct Mirror {
        NodeName node;
        std::string volume, role, state, peer;
        std::uint64_t dirty_bytes = 0;
        bool split_brain = false;
    };
    std::vector<Mirror> mirrors;
};

struct IncidentReport {
    std::string id;
    std::vector<std::string> also;  // other ids of it
    IncidentKind kind = IncidentKind::node_failure;
    std::string subject;
    bool ended = false;  // every node that acted has told its end
    std::int64_t began_us = 0;
    NodeName clock;
    std::map<NodeName, ClockDifference> clocks;  // without the reference

    struct Notice {
        std::int64_t at_us = 0;
        NodeName node;
        std::string text;
    };
    std::vector<Notice> noticed;
    struct Path {
        NodeName node;  // that saw it so
        std::string device;
        std::optional<std::int64_t> heard_us;
        std::string limit;  // "200 ms x 3"
        std::string problem;
    };
    std::vector<Path> paths;
    struct Gate {
        NodeName node;
        std::string name, answer, why;
        std::int64_t took_us = 0;
    };
    std::vector<Gate> gates;
    std::map<std::string, std::vector<NodeName>> flags;  // flag -> where it is set
    struct Choice {
        NodeName node;  // that decided
        std::string tag, action, why;
        std::string candidates;  // "left: priority 1, DEAD; right: ..."
    };
    std::vector<Choice> choices;
    struct StepLine {
        NodeName by, node;
        std::string tag, action, why;  // why it was planned
        std::optional<std::int64_t> began_us, took_us;
        std::string result;  // "ok", "failed", "skipped", "not recorded"
        std::string error;
    };
    std::vector<StepLine> steps;
    struct Outage {
        std::string tag;
        std::optional<std::int64_t> from_us, to_us;  // no `to`: it has not been restored
        std::string from;                            // what is known of that moment
    };
    std::vector<Outage> outages;
    struct Loss {
        std::string volume, type;
        std::optional<std::uint64_t> bytes;
        std::optional<double> seconds;
        std::string basis;  // where the figures come from, or why there are none
    };
    std::vector<Loss> losses;
    std::vector<std::string> advice;
    std::vector<NodeName> silent;

    /// The longest; empty when none is known to have begun and ended.
    [[nodiscard]] std::optional<std::int64_t> outage_us() const;
};

IncidentReport report(const Incident& incident, const IncidentNow& now);

/// As text; `time` makes a moment readable ("2026-11-28 12:45:01.123").
std::string render(const IncidentReport& report, const std::function<std::string(std::int64_t)>& time);
/// One line of a list.
std::string render_line(const IncidentReport& report, const std::function<std::string(std::int64_t)>& time);

}  // namespace understudy::recovery
