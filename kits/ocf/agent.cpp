#include "kits/ocf/agent.h"

#include "base/text.h"

#include <algorithm>
#include <cctype>
#include <pugixml.hpp>

namespace understudy::kits {
namespace {

using std::chrono::seconds;

constexpr seconds kStandardTimeout{20};
constexpr std::int64_t kMaxTimeoutS = 86400;

bool is_word(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
    }) && text.front() != '.';
}

/// "20", "20s", "500ms", "2m", "2min", "1h".
std::optional<seconds> parse_duration(const std::string& value) {
    const auto digits = value.find_first_not_of("0123456789");
    const auto number = text::to_int(value.substr(0, digits));
    if (!number) return std::nullopt;
    const auto unit = digits == std::string::npos ? std::string("s") : value.substr(digits);
    if (unit == "s" || unit == "sec") return seconds(*number);
    if (unit == "ms" || unit == "msec") return seconds((*number + 999) / 1000);
    if (unit == "m" || unit == "min") return seconds(*number * 60);
    if (unit == "h" || unit == "hr") return seconds(*number * 3600);
    return std::nullopt;
}

/// Spec of the standard: any of these spellings.
bool is_boolean(const std::string& value) {
    for (const auto* word : {"true", "false", "yes", "no", "on", "off", "1", "0", "t", "f", "y", "n", "ja"})
        if (text::iequals(value, word)) return true;
    return false;
}

Result<> take_option(AgentSettings& settings, const std::string& key, const std::string& value) {
    const auto number = text::to_int(value);
    if (key == "op.promotable" && value == "no") {
        settings.plain_mode = true;
        return {};
    }
    if (key == "op.monitor.level" && number && *number >= 0 && *number <= 100) {
        settings.check_level = static_cast<int>(*number);
        return {};
    }
    for (const auto* action : {"start", "stop", "monitor"})
        if (key == fmt::format("op.{}.timeout", action) && number && *number > 0 && *number <= kMaxTimeoutS) {
            settings.timeouts[action] = seconds(*number);
            return {};
        }
    return fail(Code::bad_argument,
                "{}={} is not one of op.start.timeout, op.stop.timeout, op.monitor.timeout (seconds), "
                "op.monitor.level (0 to 100), op.promotable=no",
                key, value);
}

std::string value_problem(const AgentParameter& parameter, const std::string& value) {
    if (parameter.required && value.empty()) return fmt::format("{}= must not be empty", parameter.name);
    if (value.empty()) return {};
    if (parameter.type == "integer" && !text::to_int(value))
        return fmt::format("{}={} is not a number", parameter.name, value);
    if (parameter.type == "boolean" && !is_boolean(value))
        return fmt::format("{}={} is neither true nor false", parameter.name, value);
    return {};
}

}  // namespace

Result<AgentName> parse_agent_name(const std::string& text) {
    const auto parts = text::split(text, ':');
    // The parts become a path.
    if (parts.size() != 3 || parts[0] != "ocf" || !is_word(parts[1]) || !is_word(parts[2]))
        return fail(Code::bad_argument, "\"{}\" is not an agent's name like ocf:heartbeat:nginx", text);
    return AgentName{parts[1], parts[2]};
}

Result<AgentSettings> parse_agent_info(std::string_view info) {
    std::vector<std::string> words;
    std::string word;
    bool quoted = false;
    bool any = false;
    for (const auto c : info) {
        if (c == '"') {
            quoted = !quoted;
            any = true;
        } else if (c == ' ' && !quoted) {
            if (any) words.push_back(std::move(word));
            word.clear();
            any = false;
        } else {
            word += c;
            any = true;
        }
    }
    if (quoted) return fail(Code::bad_argument, "info field damaged: \"{}\" has an open quote", info);
    if (any) words.push_back(std::move(word));
    return parse_agent_words(words);
}

