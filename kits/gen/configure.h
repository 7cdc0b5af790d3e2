#pragma once
// Creating, extending, updating and deleting a Generic Application: where its copies come from.
// Spec: KIT-173 to KIT-181, KIT-214, CLU-155.

#include "base/result.h"
#include "kits/sdk/kit.h"

#include <string>

namespace understudy::kits {

/// create -t TAG restore=PATH remove=PATH [quickchk=PATH] [deepchk=PATH] [recover=PATH] [info=TEXT], or
/// scripts=DIR for those that lie there under their names; as arguments or as the information of the
/// instance.
Result<> create_generic(const Instance& instance);
/// This node has what the scripts there are written in.
Result<> can_extend_generic(const Instance& instance);
/// Copies the scripts to this node.
Result<> extend_generic(const Instance& instance);
/// update -t TAG action=ROLE script=PATH [systems=all|here]: on all nodes of the hierarchy or on none.
Result<> update_generic(const Instance& instance);
/// The optional delete script, then the copies of this node.
Result<> delete_generic(const Instance& instance);

/// Environment of a script. Spec: KIT-177.
std::map<std::string, std::string> script_environment(const Instance& instance, const std::string& role);

}  // namespace understudy::kits
