// A write that nobody waits for any more is done all the same: it may have reached one end of a mirror
// already.

#include "mirror/export/nbd_export_testing.h"

#include <fstream>

namespace understudy::mirror::testing_support {
namespace {

using namespace std::chrono_literals;

// Spec: REP-088
TEST_F(NbdExportTest, AWriteWhoseClientHasGoneAwayRunsToItsEnd) {
    on_reactor([this] {
        export_->suspend(1h);
        return true;
    });
    {
        const Descriptor client = negotiated();
        send_text(client, request(1, 7, 8192, 4096) + std::string(4096, 'w'));
        ASSERT_TRUE(
            wait_until([this] { return on_reactor([this] { return export_->statistics().waiting; }) == 1; }));
    }
    // Its connection is closed; the request is not.
    const Descriptor other = negotiated();
    EXPECT_EQ(on_reactor([this] { return export_->statistics().waiting; }), 1U);
    on_reactor([this] {
        export_->resume();
        return true;
    });
    ASSERT_TRUE(
        wait_until([this] { return on_reactor([this] { return export_->statistics().writes; }) == 1; }));
    send_text(other, request(0, 8, 8192, 4096));
    EXPECT_EQ(receive(other, 16 + 4096), reply(0, 8) + std::string(4096, 'w'));
}

}  // namespace
}  // namespace understudy::mirror::testing_support
