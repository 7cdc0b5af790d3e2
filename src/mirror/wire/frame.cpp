#include "mirror/wire/frame.h"

#include "base/checksum.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

namespace understudy::mirror::wire {
namespace {

static_assert(std::endian::native == std::endian::little, "formats are little-endian; add byte swaps here");

/// The wire's picture; every field lies at its natural alignment, so there is no padding.
struct Picture {
    std::uint32_t magic;
    std::uint8_t version;
    std::uint8_t type;
    std::uint16_t flags;
    std::uint64_t sequence;
    std::uint64_t offset;
    std::uint32_t length;
    std::uint32_t extent;
    std::uint64_t depends;
    std::uint64_t argument;
    std::uint32_t payload_crc;
    std::uint32_t reserved[2];
    std::uint32_t crc;
};
static_assert(sizeof(Picture) == kHeaderBytes);
static_assert(offsetof(Picture, depends) == 32 && offsetof(Picture, crc) == 60);

/// From here on a payload's rest is received in place instead of through the staging area.
constexpr std::size_t kDirectBytes = 16384;

std::uint32_t header_crc(const Picture& picture) {
    return crc32c(std::as_bytes(std::span(&picture, 1)).first(offsetof(Picture, crc)));
}

/// Empty when the lengths fit the type.
std::string_view shape_error(const Header& header) {
    switch (header.type) {
        case Type::write:
        case Type::resync_block:
            if (header.extent == 0 || header.length != header.extent) return "length and extent differ";
            return header.length > kMaxPayload ? "payload too long" : "";
        case Type::write_zeroes:
        case Type::discard:
        case Type::resync_zeroes:
            if (header.length != 0) return "payload not expected";
            return header.extent == 0 ? "empty extent" : "";
        case Type::bitmap_data:
            if ((header.flags & (kLast | kUnavailable)) != 0)
                return header.length == 0 ? "" : "payload not expected";
            return header.length == kBitmapPage ? "" : "wrong bitmap page length";
        case Type::error:
        case Type::bye:
            return header.length > kMaxText ? "text too long" : "";
        case Type::write_ack:
            if (header.argument == 0) return "acknowledges nothing";
            [[fallthrough]];
        case Type::flush:
        case Type::flush_ack:
        case Type::ping:
        case Type::pong:
        case Type::bitmap_request:
        case Type::resync_begin:
        case Type::resync_ready:
        case Type::resync_ack:
        case Type::resync_end:
        case Type::in_sync:
            return header.length == 0 && header.extent == 0 ? "" : "payload not expected";
    }
    return "unknown type";
}

}  // namespace

std::string_view to_string(Type type) {
    switch (type) {
        case Type::write:
            return "write";
        case Type::write_ack:
            return "write_ack";
        case Type::write_zeroes:
            return "write_zeroes";
        case Type::discard:
            return "discard";
        case Type::flush:
            return "flush";
        case Type::flush_ack:
            return "flush_ack";
        case Type::ping:
            return "ping";
        case Type::pong:
            return "pong";
        case Type::bitmap_request:
            return "bitmap_request";
        case Type::bitmap_data:
            return "bitmap_data";
        case Type::resync_begin:
            return "resync_begin";
        case Type::resync_ready:
            return "resync_ready";
        case Type::resync_block:
            return "resync_block";
        case Type::resync_zeroes:
            return "resync_zeroes";
        case Type::resync_ack:
            return "resync_ack";
        case Type::resync_end:
            return "resync_end";
        case Type::in_sync:
            return "in_sync";
        case Type::error:
            return "error";
        case Type::bye:
            return "bye";
    }
    return "unknown";
}

void encode(const Header& header, std::span<std::byte, kHeaderBytes> into) {
    assert(shape_error(header).empty());
    Picture picture{};
    picture.magic = kMagic;
    picture.version = kVersion;
    picture.type = static_cast<std::uint8_t>(header.type);
    picture.flags = header.flags;
    picture.sequence = header.sequence;
    picture.offset = header.offset;
    picture.length = header.length;
    picture.extent = header.extent;
    picture.depends = header.depends;
    picture.argument = header.argument;
    picture.payload_crc = header.payload_crc;
    picture.crc = header_crc(picture);
    std::memcpy(into.data(), &picture, sizeof picture);
}

Result<Header> decode(std::span<const std::byte, kHeaderBytes> from) {
    Picture picture;
    std::memcpy(&picture, from.data(), sizeof picture);
    if (picture.magic != kMagic) return fail(Code::internal, "not a message of this protocol");
    if (picture.version != kVersion)
        return fail(Code::internal, "the other end speaks data protocol {}, this one {}", picture.version,
                    kVersion);
    if (picture.crc != header_crc(picture)) return fail(Code::internal, "header checksum is wrong");
    if (picture.type == 0 || picture.type > static_cast<std::uint8_t>(kLastType))
        return fail(Code::internal, "unknown message type {}", picture.type);
    if ((picture.flags & ~kAllFlags) != 0) return fail(Code::internal, "unknown flags {:#x}", picture.flags);
    if (picture.reserved[0] != 0 || picture.reserved[1] != 0)
        return fail(Code::internal, "reserved bytes are used");
    Header header;
    header.type = static_cast<Type>(picture.type);
    header.flags = picture.flags;
    header.sequence = picture.sequence;
    header.offset = picture.offset;
    header.length = picture.length;
    header.extent = picture.extent;
    header.depends = picture.depends;
    header.argument = picture.argument;
    header.payload_crc = picture.payload_crc;
    if (const auto wrong = shape_error(header); !wrong.empty())
        return fail(Code::internal, "{}: {}", to_string(header.type), wrong);
    return header;
}

FrameReader::FrameReader(BufferPool& pool, std::size_t staging_bytes) : pool_(pool), staging_(staging_bytes) {
    assert(staging_bytes > kDirectBytes);
}

FrameReader::~FrameReader() {
    if (payload_ != nullptr) pool_.give_back(payload_, header_.length);
}

std::span<std::byte> FrameReader::space() {
    if (payload_ != nullptr && begin_ == end_ && header_.length - filled_ >= kDirectBytes)
        return {payload_ + filled_, header_.length - filled_};
    if (begin_ == end_) {
        begin_ = end_ = 0;
    } else if (staging_.size() - end_ < staging_.size() / 2) {
        std::memmove(staging_.data(), staging_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
    }
    return std::span(staging_).subspan(end_);
}

void FrameReader::received(std::size_t count) {
    if (payload_ != nullptr && begin_ == end_ && header_.length - filled_ >= kDirectBytes) {
        assert(count <= header_.length - filled_);
        filled_ += count;
        return;
    }
    assert(count <= staging_.size() - end_);
    end_ += count;
}

FrameReader::Step FrameReader::next(Frame& frame) {
    if (!error_.empty()) return Step::error;
    if (!have_header_) {
        if (end_ - begin_ < kHeaderBytes) return Step::need_more;
        auto header =
            decode(std::span<const std::byte, kHeaderBytes>(staging_.data() + begin_, kHeaderBytes));
        if (!header) {
            error_ = header.error().text;
            return Step::error;
        }
        header_ = *header;
        begin_ += kHeaderBytes;
        have_header_ = true;
        filled_ = 0;
    }
    if (header_.length > 0 && payload_ == nullptr) {
        payload_ = pool_.take(header_.length);
        if (payload_ == nullptr) return Step::no_buffer;
    }
    const std::size_t count = std::min<std::size_t>(header_.length - filled_, end_ - begin_);
    if (count > 0) {
        std::memcpy(payload_ + filled_, staging_.data() + begin_, count);
        filled_ += count;
        begin_ += count;
    }
    if (filled_ < header_.length) return Step::need_more;
    if (header_.length > 0 && crc32c({payload_, header_.length}) != header_.payload_crc) {
        error_ = fmt::format("{}: payload checksum is wrong", to_string(header_.type));
        return Step::error;
    }
    frame = {header_, payload_};
    payload_ = nullptr;
    have_header_ = false;
    return Step::frame;
}

}  // namespace understudy::mirror::wire
