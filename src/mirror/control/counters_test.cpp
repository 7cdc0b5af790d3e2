#include "mirror/control/counters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

namespace understudy::mirror::control {
namespace {

std::map<std::string, double> read(const VolumeStatus& volume, const MirrorParameters& parameters = {}) {
    std::map<std::string, double> out;
    for (const Counter& counter : counters_of(volume, parameters)) {
        EXPECT_FALSE(counter.meaning.empty()) << counter.name;
        EXPECT_TRUE(out.emplace(counter.name, counter.value).second) << counter.name << " twice";
    }
    return out;
}

VolumeStatus source_in(MirrorState state) {
    VolumeStatus volume;
    volume.role = Role::source;
    volume.state = state;
    volume.type = MirrorType::async;
    volume.reconnects = 3;
    volume.queue_bytes = 4096;
    volume.queue_requests = 2;
    volume.dirty_blocks = 77;
    volume.resync_pass = 4;
    volume.counters.mirroring_ms = 61999;
    volume.counters.queue_age_ms = 1234;
    volume.counters.resync_current_block = 5;
    volume.counters.resync_ms = 9000;
    volume.counters.resync_new_writes = 6;
    volume.counters.resync_total_blocks = 320;
    volume.counters.resync_phase = 2;
    return volume;
}

// Spec: REP-249, REP-250, REP-251, REP-252, REP-253, REP-254, REP-255, REP-256, REP-257, REP-258, REP-259,
// REP-260, REP-261, REP-262, REP-263, REP-264, REP-265, REP-266, REP-267
TEST(Counters, TheEighteenOfTheManualAreThereWithTheirNames) {
    MirrorParameters parameters;
    parameters.write_queue_byte_limit_mb = 2;
    const std::map<std::string, double> expected = {{"repl_mirror_elapsed_seconds", 61},
                                                    {"repl_mirror_state", 2},
                                                    {"repl_mirror_type", 2},
                                                    {"repl_network_reconnects_total", 3},
                                                    {"repl_queue_byte_limit", 2097152},
                                                    {"repl_queue_age_milliseconds", 1234},
                                                    {"repl_queue_bytes", 4096},
                                                    {"repl_queue_length", 2},
                                                    {"repl_queue_high_water", 20000},
                                                    {"repl_queue_low_water", 150},
                                                    {"repl_resync_reads", 20},
                                                    {"repl_resync_current_block", 5},
                                                    {"repl_resync_dirty_blocks", 77},
                                                    {"repl_resync_elapsed_seconds", 9},
                                                    {"repl_resync_new_writes", 6},
                                                    {"repl_resync_pass", 4},
                                                    {"repl_resync_total_blocks", 320},
                                                    {"repl_resync_phase", 2}};
    ASSERT_EQ(expected.size(), 18U);
    const auto found = read(source_in(MirrorState::resync), parameters);
    for (const auto& [name, value] : expected) {
        ASSERT_TRUE(found.contains(name)) << name;
        EXPECT_EQ(found.at(name), value) << name;
    }
}

// Spec: REP-261, REP-262, REP-265, REP-268
TEST(Counters, WhatBelongsToARunningResyncIsZeroOutsideOfOne) {
    for (const MirrorState state :
         {MirrorState::mirroring, MirrorState::paused, MirrorState::pending, MirrorState::broken}) {
        const auto found = read(source_in(state));
        for (const char* name : {"repl_resync_current_block", "repl_resync_dirty_blocks", "repl_resync_pass"})
            EXPECT_EQ(found.at(name), 0) << name << ' ' << to_string(state);
        EXPECT_EQ(found.at("repl_mirror_state"), static_cast<int>(state));
    }
}

// Spec: REP-248
TEST(Counters, ATargetAndAVolumeWithoutAMirrorHaveNone) {
    VolumeStatus target = source_in(MirrorState::mirroring);
    target.role = Role::target;
    EXPECT_TRUE(read(target).empty());
    EXPECT_TRUE(read(VolumeStatus{}).empty());
}

// Spec: REP-104, REP-259
TEST(Counters, TheLowWaterOfTheQueueIsShownAndConstant) {
    EXPECT_EQ(read(source_in(MirrorState::mirroring)).at("repl_queue_low_water"), 150);
}

// Spec: REP-127, REP-128, REP-129, REP-130, REP-131, REP-132, REP-133, REP-134
TEST(States, NumbersAndNamesAreThoseThatPeopleKnow) {
    const std::map<MirrorState, std::pair<int, std::string>> expected = {
        {MirrorState::invalid, {-1, "invalid"}},      {MirrorState::none, {0, "none"}},
        {MirrorState::mirroring, {1, "mirroring"}},   {MirrorState::resync, {2, "resync"}},
        {MirrorState::broken, {3, "broken"}},         {MirrorState::paused, {4, "paused"}},
        {MirrorState::pending, {5, "resync pending"}}};
    for (const auto& [state, known] : expected) {
        EXPECT_EQ(static_cast<int>(state), known.first);
        EXPECT_EQ(to_string(state), known.second);
    }
    EXPECT_EQ(static_cast<int>(Role::none), 0);
    EXPECT_EQ(static_cast<int>(Role::source), 1);
    EXPECT_EQ(static_cast<int>(Role::target), 2);
    EXPECT_EQ(static_cast<int>(MirrorType::sync), 1);
    EXPECT_EQ(static_cast<int>(MirrorType::async), 2);
}

// Spec: REP-374
TEST(States, EveryCauseHasATextOfItsOwn) {
    std::set<std::string_view> texts;
    for (std::size_t i = 0; i < kPauseCauses; ++i) {
        const auto text = to_string(static_cast<PauseCause>(i));
        EXPECT_NE(text, "unknown") << i;
        EXPECT_TRUE(texts.insert(text).second) << text;
    }
    EXPECT_EQ(to_string(static_cast<PauseCause>(kPauseCauses)), "unknown");
}

}  // namespace
}  // namespace understudy::mirror::control
