#pragma once
// Man pages: name, synopsis, options and the common exit codes come from the command table, the rest from one
// hand-written file per command in docs/man. Used by the build and by tests, not by the commands.

#include "base/result.h"
#include "cli/command_table.h"

#include <string>
#include <string_view>

namespace understudy::cli {

/// "ins_list", "understudy-mirror-create".
std::string page_name(const CommandSpec& spec);

/// The page in scdoc's format. `prose` is the description, then sections that begin with "# NAME"; of these
/// EXIT STATUS replaces the common one. Errors: a section that the table writes or that is unknown.
Result<std::string> man_page(const CommandSpec& spec, std::string_view prose);

}  // namespace understudy::cli
