#pragma once
// An OCF resource agent as data: its name, its metadata, what its exit codes mean, what the information of a
// resource says about it. Pure. The standard is OCF Resource Agent API 1.0 and 1.1.

#include "base/result.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::kits {

/// "ocf:heartbeat:nginx".
struct AgentName {
    std::string provider;
    std::string type;
    [[nodiscard]] std::string text() const { return "ocf:" + provider + ":" + type; }
};
Result<AgentName> parse_agent_name(const std::string& text);

/// The information of a resource: "agent=ocf:heartbeat:nginx configfile=/srv/nginx.conf op.monitor.level=10".
/// "agent=" may be left out of a first word. The others are the agent's parameters; those that begin with
/// "op." are for us:
///   op.ACTION.timeout=SECONDS   instead of the one of the metadata (start, stop, monitor)
///   op.monitor.level=N          the depth of the deep check
///   op.promotable=no            the agent's plain mode is meant, though it could be promoted
struct AgentSettings {
    AgentName agent;
    std::map<std::string, std::string> parameters;
    std::map<std::string, std::chrono::seconds> timeouts;  // by action
    int check_level = 0;
    bool plain_mode = false;
};
Result<AgentSettings> parse_agent_info(std::string_view info);
/// The same from words, each without quotes.
Result<AgentSettings> parse_agent_words(const std::vector<std::string>& words);
/// The text parse_agent_info reads. Errors: a value cannot be written.
Result<std::string> agent_info(const AgentSettings& settings);

struct AgentParameter {
    std::string name;
    std::string type;  // string, integer, boolean, ...
    bool required = false;
    bool deprecated = false;
    std::string description;  // short
};
struct AgentAction {
    std::string name;
    std::chrono::seconds timeout{0};  // 0: not said
    int depth = 0;
};
struct AgentMetadata {
    std::string name;
    std::string description;
    std::vector<AgentParameter> parameters;
    std::vector<AgentAction> actions;

    [[nodiscard]] const AgentAction* action(const std::string& wanted, int depth = 0) const;
};
/// What stands before the XML (a warning, a log line) is skipped.
Result<AgentMetadata> parse_metadata(std::string_view xml);

/// Whether an agent with this metadata can be protected with these settings: known parameters, the required
/// ones, values of their types, start, stop and monitor there, no promotion. The error names everything that
/// is wrong.
Result<> check_settings(const AgentSettings& settings, const AgentMetadata& metadata);

/// The time an action gets: the settings', else the metadata's, else 20 s as the standard says.
std::chrono::seconds timeout_of(const AgentSettings& settings, const AgentMetadata& metadata,
                                const std::string& action, int depth = 0);

/// What an exit code says. Soft: this node may try again. Hard: not on this node. Fatal: on no node.
enum class Severity { none, soft, hard, fatal };
struct ExitCode {
    std::string name;  // "OCF_ERR_INSTALLED"
    std::string meaning;
    Severity severity = Severity::soft;
};
ExitCode exit_code(int code);

inline constexpr int kOcfSuccess = 0;
inline constexpr int kOcfUnimplemented = 3;
inline constexpr int kOcfInstalled = 5;
inline constexpr int kOcfNotRunning = 7;
inline constexpr int kOcfRunningPromoted = 8;
inline constexpr int kOcfFailedPromoted = 9;
inline constexpr int kOcfDegraded = 190;
inline constexpr int kOcfDegradedPromoted = 191;

}  // namespace understudy::kits
