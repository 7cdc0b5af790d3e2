#pragma once

// The source, in the model's world with everything under the test's control.

#include "mirror/core/model_world.h"

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <functional>
#include <string>

namespace understudy::mirror::model {

using std::chrono::milliseconds;

struct Compared {
    bool done = false;
    CompareReport report;
    std::string error;
    std::function<void(Result<CompareReport>)> callback() {
        return [this](Result<CompareReport> result) {
            done = true;
            if (result)
                report = *result;
            else
                error = result.error().text;
        };
    }
};

class SourceTest : public ::testing::Test {
  protected:
    void start(MirrorType type, ResyncKind kind = ResyncKind::none) {
        world.type = type;
        world.start(kind);
        ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::mirroring; }));
        world.settle();
    }
    Source& source() { return *world.source().source; }
    MirrorState state() { return source().state(); }

    AppRequest& write(std::uint64_t cell, std::uint64_t cells = 8) {
        world.submit(BlockOp::write, cell, cells, false);
        return *world.history.back();
    }
    AppRequest& flush() {
        world.submit(BlockOp::flush, 0, 0, false);
        return *world.flushes.back();
    }
    /// The source's own disk and log only: nothing reaches the target.
    void run_here() {
        Node& node = world.source();
        while (true) {
            if (node.log->committing()) {
                node.finish_commit();
            } else if (node.commit_wanted && node.log->wants_commit()) {
                node.start_commit();
            } else if (node.disk.busy()) {
                node.disk.complete_one();
            } else {
                return;
            }
        }
    }
    void pass(milliseconds time) {
        for (milliseconds left = time; left > milliseconds(0); left -= kTick) {
            world.tick(kTick);
            world.settle(2000);
        }
    }

    std::deque<Compared> comparisons;  // outlive the world, whose end is theirs
    World world{1};
};

}  // namespace understudy::mirror::model