Result<AgentSettings> parse_agent_words(const std::vector<std::string>& words) {
    AgentSettings settings;
    std::string agent;
    for (const auto& word : words) {
        const auto equals = word.find('=');
        const auto key = word.substr(0, equals);
        if (equals == std::string::npos && agent.empty() && &word == &words.front()) {
            agent = word;
            continue;
        }
        if (equals == std::string::npos || !is_word(key))
            return fail(Code::bad_argument, "\"{}\" is not parameter=value", word);
        const auto value = word.substr(equals + 1);
        if (key == "agent" && agent.empty()) {
            agent = value;
        } else if (key.starts_with("op.")) {
            UNDERSTUDY_CHECK(take_option(settings, key, value));
        } else if (!settings.parameters.emplace(key, value).second) {
            return fail(Code::bad_argument, "{}= is given twice", key);
        }
    }
    if (agent.empty())
        return fail(Code::bad_argument,
                    "info field damaged: it names no agent (agent=ocf:PROVIDER:TYPE parameter=value ...)");
    UNDERSTUDY_TRY(settings.agent, parse_agent_name(agent));
    return settings;
}

Result<std::string> agent_info(const AgentSettings& settings) {
    auto text = "agent=" + settings.agent.text();
    const auto add = [&](const std::string& key, const std::string& value) -> Result<> {
        if (value.find('"') != std::string::npos)
            return fail(Code::bad_argument, "{} must not hold a double quote: {}", key, value);
        const bool plain = !value.empty() && value.find(' ') == std::string::npos;
        text += plain ? fmt::format(" {}={}", key, value) : fmt::format(" {}=\"{}\"", key, value);
        return {};
    };
    for (const auto& [key, value] : settings.parameters)
        UNDERSTUDY_CHECK(add(key, value));
    for (const auto& [action, timeout] : settings.timeouts)
        UNDERSTUDY_CHECK(add(fmt::format("op.{}.timeout", action), std::to_string(timeout.count())));
    if (settings.check_level != 0)
        UNDERSTUDY_CHECK(add("op.monitor.level", std::to_string(settings.check_level)));
    if (settings.plain_mode) UNDERSTUDY_CHECK(add("op.promotable", "no"));
    return text;
}

const AgentAction* AgentMetadata::action(const std::string& wanted, int depth) const {
    for (const auto& each : actions)
        if (each.name == wanted && each.depth == depth) return &each;
    return nullptr;
}

Result<AgentMetadata> parse_metadata(std::string_view xml) {
    auto start = xml.find("<?xml");
    if (start == std::string_view::npos) start = xml.find("<resource-agent");
    if (start == std::string_view::npos)
        return fail(Code::failure, "the agent's meta-data is no XML: {}", text::trim(xml.substr(0, 200)));
    pugi::xml_document document;
    const auto parsed = document.load_buffer(xml.data() + start, xml.size() - start);
    const auto root = document.child("resource-agent");
    if (!parsed || !root)
        return fail(Code::failure, "the agent's meta-data cannot be read: {}",
                    parsed ? "there is no resource-agent element" : parsed.description());
    AgentMetadata metadata;
    metadata.name = root.attribute("name").as_string();
    metadata.description = text::trim(root.child("shortdesc").text().as_string());
    for (const auto& each : root.child("parameters").children("parameter")) {
        AgentParameter parameter;
        parameter.name = each.attribute("name").as_string();
        parameter.type = text::lower(each.child("content").attribute("type").as_string("string"));
        parameter.required = each.attribute("required").as_bool();
        parameter.deprecated = each.attribute("deprecated").as_bool() || each.child("deprecated");
        parameter.description = text::trim(each.child("shortdesc").text().as_string());
        metadata.parameters.push_back(std::move(parameter));
    }
    for (const auto& each : root.child("actions").children("action")) {
        AgentAction action;
        action.name = each.attribute("name").as_string();
        action.timeout = parse_duration(each.attribute("timeout").as_string()).value_or(seconds(0));
        action.depth = each.attribute("depth").as_int();
        metadata.actions.push_back(std::move(action));
    }
    return metadata;
}

