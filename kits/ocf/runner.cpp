#include "kits/ocf/runner.h"

#include "base/text.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace understudy::kits {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

constexpr seconds kMetadataLimit{30};
constexpr std::size_t kMaxSaid = 1000;
// Agents take an interval of 0 for a probe.
constexpr auto kMonitorIntervalMs = "10000";

/// The metadata costs a shell each time, and only an upgrade of the agent changes it.
std::string cache_path(const Instance& instance, const AgentSettings& settings, const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return {};
    return fmt::format("{}/ocf/{}.{}.{}.{}.{}.xml", instance.layout.run(), settings.agent.provider,
                       settings.agent.type, status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

std::map<std::string, std::string> environment_of(const Instance& instance, const Agent& agent) {
    // Agents keep state there that must not outlive a boot.
    const auto temporary = instance.layout.root + "/run/resource-agents";
    std::error_code error;
    fs::create_directories(temporary, error);
    std::map<std::string, std::string> environment{
        {"OCF_ROOT", agent.root},
        {"OCF_RA_VERSION_MAJOR", "1"},
        {"OCF_RA_VERSION_MINOR", "1"},
        {"OCF_RESOURCE_INSTANCE", instance.tag.str()},
        {"OCF_RESOURCE_PROVIDER", agent.settings.agent.provider},
        {"OCF_RESOURCE_TYPE", agent.settings.agent.type},
        {"HA_RSCTMP", temporary},
        {"HA_LOGFACILITY", ""},  // to standard error, which is the engine's log
        {"HA_LOGFILE", ""},
        {"HA_LOGTAG", instance.tag.str()},
        {"HA_DATEFMT", " "},  // the engine's log has the time
        {"HA_debug", "0"},
    };
    for (const auto& [key, value] : agent.settings.parameters)
        environment["OCF_RESKEY_" + key] = value;
    return environment;
}

std::string last_words(const std::string& output) {
    std::vector<std::string> lines;
    for (const auto& line : text::split(output, '\n'))
        if (const auto trimmed = text::trim(line);
            !trimmed.empty() && (lines.empty() || lines.back() != trimmed))  // agents wait by asking again
            lines.emplace_back(trimmed);
    auto said = text::join(lines, " | ");
    if (said.size() > kMaxSaid) said.erase(0, said.size() - kMaxSaid);
    return said;
}

Result<AgentMetadata> metadata_of(const Instance& instance, const Agent& agent) {
    const auto cache = cache_path(instance, agent.settings, agent.path);
    {
        std::ifstream file(cache);
        const std::string content{std::istreambuf_iterator<char>(file), {}};
        if (!content.empty())
            if (auto metadata = parse_metadata(content)) return metadata;
    }
    Program program;
    program.words = {agent.path, "meta-data"};
    program.limit = kMetadataLimit;
    program.environment = environment_of(instance, agent);
    program.errors = runtime::StandardError::dropped;
    UNDERSTUDY_TRY(const auto outcome, run_program(program));
    if (outcome.exit_code != 0 || outcome.timed_out)
        return fail(Code::failure, "{} gives no meta-data: {}", agent.path,
                    outcome.timed_out ? "no answer in time" : exit_code(outcome.exit_code).name);
    UNDERSTUDY_TRY(auto metadata, parse_metadata(outcome.output));
    std::error_code error;
    fs::create_directories(instance.layout.run() + "/ocf", error);
    const auto temporary = fmt::format("{}.{}", cache, getpid());
    std::ofstream(temporary) << outcome.output;
    fs::rename(temporary, cache, error);
    return metadata;
}

}  // namespace

Result<Agent> load_agent(const Instance& instance, const AgentSettings& settings) {
    Agent agent;
    agent.settings = settings;
    const auto* root = std::getenv("OCF_ROOT");
    agent.root = root != nullptr && *root != '\0' ? root : "/usr/lib/ocf";
    agent.path = fmt::format("{}/resource.d/{}/{}", agent.root, settings.agent.provider, settings.agent.type);
    if (access(agent.path.c_str(), X_OK) != 0)
        return fail(Code::failure, "{} is not installed on {}: there is no program {}", settings.agent.text(),
                    instance.node, agent.path);
    UNDERSTUDY_TRY(agent.metadata, metadata_of(instance, agent));
    UNDERSTUDY_CHECK(check_settings(settings, agent.metadata));
    return agent;
}

Result<AgentAnswer> call_agent(const Instance& instance, const Agent& agent, const AgentCall& call) {
    const auto limit = timeout_of(agent.settings, agent.metadata, call.action, call.level);
    Program program;
    program.words = {agent.path, call.action};
    program.limit = limit;
    program.environment = environment_of(instance, agent);
    program.environment["OCF_CHECK_LEVEL"] = std::to_string(call.level);
    program.environment["OCF_RESKEY_CRM_meta_name"] = call.action;
    program.environment["OCF_RESKEY_CRM_meta_timeout"] = std::to_string(limit.count() * 1000);
    program.environment["OCF_RESKEY_CRM_meta_interval"] =
        call.action == "monitor" && !call.probe ? kMonitorIntervalMs : "0";
    UNDERSTUDY_TRY(const auto outcome, run_program(program));
    AgentAnswer answer;
    answer.code = outcome.exit_code;
    answer.timed_out = outcome.timed_out;
    answer.said = last_words(outcome.output);
    answer.meaning = exit_code(outcome.exit_code);
    if (outcome.timed_out)
        answer.meaning = {"no answer", fmt::format("it did not end within {} s", limit.count()),
                          Severity::soft};
    answer.what =
        fmt::format("{} of {}: {}, {}{}{}", call.action, agent.settings.agent.text(), answer.meaning.name,
                    answer.meaning.meaning, answer.said.empty() ? "" : ": ", answer.said);
    return answer;
}

}  // namespace understudy::kits
