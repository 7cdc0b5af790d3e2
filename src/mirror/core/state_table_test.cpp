// The source's state machine as a table: one row an event, one column the state in which it comes. Rows of
// the requirements' table 8.2 that belong to commands and records are in control/pair_test.cpp.

#include "mirror/core/limits.h"
#include "mirror/core/model_world.h"

#include <gtest/gtest.h>

#include <cctype>
#include <functional>
#include <optional>

namespace understudy::mirror::model {
namespace {

using std::chrono::milliseconds;
using State = MirrorState;

constexpr std::array kColumns = {State::mirroring, State::resync, State::broken, State::paused,
                                 State::pending};
constexpr State kSame = State::invalid;  // of a cell: nothing changes
constexpr State kNever = State::none;    // of a cell: the event does not come in this state

/// A mirror in a state of the test's choice, with everything under its control.
class Scene {
  public:
    explicit Scene(MirrorType type) { world.type = type; }

    void reach(State state) {
        world.parameters.resync_reads = 1;
        world.start(ResyncKind::none);
        EXPECT_TRUE(world.run_until([&] { return now() == State::mirroring; }));
        world.settle();
        switch (state) {
            case State::mirroring:
                break;
            case State::resync:
                source().give_up_links("cut");
                world.settle();
                world.connect(ResyncKind::full);
                EXPECT_TRUE(world.run_until([&] { return now() == State::resync; }));
                break;
            case State::broken:
                source().break_mirror();
                world.settle();
                break;
            case State::paused:
                source().pause([](Result<>) {});
                world.settle();
                break;
            case State::pending:  // the target's bits are on their way
                source().give_up_links("cut");
                world.settle();
                world.connect(ResyncKind::partial);
                break;
            case State::none:
            case State::invalid:
                break;
        }
        EXPECT_EQ(now(), state);
    }
    Source& source() { return *world.source().source; }
    [[nodiscard]] State now() { return source().state(); }

    AppRequest& write(std::uint64_t cell = 0, std::uint64_t cells = 8) {
        world.submit(BlockOp::write, cell, cells, false);
        return *world.history.back();
    }
    /// This end's disk and log only.
    void run_here() {
        Node& node = world.source();
        while (true) {
            if (node.log->committing()) {
                node.finish_commit();
            } else if (node.commit_wanted) {
                node.start_commit();
                if (!node.log->committing()) return;
            } else if (node.disk.busy()) {
                node.disk.complete_one();
            } else {
                return;
            }
        }
    }
    void silence(milliseconds time) {
        for (milliseconds left = time; left > milliseconds(0); left -= kTick)
            world.tick(kTick);
    }

