#include "comm/disk_exchange.h"

#include <gtest/gtest.h>

namespace understudy::comm {
namespace {

using namespace std::chrono_literals;

const NodeName kA("alpha");
const NodeName kB("beta");
constexpr std::uint64_t kLifeOfA = 11;
constexpr std::uint64_t kLifeOfB = 22;
const PathLimits kLimits{200ms, 3};

std::span<const std::byte> bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

wire::Heartbeat beat(std::uint64_t sequence, wire::View view = wire::View::heard) {
    wire::Heartbeat out;
    out.sequence = sequence;
    out.last_seen = 7;
    out.view = view;
    out.echo_ns = 5;
    return out;
}

/// A device with a header for alpha and beta.
class Region : public ::testing::Test {
  protected:
    Region() : content(disk::kProbeBytes, '\0') { put(0, disk::encode_header(disk::Pair::of(kA, kB), 1)); }
    void put(std::uint64_t at, const std::string& block) { content.replace(at, block.size(), block); }
    void write(DiskExchange& end, const wire::Heartbeat& heartbeat) {
        put(end.own_offset(), end.slot(heartbeat, kLimits));
        end.on_written(true);
    }
    DiskExchange::Reading read(DiskExchange& end) {
        return end.on_region(bytes(content).first(disk::kRegionBytes));
    }

