#pragma once
// Parts of the table of all commands. See command_table.h for the meaning of an entry.

#include "cli/command_table.h"

#include <vector>

namespace understudy::cli {

std::vector<CommandSpec> record_specs();
std::vector<CommandSpec> cluster_specs();
std::vector<CommandSpec> mirror_specs();

inline constexpr OptionSpec kJson{"json", "", "print JSON for programs"};

/// An option that has to be given.
inline OptionSpec required(std::string_view name, std::string_view value, std::string_view help) {
    return {name, value, help, true};
}

}  // namespace understudy::cli
