#pragma once
// Runs another program for a command: no shell, with a limit. Blocking.

#include "base/result.h"

#include <chrono>
#include <string>
#include <vector>

namespace understudy::cli {

inline constexpr std::size_t kMaxToolOutput = 16UL << 20;

struct ToolOutcome {
    int exit_code = -1;
    std::string output;  // standard output
    std::string errors;  // standard error
};

/// Whether PATH, or where administrators' programs are, has it.
bool has_tool(const std::string& name);

/// Errors: there is no such program, it did not end within the limit (and was killed), it printed too much.
Result<ToolOutcome> run_tool(const std::vector<std::string>& words, const std::string& input = {},
                             std::chrono::milliseconds limit = std::chrono::seconds(30));

}  // namespace understudy::cli
