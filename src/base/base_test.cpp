#include "base/checksum.h"
#include "base/mount_table.h"
#include "base/result.h"
#include "base/text.h"
#include "base/types.h"

#include <gtest/gtest.h>

#include <random>
#include <sstream>

namespace understudy {
namespace {

std::span<const std::byte> as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
}

TEST(Crc32c, MatchesThePublishedVector) {
    EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283U);  // RFC 3720, appendix B.4
    EXPECT_EQ(crc32c_portable(as_bytes("123456789")), 0xE3069283U);
}

TEST(Crc32c, AcceleratedAndPortableAgreeAndContinue) {
    std::mt19937 random(7);
    for (std::size_t size = 0; size < 300; ++size) {
        std::vector<std::byte> data(size);
        for (auto& b : data)
            b = static_cast<std::byte>(random());
        const auto whole = crc32c(data);
        EXPECT_EQ(whole, crc32c_portable(data));
        const auto half = std::span(data).first(size / 2);
        EXPECT_EQ(whole, crc32c(std::span(data).subspan(size / 2), crc32c(half)));
    }
}

TEST(Crc32c, LongRunsAgreeWithThePortableOne) {
    std::mt19937 random(8);
    for (const std::size_t size : {4079UL, 4080UL, 4081UL, 4096UL, 8160UL, 12345UL, 65536UL}) {
        std::vector<std::byte> data(size);
        for (auto& b : data)
            b = static_cast<std::byte>(random());
        EXPECT_EQ(crc32c(data), crc32c_portable(data)) << size;
        EXPECT_EQ(crc32c(data, 0x12345678U), crc32c_portable(data, 0x12345678U)) << size;
    }
}

TEST(Xxh3, MatchesThePublishedVector) {
    EXPECT_EQ(xxh3({}), 0x2D06800538D394C2U);  // xxHash's own sanity check, length 0, seed 0
    EXPECT_NE(xxh3(as_bytes("123456789")), xxh3(as_bytes("123456788")));
}

TEST(Text, SplitKeepsEmptyFields) {
    EXPECT_EQ(text::split("a,,b", ','), (std::vector<std::string>{"a", "", "b"}));
    EXPECT_EQ(text::split("", ','), (std::vector<std::string>{""}));
    EXPECT_EQ(text::words("  a \t b "), (std::vector<std::string>{"a", "b"}));
}

TEST(Text, NumbersAreTakenWholeOrNotAtAll) {
    EXPECT_EQ(text::to_int("42"), 42);
    EXPECT_EQ(text::to_int("-1"), -1);
    EXPECT_FALSE(text::to_int("42x"));
    EXPECT_FALSE(text::to_int(""));
    EXPECT_EQ(text::parse_bytes("2G"), 2ULL << 30);
    EXPECT_FALSE(text::parse_bytes("99999999999T"));
    EXPECT_FALSE(text::parse_bytes("K"));
}

TEST(Text, HexRoundTrips) {
    const auto data = text::from_hex("00ff7a");
    ASSERT_TRUE(data);
    EXPECT_EQ(text::hex(*data), "00ff7a");
    EXPECT_FALSE(text::from_hex("0"));
    EXPECT_FALSE(text::from_hex("zz"));
}

TEST(Result, TryPassesTheErrorOn) {
    const auto failing = []() -> Result<int> { return fail(Code::not_found, "no resource \"{}\"", "x"); };
    const auto caller = [&]() -> Result<int> {
        UNDERSTUDY_TRY(const int value, failing());
        return value + 1;
    };
    ASSERT_FALSE(caller());
    EXPECT_EQ(caller().error().code, Code::not_found);
    EXPECT_EQ(caller().error().text, "no resource \"x\"");
}

TEST(Mounts, AreReadWithTheirNamesAsTheyAre) {
    std::istringstream table(
        "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
        "90 25 7:3 /part /srv/my\\040data\\134x rw master:2 propagate_from:1 - xfs /dev/understudy/a rw\n"
        "91 25 0:50 / /run/user rw - tmpfs tmpfs rw\n"
        "92 25 0:51 / /cut/off rw - tmpfs\n"
        "93 25 0:52 / /ends\\04 rw - proc proc rw\n");
    const auto mounts = read_mounts(table);
    ASSERT_EQ(mounts.size(), 4U);
    EXPECT_EQ(mounts[0].device, "8:1");
    EXPECT_EQ(mounts[0].directory, "/");
    EXPECT_EQ(mounts[0].options, "rw,errors=remount-ro");
    EXPECT_EQ(mounts[1].root, "/part");
    EXPECT_EQ(mounts[1].directory, "/srv/my data\\x");
    EXPECT_EQ(mounts[1].type, "xfs");
    EXPECT_EQ(mounts[2].type, "tmpfs");  // no tags
    EXPECT_EQ(mounts[3].directory, "/ends\\04");
}

}  // namespace
}  // namespace understudy
