// What one page tells of an incident.

#include "recovery/incident_report.h"

#include "base/text.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

using config::JournalEntry;

std::string detail(const JournalEntry& entry, const std::string& name) {
    const auto at = entry.details.find(name);
    return at == entry.details.end() ? std::string() : at->second;
}

std::optional<std::int64_t> number(const JournalEntry& entry, const std::string& name) {
    return text::to_int(detail(entry, name));
}

std::string names(const std::vector<NodeName>& nodes) {
    std::vector<std::string> words;
    for (const auto& node : nodes)
        words.push_back(node.str());
    return text::join(words, ", ");
}

bool in_service(const std::string& state) {
    return state == "ISP" || state == "ISU";
}

class Reporter {
  public:
    Reporter(const Incident& incident, const IncidentNow& now) : incident_(incident), now_(now) {}

    IncidentReport make() {
        out_.id = incident_.id;
        for (const auto& id : incident_.ids)
            if (id != incident_.id) out_.also.push_back(id);
        out_.kind = incident_.kind;
        out_.subject = incident_.subject;
        out_.began_us = incident_.began_us;
        out_.clock = incident_.reference;
        for (const auto& [node, clock] : incident_.clocks)
            if (node != incident_.reference) out_.clocks[node] = clock;
        out_.silent = now_.silent;
        find_known_good();
        for (const auto& entry : incident_.facts)
            read(entry);
        std::stable_sort(out_.noticed.begin(), out_.noticed.end(),
                         [](const auto& a, const auto& b) { return a.at_us < b.at_us; });
        add_unrecorded_steps();
        find_end();
        find_outages();
        find_losses();
        advise();
        return std::move(out_);
    }

  private:
    [[nodiscard]] std::int64_t offset(const NodeName& node) const {
        const auto at = incident_.clocks.find(node);
        return at == incident_.clocks.end() ? 0 : at->second.offset_us;
    }
    /// A detail that is a time, by the reference's clock.
    [[nodiscard]] std::optional<std::int64_t> moment(const JournalEntry& entry,
                                                     const std::string& name) const {
        const auto at = number(entry, name);
        return at ? std::optional(*at - offset(entry.node)) : std::nullopt;
    }
    [[nodiscard]] bool own_begin(const JournalEntry& entry) const {
        return entry.fact == fact::begin && entry.subject == incident_.subject;
    }

    /// The latest of all that any node tells: who heard the lost node last.
    void find_known_good() {
        for (const auto& entry : incident_.facts) {
            if (!own_begin(entry)) continue;
            const auto at = moment(entry, "known_good_us");
            if (!at || (known_good_us_ && *known_good_us_ >= *at)) continue;
            known_good_us_ = at;
            known_good_ =
                incident_.kind == IncidentKind::node_failure
                    ? fmt::format("last heartbeat of {}, heard by {}", incident_.subject, entry.node.str())
                    : fmt::format("last good check on {}", entry.node.str());
        }
        if (known_good_us_) out_.noticed.push_back({*known_good_us_, NodeName(), known_good_});
    }

    void notice(const JournalEntry& entry, std::string text) {
        out_.noticed.push_back({entry.wall_us, entry.node, std::move(text)});
    }

    void read(const JournalEntry& entry) {
        if (entry.fact == fact::begin) return read_begin(entry);
        if (entry.fact == fact::path)
            out_.paths.push_back(
                {entry.node, entry.subject, moment(entry, "heard_us"),
                 fmt::format("{} ms x {}", detail(entry, "interval_ms"), detail(entry, "misses")),
                 detail(entry, "problem")});
        else if (entry.fact == fact::check)
            notice(entry, fmt::format("{} check of {}: {}{}{}", detail(entry, "check"), entry.subject,
                                      detail(entry, "result"), detail(entry, "why").empty() ? "" : ": ",
                                      detail(entry, "why")));
        else if (entry.fact == fact::gate)
            out_.gates.push_back({entry.node, entry.subject, detail(entry, "answer"), detail(entry, "why"),
                                  number(entry, "took_us").value_or(0)});
        else if (entry.fact == fact::flag)
            add_flag(entry);
        else if (entry.fact == fact::candidates)
            candidates_[{entry.node, entry.subject}] = &entry;
        else if (entry.fact == fact::plan)
            read_plan(entry);
        else if (entry.fact == fact::refused)
            out_.choices.push_back({entry.node, "", "nothing", detail(entry, "why"), ""});
        else if (entry.fact == fact::step)
            read_step(entry);
        else if (entry.fact == fact::asked)
            notice(entry, fmt::format("asks {} to go on with {}", detail(entry, "node"), entry.subject));
        else if (entry.fact == fact::returned)
            notice(entry, fmt::format("{} is ALIVE again", entry.subject));
        else if (entry.fact == fact::started)
            read_started(entry);
    }

