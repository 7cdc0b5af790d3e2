#include "cli/support.h"

#include <string.h>
#include <unistd.h>

#include <cerrno>

namespace understudy::cli {

Error run_support_script(const config::Layout& layout, const config::Command& command) {
    const auto script = layout.lkroot() + "/support/lksupport";
    const auto directory = command.get("directory", layout.lkroot() + "/support");
    execl(script.c_str(), script.c_str(), "--directory", directory.c_str(), nullptr);
    return {Code::failure, fmt::format("cannot run {}: {}", script, strerror(errno)), 0};
}

}  // namespace understudy::cli
