#pragma once
// Sends one command to a daemon and prints its answer; used by the commands and by kits.

#include "cli/command_table.h"
#include "config/command.h"
#include "config/layout.h"

#include <functional>
#include <string>

namespace understudy::cli {

/// The layout that commands act on: --root, else UNDERSTUDY_ROOT, else the real host.
config::Layout layout_from_environment();

/// Sends `command` to the daemon that serves `spec` and waits for its answer. `progress` gets what the daemon
/// prints meanwhile. Errors: daemon not running (message 472, Code::failure), no answer within the command's
/// limit. Blocking; any thread.
Result<config::Reply> send(const config::Layout& layout, const CommandSpec& spec,
                           const config::Command& command,
                           const std::function<void(const std::string&)>& progress = {});

/// Pid of the daemon that serves `server`, 0 when none does.
int server_pid(const config::Layout& layout, Server server);

/// Convenience for kits: parses and sends, e.g. run(layout, "ins_list", {"-f|", "-t", "Vol.E"}).
Result<config::Reply> run(const config::Layout& layout, const std::string& name,
                          const std::vector<std::string>& words);

}  // namespace understudy::cli
