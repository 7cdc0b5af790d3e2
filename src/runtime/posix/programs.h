#pragma once
// Other programs, started by a caller that may block and has one thread: commands, kit actions, a daemon's
// first steps. Daemons that run use PosixProcesses. No shell is involved unless the caller names one.

#include "base/result.h"
#include "runtime/processes.h"

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace understudy::runtime {

inline constexpr std::size_t kMaxProgramOutput = 256UL << 10;

enum class StandardError { merged, separate, dropped };

struct Program {
    std::vector<std::string> words;  // words[0] is looked up as by find_program()
    std::string user;                // run as this account with all its groups; empty: as we are
    std::string directory = "/";
    std::chrono::milliseconds limit = std::chrono::seconds(30);
    std::string input = {};                               // its standard input
    std::map<std::string, std::string> environment = {};  // beside what we have
    StandardError errors = StandardError::merged;
    std::size_t max_output = kMaxProgramOutput;  // bytes kept of each stream; the rest is discarded
};

/// Where PATH, or the directories of administrators' programs, have `name`; empty: nowhere. A name with a
/// slash is its own path.
std::string find_program(const std::string& name);

/// Runs a program to its end, in a session of its own; it is killed with its group at the limit. Its end
/// counts, not that of its output, which a daemon that it started may keep open. Error: it is not installed,
/// or cannot be started.
Result<ProcessResult> run_program(const Program& program);

/// Starts a program that outlives us: init's child, in a session of its own and in "/". What it prints is
/// appended to the file `log`; empty: dropped. Whether it comes up is for the caller to see. Error: no
/// process could be made.
Result<> start_detached(const std::vector<std::string>& words, const std::string& log = {});

}  // namespace understudy::runtime
