#pragma once
// Runs a resource agent as the OCF standard says. Blocking.

#include "base/result.h"
#include "kits/ocf/agent.h"
#include "kits/sdk/kit.h"

#include <string>

namespace understudy::kits {

struct Agent {
    AgentSettings settings;
    AgentMetadata metadata;
    std::string root;  // OCF_ROOT
    std::string path;
};

/// The installed agent that the settings name, with its metadata. Errors: it is not installed here, its
/// metadata cannot be had, the settings do not fit it.
Result<Agent> load_agent(const Instance& instance, const AgentSettings& settings);

struct AgentCall {
    std::string action;
    int level = 0;       // OCF_CHECK_LEVEL
    bool probe = false;  // whether it runs is not known yet
};
struct AgentAnswer {
    int code = 0;
    bool timed_out = false;
    std::string said;  // its last words

    [[nodiscard]] bool running() const { return !timed_out && (code == kOcfSuccess || code == kOcfDegraded); }
    /// Running or failed in a role that has no place here.
    [[nodiscard]] bool promoted() const {
        return !timed_out &&
               (code == kOcfRunningPromoted || code == kOcfFailedPromoted || code == kOcfDegradedPromoted);
    }
    /// "monitor of ocf:x:y: OCF_NOT_RUNNING, it does not run: ..."
    std::string what;
    ExitCode meaning;
};
/// Errors: the agent cannot be started.
Result<AgentAnswer> call_agent(const Instance& instance, const Agent& agent, const AgentCall& call);

}  // namespace understudy::kits
