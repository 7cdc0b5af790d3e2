#pragma once
// Many seeds on several processors: pieces of the range, each run by another process of this program.

#include <cstdint>
#include <string>
#include <vector>

namespace understudy::sim {

struct SeedRange {
    std::int64_t first = 1;
    std::int64_t count = 100;
};

struct Totals {
    std::int64_t passed = 0;
    std::int64_t failed = 0;
    double virtual_seconds = 0;
};

/// How the end of a run is told and read: two lines on standard output.
std::string totals_text(const Totals& totals, double wall_seconds);

/// Runs `program` for the range, `jobs` processes at a time, each with `words` and its own --first-seed and
/// --seeds. What they print about failing seeds is printed as it comes. A process that crashes or takes
/// longer than kPieceLimit counts its whole piece as failed. Blocks; SIGINT and SIGTERM end it.
Totals run_jobs(const std::string& program, const SeedRange& range, int jobs,
                const std::vector<std::string>& words);

}  // namespace understudy::sim
