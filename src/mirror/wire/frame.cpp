#include "mirror/wire/frame.h"

#include "base/checksum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <tuple>
#include <utility>

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

/// The fields that memory and wire have in common: the one list from which both directions come. What a
/// picture has besides (magic, version, type, reserved, checksum) is made and checked by hand.
constexpr auto kFields = std::tuple{
    std::pair{&Header::flags, &Picture::flags},       std::pair{&Header::sequence, &Picture::sequence},
    std::pair{&Header::offset, &Picture::offset},     std::pair{&Header::length, &Picture::length},
    std::pair{&Header::extent, &Picture::extent},     std::pair{&Header::depends, &Picture::depends},
    std::pair{&Header::argument, &Picture::argument}, std::pair{&Header::payload_crc, &Picture::payload_crc},
};

template <class Function>
void for_each_field(Function function) {
    std::apply([&](auto... field) { (function(field.first, field.second), ...); }, kFields);
}

/// What a message carries behind its header.
enum class Shape {
    bare,    // nothing
    counts,  // nothing, but the argument says how many
    data,    // payload for the extent of the volume
    range,   // an extent without payload
    page,    // one page of the bitmap, or nothing with one of its flags
    words,   // text for a person
};

struct Message {
    Type type;
    std::string_view name;
    Shape shape;
};

/// Every message, in the order of its number.
constexpr auto kMessages = std::to_array<Message>({
    {Type::write, "write", Shape::data},
    {Type::write_ack, "write_ack", Shape::counts},
    {Type::write_zeroes, "write_zeroes", Shape::range},
    {Type::discard, "discard", Shape::range},
    {Type::flush, "flush", Shape::bare},
    {Type::flush_ack, "flush_ack", Shape::bare},
    {Type::ping, "ping", Shape::bare},
    {Type::pong, "pong", Shape::bare},
    {Type::bitmap_request, "bitmap_request", Shape::bare},
    {Type::bitmap_data, "bitmap_data", Shape::page},
    {Type::resync_begin, "resync_begin", Shape::bare},
    {Type::resync_ready, "resync_ready", Shape::bare},
    {Type::resync_block, "resync_block", Shape::data},
    {Type::resync_zeroes, "resync_zeroes", Shape::range},
    {Type::resync_ack, "resync_ack", Shape::bare},
    {Type::resync_end, "resync_end", Shape::bare},
    {Type::in_sync, "in_sync", Shape::bare},
    {Type::error, "error", Shape::words},
    {Type::bye, "bye", Shape::words},
    {Type::compare_block, "compare_block", Shape::range},
    {Type::resume, "resume", Shape::bare},
    {Type::resume_ack, "resume_ack", Shape::bare},
});

constexpr bool every_message_at_its_number() {
    for (std::size_t i = 0; i < kMessages.size(); ++i)
        if (static_cast<std::size_t>(kMessages[i].type) != i + 1) return false;
    return kMessages.back().type == kLastType;
}
static_assert(every_message_at_its_number());

/// nullptr for a number that no message has.
const Message* find_message(std::uint8_t number) {
    return number == 0 || number > kMessages.size() ? nullptr : &kMessages[number - 1U];
}

/// Empty when the lengths fit the message.
std::string_view shape_error(const Header& header) {
    const Message* message = find_message(static_cast<std::uint8_t>(header.type));
    if (message == nullptr) return "unknown type";
    switch (message->shape) {
        case Shape::data:
            if (header.extent > kMaxPayload) return "payload too long";
            if ((header.flags & kCompressed) != 0)
                return header.length == 0 || header.length >= header.extent ? "not a compressed length" : "";
            return header.extent == 0 || header.length != header.extent ? "length and extent differ" : "";
        case Shape::range:
            if (header.length != 0) return "payload not expected";
            return header.extent == 0 ? "empty extent" : "";
        case Shape::page:
            if ((header.flags & (kLast | kUnavailable)) != 0)
                return header.length == 0 ? "" : "payload not expected";
            return header.length == kBitmapPage ? "" : "wrong bitmap page length";
        case Shape::words:
            return header.length > kMaxText ? "text too long" : "";
        case Shape::counts:
            if (header.argument == 0) return "acknowledges nothing";
            [[fallthrough]];
        case Shape::bare:
            return header.length == 0 && header.extent == 0 ? "" : "payload not expected";
    }
    return "unknown shape";
}

}  // namespace

std::string_view to_string(Type type) {
    const Message* message = find_message(static_cast<std::uint8_t>(type));
    return message == nullptr ? "unknown" : message->name;
}

void encode(const Header& header, std::span<std::byte, kHeaderBytes> into) {
    assert(shape_error(header).empty());
    Picture picture{};
    picture.magic = kMagic;
    picture.version = kVersion;
    picture.type = static_cast<std::uint8_t>(header.type);
    for_each_field([&](auto memory, auto wire) { picture.*wire = header.*memory; });
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
    if (find_message(picture.type) == nullptr)
        return fail(Code::internal, "unknown message type {}", picture.type);
    if ((picture.flags & ~kAllFlags) != 0) return fail(Code::internal, "unknown flags {:#x}", picture.flags);
    if (picture.reserved[0] != 0 || picture.reserved[1] != 0)
        return fail(Code::internal, "reserved bytes are used");
    Header header;
    header.type = static_cast<Type>(picture.type);
    for_each_field([&](auto memory, auto wire) { header.*memory = picture.*wire; });
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