    std::string content;
    DiskExchange a{kA, kB, kLifeOfA};
    DiskExchange b{kB, kA, kLifeOfB};
};

TEST(DiskFormat, RecordsSurviveTheirEncoding) {
    disk::Record record{"alpha", 1, 2, 200, 3, beat(9, wire::View::silent)};
    record.heartbeat.wall_us = -5;
    record.heartbeat.sent_ns = 1'000'000'000'000;
    record.heartbeat.held_ns = 3;
    const auto block = disk::encode_record(record);
    EXPECT_EQ(block.size(), disk::kBlockBytes);
    EXPECT_EQ(disk::decode_record(bytes(block)), record);
    const auto header = disk::encode_header(disk::Pair::of(kB, kA), 1);
    EXPECT_EQ(disk::decode_header(bytes(header)), (disk::Pair{kA, kB}));
    EXPECT_FALSE(disk::decode_record(bytes(header)));
}

// The bytes of format version 1: nodes of different releases share a disk.
TEST(DiskFormat, IsWhatOtherReleasesExpect) {
    const auto block = disk::encode_record({"n", 0x0102030405060708, 2, 200, 3, beat(9)});
    EXPECT_EQ(block.substr(0, 8), std::string("USTBEAT\x01"));
    EXPECT_EQ(block.substr(8, 8), std::string("\x01\0\0\0\x01\0\0\0", 8));
    EXPECT_EQ(block.substr(16, 3), std::string("\x01n\0", 3));
    EXPECT_EQ(block.substr(80, 8), std::string("\x08\x07\x06\x05\x04\x03\x02\x01", 8));
    EXPECT_EQ(block.substr(96, 2), std::string("\x09\0", 2));
    EXPECT_EQ(block.substr(112, 5), std::string("\xc8\0\0\0\x03", 5));
    EXPECT_EQ(block.find_first_not_of('\0', disk::kRecordBytes), std::string::npos);
}

// Spec: CLU-053
TEST(DiskFormat, ATornOrDamagedRecordIsNone) {
    const auto whole = disk::encode_record({"alpha", 1, 2, 200, 3, beat(9)});
    const auto older = disk::encode_record({"alpha", 1, 2, 200, 3, beat(8)});
    for (std::size_t cut = 1; cut < disk::kRecordBytes; ++cut) {
        const auto torn = whole.substr(0, cut) + older.substr(cut);
        const auto read = disk::decode_record(bytes(torn));
        // Cut before the first or after the last difference it is one of the two, whole.
        if (torn == whole || torn == older) continue;
        EXPECT_FALSE(read) << cut;
    }
    for (std::size_t at = 0; at < disk::kRecordBytes; ++at) {
        auto damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        EXPECT_FALSE(disk::decode_record(bytes(damaged))) << at;
    }
    EXPECT_FALSE(disk::decode_record(bytes(std::string(disk::kBlockBytes, '\0'))));
    EXPECT_FALSE(disk::decode_record({}));
}

// Spec: CLU-053
TEST(DiskFormat, OnlyABlankDiskGetsAHeader) {
    const auto pair = disk::Pair::of(kA, kB);
    std::string start(disk::kProbeBytes, '\0');
    EXPECT_EQ(disk::probe(bytes(start), pair).contents, disk::Contents::blank);
    auto btrfs = start;
    btrfs.replace(0x10040, 8, "_BHRfS_M");
    EXPECT_EQ(disk::probe(bytes(btrfs), pair).contents, disk::Contents::foreign);
    auto ours = start;
    ours.replace(0, disk::kBlockBytes, disk::encode_header(pair, 1));
    EXPECT_EQ(disk::probe(bytes(ours), pair).contents, disk::Contents::ours);
    const auto others = disk::probe(bytes(ours), disk::Pair::of(kA, NodeName("gamma")));
    EXPECT_EQ(others.contents, disk::Contents::other_pair);
    EXPECT_EQ(others.pair, pair);
}

// Spec: CLU-053
TEST_F(Region, EachHearsTheOther) {
    EXPECT_TRUE(read(a).may_write);
    EXPECT_TRUE(read(b).may_write);
    write(a, beat(1));
    write(b, beat(1));
    EXPECT_FALSE(read(a).heartbeat) << "the first that is read may be of any age";
    EXPECT_FALSE(read(b).heartbeat);
    write(a, beat(2));
    const auto heard = read(b).heartbeat;
    ASSERT_TRUE(heard);
    EXPECT_EQ(heard->heartbeat.sequence, 2U);
    EXPECT_EQ(heard->incarnation, kLifeOfA);
    EXPECT_EQ(heard->interval_ms, 200U);
    EXPECT_FALSE(read(b).heartbeat) << "it is the same one";
}

// Spec: CLU-053, CLU-070
TEST_F(Region, ThatThePeerHearsUsCountsOnlyWhenItNamesThisLife) {
    write(b, beat(1));
    static_cast<void>(read(a));
    write(b, beat(2));
    auto heard = read(a).heartbeat;
    ASSERT_TRUE(heard);
    EXPECT_EQ(heard->heartbeat.view, wire::View::unknown) << "beta has not heard alpha";
    EXPECT_EQ(heard->heartbeat.echo_ns, 0);

    static_cast<void>(read(b));
    write(a, beat(1));
    static_cast<void>(read(b));
    write(a, beat(2));
    ASSERT_TRUE(read(b).heartbeat);
    write(b, beat(3));
    heard = read(a).heartbeat;
    ASSERT_TRUE(heard);
    EXPECT_EQ(heard->heartbeat.view, wire::View::heard);

    DiskExchange next_life(kA, kB, kLifeOfA + 1);
    static_cast<void>(read(next_life));
    write(b, beat(4));
    heard = read(next_life).heartbeat;
    ASSERT_TRUE(heard);
    EXPECT_EQ(heard->heartbeat.view, wire::View::unknown) << "beta speaks of alpha's earlier life";
}

// Spec: CLU-053
TEST_F(Region, WhatAnEarlierClusterHasLeftIsNoSignOfLife) {
    put(b.own_offset(), disk::encode_record({"beta", 99, kLifeOfA, 200, 3, beat(1000)}));
    for (int i = 0; i < 100; ++i)
        EXPECT_FALSE(read(a).heartbeat);
    write(b, beat(1));
    EXPECT_TRUE(read(a).heartbeat) << "a new life begins with a small number";
}

TEST_F(Region, AnOlderRecordOfTheSameLifeIsNoHeartbeat) {
    write(b, beat(5));
    static_cast<void>(read(a));
    write(b, beat(4));
    EXPECT_FALSE(read(a).heartbeat);
    write(b, beat(6));
    EXPECT_TRUE(read(a).heartbeat);
}

// Spec: CLU-053
TEST_F(Region, NothingIsWrittenToADiskThatIsNotThePathsOwn) {
    put(0, std::string(disk::kBlockBytes, '\0'));
    auto reading = read(a);
    EXPECT_FALSE(reading.may_write);
    EXPECT_NE(reading.problem.find("another disk"), std::string::npos) << reading.problem;
    put(0, disk::encode_header(disk::Pair::of(kA, NodeName("gamma")), 1));
    reading = read(a);
    EXPECT_FALSE(reading.may_write);
    EXPECT_EQ(reading.problem, "the disk belongs to a path between alpha and gamma");
    EXPECT_FALSE(a.on_region({}).may_write);
}

TEST_F(Region, TwoClustersOnOneDiskAreNoticed) {
    DiskExchange other_alpha(kA, kB, kLifeOfA + 1);
    write(b, beat(1));
    for (std::uint64_t i = 1; i < 5; ++i) {
        write(a, beat(i));
        static_cast<void>(read(a));
        write(other_alpha, beat(i));
        static_cast<void>(read(a));
    }
    write(b, beat(2));
    const auto reading = read(a);
    EXPECT_NE(reading.problem.find("two clusters"), std::string::npos) << reading.problem;
    EXPECT_FALSE(reading.heartbeat);
    for (int i = 0; i < 10; ++i) {
        write(a, beat(10 + static_cast<std::uint64_t>(i)));
        static_cast<void>(read(a));
    }
    write(b, beat(3));
    EXPECT_TRUE(read(a).heartbeat) << "it is alone again";
}

TEST_F(Region, ALateWriteOfThisNodesEarlierLifeIsForgiven) {
    DiskExchange before(kA, kB, 5);
    write(a, beat(1));
    static_cast<void>(read(a));
    write(before, beat(77));
    EXPECT_EQ(read(a).problem, "");
    write(a, beat(2));
    EXPECT_EQ(read(a).problem, "");
}

}  // namespace
}  // namespace understudy::comm
