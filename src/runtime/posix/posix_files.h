#pragma once
// Files on a real file system: what write_atomic has returned survives a power cut.

#include "runtime/files.h"

namespace understudy::runtime {

/// Larger files are refused: nothing that belongs here comes near it, and a wrong path must not eat the
/// memory.
inline constexpr std::size_t kMaxSmallFileBytes = 64UL << 20;

/// Has no state; any thread may use one.
class PosixFiles final : public Files {
  public:
    [[nodiscard]] Result<std::string> read(const std::string& path) const override;
    Result<> write_atomic(const std::string& path, std::string_view content, int mode) override;
    Result<> append(const std::string& path, std::string_view text, std::size_t most) override;
    Result<> remove(const std::string& path) override;
    Result<> make_directories(const std::string& path, int mode) override;
    [[nodiscard]] bool exists(const std::string& path) const override;
    [[nodiscard]] bool executable(const std::string& path) const override;
    /// Temporary files that a crash left behind do not appear.
    [[nodiscard]] std::vector<std::string> list(const std::string& directory) const override;
};

}  // namespace understudy::runtime
