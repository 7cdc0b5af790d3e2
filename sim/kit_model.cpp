#include "sim/kit_model.h"

#include <algorithm>

namespace understudy::sim {
namespace {

constexpr auto kForEver = std::chrono::hours(24);

std::string argument_after(const runtime::ProcessSpec& spec, std::string_view option) {
    const auto at = std::find(spec.arguments.begin(), spec.arguments.end(), option);
    return at == spec.arguments.end() || std::next(at) == spec.arguments.end() ? "" : *std::next(at);
}

}  // namespace

void KitModel::attach(runtime::SimulatedNode& node, const std::string& lkroot) {
    auto& host = hosts_[NodeName(node.name())];
    host.node = &node;
    for (const auto* type : {"comm/resources/ip", "gen/resources/app"})
        for (const auto* action : {"restore", "remove", "recover", "quickchk", "deepchk"})
            node.install_executable(fmt::format("{}/subsys/{}/actions/{}", lkroot, type, action));
    node.set_process_model([this, &host](const runtime::ProcessSpec& spec) { return start(host, spec); });
}

const std::set<Tag>& KitModel::running_on(const Host& host) {
    static const std::set<Tag> nothing;
    return host.node->powered() && host.node->boots() == host.boot ? host.running : nothing;
}

bool KitModel::runs(const NodeName& host, const Tag& tag) const {
    const auto at = hosts_.find(host);
    return at != hosts_.end() && running_on(at->second).contains(tag);
}

std::vector<NodeName> KitModel::hosts_running(const Tag& tag) const {
    std::vector<NodeName> found;
    for (const auto& [name, host] : hosts_)
        if (running_on(host).contains(tag)) found.push_back(name);
    return found;
}

void KitModel::forget_earlier_boots(Host& host) {
    if (host.boot == host.node->boots()) return;
    host.boot = host.node->boots();
    host.running.clear();
    host.broken.clear();
}

void KitModel::set_running(Host& host, const Tag& tag, bool runs) {
    forget_earlier_boots(host);
    if (runs) host.broken.erase(tag);
    const bool changed = runs ? host.running.insert(tag).second : host.running.erase(tag) != 0;
    if (!changed) return;
    ++changes_;
    simulation_.note(host.node->name(), fmt::format("{} {}", tag.str(), runs ? "RUNS" : "has stopped"));
}

runtime::TimePoint KitModel::restore_began(const NodeName& host, const Tag& tag) const {
    const auto& began = hosts_.at(host).restore_began;
    const auto at = began.find(tag);
    return at == began.end() ? runtime::TimePoint{} : at->second;
}

void KitModel::break_down(const NodeName& host, const Tag& tag) {
    set_running(hosts_.at(host), tag, false);
    hosts_.at(host).broken.insert(tag);
}

void KitModel::fail_next(const NodeName& host, const std::string& action, int count, const Tag& tag) {
    hosts_.at(host).fail_next[{action, tag}] = count;
}

void KitModel::delay_next(const NodeName& host, const std::string& action, runtime::Duration takes,
                          const Tag& tag) {
    hosts_.at(host).delay_next[{action, tag}] = takes;
}

runtime::SimulatedOutcome KitModel::start(Host& host, const runtime::ProcessSpec& spec) {
    const auto action = spec.path.substr(spec.path.rfind('/') + 1);
    const Tag tag(argument_after(spec, "-t"));
    runtime::SimulatedOutcome outcome;
    outcome.takes = simulation_.random_duration(trouble_.least, trouble_.most);
    if (action == "quickchk" || action == "deepchk") {
        if (simulation_.chance(trouble_.check_hangs)) outcome.takes = kForEver;
        const bool lies = simulation_.chance(trouble_.check_lies);
        outcome.effect = [this, &host, tag, lies] { return running_on(host).contains(tag) != lies ? 0 : 1; };
        return outcome;
    }
    if (simulation_.chance(trouble_.hangs)) outcome.takes = kHang;
    if (const auto delayed = host.delay_next.extract({action, tag})) outcome.takes = delayed.mapped();
    if (action == "restore")
        for (const auto& [parent, child] : needs_)
            if (parent == tag && !running_on(host).contains(child) && !host.broken.contains(child) &&
                violation_)
                violation_(fmt::format("{} is restored on {} where {}, which it needs, does not run",
                                       tag.str(), host.node->name(), child.str()));
    if (action == "restore" && next_restore_) {
        auto asked = std::exchange(next_restore_, nullptr);
        if (!asked(NodeName(host.node->name())) && !next_restore_) next_restore_ = std::move(asked);
    }
    if (simulation_.chance(trouble_.lies)) return lie(host, action, tag, std::move(outcome));
    auto& scheduled = host.fail_next[{action, tag}];
    if (scheduled > 0 || simulation_.chance(trouble_.fails)) {
        scheduled = std::max(0, scheduled - 1);
        outcome.exit_code = 1;
        outcome.output = fmt::format("{} of {} fails as planned\n", action, tag.str());
        return outcome;
    }
    const auto began = simulation_.now();
    outcome.effect = [this, &host, action, tag, began] { return finish(host, action, tag, began); };
    // Killed half-way: it may have done its work already.
    outcome.on_kill = [this, &host, action, tag, began] {
        if (simulation_.chance(0.5)) finish(host, action, tag, began);
    };
    return outcome;
}

// A remove that says it has stopped what runs on is not among them: nobody but a watchdog could do anything
// about that.
runtime::SimulatedOutcome KitModel::lie(Host& host, const std::string& action, const Tag& tag,
                                        runtime::SimulatedOutcome outcome) {
    const bool idle = action == "restore" && simulation_.chance(0.5);
    const auto began = simulation_.now();
    outcome.effect = [this, &host, action, tag, began, idle] {
        if (!idle) finish(host, action, tag, began);
        forget_earlier_boots(host);
        if (idle && !running_on(host).contains(tag)) host.broken.insert(tag);
        return idle ? 0 : 1;
    };
    return outcome;
}

int KitModel::finish(Host& host, const std::string& action, const Tag& tag, runtime::TimePoint began) {
    if (action == "restore" || action == "recover") {
        host.restore_began[tag] = began;
        set_running(host, tag, true);
    }
    if (action == "remove") set_running(host, tag, false);
    return 0;
}

}  // namespace understudy::sim