Result<> check_settings(const AgentSettings& settings, const AgentMetadata& metadata) {
    std::vector<std::string> problems;
    std::vector<std::string> known;
    for (const auto& parameter : metadata.parameters)
        known.push_back(parameter.name);
    for (const auto& [key, value] : settings.parameters) {
        const auto at = std::find_if(metadata.parameters.begin(), metadata.parameters.end(),
                                     [&](const AgentParameter& each) { return each.name == key; });
        if (key.starts_with("CRM_meta"))
            problems.push_back(key + " asks for a clone, which cannot be protected");
        else if (at == metadata.parameters.end())
            problems.push_back(
                fmt::format("it has no parameter {} (it has: {})", key, text::join(known, ", ")));
        else if (auto problem = value_problem(*at, value); !problem.empty())
            problems.push_back(std::move(problem));
    }
    for (const auto& parameter : metadata.parameters)
        if (parameter.required && !settings.parameters.contains(parameter.name))
            problems.push_back(
                fmt::format("{}= is required{}", parameter.name,
                            parameter.description.empty() ? "" : " (" + parameter.description + ")"));
    for (const auto* action : {"start", "stop", "monitor"})
        if (metadata.action(action) == nullptr &&
            std::none_of(metadata.actions.begin(), metadata.actions.end(),
                         [&](const AgentAction& each) { return each.name == action; }))
            problems.push_back(fmt::format("it has no {} action", action));
    if (metadata.action("promote") != nullptr && !settings.plain_mode)
        problems.emplace_back(
            "it is promotable, and resources with two active states cannot be protected; "
            "op.promotable=no says that its plain mode is meant");
    if (settings.check_level != 0 && metadata.action("monitor", settings.check_level) == nullptr) {
        std::vector<std::string> levels;
        for (const auto& action : metadata.actions)
            if (action.name == "monitor") levels.push_back(std::to_string(action.depth));
        problems.push_back(fmt::format("it has no monitor of level {} (it has: {})", settings.check_level,
                                       text::join(levels, ", ")));
    }
    if (problems.empty()) return {};
    return fail(Code::bad_argument, "{}: {}", settings.agent.text(), text::join(problems, "; "));
}

std::chrono::seconds timeout_of(const AgentSettings& settings, const AgentMetadata& metadata,
                                const std::string& action, int depth) {
    if (const auto at = settings.timeouts.find(action); at != settings.timeouts.end()) return at->second;
    for (const auto wanted : {depth, 0})
        if (const auto* found = metadata.action(action, wanted);
            found != nullptr && found->timeout.count() > 0)
            return found->timeout;
    return kStandardTimeout;
}

ExitCode exit_code(int code) {
    switch (code) {
        case kOcfSuccess:
            return {"OCF_SUCCESS", "running", Severity::none};
        case 1:
            return {"OCF_ERR_GENERIC", "it failed", Severity::soft};
        case 2:
            return {"OCF_ERR_ARGS", "a parameter does not fit this node", Severity::hard};
        case kOcfUnimplemented:
            return {"OCF_ERR_UNIMPLEMENTED", "the agent has no such action", Severity::hard};
        case 4:
            return {"OCF_ERR_PERM", "a permission is missing on this node", Severity::hard};
        case kOcfInstalled:
            return {"OCF_ERR_INSTALLED", "what it needs is not installed on this node", Severity::hard};
        case 6:
            return {"OCF_ERR_CONFIGURED", "its parameters are wrong on every node", Severity::fatal};
        case kOcfNotRunning:
            return {"OCF_NOT_RUNNING", "it does not run", Severity::soft};
        case kOcfRunningPromoted:
            return {"OCF_RUNNING_PROMOTED", "it runs promoted, which cannot be protected", Severity::fatal};
        case kOcfFailedPromoted:
            return {"OCF_FAILED_PROMOTED", "it failed promoted, which cannot be protected", Severity::fatal};
        case kOcfDegraded:
            return {"OCF_DEGRADED", "it runs, but will fail soon", Severity::none};
        case kOcfDegradedPromoted:
            return {"OCF_DEGRADED_PROMOTED", "it runs promoted, which cannot be protected", Severity::fatal};
        default:
            return {std::to_string(code), "an exit code that OCF does not know", Severity::soft};
    }
}

}  // namespace understudy::kits
