#include "sim/jobs.h"

#include "runtime/posix/posix_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <set>

namespace understudy::sim {
namespace {

// Small enough that the last ones end together, large enough that starting them costs nothing.
constexpr std::int64_t kPiece = 25;
constexpr auto kPieceLimit = std::chrono::minutes(30);

class Jobs {
  public:
    Jobs(std::string program, const SeedRange& range, int jobs, const std::vector<std::string>& words)
        : program_(std::move(program)),
          next_(range.first),
          end_(range.first + range.count),
          jobs_(jobs),
          words_(words) {}

    Totals run() {
        world_.on_terminate([this] {
            next_ = end_;
            for (const auto process : running_)
                world_.world().processes.kill(process);
        });
        for (int i = 0; i < jobs_; ++i)
            begin();
        if (!running_.empty()) world_.run();
        return totals_;
    }

  private:
    void begin() {
        if (next_ >= end_) {
            if (running_.empty()) world_.stop();
            return;
        }
        const SeedRange piece{next_, std::min(kPiece, end_ - next_)};
        next_ += piece.count;
        runtime::ProcessSpec spec;
        spec.path = program_;
        spec.arguments = words_;
        for (const auto& word : {std::string("--first-seed"), std::to_string(piece.first),
                                 std::string("--seeds"), std::to_string(piece.count)})
            spec.arguments.push_back(word);
        spec.limit = kPieceLimit;
        const auto process = std::make_shared<runtime::ProcessHandle>();
        *process = world_.world().processes.start(
            spec, [this](std::string_view line) { take(line); },
            [this, piece, process](const Result<runtime::ProcessResult>& ended) {
                running_.erase(*process);
                end(piece, ended);
                begin();
            });
        running_.insert(*process);
    }

    void take(std::string_view line) {
        const std::string text(line);
        long long passed = 0;
        long long failed = 0;
        if (text.find(" virtual seconds in ") != std::string::npos) {
            totals_.virtual_seconds += std::strtod(text.c_str(), nullptr);
        } else if (std::sscanf(text.c_str(), "%lld passed, %lld failed", &passed, &failed) == 2) {
            totals_.passed += passed;
            totals_.failed += failed;
        } else {
            fmt::print("{}\n", text);
            std::fflush(stdout);
        }
    }

    // 0 and 1 have told their counts.
    void end(const SeedRange& piece, const Result<runtime::ProcessResult>& ended) {
        if (ended && (ended->exit_code == 0 || ended->exit_code == 1)) return;
        totals_.failed += piece.count;
        fmt::print("seeds {} to {}: {}\n", piece.first, piece.first + piece.count - 1,
                   !ended             ? ended.error().text
                   : ended->timed_out ? "not done in time"
                                      : fmt::format("the program ended with {}", ended->exit_code));
        std::fflush(stdout);
    }

    runtime::PosixWorld world_{runtime::CredentialPaths{}};
    std::string program_;
    std::int64_t next_;
    std::int64_t end_;
    int jobs_;
    std::vector<std::string> words_;
    std::set<runtime::ProcessHandle> running_;
    Totals totals_;
};

}  // namespace

std::string totals_text(const Totals& totals, double wall_seconds) {
    return fmt::format("{:.0f} virtual seconds in {:.1f} s\n{} passed, {} failed\n", totals.virtual_seconds,
                       wall_seconds, totals.passed, totals.failed);
}

Totals run_jobs(const std::string& program, const SeedRange& range, int jobs,
                const std::vector<std::string>& words) {
    return Jobs(program, range, jobs, words).run();
}

}  // namespace understudy::sim