    void read_begin(const JournalEntry& entry) {
        if (!own_begin(entry)) {
            notice(entry, fmt::format("itself did not stop: it saw the loss of {}", entry.subject));
            return;
        }
        switch (incident_.kind) {
            case IncidentKind::node_failure:
                return notice(entry, fmt::format("every path to {} is DEAD", entry.subject));
            case IncidentKind::resource_failure:
            case IncidentKind::move:
                return notice(entry, fmt::format("{}: {}", entry.subject, entry.text));
        }
    }

    void read_started(const JournalEntry& entry) {
        const auto after = detail(entry, "after");
        notice(entry, after == "boot"   ? "its daemon starts, the host booted"
                      : after == "stop" ? "its daemon starts after an orderly stop"
                                        : "its daemon starts again, the host did not boot");
    }

    void add_flag(const JournalEntry& entry) {
        const NodeName node(detail(entry, "node"));
        auto& nodes = out_.flags[entry.subject];
        if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
    }

    void read_plan(const JournalEntry& entry) {
        const NodeName node(detail(entry, "node"));
        const auto action = detail(entry, "action");
        if (action != "leave")
            out_.steps.push_back(
                {entry.node, node, entry.subject, action, detail(entry, "why"), {}, {}, "not recorded", ""});
        // Inside a hierarchy the reasons repeat; its root's is the choice.
        const auto root = candidates_root(entry);
        if (action == "leave" || root)
            out_.choices.push_back({entry.node, entry.subject, action, detail(entry, "why"), ""});
    }

    /// The candidates follow the plan's step of the root in the journal.
    [[nodiscard]] bool candidates_root(const JournalEntry& plan) const {
        return std::any_of(incident_.facts.begin(), incident_.facts.end(), [&](const JournalEntry& entry) {
            return entry.fact == fact::candidates && entry.node == plan.node && entry.subject == plan.subject;
        });
    }

    void read_step(const JournalEntry& entry) {
        const NodeName node(detail(entry, "node"));
        const auto action = detail(entry, "action");
        auto at = std::find_if(out_.steps.begin(), out_.steps.end(), [&](const auto& step) {
            return step.by == entry.node && step.node == node && step.tag == entry.subject &&
                   step.action == action && step.result == "not recorded";
        });
        if (at == out_.steps.end())  // planned anew meanwhile
            at = out_.steps.insert(out_.steps.end(),
                                   {entry.node, node, entry.subject, action, "", {}, {}, "", ""});
        at->result = detail(entry, "result");
        at->error = detail(entry, "why");
        if (at->result == "skipped") return;
        at->began_us = moment(entry, "began_us");
        at->took_us = number(entry, "took_us");
    }

    /// Steps in the order of their beginning; what was planned and is told of no more comes last.
    void add_unrecorded_steps() {
        std::stable_sort(out_.steps.begin(), out_.steps.end(), [](const auto& a, const auto& b) {
            if (a.began_us.has_value() != b.began_us.has_value()) return a.began_us.has_value();
            return a.began_us && *a.began_us < *b.began_us;
        });
        for (auto& choice : out_.choices) {
            const auto at = candidates_.find({choice.node, choice.tag});
            if (at == candidates_.end()) continue;
            std::vector<std::string> nodes;
            for (const auto& [name, value] : at->second->details)
                if (name.starts_with("node.")) nodes.push_back(fmt::format("{} ({})", name.substr(5), value));
            choice.candidates = text::join(nodes, ", ");
        }
    }

    void find_end() {
        std::map<NodeName, bool> acted;  // whether it told its end
        for (const auto& entry : incident_.facts) {
            if (entry.fact == fact::step) acted.try_emplace(entry.node, false);
            if (entry.fact == fact::end || entry.fact == fact::refused) acted[entry.node] = true;
            if (entry.fact == fact::plan && detail(entry, "action") != "leave")
                acted.try_emplace(entry.node, false);
        }
        out_.ended = std::all_of(acted.begin(), acted.end(), [](const auto& node) { return node.second; });
    }

