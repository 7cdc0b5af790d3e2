#pragma once
// Child processes: kit actions and the tools they need. No shell is involved unless the caller names one.

#include "base/result.h"
#include "runtime/tasks.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace understudy::runtime {

struct ProcessSpec {
    std::string path;                                // executable; made absolute by the caller
    std::vector<std::string> arguments;              // without argv[0]
    std::map<std::string, std::string> environment;  // complete: nothing is inherited (Spec: CLU-150)
    std::string directory;                           // working directory, empty: "/"
    std::optional<Duration> limit;                   // killed with its process group after it
    std::size_t max_output = 1UL << 20;  // bytes kept of `output`, and of `errors`; the rest is discarded
    bool separate_errors = false;        // standard error goes to `errors` instead of `output`
};

struct ProcessResult {
    int exit_code = -1;  // 128 + signal when it was killed
    bool timed_out = false;
    std::string output;      // stdout and stderr, merged in order
    std::string errors;      // stderr, with ProcessSpec::separate_errors
    bool truncated = false;  // there was more than max_output
};

enum class ProcessHandle : std::uint64_t {};

class Processes {
  public:
    /// A whole line of the process's output, without its newline.
    using LineHandler = std::function<void(std::string_view line)>;
    using ExitHandler = std::function<void(Result<ProcessResult>)>;
    virtual ~Processes() = default;
    /// Starts it in a session of its own. on_exit runs exactly once, with the error when it could not be
    /// started. It ends when the process exits, even if a daemon it started keeps the output pipe open.
    virtual ProcessHandle start(const ProcessSpec& spec, LineHandler on_line, ExitHandler on_exit) = 0;
    /// Kills the process group; on_exit still runs.
    virtual void kill(ProcessHandle process) = 0;
    /// pid of a started process, 0 when it has ended.
    [[nodiscard]] virtual int pid(ProcessHandle process) const = 0;
    /// Whether a process with this pid exists on the node (used to find dead owners of locks and
    /// reservations).
    [[nodiscard]] virtual bool alive(int pid) const = 0;
};

}  // namespace understudy::runtime
