// What becomes of a mirror when there is no memory: what can be refused is refused, what need not be
// remembered is forgotten, and a full resync makes up for it. Everything else ends the process, whose
// successor goes on.

#include "mirror/core/recent_writes.h"
#include "mirror/volume.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <new>

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

}  // namespace
}  // namespace understudy::mirror
