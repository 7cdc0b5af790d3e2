#pragma once
// Which processors the threads of volumes run on.

#include "base/result.h"

#include <string_view>
#include <vector>

namespace understudy::mirror::control {

inline constexpr unsigned kMostProcessors = 1024;  // a cpu_set_t has so many

/// "0-3,6" as 0, 1, 2, 3, 6; empty for "". Errors: anything else, a range that ends before it begins, a
/// number from kMostProcessors on. Any thread.
Result<std::vector<unsigned>> parse_processors(std::string_view list);

/// Keeps the calling thread, and the kernel's workers for its ring, to these processors; nothing for an empty
/// list. Error: the machine has none of them, or may not use them.
Result<> place_this_thread(const std::vector<unsigned>& processors);

}  // namespace understudy::mirror::control
