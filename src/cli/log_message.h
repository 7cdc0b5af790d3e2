#pragma once
// lk_err: a script's message to the system's log and to standard error. Spec: CMD-107, CMD-108.

#include "base/result.h"
#include "config/command.h"
#include "config/layout.h"

namespace understudy::cli {

/// Logs the message as the options say. Codes 2 (category, destination), 5 (number).
Result<> log_message(const config::Layout& layout, const config::Command& command);

}  // namespace understudy::cli
