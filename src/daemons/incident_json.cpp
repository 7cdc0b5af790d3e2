#include "daemons/incident_json.h"

#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using nlohmann::json;

template <class T>
json optional(const std::optional<T>& value) {
    return value ? json(*value) : json();
}

json names(const std::vector<NodeName>& nodes) {
    json list = json::array();
    for (const auto& node : nodes)
        list.push_back(node.str());
    return list;
}

}  // namespace

json incident_json(const recovery::IncidentReport& report) {
    json out{{"id", report.id},
             {"also", report.also},
             {"kind", to_string(report.kind)},
             {"subject", report.subject},
             {"ended", report.ended},
             {"began_us", report.began_us},
             {"clock", report.clock.str()},
             {"outage_us", optional(report.outage_us())},
             {"advice", report.advice},
             {"silent", names(report.silent)}};
    for (const auto* list : {"noticed", "paths", "gates", "decisions", "steps", "outages", "losses"})
        out[list] = json::array();
    out["clocks"] = json::object();
    for (const auto& [node, clock] : report.clocks)
        out["clocks"][node.str()] = {{"offset_us", clock.offset_us},
                                     {"uncertainty_us", optional(clock.uncertainty_us)}};
    for (const auto& each : report.noticed)
        out["noticed"].push_back({{"at_us", each.at_us}, {"node", each.node.str()}, {"text", each.text}});
    for (const auto& each : report.paths)
        out["paths"].push_back({{"node", each.node.str()},
                                {"device", each.device},
                                {"heard_us", optional(each.heard_us)},
                                {"limit", each.limit},
                                {"problem", each.problem}});
    for (const auto& each : report.gates)
        out["gates"].push_back({{"node", each.node.str()},
                                {"name", each.name},
                                {"answer", each.answer},
                                {"why", each.why},
                                {"took_us", each.took_us}});
    out["flags"] = json::object();
    for (const auto& [flag, nodes] : report.flags)
        out["flags"][flag] = names(nodes);
    for (const auto& each : report.choices)
        out["decisions"].push_back({{"node", each.node.str()},
                                    {"tag", each.tag},
                                    {"action", each.action},
                                    {"why", each.why},
                                    {"candidates", each.candidates}});
    for (const auto& each : report.steps)
        out["steps"].push_back({{"by", each.by.str()},
                                {"node", each.node.str()},
                                {"tag", each.tag},
                                {"action", each.action},
                                {"why", each.why},
                                {"began_us", optional(each.began_us)},
                                {"took_us", optional(each.took_us)},
                                {"result", each.result},
                                {"error", each.error}});
    for (const auto& each : report.outages)
        out["outages"].push_back({{"tag", each.tag},
                                  {"from_us", optional(each.from_us)},
                                  {"to_us", optional(each.to_us)},
                                  {"from", each.from}});
    for (const auto& each : report.losses)
        out["losses"].push_back({{"volume", each.volume},
                                 {"type", each.type},
                                 {"bytes", optional(each.bytes)},
                                 {"seconds", optional(each.seconds)},
                                 {"basis", each.basis}});
    return out;
}

std::string dump(const json& value) {
    return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace understudy::daemons
