// The Generic Application kit: anything that scripts can start and stop. Spec: KIT-164 to KIT-181, KIT-214.
//
// id and info are the scripts' own. Each action runs this node's copy of the script with that role, in its
// place: its exit code is the action's, and it has no time limit (Spec: KIT-170).

#include "base/text.h"
#include "kits/gen/configure.h"
#include "kits/gen/scripts.h"
#include "kits/sdk/kit.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace understudy::kits {
namespace {

Action script(const std::string& role, bool optional) {
    return [role, optional](const Instance& instance) -> Result<> {
        const auto path = copies_of(instance) + "/" + role;
        if (access(path.c_str(), X_OK) != 0) {
            if (optional) return {};
            return fail(Code::failure,
                        "{} has no {} script on {}; perform_action -t {} -a update -- action={} script=PATH "
                        "gives it one",
                        instance.tag.str(), role, instance.node, instance.tag.str(), role);
        }
        for (const auto& [key, value] : script_environment(instance, role))
            setenv(key.c_str(), value.c_str(), 1);
        const auto tag = instance.tag.str();
        const auto id = instance.id.str();
        std::vector<const char*> words{path.c_str(), "-t", tag.c_str(), "-i", id.c_str()};
        for (const auto& word : instance.arguments)
            words.push_back(word.c_str());
        words.push_back(nullptr);
        std::fflush(nullptr);
        signal(SIGPIPE, SIG_DFL);
        execv(path.c_str(), const_cast<char* const*>(words.data()));
        return fail(Code::failure, "{} cannot be started: {}", path, std::strerror(errno));
    };
}

int run_kit(int argc, char** argv) {
    return run(argc, argv,
               {{"restore", script("restore", false)},
                {"remove", script("remove", false)},
                {"quickchk", script("quickchk", true)},
                {"deepchk", script("deepchk", true)},
                {"recover", script("recover", false)},
                {"create", create_generic},
                {"canextend", can_extend_generic},
                {"extend", extend_generic},
                {"update", update_generic},
                {"delete", delete_generic}},
               {.free_info = true});
}

}  // namespace
}  // namespace understudy::kits

int main(int argc, char** argv) {
    return understudy::kits::run_kit(argc, argv);
}
