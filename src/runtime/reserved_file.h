#pragma once
// A file in memory (the run directory) with room of its own: what is written into its first bytes finds room
// also when the file system is full. Threading: one thread at a time; nothing waits for a disk.

#include "base/result.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace understudy::runtime {

class ReservedFile {
  public:
    virtual ~ReservedFile() = default;
    /// For messages.
    [[nodiscard]] virtual const std::string& path() const = 0;
    /// All of it. Code::not_found when there is no such file.
    [[nodiscard]] virtual Result<std::string> read() const = 0;
    /// Makes sure that the first `bytes` have room; what is in the file stays, what is added is zeros. Makes
    /// the file when there is none, for its owner only. Errors: no room for all of it; the file may be there
    /// with less, or none.
    virtual Result<> reserve(std::size_t bytes) = 0;
    /// Writes in place. What goes beyond the file's end takes room as in any file. Errors: no room; a part
    /// may be written.
    virtual Result<> write(std::size_t offset, std::string_view bytes) = 0;
    /// Gives back the room beyond the first `bytes`, if there is any.
    virtual Result<> shrink(std::size_t bytes) = 0;
    /// No error when it is not there. The room is given back.
    virtual Result<> remove() = 0;
};

}  // namespace understudy::runtime