    [[nodiscard]] std::optional<std::int64_t> restored_us(const std::string& tag) const {
        std::optional<std::int64_t> last;
        for (const auto& step : out_.steps)
            if (step.tag == tag && (step.action == "restore" || step.action == "recover") &&
                step.result == "ok" && step.began_us && step.took_us)
                last = std::max(last.value_or(0), *step.began_us + *step.took_us);
        return last;
    }

    /// The roots that something was planned for, each once; what failed and was repaired on the spot.
    [[nodiscard]] std::vector<std::string> roots() const {
        std::vector<std::string> result;
        const bool failed = incident_.kind == IncidentKind::resource_failure;
        for (const auto& choice : out_.choices)
            if ((choice.action == "restore" || (failed && choice.action == "remove")) &&
                std::find(result.begin(), result.end(), choice.tag) == result.end())
                result.push_back(choice.tag);
        if (failed && result.empty()) result.push_back(incident_.subject);
        return result;
    }

    [[nodiscard]] bool was_in_service(const std::string& tag) const {
        for (const auto& [key, entry] : candidates_)
            if (key.second == tag && in_service(detail(*entry, "state." + incident_.subject))) return true;
        return false;
    }

    void find_outages() {
        for (const auto& tag : roots()) {
            IncidentReport::Outage outage;
            outage.tag = tag;
            outage.to_us = restored_us(tag);
            switch (incident_.kind) {
                case IncidentKind::node_failure:
                    if (!was_in_service(tag)) {
                        outage.from = "it was out of service before";
                        break;
                    }
                    outage.from_us = known_good_us_;
                    outage.from = known_good_us_ ? known_good_ : "when it stopped working is unknown";
                    break;
                case IncidentKind::resource_failure:
                    outage.from_us = known_good_us_ ? *known_good_us_ : incident_.began_us;
                    outage.from = known_good_us_ ? known_good_
                                                 : "when the failure was found; it may have begun earlier";
                    break;
                case IncidentKind::move:
                    for (const auto& step : out_.steps)
                        if (step.action == "remove" && step.began_us && !outage.from_us) {
                            outage.from_us = step.began_us;
                            outage.from = fmt::format("beginning of the remove on {}", step.node.str());
                        }
                    break;
            }
            out_.outages.push_back(std::move(outage));
        }
    }

    // What an asynchronous mirror may have lost. What the dead source had not sent is known only from what it
    // told before.
    void find_losses() {
        if (incident_.kind != IncidentKind::node_failure) return;
        for (const auto& entry : incident_.facts) {
            if (entry.fact != fact::mirror || detail(entry, "moment") != "begin") continue;
            if (entry.node != incident_.reference || detail(entry, "peer") != incident_.subject) continue;
            IncidentReport::Loss loss;
            loss.volume = entry.subject;
            loss.type = detail(entry, "type");
            const auto state = detail(entry, "state");
            if (detail(entry, "role") == "source") {
                loss.bytes = 0;
                loss.seconds = 0;
                loss.basis = fmt::format("{} was its source already", entry.node.str());
            } else if (loss.type == "sync") {
                if (text::iequals(state, "mirroring")) {
                    loss.bytes = 0;
                    loss.seconds = 0;
                    loss.basis = "synchronous and in sync: every write that was answered is here";
                } else {
                    loss.basis = fmt::format("synchronous, but its state was {}", state);
                }
            } else {
                add_lag(loss);
            }
            add_returned_mark(loss);
            out_.losses.push_back(std::move(loss));
        }
    }

    void add_lag(IncidentReport::Loss& loss) const {
        for (const auto& entry : incident_.facts) {
            if (entry.fact != fact::lag || entry.subject != loss.volume ||
                detail(entry, "source") != incident_.subject)
                continue;
            const auto queue = number(entry, "queue_bytes");
            if (!queue || *queue < 0) continue;
            loss.bytes = static_cast<std::uint64_t>(*queue);
            const auto rate = number(entry, "write_rate");
            if (*queue == 0)
                loss.seconds = 0;
            else if (rate && *rate > 0)
                loss.seconds = static_cast<double>(*queue) / static_cast<double>(*rate);
            const auto at = moment(entry, "at_us");
            const auto before = at && known_good_us_ ? (*known_good_us_ - *at) / 1000 : 0;
            loss.basis = fmt::format(
                "what {} told last, {} ms before its last heartbeat; what it wrote after that is unknown",
                incident_.subject, std::max<std::int64_t>(before, 0));
            return;
        }
        loss.basis =
            fmt::format("asynchronous, and {} had not told how far behind the target was", incident_.subject);
    }

