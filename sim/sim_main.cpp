// understudy-sim: runs simulated clusters under random faults and says which seeds break an invariant; or a
// scenario that somebody wrote.

#include "base/text.h"
#include "sim/jobs.h"
#include "sim/run.h"
#include "sim/scenario_file.h"
#include "sim/timeline.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

namespace understudy::sim {
namespace {

constexpr std::string_view kUsage =
    "usage: understudy-sim [--seeds N] [--first-seed S] [--jobs J] [--nodes K] [--seconds T]\n"
    "                      [--quorum|--no-quorum] [--faults N,N,...] [--minimise]\n"
    "                      [--timeline|--trace] [--log]\n"
    "       understudy-sim run FILE [--trace] [--log]\n\n"
    "Runs N simulated clusters (default 100), one a seed from S (default 1) on, each T virtual seconds\n"
    "(default 300) under random faults and then in peace. A seed replays its run exactly.\n\n"
    "  --jobs J    J processes at a time (default 1)\n"
    "  --nodes K   nodes of each cluster, 2 to 8 (default: 2 to 7, by seed)\n"
    "  --quorum, --no-quorum   every cluster has quorum, or none has (default: a share of the seeds)\n"
    "  --faults N,N,...  of the faults only those with these numbers; \"none\": no fault\n"
    "  --minimise  say of each failing seed how few of its faults are enough\n"
    "  --timeline  print what happened, a column a node, of each failing seed or of the only one\n"
    "  --trace     print everything that happened instead, frames and processes too\n"
    "  --log       the nodes' own log goes to standard error\n\n"
    "run plays the scenario of a YAML file (docs/simulation.md), prints what happened and says whether it "
    "went\n"
    "as the file expects.\n\n"
    "Exit code: 0 all passed, 1 some failed, 2 wrong usage.\n";
constexpr std::int64_t kMostJobs = 256;

struct Arguments {
    SeedRange range;
    int jobs = 1;
    bool minimise = false;
    bool timeline = false;
    RunOptions run;
    std::vector<std::string> for_each_piece;  // what the processes of --jobs get
    std::string scenario;                     // a file
};

std::optional<std::set<int>> parse_faults(std::string_view value) {
    std::set<int> numbers;
    if (value == "none") return numbers;
    for (const auto& word : text::split(value, ',')) {
        const auto number = text::to_int(word);
        if (!number || *number < 1) return std::nullopt;
        numbers.insert(static_cast<int>(*number));
    }
    return numbers;
}

std::string faults_text(const std::set<int>& faults) {
    return faults.empty() ? "none" : fmt::format("{}", fmt::join(faults, ","));
}

bool take_switch(std::string_view word, Arguments& into) {
    if (word == "--trace")
        into.run.trace = true;
    else if (word == "--log")
        into.run.log = true;
    else if (word == "--minimise")
        into.minimise = true;
    else if (word == "--timeline")
        into.timeline = true;
    else if (word == "--quorum" || word == "--no-quorum")
        into.run.quorum = word == "--quorum" ? 1 : -1;
    else
        return false;
    return true;
}

bool take_option(std::string_view word, std::string_view value, Arguments& into) {
    if (word == "--faults") {
        into.run.faults = parse_faults(value);
        return into.run.faults.has_value();
    }
    const auto number = text::to_int(value);
    if (!number || *number < 0) return false;
    if (word == "--seeds")
        into.range.count = *number;
    else if (word == "--first-seed")
        into.range.first = *number;
    else if (word == "--jobs" && *number >= 1 && *number <= kMostJobs)
        into.jobs = static_cast<int>(*number);
    else if (word == "--nodes" && *number >= 2 && *number <= 8)
        into.run.nodes = static_cast<int>(*number);
    else if (word == "--seconds")
        into.run.faults_for = std::chrono::seconds(*number);
    else
        return false;
    return true;
}

std::optional<Arguments> parse(std::vector<std::string> words) {
    Arguments result;
    if (words.size() >= 2 && words[0] == "run") {
        result.scenario = words[1];
        words.erase(words.begin(), words.begin() + 2);
    }
    for (std::size_t i = 0; i < words.size(); ++i) {
        std::vector<std::string> taken{words[i]};
        if (!take_switch(words[i], result)) {
            if (i + 1 == words.size() || !result.scenario.empty()) return std::nullopt;
            taken.push_back(words[++i]);
            if (!take_option(taken[0], taken[1], result)) return std::nullopt;
        }
        if (taken[0] != "--jobs" && taken[0] != "--seeds" && taken[0] != "--first-seed")
            result.for_each_piece.insert(result.for_each_piece.end(), taken.begin(), taken.end());
    }
    return result;
}

void print_failure(std::int64_t seed, const RunResult& result, const Arguments& arguments) {
    fmt::print("seed {} fails ({})\n", seed, result.summary);
    for (const auto& violation : result.violations)
        fmt::print("  {}\n", violation);
    auto replay = fmt::format("understudy-sim --seeds 1 --first-seed {} --seconds {}", seed,
                              arguments.run.faults_for.count());
    if (arguments.run.nodes != 0) replay += fmt::format(" --nodes {}", arguments.run.nodes);
    if (arguments.run.quorum != 0) replay += arguments.run.quorum > 0 ? " --quorum" : " --no-quorum";
    auto faults = arguments.run.faults;
    if (arguments.minimise) {
        faults = minimise(static_cast<std::uint64_t>(seed), arguments.run);
        if (faults) fmt::print("  {} of its {} faults are enough\n", faults->size(), result.faults);
    }
    if (faults) replay += " --faults " + faults_text(*faults);
    fmt::print("  replay: {} --timeline\n", replay);
}

Totals run_here(const Arguments& arguments) {
    Totals totals;
    for (std::int64_t i = 0; i < arguments.range.count; ++i) {
        const auto seed = arguments.range.first + i;
        const auto result = run_seed(static_cast<std::uint64_t>(seed), arguments.run);
        totals.virtual_seconds += result.virtual_seconds;
        const bool bad = !result.violations.empty();
        if (bad || arguments.range.count == 1) {
            if (arguments.run.trace) fmt::print("{}", result.trace);
            if (arguments.timeline) fmt::print("{}", timeline(result.trace, result.nodes));
        }
        ++(bad ? totals.failed : totals.passed);
        if (bad) print_failure(seed, result, arguments);
        std::fflush(stdout);
    }
    return totals;
}

int run_seeds(const Arguments& arguments) {
    const auto begin = std::chrono::steady_clock::now();
    const auto totals = arguments.jobs > 1
                            ? run_jobs(std::filesystem::canonical("/proc/self/exe").string(), arguments.range,
                                       arguments.jobs, arguments.for_each_piece)
                            : run_here(arguments);
    const auto wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    fmt::print("{}", totals_text(totals, wall));
    return totals.failed == 0 ? 0 : 1;
}

int run_file(const Arguments& arguments) {
    std::ifstream file(arguments.scenario);
    std::stringstream content;
    content << file.rdbuf();
    if (!file) {
        fmt::print(stderr, "understudy-sim: {} cannot be read\n", arguments.scenario);
        return 2;
    }
    const auto scenario = parse_scenario(content.str());
    if (!scenario) {
        fmt::print(stderr, "understudy-sim: {}: {}\n", arguments.scenario, scenario.error().text);
        return 2;
    }
    const auto result = play(*scenario, {arguments.run.trace, arguments.run.log});
    fmt::print("{}", arguments.run.trace ? result.trace : timeline(result.trace, result.nodes));
    for (const auto& problem : result.problems)
        fmt::print("NOT AS EXPECTED: {}\n", problem);
    if (result.problems.empty()) fmt::print("as expected\n");
    return result.problems.empty() ? 0 : 1;
}

}  // namespace
}  // namespace understudy::sim

int main(int argc, char** argv) {
    namespace sim = understudy::sim;
    const auto arguments = sim::parse({argv + 1, argv + argc});
    if (!arguments) {
        fmt::print(stderr, "{}", sim::kUsage);
        return 2;
    }
    return arguments->scenario.empty() ? sim::run_seeds(*arguments) : sim::run_file(*arguments);
}
