// The table of all commands; the parser is command_table.cpp.

#include "cli/command_specs.h"

#include <algorithm>

namespace understudy::cli {

std::vector<CommandSpec> make_command_table() {
    std::vector<CommandSpec> table;
    for (const auto& part : {record_specs(), cluster_specs(), mirror_specs()})
        table.insert(table.end(), part.begin(), part.end());
    std::sort(table.begin(), table.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return table;
}

}  // namespace understudy::cli
