// A target that gives a large bitmap to its source.

#include "mirror/core/limits.h"
#include "mirror/core/target.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

namespace understudy::mirror {
namespace {

/// 2 TiB that nobody reads or writes: 1024 pages of bits.
struct Large final : BlockBackend {
    [[nodiscard]] std::uint64_t size() const override { return std::uint64_t{1} << 41; }
    [[nodiscard]] std::uint32_t sector_size() const override { return 512; }
    void submit(BlockRequest&) override { FAIL() << "nothing is applied here"; }
};

/// A link that sends when the test says so.
struct Link final : TargetDriver {
    void send_data(Outgoing& item) override {
        queued.push(item);
        most = std::max(most, queued.size());
    }
    void send_resync(Outgoing& item) override { queued.push(item); }
    void close_links(const std::string&) override {
        while (!queued.empty())
            release(queued.pop());
    }
    void mark_consistent(bool, std::uint64_t) override {}
    void release_data(std::byte*, std::uint32_t) override {}
    void release_resync(std::byte*, std::uint32_t) override {}
    void state_changed(MirrorState, MirrorState, PauseCause) override {}
    void link_lost(std::string) override {}
    void in_sync() override {}
    bool snapshot_begins(std::uint64_t) override { return false; }

    static void release(Outgoing& item) {
        if (item.released != nullptr) item.released(item);
    }
    /// The next message, which is then sent.
    wire::Header take(std::vector<std::uint64_t>* words = nullptr) {
        Outgoing& item = queued.pop();
        const auto header = wire::decode(item.header);
        EXPECT_TRUE(header) << header.error().text;
        if (words != nullptr && item.length > 0) {
            words->resize(item.length / 8);
            std::memcpy(words->data(), item.payload, item.length);
        }
        release(item);
        return *header;
    }
    IntrusiveQueue<Outgoing> queued;
    std::size_t most = 0;
};

struct TargetBits : testing::Test {
    Large device;
    IntentLog log{device.size(), 65536};
    Link link;
    Target target{device, log, link, MirrorParameters{}, true, true, Instant{}};

    void ask() {
        wire::Header request;
        request.type = wire::Type::bitmap_request;
        target.on_data(request, nullptr, Instant{});
    }
};

// Spec: REP-121
TEST_F(TargetBits, EveryPageWithABitComesOnceAndThenTheEnd) {
    const std::set<std::uint64_t> blocks{0, 77, kBlocksPerPage, 5 * kBlocksPerPage + 3, log.blocks() - 1};
    for (const std::uint64_t block : blocks)
        log.set_dirty(block * kBlockBytes, 1);
    target.attach({ResyncKind::partial, wire::kAllFeatures}, Instant{});
    ask();
    std::set<std::uint64_t> found;
    while (true) {
        ASSERT_FALSE(link.queued.empty());
        std::vector<std::uint64_t> words;
        const auto header = link.take(&words);
        ASSERT_EQ(header.type, wire::Type::bitmap_data);
        if ((header.flags & wire::kLast) != 0) break;
        for (std::uint64_t bit = 0; bit < words.size() * 64; ++bit)
            if ((words[bit / 64] >> (bit % 64) & 1U) != 0) found.insert(header.offset * kBlocksPerPage + bit);
    }
    EXPECT_EQ(found, blocks);
    EXPECT_TRUE(link.queued.empty());
    target.detach();
}

// Spec: REP-121, REP-368
TEST_F(TargetBits, AFullBitmapIsNeverInMemoryTwice) {
    ASSERT_TRUE(log.set_all_dirty());
    target.attach({ResyncKind::partial, wire::kAllFeatures}, Instant{});
    ask();
    std::uint64_t pages = 0;
    while (!link.queued.empty())
        pages += (link.take().flags & wire::kLast) == 0 ? 1 : 0;
    EXPECT_EQ(pages, log.dirty().pages());
    EXPECT_LE(link.most, kMostBitsQueued + 1);
    target.detach();
}

// Spec: REP-121
TEST_F(TargetBits, ALostLinkEndsItAndTheNextOneBeginsAnew) {
    ASSERT_TRUE(log.set_all_dirty());
    target.attach({ResyncKind::partial, wire::kAllFeatures}, Instant{});
    ask();
    for (int i = 0; i < 3; ++i)
        link.take();
    target.link_broken("cut");
    EXPECT_TRUE(link.queued.empty());
    EXPECT_TRUE(target.idle());
    target.attach({ResyncKind::partial, wire::kAllFeatures}, Instant{});
    EXPECT_TRUE(link.queued.empty()) << "nobody has asked";
    ask();
    std::uint64_t pages = 0;
    while (!link.queued.empty())
        pages += (link.take().flags & wire::kLast) == 0 ? 1 : 0;
    EXPECT_EQ(pages, log.dirty().pages());
    target.detach();
}

}  // namespace
}  // namespace understudy::mirror
