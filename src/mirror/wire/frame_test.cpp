#include "mirror/wire/frame.h"

#include "base/checksum.h"
#include "base/text.h"
#include "mirror/wire/features.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace understudy::mirror::wire {
namespace {

std::vector<std::byte> message(Header header, std::string_view payload) {
    header.length = static_cast<std::uint32_t>(payload.size());
    const auto bytes = std::as_bytes(std::span(payload));
    header.payload_crc = payload.empty() ? 0 : crc32c(bytes);
    std::vector<std::byte> result(kHeaderBytes);
    encode(header, std::span<std::byte, kHeaderBytes>(result.data(), kHeaderBytes));
    result.insert(result.end(), bytes.begin(), bytes.end());
    return result;
}

Header write_header(std::uint64_t sequence, std::uint32_t length) {
    Header header;
    header.type = Type::write;
    header.sequence = sequence;
    header.offset = 0x10000;
    header.length = header.extent = length;
    header.depends = sequence - 1;
    return header;
}

/// Feeds `stream` in pieces of at most `piece` bytes; the payloads of the frames, or the error.
std::vector<std::string> cut(BufferPool& pool, const std::vector<std::byte>& stream, std::size_t piece,
                             std::string& error) {
    FrameReader reader(pool, 64 << 10);
    std::vector<std::string> result;
    std::size_t at = 0;
    while (true) {
        Frame frame;
        const auto step = reader.next(frame);
        if (step == FrameReader::Step::frame) {
            result.emplace_back(reinterpret_cast<const char*>(frame.payload), frame.header.length);
            if (frame.payload != nullptr) pool.give_back(frame.payload, frame.header.length);
            continue;
        }
        if (step == FrameReader::Step::error) {
            error = reader.error();
            return result;
        }
        EXPECT_EQ(step, FrameReader::Step::need_more);
        if (at == stream.size()) return result;
        const auto space = reader.space();
        EXPECT_FALSE(space.empty());
        const std::size_t count = std::min({piece, space.size(), stream.size() - at});
        std::memcpy(space.data(), stream.data() + at, count);
        reader.received(count);
        at += count;
    }
}

// These bytes are what the protocol's description says; a change of them is a change of the protocol.
TEST(WireFormat, TestVectors) {
    HeaderBytes bytes;
    Header header = write_header(0x0102030405060708, 512);
    header.flags = kFua;
    header.payload_crc = 0xa1b2c3d4;
    encode(header, bytes);
    EXPECT_EQ(text::hex(bytes),
              "5553444d"  // magic "USDM"
              "01"
              "01"
              "0100"              // version, type write, flags FUA
              "0807060504030201"  // sequence
              "0000010000000000"  // offset
              "00020000"
              "00020000"          // length, extent
              "0707060504030201"  // depends
              "0000000000000000"  // argument
              "d4c3b2a1"
              "0000000000000000"
              "923cb263");
    EXPECT_EQ(crc32c(std::span(bytes).first(60)), [&] {
        std::uint32_t crc;
        std::memcpy(&crc, bytes.data() + 60, 4);
        return crc;
    }());
    Header ping;
    encode(ping, bytes);
    EXPECT_EQ(text::hex(std::span(bytes).first(8)), "5553444d01070000");
}

TEST(Features, BothEndsUseWhatBothHaveInTheNewestVersionThatBothSpeak) {
    const Offer old;  // says nothing
    const Offer now{1, 1, 0b0111}, later{1, 2, 0b1101}, far{2, 3, 0b1111};
    for (const auto& [a, b, version, features] : {std::tuple{old, now, 1U, 0U},
                                                  {now, now, 1U, 0b0111U},
                                                  {now, later, 1U, 0b0101U},
                                                  {later, far, 2U, 0b1101U}}) {
        const auto one = agree(a, b), other = agree(b, a);
        ASSERT_TRUE(one && other);
        EXPECT_EQ(*one, *other);
        EXPECT_EQ(one->version, version);
        EXPECT_EQ(one->features, features);
    }
    const auto none = agree(now, far);
    ASSERT_FALSE(none);
    EXPECT_NE(none.error().text.find("install the same release on both nodes"), std::string::npos);
    EXPECT_FALSE(agree(far, now));
    EXPECT_TRUE(agree(offer_of_this_build(), old)) << "a build from before offers must be served";
}

// Spec: REP-243
TEST(WireFormat, ACompressedPayloadIsShorterThanWhatItIsFor) {
    HeaderBytes bytes;
    Header header = write_header(9, 300);
    header.flags = kCompressed;
    header.extent = 4096;
    encode(header, bytes);
    EXPECT_EQ(text::hex(std::span(bytes).first(32)),
              "5553444d"
              "01"
              "01"
              "4000"  // flags: compressed
              "0900000000000000"
              "0000010000000000"
              "2c010000"
              "00100000");
    const auto read = decode(bytes);
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(*read, header);
    const auto with = [&](std::size_t at, std::uint32_t value) {
        HeaderBytes bent = bytes;
        std::memcpy(bent.data() + at, &value, 4);
        const std::uint32_t crc = crc32c(std::span(bent).first(60));
        std::memcpy(bent.data() + 60, &crc, 4);
        return decode(bent);
    };
    EXPECT_TRUE(with(24, 4095));
    EXPECT_FALSE(with(24, 4096));
    EXPECT_FALSE(with(24, 0));
    EXPECT_FALSE(with(28, kMaxPayload + 1));
}

TEST(WireFormat, EveryTypeSurvivesTheWayThere) {
    for (std::uint8_t number = 1; number <= static_cast<std::uint8_t>(kLastType); ++number) {
        Header header;
        header.type = static_cast<Type>(number);
        header.sequence = 7;
        header.argument = 1;
        switch (header.type) {
            case Type::write:
            case Type::resync_block:
                header.length = header.extent = 4096;
                break;
            case Type::write_zeroes:
            case Type::discard:
            case Type::resync_zeroes:
            case Type::compare_block:
                header.extent = 4096;
                break;
            case Type::bitmap_data:
                header.length = kBitmapPage;
                break;
            default:
                break;
        }
        HeaderBytes bytes;
        encode(header, bytes);
        const auto back = decode(bytes);
        ASSERT_TRUE(back) << to_string(header.type) << ": " << back.error().text;
        EXPECT_EQ(*back, header);
    }
}

// Spec: REP-098
TEST(WireFormat, AnyChangedBitOfAHeaderIsNoticed) {
    HeaderBytes bytes;
    encode(write_header(9, 4096), bytes);
    for (std::size_t bit = 0; bit < kHeaderBytes * 8; ++bit) {
        HeaderBytes changed = bytes;
        changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        EXPECT_FALSE(decode(changed)) << "bit " << bit;
    }
}

// Spec: REP-098
TEST(WireFormat, ImpossibleHeadersWithARightChecksumAreRefused) {
    const auto refused = [](std::size_t at, std::initializer_list<int> values) {
        HeaderBytes bytes;
        encode(write_header(9, 4096), bytes);
        for (const int value : values)
            bytes[at++] = static_cast<std::byte>(value);
        const std::uint32_t crc = crc32c(std::span(bytes).first(60));
        std::memcpy(bytes.data() + 60, &crc, 4);
        return !decode(bytes);
    };
    EXPECT_TRUE(refused(4, {2}));  // version
    EXPECT_TRUE(refused(5, {0}));  // types
    EXPECT_TRUE(refused(5, {20}));
    EXPECT_TRUE(refused(6, {0, 1}));                     // flag
    EXPECT_TRUE(refused(24, {1}));                       // length differs from extent
    EXPECT_TRUE(refused(24, {0, 0, 0, 3, 0, 0, 0, 3}));  // 48 MiB
    EXPECT_TRUE(refused(52, {1}));                       // reserved
    EXPECT_TRUE(refused(5, {7}));                        // ping with payload
}

TEST(FrameReader, CutsTheSameFramesFromPiecesOfAnySize) {
    BufferPool pool(64 << 20);
    std::mt19937 random(1);
    std::vector<std::byte> stream;
    std::vector<std::string> payloads;
    std::uint64_t sequence = 0;
    for (const std::size_t length : {1UL, 512UL, 4096UL, 100000UL, 16384UL, 70000UL, 3UL}) {
        std::string payload(length, ' ');
        for (char& c : payload)
            c = static_cast<char>(random());
        const auto bytes = message(write_header(++sequence, static_cast<std::uint32_t>(length)), payload);
        stream.insert(stream.end(), bytes.begin(), bytes.end());
        const auto ping = message(Header{}, "");
        stream.insert(stream.end(), ping.begin(), ping.end());
        payloads.push_back(payload);
        payloads.emplace_back();
    }
    for (const std::size_t piece : {1UL, 7UL, 63UL, 64UL, 65UL, 1000UL, 65536UL, 1000000UL}) {
        std::string error;
        EXPECT_EQ(cut(pool, stream, piece, error), payloads) << "pieces of " << piece;
        EXPECT_EQ(error, "");
    }
    EXPECT_EQ(pool.out(), 0U);
}

// Spec: REP-098
TEST(FrameReader, AWrongPayloadEndsTheStream) {
    BufferPool pool(1 << 20);
    auto stream = message(write_header(1, 5), "hello");
    stream.back() ^= std::byte{1};
    std::string error;
    EXPECT_TRUE(cut(pool, stream, 100, error).empty());
    EXPECT_NE(error.find("payload checksum"), std::string::npos) << error;
}

TEST(FrameReader, WaitsForABufferAndGoesOnWhenOneIsBack) {
    BufferPool pool(4096);
    std::byte* taken = pool.take(4096);
    FrameReader reader(pool, 64 << 10);
    const auto stream = message(write_header(1, 5), "hello");
    std::memcpy(reader.space().data(), stream.data(), stream.size());
    reader.received(stream.size());
    Frame frame;
    EXPECT_EQ(reader.next(frame), FrameReader::Step::no_buffer);
    pool.give_back(taken, 4096);
    ASSERT_EQ(reader.next(frame), FrameReader::Step::frame);
    EXPECT_EQ(std::memcmp(frame.payload, "hello", 5), 0);
    pool.give_back(frame.payload, 5);
}

}  // namespace
}  // namespace understudy::mirror::wire
