#pragma once
// What the kernel's table of mounts says.

#include <istream>
#include <string>
#include <string_view>
#include <vector>

namespace understudy {

/// A line of /proc/PID/mountinfo.
struct Mount {
    std::string device;     // its number, "major:minor"
    std::string root;       // what of the file system is mounted; "/" all of it
    std::string directory;  // where
    std::string type;       // of the file system
    std::string options;    // of the file system, with commas between
};

/// All mounts of a table, in its order: of several over one directory the last is on top. A line that is not
/// understood is left out. The kernel writes space, tab, newline and backslash of names as octal numbers;
/// here they are themselves.
[[nodiscard]] std::vector<Mount> read_mounts(std::istream& table);

}  // namespace understudy
