#pragma once
// ReservedFile on a real file system: fallocate() takes the room, the descriptor stays open.

#include "runtime/posix/descriptor.h"
#include "runtime/reserved_file.h"

namespace understudy::runtime {

class PosixReservedFile final : public ReservedFile {
  public:
    explicit PosixReservedFile(std::string path) : path_(std::move(path)) {}
    [[nodiscard]] const std::string& path() const override { return path_; }
    [[nodiscard]] Result<std::string> read() const override;
    Result<> reserve(std::size_t bytes) override;
    Result<> write(std::size_t offset, std::string_view bytes) override;
    Result<> shrink(std::size_t bytes) override;
    Result<> remove() override;

  private:
    Result<> open();

    std::string path_;
    Descriptor file_;
};

}  // namespace understudy::runtime
