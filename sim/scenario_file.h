#pragma once
// A simulated cluster and what happens to it, as a person writes it; docs/simulation.md is the manual.
//
//   nodes: 2                        alpha, beta, ...; hierarchies app0, app1, ... on ip0, ip1, ...
//   steps:
//     - expect: {app0: alpha}       waits until it runs there and nowhere else
//     - power_off: alpha
//     - expect: {app0: beta}
//       within: 10s

#include "sim/cluster_sim.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::sim {

struct ScenarioStep {
    enum class Action {
        expect,       // `where`, within `time`
        wait,         // `time`
        power_off,    // `nodes`, each
        power_on,     // and the daemon starts
        kill_daemon,  // kill -9; it stays away until power_on
        freeze,       // the whole host
        stop,         // SIGSTOP of the daemon
        resume,       // from either
        cut,          // every network between two nodes, both ways
        cut_one_way,  // from the first to the second
        heal,         // two nodes; none: everything
        lose_storage,
        find_storage,
        break_down,  // `tag` stops by itself wherever it runs
        fail,        // the next `times` runs of `kit_action` of `tag` on the node
        run,         // `command` on the node; ends with `exit_code`
    };
    Action action = Action::wait;
    int line = 0;
    std::vector<NodeName> nodes;
    runtime::Duration time{};
    std::map<Tag, std::vector<NodeName>> where;
    Tag tag;
    std::string kit_action;
    int times = 1;
    config::Command command;
    int exit_code = 0;
};

struct ScenarioFile {
    std::string about;
    std::uint64_t seed = 1;
    ClusterOptions cluster;
    std::vector<ScenarioStep> steps;
};

/// The error names the line.
Result<ScenarioFile> parse_scenario(std::string_view yaml);

struct PlayOptions {
    bool trace = false;  // everything, not only the notes
    bool log = false;    // the nodes' log goes to standard error
};
struct PlayResult {
    std::vector<std::string> problems;  // what is not as expected, and the rules of the simulator that broke
    std::string trace;
    std::vector<std::string> nodes;
};
PlayResult play(const ScenarioFile& scenario, const PlayOptions& options);

}  // namespace understudy::sim
