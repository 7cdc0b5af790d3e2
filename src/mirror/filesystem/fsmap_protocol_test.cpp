#include "mirror/filesystem/fsmap_protocol.h"

#include <gtest/gtest.h>

namespace understudy::mirror::filesystem {
namespace {

Reader read(std::string_view text) {
    Reader out;
    while (!text.empty()) {
        const auto end = text.find('\n');
        out.line(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return out;
}

TEST(FsmapProtocol, WhatIsPrintedIsRead) {
    const auto space = read(lines_of(FreeSpace{{{1, 5}, {100, 2}}, "xfs"})).space();
    ASSERT_TRUE(space) << space.error().text;
    EXPECT_EQ(space->free, (BlockRanges{{1, 5}, {100, 2}}));
    EXPECT_EQ(space->type, "xfs");
    ChangedFiles files;
    files.type = "ext4";
    files.names = {"/a b", "/line\nbreak", "/"};
    files.found = 7;
    files.complete = false;
    const auto named = read(lines_of(files)).files();
    ASSERT_TRUE(named) << named.error().text;
    EXPECT_EQ(named->names, (std::vector<std::string>{"/a b", "/line?break", "/"}));
    EXPECT_EQ(named->found, 7U);
    EXPECT_FALSE(named->complete);
    EXPECT_TRUE(read(lines_of(FreeSpace{{}, "ext4"})).space());
}

// A helper that was killed must not make a copy smaller or larger than it should be.
TEST(FsmapProtocol, WhatWasCutOffOrIsNonsenseIsAnError) {
    const std::string whole = lines_of(FreeSpace{{{1, 5}, {100, 2}}, "xfs"});
    for (std::size_t end = 0; end + 2 < whole.size(); ++end)
        EXPECT_FALSE(read(whole.substr(0, end)).space()) << whole.substr(0, end);
    for (const char* bad :
         {"free 5 1\nfree 5 1\nend xfs 2 0 1\n", "free 5 0\nend xfs 1 0 1\n", "free 5 x\nend xfs 1 0 1\n",
          "free -5 1\nend xfs 1 0 1\n", "hello\nend xfs 0 0 1\n", "end xfs 0 0 1\nfree 1 1\n",
          "end xfs 1 0 1\n", "free 1 1\nend xfs 0 0 1\n"})
        EXPECT_FALSE(read(bad).space()) << bad;
    EXPECT_FALSE(read("file /a\nend ext4 0 1 1\n").files());
}

}  // namespace
}  // namespace understudy::mirror::filesystem
