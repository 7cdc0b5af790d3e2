#pragma once
// What a recovery kit is made of. A kit is one program linked under the name of each action (restore, remove,
// quickchk, deepchk); the SDK reads the arguments and the instance, runs the action and turns its result into
// the exit code.
//
//   int main(int argc, char** argv) {
//       return kits::run(argc, argv, {{"restore", restore}, {"remove", remove}});
//   }
//
// Contract: -t <tag> -i <id>, exit 0 or 1, lines on standard output are the engine's log (Spec: CLU-147 to
// CLU-152). Actions are single-threaded programs and may block; every wait in them has a limit.

#include "base/result.h"
#include "base/types.h"
#include "config/layout.h"
#include "runtime/posix/programs.h"

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace understudy::kits {

/// The instance an action works on.
struct Instance {
    Tag tag;
    ResourceId id;
    AppName app;
    TypeName type;
    bool exists = true;     // false in create, canextend and extend when it is not there yet
    std::string info_text;  // the info field as it is
    /// The info field as key=value words, e.g. "device=eth0 prefix=24"; empty for kits with free text.
    std::map<std::string, std::string> info;
    std::vector<std::string> arguments;  // the caller's own, after the engine's
    config::Layout layout;
    std::string node;   // this node's name
    std::string state;  // ISP, OSU, ... as the database has it

    /// The info value, or an error that names the key, the tag and how to set it.
    [[nodiscard]] Result<std::string> required(const std::string& key) const;
    [[nodiscard]] std::string optional(const std::string& key, const std::string& otherwise) const;
    /// A setting of etc/default/LifeKeeper, which the engine puts into the environment.
    [[nodiscard]] std::int64_t setting(const char* key, std::int64_t otherwise, std::int64_t least) const;
};

using Action = std::function<Result<>(const Instance&)>;

struct KitOptions {
    bool free_info = false;  // the info field is the kit's own text, not key=value words
};

/// Runs the action named by argv[0] (its file name without extension). A check of what is not in service here
/// and one during maintenance succeed without being run (Spec: CLU-149, CLU-171); recover is refused then.
int run(int argc, char** argv, const std::map<std::string, Action>& actions, KitOptions options = {});

/// "device=eth0 prefix=24" into its words; values may be quoted with ". Code::bad_argument on a malformed
/// word.
Result<std::map<std::string, std::string>> parse_info(std::string_view info);

/// A line in the engine's log.
void say(const std::string& line);

using Program = runtime::Program;
using Outcome = runtime::ProcessResult;
using runtime::run_program;
/// run_program(), any exit code but 0 and a time-out being errors that carry the program's last words.
Result<> must_run(const Program& program);

/// Looks at `condition` every `pause` until it holds or `limit` has passed.
bool wait_until(std::chrono::milliseconds limit, const std::function<bool()>& condition,
                std::chrono::milliseconds pause = std::chrono::milliseconds(10));

/// A tag as a file name: "/" and what else a name may not hold are percent-encoded.
std::string file_name_of(const Tag& tag);

/// "postgres(123), bash(456)": processes that keep files, a working directory or a mount below `path` open.
std::string holders_of(const std::string& path);

}  // namespace understudy::kits
