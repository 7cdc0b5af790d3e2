#pragma once
// Private to runtime/posix.

#include "base/result.h"

#include <string>
#include <string_view>

namespace understudy::runtime {

/// "cannot <doing> <path>: ...", with what to do where that is known. `error`: an errno.
tl::unexpected<Error> file_error(std::string_view doing, const std::string& path, int error);

}  // namespace understudy::runtime
