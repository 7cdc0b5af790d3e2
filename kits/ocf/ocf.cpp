// Any OCF resource agent, protected as it is.
//
// info: agent=ocf:PROVIDER:TYPE parameter=value ... [op.ACTION.timeout=SECONDS] [op.monitor.level=N]
// restore: monitor, start, monitor. remove: stop, monitor. quickchk: monitor. deepchk: monitor at the level
// of op.monitor.level. recover: stop and start, unless the agent says that this node cannot run it.

#include "base/text.h"
#include "kits/ocf/agent.h"
#include "kits/ocf/runner.h"
#include "kits/sdk/cluster.h"
#include "kits/sdk/kit.h"

namespace understudy::kits {
namespace {

Result<Agent> agent_of(const Instance& instance) {
    UNDERSTUDY_TRY(const auto settings, parse_agent_info(instance.info_text));
    return load_agent(instance, settings);
}

Error error_of(const AgentAnswer& answer) {
    return {Code::failure, answer.what, 0};
}

Error promoted_error(const AgentAnswer& answer) {
    return {Code::failure,
            answer.what + "; promotable resources (two active states) and clones are not supported", 0};
}

void tell(const AgentAnswer& answer) {
    if (!answer.said.empty()) say(answer.said);
}

/// Ends what a failed start may have left.
void clean_up(const Instance& instance, const Agent& agent) {
    const auto stopped = call_agent(instance, agent, {"stop"});
    if (!stopped)
        say(stopped.error().text);
    else if (stopped->code != kOcfSuccess || stopped->timed_out)
        say("after the failed start, " + stopped->what);
}

Result<> start(const Instance& instance, const Agent& agent) {
    UNDERSTUDY_TRY(const auto started, call_agent(instance, agent, {"start"}));
    if (started.code != kOcfSuccess || started.timed_out) {
        clean_up(instance, agent);
        return fail(error_of(started));
    }
    tell(started);
    // An agent that says too much of itself is found out now and not by the first check.
    UNDERSTUDY_TRY(const auto running, call_agent(instance, agent, {"monitor"}));
    if (running.running()) return {};
    clean_up(instance, agent);
    return fail(running.promoted() ? promoted_error(running) : error_of(running));
}

Result<> stop(const Instance& instance, const Agent& agent) {
    UNDERSTUDY_TRY(const auto stopped, call_agent(instance, agent, {"stop"}));
    if (stopped.code != kOcfSuccess || stopped.timed_out) return fail(error_of(stopped));
    tell(stopped);
    // Another node may start it next: that it runs here no more must be true.
    UNDERSTUDY_TRY(const auto after, call_agent(instance, agent, {"monitor", 0, true}));
    if (after.running() || after.promoted()) return fail(Code::failure, "it was stopped, but {}", after.what);
    return {};
}

Result<> restore(const Instance& instance) {
    UNDERSTUDY_TRY(const auto agent, agent_of(instance));
    UNDERSTUDY_TRY(const auto before, call_agent(instance, agent, {"monitor", 0, true}));
    if (before.running()) {
        say(agent.settings.agent.text() + " runs already");
        return {};
    }
    if (before.promoted()) return fail(promoted_error(before));
    if (before.code != kOcfNotRunning || before.timed_out) {
        // Half of it may run. What cannot be on this node will say so again.
        say(before.what);
        UNDERSTUDY_CHECK(stop(instance, agent));
    }
    return start(instance, agent);
}

Result<> remove(const Instance& instance) {
    UNDERSTUDY_TRY(const auto agent, agent_of(instance));
    return stop(instance, agent);
}

Result<> check(const Instance& instance, bool deep) {
    UNDERSTUDY_TRY(const auto agent, agent_of(instance));
    UNDERSTUDY_TRY(const auto answer,
                   call_agent(instance, agent, {"monitor", deep ? agent.settings.check_level : 0}));
    if (answer.code == kOcfDegraded) say(answer.what);
    if (answer.running()) return {};
    return fail(answer.promoted() ? promoted_error(answer) : error_of(answer));
}

Result<> recover(const Instance& instance) {
    UNDERSTUDY_TRY(const auto agent, agent_of(instance));
    UNDERSTUDY_TRY(const auto now, call_agent(instance, agent, {"monitor", agent.settings.check_level}));
    if (now.running()) {
        say("it answers its monitor again; nothing is restarted");
        return {};
    }
    if (now.promoted()) return fail(promoted_error(now));
    if (now.meaning.severity == Severity::hard || now.meaning.severity == Severity::fatal)
        return fail(Code::failure, "a restart here would not help: {}", now.what);
    UNDERSTUDY_CHECK(stop(instance, agent));
    UNDERSTUDY_CHECK(start(instance, agent));
    say(agent.settings.agent.text() + " was restarted");
    return {};
}

/// The agent's own opinion of its parameters. `elsewhere`: what it needs may be on a volume that is in
/// service on another node; an agent cannot know that (nginx then calls its parameters wrong everywhere), so
/// its opinion is told and does not count.
Result<> validate(const Instance& instance, const Agent& agent, bool elsewhere) {
    if (agent.metadata.action("validate-all") == nullptr) return {};
    UNDERSTUDY_TRY(const auto answer, call_agent(instance, agent, {"validate-all"}));
    if (answer.code == kOcfSuccess && !answer.timed_out) return {};
    if (answer.code == kOcfUnimplemented) return {};
    if (elsewhere) {
        say("warning: " + answer.what + "; that is in order when it lies on a volume of the hierarchy");
        return {};
    }
    return fail(error_of(answer));
}

/// The words create is called with: "ocf:x:y p=v" or "agent=ocf:x:y p=v", as arguments or as the information.
Result<AgentSettings> wanted_settings(const Instance& instance) {
    return instance.arguments.empty() ? parse_agent_info(instance.info_text)
                                      : parse_agent_words(instance.arguments);
}

Result<> define(const Instance& instance, const AgentSettings& settings) {
    UNDERSTUDY_TRY(const auto info, agent_info(settings));
    return define_instance(
        instance, {.app = "ocf", .type = "agent", .info = info, .deep_check = settings.check_level != 0});
}

Result<> create(const Instance& instance) {
    UNDERSTUDY_TRY(const auto settings, wanted_settings(instance));
    UNDERSTUDY_TRY(const auto agent, load_agent(instance, settings));
    for (const auto& parameter : agent.metadata.parameters)
        if (parameter.deprecated && settings.parameters.contains(parameter.name))
            say(fmt::format("warning: the agent calls {} deprecated", parameter.name));
    UNDERSTUDY_CHECK(validate(instance, agent, false));
    return define(instance, settings);
}

/// Words may differ on this node, e.g. another interface.
Result<AgentSettings> settings_here(const Instance& instance, const Template& from) {
    UNDERSTUDY_TRY(const auto words, extension_words(instance, from));
    std::vector<std::string> list;
    for (const auto& [key, value] : words)
        list.push_back(key + "=" + value);
    return parse_agent_words(list);
}

Result<> can_extend(const Instance& instance) {
    UNDERSTUDY_TRY(const auto from, template_of(instance));
    UNDERSTUDY_TRY(const auto settings, settings_here(instance, from));
    UNDERSTUDY_TRY(const auto agent, load_agent(instance, settings));
    UNDERSTUDY_TRY(const auto children,
                   command(instance.layout, "dep_list", {"-d", from.node.str(), "-c", from.tag.str()}));
    return validate(instance, agent, !text::trim(children).empty());
}

Result<> extend(const Instance& instance) {
    UNDERSTUDY_TRY(const auto from, template_of(instance));
    UNDERSTUDY_TRY(const auto settings, settings_here(instance, from));
    return define(instance, settings);
}

int run_kit(int argc, char** argv) {
    return run(argc, argv,
               {{"restore", restore},
                {"remove", remove},
                {"quickchk", [](const Instance& instance) { return check(instance, false); }},
                {"deepchk", [](const Instance& instance) { return check(instance, true); }},
                {"recover", recover},
                {"create", create},
                {"canextend", can_extend},
                {"extend", extend}},
               {.free_info = true});
}

}  // namespace
}  // namespace understudy::kits

int main(int argc, char** argv) {
    return understudy::kits::run_kit(argc, argv);
}
