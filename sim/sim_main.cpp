// understudy-sim: runs simulated clusters under random faults and says which seeds break an invariant; or a
// scenario that somebody wrote.

#include "base/text.h"
#include "cli/command_table.h"
#include "sim/jobs.h"
#include "sim/run.h"
#include "sim/scenario_file.h"
#include "sim/timeline.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>

namespace understudy::sim {
namespace {

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

/// The number of an option, `otherwise` without it; nullopt when it is none or not between the limits.
std::optional<std::int64_t> number(const config::Command& command, const std::string& option,
                                   std::int64_t otherwise, std::int64_t least, std::int64_t most) {
    if (!command.has(option)) return otherwise;
    const auto value = text::to_int(command.get(option));
    if (!value || *value < least || *value > most) return std::nullopt;
    return value;
}

Result<Arguments> arguments_of(const config::Command& command) {
    constexpr auto kAny = std::numeric_limits<std::int64_t>::max();
    Arguments result;
    if (!command.arguments.empty()) {
        if (command.arguments.size() != 2 || command.arguments[0] != "run")
            return fail(Code::syntax, "a scenario is played with: run FILE");
        result.scenario = command.arguments[1];
        for (const auto& [option, value] : command.options)
            if (option != "trace" && option != "log")
                return fail(Code::syntax, "--{} is for seeds; a scenario says it in its file", option);
    }
    const auto seeds = number(command, "seeds", result.range.count, 0, kAny);
    const auto first = number(command, "first-seed", result.range.first, 0, kAny);
    const auto jobs = number(command, "jobs", 1, 1, kMostJobs);
    const auto nodes = number(command, "nodes", 0, 2, 8);
    const auto seconds = number(command, "seconds", result.run.faults_for.count(), 0, 1'000'000);
    if (!seeds || !first || !jobs || !nodes || !seconds)
        return fail(Code::syntax,
                    "--seeds, --first-seed, --seconds take numbers, --jobs 1 to {}, --nodes 2 to 8",
                    kMostJobs);
    if (command.has("faults")) {
        result.run.faults = parse_faults(command.get("faults"));
        if (!result.run.faults)
            return fail(Code::syntax, "--faults takes numbers of faults, 3,8, or \"none\"");
    }
    result.range.count = *seeds;
    result.range.first = *first;
    result.jobs = static_cast<int>(*jobs);
    result.run.nodes = static_cast<int>(*nodes);
    result.run.faults_for = std::chrono::seconds(*seconds);
    result.run.quorum = command.has("quorum") ? 1 : command.has("no-quorum") ? -1 : 0;
    result.minimise = command.has("minimise");
    result.timeline = command.has("timeline");
    result.run.trace = command.has("trace");
    result.run.log = command.has("log");
    for (const auto& [option, value] : command.options) {
        if (option == "jobs" || option == "seeds" || option == "first-seed") continue;
        result.for_each_piece.push_back("--" + option);
        if (!value.empty()) result.for_each_piece.push_back(value);
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
    using namespace understudy;
    const auto& spec = *cli::find_command("understudy-sim");
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (std::find(words.begin(), words.end(), "--help") != words.end()) {
        fmt::print("{}", cli::help(spec));
        return 0;
    }
    const auto command = cli::parse(spec, words);
    const auto arguments = command ? sim::arguments_of(*command)
                                   : Result<sim::Arguments>(tl::unexpected<Error>(command.error()));
    if (!arguments) {
        fmt::print(stderr, "understudy-sim: {}\nusage: {}\n", arguments.error().text, cli::synopsis(spec));
        return static_cast<int>(Code::syntax);
    }
    return arguments->scenario.empty() ? sim::run_seeds(*arguments) : sim::run_file(*arguments);
}
