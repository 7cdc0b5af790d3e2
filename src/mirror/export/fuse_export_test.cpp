#include "mirror/export/device_export_testing.h"
#include "mirror/export/fuse_export_state.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstring>
#include <future>

namespace understudy::mirror {
namespace {

using namespace testing_support;

class FuseExportTest : public DeviceExportFixture {
  protected:
    DeviceKind kind() const override { return DeviceKind::fuse; }
    FuseLoopOptions options() const { return fuse_options(); }
};

TEST_F(FuseExportTest, ShowsOneFileAndRefusesToResizeOrRemoveIt) {
    ASSERT_TRUE(make(options()));
    // In children: a process that asks its own FUSE server must not be the server.
    const std::string file = place_->mount_directory + "/volume";
    EXPECT_EQ(run_program({"ls", "-l", place_->mount_directory}), 0);
    EXPECT_EQ(run_program({"test", "-f", file}), 0);
    EXPECT_NE(run_program({"test", "-e", place_->mount_directory + "/other"}), 0);
    EXPECT_NE(run_program({"truncate", "-s", "1M", file}), 0);
    EXPECT_NE(run_program({"rm", "-f", file}), 0);
    EXPECT_NE(run_program({"mkdir", place_->mount_directory + "/directory"}), 0);
    EXPECT_EQ(run_program({"df", place_->mount_directory}), 0);
    EXPECT_EQ(run_program({"cmp", file, place_->file}), 0);
}

TEST_F(FuseExportTest, TakesTheDeadMountAndLoopDeviceOfACrashedHostAway) {
    ASSERT_TRUE(make(options()));
    const auto before = labelled_loops(place_->device_directory);
    ASSERT_EQ(before->size(), 1U);
    // A crash without a keeper: the descriptor closes, mount and loop device stay, dead.
    auto released = std::make_shared<std::promise<void>>();
    reactor_->post([this, released] {
        export_->release([this, released] {
            reactor_->post([this, released] {
                export_.reset();
                released->set_value();
            });
        });
    });
    released->get_future().wait();
    ASSERT_TRUE(mounted_at(place_->mount_directory));
    ASSERT_EQ(labelled_loops(place_->device_directory)->size(), 1U);

    const auto made = make(options());
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_EQ(labelled_loops(place_->device_directory)->size(), 1U);
    const Descriptor device = open_device();
    Page page;
    EXPECT_EQ(pread(device.get(), &page, sizeof page, 0), static_cast<ssize_t>(sizeof page));
}

TEST_F(FuseExportTest, TellsWhenSomebodyElseEndsTheConnection) {
    auto watched = options();
    auto lost = std::make_shared<std::promise<void>>();
    watched.lost = [lost] { lost->set_value(); };
    ASSERT_TRUE(make(watched));
    ASSERT_EQ(umount2(place_->mount_directory.c_str(), MNT_FORCE | MNT_DETACH), 0) << std::strerror(errno);
    (void)detach_labelled_loops(place_->device_directory);
    EXPECT_EQ(lost->get_future().wait_for(kTestLimit), std::future_status::ready);
}

TEST_F(FuseExportTest, ExplainsWhatIsWrongWithItsOptions) {
    auto bad = options();
    bad.volume = VolumeId("../escape");
    EXPECT_EQ(make(bad).error().code, Code::bad_argument);
    bad = options();
    bad.mount_directory = "relative";
    EXPECT_EQ(make(bad).error().code, Code::bad_argument);
    bad = options();
    bad.keeper_socket = place_->root + "/no-keeper";
    const auto unreachable = make(bad);
    ASSERT_FALSE(unreachable);
    EXPECT_EQ(unreachable.error().code, Code::unreachable);
    EXPECT_NE(unreachable.error().text.find("understudy-keeper"), std::string::npos);
    EXPECT_FALSE(mounted_at(place_->mount_directory));
}

TEST(FuseExportState, IsReadAsItWasWritten) {
    FuseExportState state;
    state.negotiated = {38, 1 << 17, true};
    state.volume = {kDeviceSize, 4096, true};
    state.mount_directory = "/run/with space/x";
    const auto back = read_state(write_state(state) + "later=1\n");
    ASSERT_TRUE(back) << back.error().text;
    EXPECT_EQ(back->negotiated, state.negotiated);
    EXPECT_EQ(back->volume.size, kDeviceSize);
    EXPECT_EQ(back->volume.sector_size, 4096U);
    EXPECT_TRUE(back->volume.read_only);
    EXPECT_EQ(back->mount_directory, state.mount_directory);
}

TEST(FuseExportState, NonsenseIsRefused) {
    FuseExportState state;
    state.negotiated = {38, 1 << 17, true};
    state.volume = {kDeviceSize, 512, false};
    state.mount_directory = "/run/x";
    const std::string good = write_state(state);
    ASSERT_TRUE(read_state(good));
    EXPECT_FALSE(read_state(""));
    EXPECT_FALSE(read_state("format=2" + good.substr(8)));
    EXPECT_FALSE(read_state(good + "size=513\n"));
    EXPECT_FALSE(read_state(good + "max_request=999999999999\n"));
    EXPECT_FALSE(read_state(good + "mount_directory=run\n"));
}

}  // namespace
}  // namespace understudy::mirror
