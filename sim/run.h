#pragma once
// One run of the simulator: a cluster by seed, faults by seed, then quiet; what was violated and the trace.
// Runs share nothing: the same seed and options give the same result, in any process.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace understudy::sim {

struct RunOptions {
    int nodes = 0;                         // 0: two to seven, by seed
    int quorum = 0;                        // 0: a share of the seeds, 1: always, -1: never
    std::chrono::seconds faults_for{300};  // virtual time under faults
    std::optional<std::set<int>> faults;   // only those with these numbers strike; absent: all
    bool trace = false;                    // keep the full trace
    bool log = false;                      // the nodes' log goes to standard error
};

struct RunResult {
    std::vector<std::string> violations;
    std::string trace;    // with RunOptions::trace all of it, otherwise the notes
    std::string summary;  // the cluster and what it suffered, for a person
    std::vector<std::string> nodes;
    int faults = 0;  // that there would be; RunOptions::faults chooses among them
    double virtual_seconds = 0;
    std::uint64_t events = 0;
};

RunResult run_seed(std::uint64_t seed, const RunOptions& options);

/// Leaves out more and more of the faults `numbers`, in ever smaller pieces, as long as `fails` holds for the
/// rest; what is left fails, and does not without any one of them. `fails` must hold for `numbers`. Pure.
std::set<int> minimise(const std::set<int>& numbers, const std::function<bool(const std::set<int>&)>& fails);

/// The faults that are enough for the seed to fail; nullopt when it does not. Takes a run for every try, some
/// hundred of them at most.
std::optional<std::set<int>> minimise(std::uint64_t seed, RunOptions options);

}  // namespace understudy::sim
