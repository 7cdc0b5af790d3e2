#pragma once
// Small files: settings, certificates, records. Block data never goes through here.

#include "base/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace understudy::runtime {

class Files {
  public:
    virtual ~Files() = default;
    /// Code::not_found when there is no such file.
    [[nodiscard]] virtual Result<std::string> read(const std::string& path) const = 0;
    /// Temporary file, fsync, rename, fsync of the directory: after a crash either the old or the new
    /// content.
    virtual Result<> write_atomic(const std::string& path, std::string_view content, int mode = 0644) = 0;
    /// Adds to the end of a log and does not wait for the disk. A file that would grow beyond `most` bytes
    /// becomes PATH.1, in the place of an earlier one, and a new one begins.
    virtual Result<> append(const std::string& path, std::string_view text, std::size_t most) {
        auto before = exists(path) ? read(path) : Result<std::string>(std::string());
        if (!before) return tl::unexpected<Error>(before.error());
        if (before->size() + text.size() > most && !before->empty()) {
            if (auto kept = write_atomic(path + ".1", *before); !kept) return kept;
            before->clear();
        }
        return write_atomic(path, before->append(text));
    }
    /// Removes a file; no error when it is not there.
    virtual Result<> remove(const std::string& path) = 0;
    virtual Result<> make_directories(const std::string& path, int mode = 0755) = 0;
    [[nodiscard]] virtual bool exists(const std::string& path) const = 0;
    [[nodiscard]] virtual bool executable(const std::string& path) const = 0;
    /// Names in a directory, sorted; empty when it does not exist.
    [[nodiscard]] virtual std::vector<std::string> list(const std::string& directory) const = 0;
};

}  // namespace understudy::runtime
