// understudy-sim: runs simulated clusters under random faults and says which seeds break an invariant.

#include "base/text.h"
#include "sim/run.h"

#include <chrono>
#include <cstdio>
#include <optional>

namespace understudy::sim {
namespace {

constexpr std::string_view kUsage =
    "usage: understudy-sim [--seeds N] [--first-seed S] [--nodes K] [--seconds T] [--quorum|--no-quorum]\n"
    "                      [--trace] [--log]\n\n"
    "Runs N simulated clusters (default 100), one a seed from S (default 1) on, each T virtual seconds\n"
    "(default 300) under random faults and then in peace. A seed replays its run exactly.\n\n"
    "  --nodes K   nodes of each cluster, 2 to 8 (default: 2 or 3, by seed)\n"
    "  --quorum, --no-quorum   every cluster has quorum, or none has (default: a share of the seeds)\n"
    "  --trace     print the full trace of each failing seed, or of the only one\n"
    "  --log       the nodes' own log goes to standard error\n\n"
    "Exit code: 0 all passed, 1 some failed, 2 wrong usage.\n";

struct Arguments {
    std::int64_t seeds = 100;
    std::int64_t first_seed = 1;
    RunOptions run;
};

std::optional<Arguments> parse(int argc, char** argv) {
    Arguments result;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--trace") {
            result.run.trace = true;
            continue;
        }
        if (word == "--log") {
            result.run.log = true;
            continue;
        }
        if (word == "--quorum" || word == "--no-quorum") {
            result.run.quorum = word == "--quorum" ? 1 : -1;
            continue;
        }
        const auto value = i + 1 < argc ? text::to_int(argv[i + 1]) : std::nullopt;
        if (!value || *value < 0) return std::nullopt;
        ++i;
        if (word == "--seeds")
            result.seeds = *value;
        else if (word == "--first-seed")
            result.first_seed = *value;
        else if (word == "--nodes" && *value >= 2 && *value <= 8)
            result.run.nodes = static_cast<int>(*value);
        else if (word == "--seconds")
            result.run.faults_for = std::chrono::seconds(*value);
        else
            return std::nullopt;
    }
    return result;
}

int run(const Arguments& arguments) {
    const auto begin = std::chrono::steady_clock::now();
    std::int64_t failed = 0;
    double virtual_seconds = 0;
    for (std::int64_t i = 0; i < arguments.seeds; ++i) {
        const auto seed = arguments.first_seed + i;
        const auto result = run_seed(static_cast<std::uint64_t>(seed), arguments.run);
        virtual_seconds += result.virtual_seconds;
        const bool bad = !result.violations.empty();
        if (arguments.run.trace && (bad || arguments.seeds == 1)) fmt::print("{}", result.trace);
        if (!bad) continue;
        ++failed;
        fmt::print("seed {} fails ({})\n", seed, result.summary);
        for (const auto& violation : result.violations)
            fmt::print("  {}\n", violation);
        fmt::print("  replay: understudy-sim --seeds 1 --first-seed {} --seconds {}{}{} --trace\n", seed,
                   arguments.run.faults_for.count(),
                   arguments.run.nodes != 0 ? fmt::format(" --nodes {}", arguments.run.nodes) : "",
                   arguments.run.quorum == 0  ? ""
                   : arguments.run.quorum > 0 ? " --quorum"
                                              : " --no-quorum");
        std::fflush(stdout);
    }
    const auto wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    fmt::print("{:.0f} virtual seconds in {:.1f} s\n", virtual_seconds, wall);
    fmt::print("{} passed, {} failed\n", arguments.seeds - failed, failed);
    return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace understudy::sim

int main(int argc, char** argv) {
    const auto arguments = understudy::sim::parse(argc, argv);
    if (!arguments) {
        fmt::print(stderr, "{}", understudy::sim::kUsage);
        return 2;
    }
    return understudy::sim::run(*arguments);
}
