#pragma once
// Action scripts of recovery kits: where they are, how they run. Spec: CLU-134, CLU-148 to CLU-151, CMD-110,
// CMD-111. Threading: loop thread only.

#include "base/result.h"
#include "base/types.h"
#include "runtime/task.h"
#include "runtime/world.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace understudy::recovery {

struct ScriptResult {
    int exit_code = 0;
    std::string output;      // all of it, bounded by ProcessSpec::max_output
    std::string last_lines;  // for an error's text
};

class Scripts {
  public:
    Scripts(runtime::World world, std::string lkroot, const std::map<std::string, std::string>& settings,
            const std::map<std::string, std::string>& environment);

    /// Path of an action of a type: the type's own, else the application's; empty when there is none. Names
    /// match whatever their case.
    [[nodiscard]] std::string find(const AppName& app, const TypeName& type, const std::string& action) const;
    /// The kits that DISABLED_KITS names, "app/type" each, as written there.
    [[nodiscard]] std::vector<std::string> disabled_kits() const;
    /// Whether this node may bring resources of the kit in service: it is not among disabled_kits(). Spec:
    /// CLU-130.
    [[nodiscard]] bool enabled(const AppName& app, const TypeName& type) const;
    /// Paths of the scripts with this name that every operation runs: the core's, then each application's in
    /// bytewise order. Spec: CMD-034.
    [[nodiscard]] std::vector<std::string> global(const std::string& name) const;
    /// Path of one of the core's own scripts, which belong to no application; empty when there is none.
    [[nodiscard]] std::string core(const std::string& name) const;
    /// Path of `name` in `directory`, whatever its case there; as given when there is none.
    [[nodiscard]] std::string descend(const std::string& directory, const std::string& name) const;
    /// Whether the kit says of a type that its deep check does not cover the quick one: a file of that name
    /// in the type's directory. Spec: CLU-162.
    [[nodiscard]] bool deep_needs_quick(const AppName& app, const TypeName& type) const;
    /// The complete environment of every script. Spec: CLU-150.
    [[nodiscard]] const std::map<std::string, std::string>& environment() const { return environment_; }
    using Started = std::function<void(runtime::ProcessHandle)>;
    /// Runs `path` to its end, without a limit (Spec: CLU-142); its output goes to the log with tag and
    /// action. The error says why it could not be started; a non-zero exit code is no error here. `started`
    /// gets the process, for callers that may have to end it.
    runtime::Task<Result<ScriptResult>> run(Tag tag, std::string action, std::string path,
                                            std::vector<std::string> arguments, Started started = {});

  private:
    [[nodiscard]] std::string find_in(const std::string& directory, const std::string& action) const;
    [[nodiscard]] std::string directory_of(const AppName& app, const TypeName& type) const;

    runtime::World world_;
    std::string lkroot_;
    std::map<std::string, std::string> environment_;
};

/// An action's name is a file name: letters, digits, "-", "_", "."; no leading dot, no path.
[[nodiscard]] bool is_action_name(const std::string& action);

}  // namespace understudy::recovery
