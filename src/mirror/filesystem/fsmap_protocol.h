#pragma once
// What the helper understudy-fsmap prints, line by line, and how mirrord reads it. Pure; any thread.
//
//   free FIRST COUNT         blocks of 64 KiB of which the file system uses nothing
//   file NAME                a file that lies in the blocks that were asked about
//   end TYPE FOUND LOOKED COMPLETE
//
// Without the last line everything before it is worthless. An error is one line on standard error.

#include "base/result.h"
#include "mirror/filesystem/changed_files.h"
#include "mirror/filesystem/free_space.h"

#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::filesystem {

inline constexpr std::string_view kFreeWord = "free ", kFileWord = "file ", kEndWord = "end ";

std::string lines_of(const FreeSpace& space);
std::string lines_of(const ChangedFiles& files);

/// Takes the lines one after another.
class Reader {
  public:
    void line(std::string_view text);
    /// Errors: no end, ranges out of order, a line that is none of these.
    [[nodiscard]] Result<FreeSpace> space() const;
    [[nodiscard]] Result<ChangedFiles> files() const;

  private:
    [[nodiscard]] bool usable() const { return ended_ && !damaged_; }
    FreeSpace space_;
    ChangedFiles files_;
    bool ended_ = false, damaged_ = false;
};

}  // namespace understudy::mirror::filesystem
