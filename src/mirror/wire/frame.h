#pragma once
// Headers to bytes and back, and the reader that cuts a byte stream into frames. Pure; not thread-safe.

#include "base/result.h"
#include "mirror/core/buffers.h"
#include "mirror/wire/wire_format.h"

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace understudy::mirror::wire {

using HeaderBytes = std::array<std::byte, kHeaderBytes>;

void encode(const Header& header, std::span<std::byte, kHeaderBytes> into);
/// Errors: wrong magic, version, checksum, unknown type or flag, impossible length or extent. Spec: REP-098.
Result<Header> decode(std::span<const std::byte, kHeaderBytes> from);
std::string_view to_string(Type type);

/// A whole message. Its payload belongs to the taker, who gives it back to the pool.
struct Frame {
    Header header;
    std::byte* payload = nullptr;  // header.length bytes, aligned to 4096
};

/// Use: receive into space(), tell received(n), call next() until it is not `frame`. Small payloads are
/// copied out of the staging area, the rest of a large one is received in place.
class FrameReader {
  public:
    enum class Step { frame, need_more, no_buffer, error };

    FrameReader(BufferPool& pool, std::size_t staging_bytes);
    ~FrameReader();
    FrameReader(const FrameReader&) = delete;
    FrameReader& operator=(const FrameReader&) = delete;

    /// Where the next bytes go; never empty after next() said need_more.
    std::span<std::byte> space();
    void received(std::size_t count);
    /// `no_buffer`: the pool is used up; call again when something was given back. After `error` the stream
    /// is lost; error() says why.
    Step next(Frame& frame);
    [[nodiscard]] const std::string& error() const { return error_; }

  private:
    BufferPool& pool_;
    std::vector<std::byte> staging_;
    std::size_t begin_ = 0, end_ = 0;  // unread part of staging_
    bool have_header_ = false;
    Header header_;
    std::byte* payload_ = nullptr;
    std::size_t filled_ = 0;
    std::string error_;
};

}  // namespace understudy::mirror::wire
