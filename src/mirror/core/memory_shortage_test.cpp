// What becomes of a mirror when there is no memory: what can be refused is refused, what need not be
// remembered is forgotten, and a full resync makes up for it. Everything else ends the process, whose
// successor goes on.

#include "mirror/core/recent_writes.h"
#include "mirror/log/intent_log.h"
#include "mirror/snapshot/snapshot.h"
#include "mirror/volume.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <vector>

namespace {
/// Allocations of so many bytes and more fail.
thread_local std::size_t refused_from = std::numeric_limits<std::size_t>::max();
}  // namespace

void* operator new(std::size_t bytes) {
    void* memory = bytes >= refused_from ? nullptr : std::malloc(bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
// What the operator above gives is malloc's.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
#pragma GCC diagnostic pop

namespace understudy::mirror {
namespace {

struct Shortage {
    explicit Shortage(std::size_t from) { refused_from = from; }
    ~Shortage() { refused_from = std::numeric_limits<std::size_t>::max(); }
    Shortage(const Shortage&) = delete;
    Shortage& operator=(const Shortage&) = delete;
};

// Spec: REP-368
TEST(MemoryShortage, WhatATargetCannotRememberOtherTargetsGetByAFullResync) {
    RecentWrites recent;
    recent.everywhere(0);
    recent.add(1, 0, kBlockBytes);
    ASSERT_TRUE(recent.known());
    std::uint64_t number = 1;
    {
        const Shortage shortage(1);
        for (int i = 0; i < 1000; ++i)
            recent.add(number + 1 + static_cast<std::uint64_t>(i), 0, kBlockBytes);
    }
    number += 1000;
    EXPECT_FALSE(recent.known()) << "a part of it would look like all of it";
    // Known again once every target has what was forgotten, and not before.
    recent.everywhere(1);
    EXPECT_FALSE(recent.known());
    recent.add(number + 1, 7 * kBlockBytes, kBlockBytes);
    recent.everywhere(number);
    EXPECT_TRUE(recent.known());
    std::uint64_t blocks = 0;
    recent.for_each([&](std::uint64_t first, std::uint64_t last) { blocks += last - first + 1; });
    EXPECT_EQ(blocks, 1U);
}

/// A device of a PiB that nobody reads or writes.
struct Huge final : BlockBackend {
    [[nodiscard]] std::uint64_t size() const override { return std::uint64_t{1} << 50; }
    [[nodiscard]] std::uint32_t sector_size() const override { return 512; }
    [[nodiscard]] bool punches() const override { return false; }
    void submit(BlockRequest&) override { FAIL() << "it is not even opened"; }
};
struct NoEvents final : VolumeEvents {
    void state_changed(MirrorState, MirrorState, PauseCause) override {}
    void link_lost(std::string) override {}
    void link_interrupted(std::string) override {}
    void degraded(DegradeAnswer) override {}
    void in_sync() override {}
    void log_failed(std::string) override {}
    void target_silent() override {}
};

// Spec: REP-368
TEST(MemoryShortage, AVolumeWithoutMemoryForItsBitmapsIsNotOpened) {
    auto reactor = Reactor::create();
    ASSERT_TRUE(reactor) << reactor.error().text;
    Huge device;
    NoEvents events;
    VolumeOptions options;
    options.id = VolumeId("R");
    options.device = "/dev/huge";
    options.log_in_memory = true;
    options.shared_device = &device;
    const Shortage shortage(1 << 20);
    const auto opened = Volume::open(**reactor, options, events);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Code::failure);
    EXPECT_NE(opened.error().text.find("no memory for the bitmaps of volume R"), std::string::npos)
        << opened.error().text;
    EXPECT_NE(opened.error().text.find("event 176"), std::string::npos);
}

// Spec: REP-368
TEST(MemoryShortage, ABitmapThatFindsNoMemoryIsSaidAndLosesNoBit) {
    constexpr std::uint64_t kBytes = std::uint64_t{1} << 40;
    IntentLog log(kBytes, kBlockBytes);
    log.set_dirty(5 * kBlockBytes, 1);
    std::array<std::uint64_t, kWordsPerPage> words{};
    words[0] = 1;
    {
        const Shortage shortage(kMapPageBytes);
        EXPECT_FALSE(log.set_all_dirty());
        EXPECT_FALSE(log.set_dirty_but({{0, 100}}));
        EXPECT_FALSE(log.merge_dirty(7, words));
        EXPECT_TRUE(log.merge_dirty(0, words)) << "this page has memory already";
    }
    EXPECT_TRUE(log.dirty().test(0) && log.dirty().test(5));
    EXPECT_EQ(log.dirty().test(99), log.dirty().test(50)) << "a page is all there or not at all";
    EXPECT_TRUE(log.set_all_dirty());
    EXPECT_EQ(log.dirty().count(), log.blocks());
}

/// Answers at once; all zeroes but for the first byte of each request.
struct Quick final : BlockBackend {
    [[nodiscard]] std::uint64_t size() const override { return std::uint64_t{1} << 32; }
    [[nodiscard]] std::uint32_t sector_size() const override { return 512; }
    void submit(BlockRequest& request) override {
        if (request.op == BlockOp::read) {
            std::memset(request.data, 0, request.length);
            request.data[0] = std::byte{1};
        }
        if (request.op == BlockOp::write) ++writes;
        request.result = 0;
        request.done(request);
    }
    int writes = 0;
};

// Spec: REP-332, REP-368
TEST(MemoryShortage, ASnapshotWithoutMemoryForItsMapBecomesInvalidAndTheMirrorGoesOn) {
    Quick volume, store;
    std::string failed;
    Snapshot snapshot(volume, store, 65536, [&](std::string why) { failed = std::move(why); });
    std::vector<std::byte> data(4096, std::byte{7});
    int ended = 0;
    BlockRequest write;
    write.op = BlockOp::write;
    write.length = 4096;
    write.data = data.data();
    write.owner = &ended;
    write.done = [](BlockRequest& request) {
        *static_cast<int*>(request.owner) += request.result == 0 ? 1 : 100;
    };
    {
        const Shortage shortage(kMapPageBytes);
        snapshot.submit(write);
    }
    EXPECT_EQ(ended, 1);
    EXPECT_EQ(volume.writes, 1);
    EXPECT_FALSE(snapshot.valid());
    EXPECT_NE(failed.find("event 235"), std::string::npos) << failed;

    Snapshot other(volume, store, 65536, [&](std::string why) { failed = std::move(why); });
    failed.clear();
    write.length = 65536;
    data.resize(65536);
    write.data = data.data();
    {
        const Shortage shortage(kMapPageBytes);
        other.view().submit(write);
    }
    EXPECT_EQ(ended, 101) << "a local write that cannot be kept fails";
    EXPECT_FALSE(other.valid());
    EXPECT_FALSE(failed.empty());
}

}  // namespace
}  // namespace understudy::mirror