    void add_returned_mark(IncidentReport::Loss& loss) const {
        for (const auto& entry : incident_.facts) {
            if (entry.fact != fact::mirror || detail(entry, "moment") != "start" ||
                entry.node.str() != incident_.subject || entry.subject != loss.volume)
                continue;
            if (const auto dirty = number(entry, "dirty_bytes"); dirty && *dirty >= 0)
                loss.basis += fmt::format("; no more than the {} that its intent log marked when it was back",
                                          text::human_bytes(static_cast<std::uint64_t>(*dirty)));
            return;
        }
    }

    void advise() {
        auto& advice = out_.advice;
        if (incident_.kind == IncidentKind::node_failure) advise_about_node();
        for (const auto& step : out_.steps)
            if (step.result == "failed")
                advice.push_back(fmt::format("{} of {} failed on {}{}{}. Look into var/log/understudy there.",
                                             step.action, step.tag, step.node.str(),
                                             step.error.empty() ? "" : ": ", step.error));
        for (const auto& tag : roots())
            advise_about(tag);
        for (const auto& mirror : now_.mirrors)
            advise_about(mirror);
        if (!now_.silent.empty())
            advice.push_back(fmt::format(
                "ask again when {} can be reached: what was seen there is missing here", names(now_.silent)));
    }

    void advise_about_node() {
        const auto& node = incident_.subject;
        const auto at = now_.alive.find(NodeName(node));
        if (at == now_.alive.end())
            out_.advice.push_back(fmt::format("{} is no node of the cluster any more", node));
        else if (!at->second)
            out_.advice.push_back(
                fmt::format("{} is DEAD: repair it and start it; it becomes standby by itself", node));
    }

    void advise_about(const std::string& tag) {
        const auto at = std::find_if(now_.resources.begin(), now_.resources.end(),
                                     [&](const auto& each) { return each.tag.str() == tag; });
        if (at == now_.resources.end()) return;
        std::vector<NodeName> holders, standby, failed;
        for (const auto& [node, state] : at->states) {
            const auto alive = now_.alive.find(node);
            if (alive == now_.alive.end() || !alive->second) continue;
            (in_service(state) ? holders : state == "OSF" ? failed : standby).push_back(node);
        }
        auto& advice = out_.advice;
        if (at->maintenance)
            advice.push_back(fmt::format("{} is in maintenance: nothing automatic happens to it", tag));
        if (holders.empty())
            return advice.push_back(fmt::format(
                "{} is in service nowhere: remove the cause, then perform_action -a restore -t {} on the "
                "node that shall have it",
                tag, tag));
        if (holders.size() > 1)
            return advice.push_back(
                fmt::format("{} is in service on {} at once: take it out of service on one of them "
                            "(perform_action -a remove -t {})",
                            tag, names(holders), tag));
        if (!failed.empty())
            advice.push_back(
                fmt::format("{} is Failed on {}: remove the cause, then perform_action -a remove "
                            "-t {} there",
                            tag, names(failed), tag));
        if (standby.empty())
            advice.push_back(
                fmt::format("{} has no standby: if {} fails too, the service ends", tag, holders[0].str()));
    }

    void advise_about(const IncidentNow::Mirror& mirror) {
        if (mirror.split_brain)
            return out_.advice.push_back(fmt::format(
                "mirror {}: both sides were written apart; choose whose data go: understudy mirror "
                "yield {} on the other",
                mirror.volume, mirror.volume));
        if (mirror.role != "source" || text::iequals(mirror.state, "mirroring") || mirror.peer.empty())
            return;
        out_.advice.push_back(fmt::format(
            "mirror {} is {}, {} to copy: {} has the only current copy, keep it running", mirror.volume,
            mirror.state, text::human_bytes(mirror.dirty_bytes), mirror.node.str()));
    }

    const Incident& incident_;
    const IncidentNow& now_;
    IncidentReport out_;
    std::optional<std::int64_t> known_good_us_;
    std::string known_good_;
    std::map<std::pair<NodeName, std::string>, const JournalEntry*> candidates_;
};

}  // namespace

std::optional<std::int64_t> IncidentReport::outage_us() const {
    std::optional<std::int64_t> longest;
    for (const auto& outage : outages)
        if (outage.from_us && outage.to_us)
            longest = std::max(longest.value_or(0), *outage.to_us - *outage.from_us);
    return longest;
}

IncidentReport report(const Incident& incident, const IncidentNow& now) {
    return Reporter(incident, now).make();
}

}  // namespace understudy::recovery
