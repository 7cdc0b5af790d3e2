#pragma once
// The scripts of a Generic Application: their roles, what may be a script, and the copies of a node.
// Spec: CLU-154 to CLU-156, KIT-165 to KIT-180, KIT-214.

#include "base/result.h"
#include "kits/sdk/kit.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::kits {

/// Largest script or program that is stored; it has to pass lcdremexec in one piece.
inline constexpr std::size_t kMaxScript = 4UL << 20;

/// restore, remove, quickchk, deepchk, recover, create, extend, delete.
const std::vector<std::string>& script_roles();
/// The role of a name as people write it ("quickCheck"); empty when there is none.
std::string role_of(std::string_view name);

/// Letters, digits and - _ ! . / only, and a full path. Spec: CLU-155, KIT-179.
Result<> check_script_path(const std::string& path);

/// What must be there to run a script: the program of its first line, or of "env" there; empty for a binary.
/// Error: it is neither a script nor a program. Spec: KIT-166.
Result<std::string> interpreter_of(std::string_view content);
/// Whether this node has the interpreter, a path or a name in PATH.
bool has_interpreter(const std::string& interpreter);

/// Reads a script that may be stored: path, size, interpreter on this node.
Result<std::string> read_script(const std::string& path);
/// What lies beside `script` under the role's name with an extension that scripts have; empty: nothing.
std::string beside(const std::string& script, const std::string& role);

/// The words of a create in one text, without its "info=", which is the last word and holds all that follows,
/// quotes too: they are the application's own.
struct CreateText {
    std::string words;
    std::string info;
};
CreateText split_create_text(std::string_view text);

/// Content by role.
using Scripts = std::map<std::string, std::string>;

/// Directory of a resource's copies below the state directory, e.g. /var/lib/understudy/subsys/gen/....
std::string copies_below_root(const Tag& tag);
std::string copies_of(const Instance& instance);
/// Writes one copy: complete or not at all.
Result<> store_script(const Instance& instance, const std::string& role, const std::string& content);
Result<> remove_copies(const Instance& instance);

}  // namespace understudy::kits
