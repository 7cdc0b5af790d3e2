#pragma once
// One run of the simulator: a cluster by seed, faults by seed, then quiet; what was violated and the trace.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace understudy::sim {

struct RunOptions {
    int nodes = 0;                         // 0: two or three, by seed
    int quorum = 0;                        // 0: a share of the seeds, 1: always, -1: never
    std::chrono::seconds faults_for{300};  // virtual time under faults
    bool trace = false;                    // keep the full trace
    bool log = false;                      // the nodes' log goes to standard error
};

struct RunResult {
    std::vector<std::string> violations;
    std::string trace;    // with RunOptions::trace all of it, otherwise the notes
    std::string summary;  // the cluster and what it suffered, for a person
    double virtual_seconds = 0;
    std::uint64_t events = 0;
};

RunResult run_seed(std::uint64_t seed, const RunOptions& options);

}  // namespace understudy::sim
