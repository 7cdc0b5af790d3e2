#pragma once
// understudy firewall: opens the ports of port_table() in this host's firewall, closes them again, tells what
// is not open. Works with and without the daemons: what they told last is kept in
// etc/understudy/firewall.json. Spec: CLU-031, CLU-033, DEP-100 to DEP-104.

#include "base/result.h"
#include "config/command.h"
#include "config/layout.h"

namespace understudy::cli {

/// Exit code 1 of check: something is missing or blocked; the text says what.
Result<config::Reply> run_firewall(const config::Layout& layout, const config::Command& command);

}  // namespace understudy::cli
