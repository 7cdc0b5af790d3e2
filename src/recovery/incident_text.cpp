// An incident report as text.

#include "base/text.h"
#include "recovery/incident_report.h"

namespace understudy::recovery {
namespace {

using Time = std::function<std::string(std::int64_t)>;

std::string seconds(std::int64_t us) {
    return fmt::format("{:.3f} s", static_cast<double>(us) / 1e6);
}

/// The time of day of "2026-11-28 12:45:01.123"; the day stands in the title.
std::string clock_time(const Time& time, std::int64_t us) {
    auto text = time(us);
    const auto space = text.find(' ');
    return space == std::string::npos ? text : text.substr(space + 1);
}

std::string title(const IncidentReport& report) {
    switch (report.kind) {
        case IncidentKind::node_failure:
            return "failure of node " + report.subject;
        case IncidentKind::resource_failure:
            return "failure of " + report.subject;
        case IncidentKind::move:
            return "move of " + report.subject;
    }
    return {};
}

std::string names(const std::vector<NodeName>& nodes) {
    std::vector<std::string> words;
    for (const auto& node : nodes)
        words.push_back(node.str());
    return text::join(words, ", ");
}

void clocks(const IncidentReport& report, std::string& out) {
    out += fmt::format("Times are those of {}'s clock", report.clock.str());
    for (const auto& [node, clock] : report.clocks) {
        if (clock.uncertainty_us)
            out += fmt::format("; {}'s, which differed by {:+.1f} ms, are moved to it, exact to {:.1f} ms",
                               node.str(), static_cast<double>(clock.offset_us) / 1000,
                               static_cast<double>(*clock.uncertainty_us) / 1000);
        else
            out += fmt::format("; how {}'s differed is unknown, they stand as they are", node.str());
    }
    out += ".\n";
}

void noticed(const IncidentReport& report, const Time& time, std::string& out) {
    out += "\nWhat was noticed\n";
    for (const auto& notice : report.noticed)
        out +=
            fmt::format("  {}  {:<10} {}\n", clock_time(time, notice.at_us), notice.node.str(), notice.text);
}

void decision(const IncidentReport& report, const Time& time, std::string& out) {
    out += "\nDecision\n";
    for (const auto& path : report.paths)
        out += fmt::format("  {:<10} path {} ({}): {}\n", path.node.str(), path.device, path.limit,
                           path.heard_us ? fmt::format("silent since {}", clock_time(time, *path.heard_us))
                                         : std::string("never heard"));
    for (const auto& gate : report.gates)
        out += fmt::format("  {:<10} {}: {}{}{}, after {}\n", gate.node.str(), gate.name, gate.answer,
                           gate.why.empty() ? "" : ": ", gate.why, seconds(gate.took_us));
    if (report.gates.empty() && report.kind == IncidentKind::node_failure)
        out += fmt::format("  {:<10} no quorum, witness or safety check is configured\n", "");
    for (const auto& [flag, nodes] : report.flags)
        out += fmt::format("  {:<10} flag {} is set\n", names(nodes), flag);
    for (const auto& choice : report.choices) {
        const auto what = choice.tag.empty() ? std::string() : choice.tag + ": ";
        const auto done = choice.action == "leave" || choice.action == "nothing" ? "left" : choice.action;
        out += fmt::format("  {:<10} {}{}: {}\n", choice.node.str(), what, done, choice.why);
        if (!choice.candidates.empty()) out += fmt::format("  {:<10}   from {}\n", "", choice.candidates);
    }
    if (report.choices.empty()) out += fmt::format("  {:<10} none is recorded\n", "");
}

void steps(const IncidentReport& report, const Time& time, std::string& out) {
    if (report.steps.empty()) return;
    out += "\nSteps\n";
    int number = 0;
    for (const auto& step : report.steps) {
        out += fmt::format("  {:>2}. {:<12} {:<10} {:<8} {:<20} ", ++number,
                           step.began_us ? clock_time(time, *step.began_us) : std::string("-"),
                           step.node.str(), step.action, step.tag);
        if (step.result == "ok")
            out += seconds(step.took_us.value_or(0));
        else if (step.result == "failed")
            out += fmt::format("FAILED after {}{}{}", seconds(step.took_us.value_or(0)),
                               step.error.empty() ? "" : ": ", step.error);
        else if (step.result == "skipped")
            out += fmt::format("not tried: {}", step.error);
        else
            out += "planned; that it was done is recorded nowhere";
        out += "\n";
    }
}

void outages(const IncidentReport& report, const Time& time, std::string& out) {
    if (report.outages.empty()) return;
    out += "\nOutage\n";
    for (const auto& outage : report.outages) {
        std::string length = "unknown";
        if (outage.from_us && outage.to_us) length = seconds(*outage.to_us - *outage.from_us);
        if (!outage.to_us) length = "not restored";
        if (outage.to_us && !outage.from_us) length = "none";
        out += fmt::format("  {:<20} {:<12} ", outage.tag, length);
        out += outage.from_us ? fmt::format("from {} ({})", clock_time(time, *outage.from_us), outage.from)
                              : outage.from;
        if (outage.to_us) out += fmt::format(" to {} (in service)", clock_time(time, *outage.to_us));
        out += "\n";
    }
}

void losses(const IncidentReport& report, std::string& out) {
    if (report.losses.empty()) return;
    out += "\nData that may be lost\n";
    for (const auto& loss : report.losses) {
        std::string amount = "unknown";
        // What a source told before it died is no proof that nothing is missing.
        if (loss.bytes && *loss.bytes == 0 && loss.type != "async")
            amount = "none";
        else if (loss.bytes && loss.seconds)
            amount = fmt::format("{} ({:.1f} s)", text::human_bytes(*loss.bytes), *loss.seconds);
        else if (loss.bytes)
            amount = text::human_bytes(*loss.bytes);
        out += fmt::format("  {:<20} {:<12} {}\n", loss.volume, amount, loss.basis);
    }
}

}  // namespace

std::string render(const IncidentReport& report, const Time& time) {
    std::string out = fmt::format("Incident {}: {}, {}\n", report.id, title(report), time(report.began_us));
    clocks(report, out);
    if (!report.ended) out += "It has not ended, or its end is not recorded.\n";
    noticed(report, time, out);
    decision(report, time, out);
    steps(report, time, out);
    outages(report, time, out);
    losses(report, out);
    out += "\nWhat to do now\n";
    for (const auto& advice : report.advice)
        out += fmt::format("  - {}\n", advice);
    if (report.advice.empty()) out += "  nothing: all is in service and has a standby\n";
    return out;
}

std::string render_line(const IncidentReport& report, const Time& time) {
    std::string outcome = "nothing was started";
    std::size_t restored = 0;
    for (const auto& outage : report.outages)
        if (outage.to_us) ++restored;
    if (!report.outages.empty())
        outcome = fmt::format("{} of {} in service again", restored, report.outages.size());
    if (const auto outage = report.outage_us()) outcome += fmt::format(", outage {}", seconds(*outage));
    if (!report.ended) outcome += ", not ended";
    return fmt::format("{:<28} {}  {}: {}\n", report.id, time(report.began_us), title(report), outcome);
}

}  // namespace understudy::recovery
