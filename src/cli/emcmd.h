#pragma once
// The caller's side of emcmd. Its command line is not like the others' (the manual's options are words), so
// it is parsed by mirror/emcmd, here only to say what is wrong with it when no daemon runs.

#include "config/layout.h"

#include <string>
#include <vector>

namespace understudy::cli {

/// `words`: what follows "emcmd". Prints, and gives the exit code.
int run_emcmd(const config::Layout& layout, const std::vector<std::string>& words);

}  // namespace understudy::cli
