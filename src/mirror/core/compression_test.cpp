#include "mirror/core/compression.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace understudy::mirror {
namespace {

std::vector<std::byte> text_of(std::size_t length) {
    std::vector<std::byte> out(length);
    std::mt19937 random(7);
    const std::string words = "insert into orders values (4711, 'pending', null, '2024-05-01 12:00:00');\n";
    for (std::size_t i = 0; i < length; ++i)
        out[i] = static_cast<std::byte>(random() % 10 == 0 ? '0' + random() % 10 : words[i % words.size()]);
    return out;
}

std::vector<std::byte> noise_of(std::size_t length) {
    std::vector<std::byte> out(length);
    std::mt19937 random(7);
    for (std::byte& byte : out)
        byte = static_cast<std::byte>(random());
    return out;
}

// Spec: REP-242, REP-243
TEST(Compression, EveryLevelGivesTheSameBytesBackAndTheHighestIsTheSmallest) {
    Compressor compressor;
    Decompressor decompressor;
    std::size_t first = 0, last = 0;
    for (std::uint32_t level = 1; level <= kMostCompression; ++level) {
        for (const std::size_t length : {512U, 4096U, 65536U, 1U << 20}) {
            const auto data = text_of(length);
            std::vector<std::byte> packed(length), back(length);
            const std::size_t size = compressor.compress(level, data, packed.data());
            ASSERT_GT(size, 0U) << level << ' ' << length;
            ASSERT_LT(size, length);
            ASSERT_TRUE(decompressor.decompress(std::span(packed).first(size), back));
            ASSERT_EQ(back, data);
            if (length == 1U << 20 && level == 1) first = size;
            if (length == 1U << 20) last = size;
        }
    }
    EXPECT_LT(last, first);
}

// Spec: REP-243
TEST(Compression, WhatDoesNotBecomeSmallerIsSentAsItIs) {
    Compressor compressor;
    for (const std::size_t length : {1U, 2U, 512U, 65536U}) {
        auto data = noise_of(length);
        std::vector<std::byte> packed(length + 64, std::byte{0x5a});
        EXPECT_EQ(compressor.compress(9, data, packed.data()), 0U);
        for (std::size_t i = length; i < packed.size(); ++i)
            EXPECT_EQ(packed[i], std::byte{0x5a}) << "written beyond the buffer";
    }
}

// Spec: REP-098, REP-243
TEST(Compression, DamagedOrCutDataIsFoundOrHasTheRightLength) {
    Compressor compressor;
    Decompressor decompressor;
    const auto data = text_of(4096);
    std::vector<std::byte> packed(4096), back(4096);
    const std::size_t size = compressor.compress(3, data, packed.data());
    std::size_t refused = 0;
    for (std::size_t at = 0; at < size; ++at) {
        EXPECT_FALSE(decompressor.decompress(std::span(packed).first(at), back));
        auto bent = packed;
        bent[at] ^= std::byte{0x10};
        refused += !decompressor.decompress(std::span(bent).first(size), back);
    }
    EXPECT_GT(refused, 0U);
    std::vector<std::byte> shorter(4095), longer(4097);
    EXPECT_FALSE(decompressor.decompress(std::span(packed).first(size), shorter));
    EXPECT_FALSE(decompressor.decompress(std::span(packed).first(size), longer));
    EXPECT_TRUE(decompressor.decompress(std::span(packed).first(size), back));
}

// Spec: REP-242
TEST(Compression, WithoutUseItTakesNoMemory) {
    Compressor compressor;
    EXPECT_EQ(compressor.memory(), 0U);
}

}  // namespace
}  // namespace understudy::mirror
