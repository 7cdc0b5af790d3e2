// Commands on a database of 10,000 instances. What they do is counted, not timed: other programs share the
// machine. The times are in ./bench config.

#include "config/test_support.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<std::uint64_t> g_allocations{0};
}  // namespace

// Of the whole test program.
[[gnu::noinline]] void* operator new(std::size_t size) {
    ++g_allocations;
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    ++g_allocations;
    return std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace understudy::config {
namespace {

using testing::instance;
using testing::Shell;

constexpr int kInstances = 10'000;

Tag tag_of(int i) {
    return Tag(fmt::format("resource.{:05}", i));
}

class Scale : public ::testing::Test {
  protected:
    void SetUp() override {
        std::vector<Edit> edits;
        for (int i = 0; i < kInstances; ++i)
            edits.emplace_back(PutInstance{instance(tag_of(i).str())});
        for (int i = 0; i + 1 < kInstances; ++i)
            edits.emplace_back(PutDependency{{tag_of(i), tag_of(i + 1)}});
        shell.database->commit(std::move(edits));
    }
    template <class Function>
    std::uint64_t allocations(Function function) {
        const auto before = g_allocations.load();
        function();
        return g_allocations.load() - before;
    }
    Shell shell;
};

TEST_F(Scale, ListingAllInstancesCopiesNoRecord) {
    Reply reply;
    const auto made = allocations([&] { reply = shell("ins_list -f|"); });
    EXPECT_EQ(std::count(reply.out.begin(), reply.out.end(), '\n'), kInstances);
    EXPECT_LT(made, 200U) << "the output and the list of pointers grow by doubling, nothing else";
}

TEST_F(Scale, OneInstanceIsFoundWithoutLookingAtTheOthers) {
    const auto& own = shell.database->own();
    // What the index does not cover is scanned.
    EXPECT_EQ(own.index.instances, own.instances.size());
    EXPECT_EQ(own.index.dependencies, own.dependencies.size());
    EXPECT_LT(allocations([&] { shell("ins_setst -t resource.05000 -S ISP"); }), 200U);
    EXPECT_LT(allocations([&] { shell("dep_list -p resource.05000"); }), 200U);
    EXPECT_LT(allocations([&] { shell("ins_gettag -i id-resource.05000"); }), 200U);
    EXPECT_EQ(own.index.instances, own.instances.size()) << "a change keeps the index";
}

TEST_F(Scale, AWalkDownTheWholeHierarchyVisitsEachOnce) {
    std::vector<Tag> all;
    const auto made = allocations([&] { all = shell.database->own().subtree(tag_of(0)); });
    ASSERT_EQ(all.size(), static_cast<std::size_t>(kInstances));
    EXPECT_EQ(all.back(), tag_of(kInstances - 1));
    EXPECT_LT(made, 20U * kInstances);
}

}  // namespace
}  // namespace understudy::config
