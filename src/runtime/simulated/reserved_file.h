#pragma once
// ReservedFile of a simulated host: its content outlives the program that opened it, and its file system may
// be full.

#include "runtime/reserved_file.h"

#include <optional>
#include <utility>

namespace understudy::runtime {

class SimulatedReservedFile final : public ReservedFile {
  public:
    /// What outlives the program; a boot ends it.
    struct Content {
        std::optional<std::string> bytes;  // nullopt: there is no such file
        bool full = false;                 // nothing has room but what has it already
    };
    SimulatedReservedFile(Content& content, std::string path) : content_(content), path_(std::move(path)) {}

    [[nodiscard]] const std::string& path() const override { return path_; }
    [[nodiscard]] Result<std::string> read() const override {
        if (!content_.bytes) return fail(Code::not_found, "cannot read {}: no such file", path_);
        return *content_.bytes;
    }
    Result<> reserve(std::size_t bytes) override {
        UNDERSTUDY_CHECK(grow(bytes));
        return {};
    }
    Result<> write(std::size_t offset, std::string_view bytes) override {
        UNDERSTUDY_CHECK(grow(offset + bytes.size()));
        content_.bytes->replace(offset, bytes.size(), bytes);
        return {};
    }
    Result<> shrink(std::size_t bytes) override {
        if (content_.bytes && content_.bytes->size() > bytes) content_.bytes->resize(bytes);
        return {};
    }
    Result<> remove() override {
        content_.bytes.reset();
        return {};
    }

  private:
    Result<> grow(std::size_t bytes) {
        if (content_.bytes && content_.bytes->size() >= bytes) return {};
        if (content_.full)
            return fail(Code::failure, "cannot write {}: no space left on its file system", path_);
        if (!content_.bytes) content_.bytes.emplace();
        content_.bytes->resize(bytes, '\0');
        return {};
    }
    Content& content_;
    std::string path_;
};

}  // namespace understudy::runtime