    World world{1};
    Result<> answer;
};

struct Row {
    const char* requirement;
    const char* event;
    std::function<void(Scene&)> happens;
    std::array<State, 5> becomes;  // by kColumns
    PauseCause cause = PauseCause::none;
};

const std::vector<Row>& rows() {
    static const std::vector<Row> table = {
        {"REP-159",
         "PauseByUser",
         [](Scene& s) {
             s.source().pause([&s](Result<> r) { s.answer = r; });
             s.world.settle();
         },
         {State::paused, State::paused, kSame, State::paused, State::paused},
         PauseCause::user},
        {"REP-160",
         "Continue",
         [](Scene& s) { s.source().resume(); },
         {kSame, kSame, State::pending, State::pending, kSame}},
        {"REP-161",
         "Break",
         [](Scene& s) { s.source().break_mirror(); },
         {State::broken, State::broken, kSame, State::broken, State::broken}},
        {"REP-164",
         "LinkBreaksAndDoesNotComeBack",
         [](Scene& s) {
             s.source().link_broken("reset");
             s.silence(milliseconds(31000));
         },
         {State::paused, State::paused, kSame, kSame, State::paused},
         PauseCause::link_lost},
        {"REP-164",
         "LinkBreaksAndComesBackAtOnce",
         [](Scene& s) {
             s.source().link_broken("reset");
             s.world.target().target->link_broken("reset");
             s.world.reconnect();
             s.world.settle();
         },
         {kSame, State::paused, kSame, kSame, State::paused},
         PauseCause::link_lost},
        {"REP-165",
         "MaxPingMisses",
         [](Scene& s) { s.silence(milliseconds(31000)); },
         {State::paused, State::paused, kSame, kSame, State::paused},
         PauseCause::link_lost},
        {"REP-166",
         "LinkIsBack",
         [](Scene& s) {
             s.source().give_up_links("cut");
             s.world.connect(ResyncKind::partial);
             EXPECT_EQ(s.now(), State::pending);
             EXPECT_TRUE(s.world.run_until([&] { return s.now() == State::mirroring; }));
         },
         {kSame, State::mirroring, kNever, State::mirroring, State::mirroring}},
        {"REP-157",
         "TargetConnectedAndBitsMerged",
         [](Scene& s) { EXPECT_TRUE(s.world.run_until([&] { return s.now() != State::pending; })); },
         {kNever, kNever, kNever, kNever, State::resync}},
        {"REP-158",
         "NothingIsDirtyAnyMore",
         [](Scene& s) { EXPECT_TRUE(s.world.run_until([&] { return s.now() != State::resync; })); },
         {kNever, State::mirroring, kNever, kNever, kNever}},
        {"REP-167",
         "WriteErrorOfTheTarget",
         [](Scene& s) {
             s.world.target().disk.fail_writes = 100;
             s.write();
             s.world.settle();
         },
         {State::paused, State::paused, kNever, kNever, kNever},
         PauseCause::target_error},
        {"REP-168",
         "FullQueueWithoutBlocking",
         [](Scene& s) {
             s.world.parameters.write_queue_high_water = 1;
             s.source().set_parameters(s.world.parameters);
             s.write(2000);
             s.run_here();
             s.write(2100);
             s.run_here();
         },
         {State::paused, kSame, kNever, kNever, kNever},
         PauseCause::queue_limit},
        {"REP-169",
         "FullQueueWithBlocking",
         [](Scene& s) {
             s.world.parameters.write_queue_high_water = 1;
             s.world.parameters.block_writes_on_limit_reached = true;
             s.source().set_parameters(s.world.parameters);
             s.write(2000);
             s.run_here();
             s.write(2100);
             s.run_here();
         },
         {kSame, kSame, kNever, kNever, kNever}},
        {"REP-173",
         "LocalWriteError",
         [](Scene& s) {
             s.world.source().disk.fail_writes = 100;
             AppRequest& request = s.write();
             s.run_here();
             s.world.settle(200);
             s.world.source().disk.fail_writes = 0;
             EXPECT_TRUE(request.completed == 0 || request.failed);
         },
         {kSame, kNever, kSame, kSame, kNever}},
        {"REP-174",
         "LocalReadError",
         [](Scene& s) {
             s.world.source().disk.fail_reads = 100;
             s.world.settle();
         },
         {kSame, State::paused, kSame, kSame, kNever},
         PauseCause::source_read_error},
        {"REP-175",
         "LogFails",
         [](Scene& s) {
             s.world.source().log->fail();
             AppRequest& request = s.write();
             s.source().log_committed();
             s.run_here();
             s.world.source().commit_wanted = false;
             EXPECT_TRUE(request.completed != 0 || s.world.type == MirrorType::sync) << "memory tracks";
         },
         {kSame, kSame, kSame, kSame, kSame}},
        {"REP-180",
         "ChangeOfType",
         [](Scene& s) {
             s.source().set_type(s.world.type == MirrorType::sync ? MirrorType::async : MirrorType::sync);
         },
         {kSame, kSame, kSame, kSame, kSame}},
    };
    return table;
}

struct Case {
    const Row* row;
    std::size_t column;
    MirrorType type;
};

std::vector<Case> cases() {
    std::vector<Case> out;
    for (const Row& row : rows())
        for (std::size_t column = 0; column < kColumns.size(); ++column)
            for (const MirrorType type : {MirrorType::sync, MirrorType::async})
                if (row.becomes[column] != kNever) out.push_back({&row, column, type});
    return out;
}

class StateTable : public ::testing::TestWithParam<Case> {};

// Spec: REP-097, REP-105, REP-129, REP-130, REP-131, REP-132, REP-133, REP-149, REP-157, REP-158, REP-159,
// REP-160, REP-161, REP-164, REP-165, REP-166, REP-167, REP-168, REP-169, REP-173, REP-174, REP-175, REP-180
TEST_P(StateTable, Row) {
    const auto& [row, column, type] = GetParam();
    Scene scene(type);
    const State from = kColumns[column];
    scene.reach(from);
    if (HasFailure()) return;
    row->happens(scene);
    const State to = row->becomes[column];
    EXPECT_EQ(to_string(scene.now()), to_string(to == kSame ? from : to)) << row->requirement;
    if (to == State::paused && from != State::paused && row->cause != PauseCause::none) {
        EXPECT_EQ(to_string(scene.source().cause()), to_string(row->cause));
    }
    scene.world.source().disk.fail_reads = 0;
    scene.world.settle();
}

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
    std::string state(to_string(kColumns[info.param.column]));
    for (char& letter : state)
        if (std::isalnum(static_cast<unsigned char>(letter)) == 0) letter = '_';
    return fmt::format("{}_in_{}_{}", info.param.row->event, state, to_string(info.param.type));
}

INSTANTIATE_TEST_SUITE_P(Source, StateTable, ::testing::ValuesIn(cases()), name_of);

// Spec: REP-149, REP-159
TEST(StateTableErrors, APauseOfABrokenMirrorIsAnErrorAndChangesNothing) {
    Scene scene(MirrorType::sync);
    scene.reach(State::broken);
    scene.source().pause([&](Result<> result) { scene.answer = std::move(result); });
    ASSERT_FALSE(scene.answer);
    EXPECT_NE(scene.answer.error().text.find("broken"), std::string::npos);
    EXPECT_EQ(scene.now(), State::broken);
}

// Spec: REP-085, REP-086, REP-130, MOP-129
TEST(StateTableErrors, InAResyncEveryWriteIsHandledAsAnAsynchronousOne) {
    Scene scene(MirrorType::sync);
    scene.reach(State::resync);
    AppRequest& request = scene.write(2000);
    scene.run_here();
    EXPECT_NE(request.completed, 0U);
    scene.world.settle();
}

// Spec: REP-205
TEST(FailureMatrix, AfterACutAndARestartOfTheSourceOnlyWhatChangedIsSent) {
    for (const MirrorType type : {MirrorType::sync, MirrorType::async}) {
        Scene scene(type);
        scene.reach(State::mirroring);
        for (int i = 0; i < 40; ++i) {
            scene.world.tick(kTick);
            scene.world.settle(500);
        }
        scene.source().give_up_links("cut");
        scene.world.target().target->link_broken("cut");
        scene.world.settle();
        for (const std::uint64_t block : {1U, 4U, 9U})
            scene.write(block * 128);
        scene.world.settle();
        EXPECT_EQ(scene.world.target().target->state(), State::mirroring);
        scene.world.source().crash();
        scene.world.source().become_source(State::pending);
        scene.world.connect(ResyncKind::partial);
        ASSERT_TRUE(scene.world.run_until([&] { return scene.now() == State::mirroring; }));
        EXPECT_LE(scene.source().resync_bytes_sent(), 4 * kBlockBytes);
        scene.world.settle();
        EXPECT_EQ(scene.world.check_equal(), "");
        scene.world.pending_requests = 0;
    }
}

// Spec: REP-053, REP-205, EMC-225, MOP-095
TEST(FailureMatrix, ASourceThatDiesRightAfterAFullResyncDoesNotSendItAgain) {
    for (const MirrorType type : {MirrorType::sync, MirrorType::async}) {
        Scene scene(type);
        scene.reach(State::resync);
        ASSERT_TRUE(scene.world.run_until([&] { return scene.now() == State::mirroring; }));
        for (int i = 0; i < 3; ++i) {  // long before the log is cleared because nothing else is to do
            scene.world.tick(kTick);
            scene.world.settle();
        }
        scene.world.source().crash();
        scene.world.target().target->link_broken("cut");
        scene.world.settle();
        scene.world.source().become_source(State::pending);
        scene.world.connect(ResyncKind::partial);
        ASSERT_TRUE(scene.world.run_until([&] { return scene.now() == State::mirroring; }));
        EXPECT_EQ(scene.source().resync_bytes_sent(), 0U);
        scene.world.settle();
        EXPECT_EQ(scene.world.check_equal(), "");
    }
}

// Spec: REP-206, REP-208, REP-221
TEST(FailureMatrix, ATargetThatFailedIsWrittenToOnlyAfterAResyncBegan) {
    Scene scene(MirrorType::async);
    scene.reach(State::mirroring);
    scene.world.target().disk.fail_writes = 100;
    scene.write(0);
    scene.world.settle();
    ASSERT_EQ(scene.now(), State::paused);
    scene.world.target().disk.fail_writes = 0;
    const auto before = scene.world.target().target->writes();
    AppRequest& meanwhile = scene.write(128);
    scene.world.settle();
    EXPECT_NE(meanwhile.completed, 0U);
    EXPECT_FALSE(meanwhile.failed);
    EXPECT_EQ(scene.world.target().target->writes(), before);
    for (int i = 0; i < 620; ++i) {
        scene.world.tick(kTick);
        scene.world.settle(500);
    }
    EXPECT_EQ(scene.now(), State::mirroring);
    EXPECT_LE(scene.source().resync_bytes_sent(), 2 * kBlockBytes);
    EXPECT_EQ(scene.world.check_equal(), "");
}

// Spec: REP-099, REP-102, REP-215
TEST(FailureMatrix, AFullQueueStallsNobodyOrSlowsTheWriterDown) {
    for (const MirrorType type : {MirrorType::sync, MirrorType::async}) {
        for (const bool blocks : {false, true}) {
            Scene scene(type);
            scene.world.parameters.write_queue_high_water = 2;
            scene.world.parameters.block_writes_on_limit_reached = blocks;
            scene.world.parameters.auto_resume_delay_ms = 200;
            scene.reach(State::mirroring);
            std::vector<AppRequest*> requests;
            for (std::uint64_t i = 0; i < 5; ++i)
                requests.push_back(&scene.write(i * 128));
            scene.run_here();
            EXPECT_EQ(scene.now(), blocks ? State::mirroring : State::paused);
            EXPECT_LE(scene.source().queue_requests(), 2U);
            if (blocks) {
                EXPECT_EQ(requests[4]->completed, 0U);
            }
            scene.world.settle();
            for (int i = 0; i < 10; ++i) {
                scene.world.tick(kTick);
                scene.world.settle(500);
            }
            for (const AppRequest* request : requests)
                EXPECT_TRUE(request->completed != 0 && !request->failed);
            EXPECT_EQ(scene.now(), State::mirroring);
            EXPECT_EQ(scene.world.check_equal(), "");
        }
    }
}

// Spec: REP-064, REP-216
TEST(FailureMatrix, WithoutItsLogTheMirrorGoesOnAndMemoryTracks) {
    Scene scene(MirrorType::sync);
    scene.reach(State::mirroring);
    scene.world.source().log->fail();
    AppRequest& mirrored = scene.write(0);
    scene.source().log_committed();
    scene.world.source().commit_wanted = false;
    scene.world.settle();
    EXPECT_NE(mirrored.completed, 0U);
    scene.source().give_up_links("cut");
    scene.world.settle();
    scene.write(640);
    scene.source().log_committed();
    scene.world.source().commit_wanted = false;
    scene.world.settle();
    EXPECT_GE(scene.source().dirty_blocks(), 1U);
    scene.world.connect(ResyncKind::partial);
    for (int i = 0; i < 10 && scene.now() != State::mirroring; ++i) {
        scene.world.source().commit_wanted = false;
        scene.source().log_committed();
        scene.world.settle();
    }
    EXPECT_EQ(scene.now(), State::mirroring);
    EXPECT_EQ(scene.world.check_equal(), "");
}

}  // namespace
}  // namespace understudy::mirror::model
