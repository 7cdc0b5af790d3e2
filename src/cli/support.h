#pragma once
// `lksupport` by name: the script in $LKROOT/support, with its options from the command table.

#include "base/result.h"
#include "config/command.h"
#include "config/layout.h"

namespace understudy::cli {

/// Becomes the script; returns only when it cannot be started. Spec: CMD-139, CMD-140.
Error run_support_script(const config::Layout& layout, const config::Command& command);

}  // namespace understudy::cli
