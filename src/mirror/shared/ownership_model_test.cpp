// Thousands of short random lives of hosts that share a volume, one per seed. UNDERSTUDY_SEEDS=n runs n
// seeds, UNDERSTUDY_SEED=s runs one.

#include "mirror/shared/ownership_model.h"

#include "base/test_seeds.h"

#include <gtest/gtest.h>

namespace understudy::mirror::shared::model {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

// Spec: CLU-217, KIT-060, MOP-066, EMC-262
TEST(OwnershipModel, NeverTwoOwners) {
    ModelReport all;
    const auto [first, end] = test_seeds(150, 20);
    const std::uint64_t count = end - first;
    for (std::uint64_t seed = first; seed < end; ++seed) {
        ModelOptions options;
        options.seed = seed;
        options.hosts = 2 + static_cast<unsigned>(seed % 4);
        options.faults = seed % 3 == 0 ? 2 : 15;
        const ModelReport report = OwnershipModel(options).run(minutes(10));
        ASSERT_EQ(report.violation, "");
        ASSERT_TRUE(report.settled) << "seed " << seed << ": a host that is alone does not become the owner";
        all.owners += report.owners;
        all.by_silence += report.by_silence;
        all.by_release += report.by_release;
        all.of_own_earlier_life += report.of_own_earlier_life;
        all.lost += report.lost;
        all.torn += report.torn;
        all.failed += report.failed;
        all.pauses += report.pauses;
        all.reopened += report.reopened;
        all.replaced += report.replaced;
        all.stale += report.stale;
    }
    RecordProperty("owners", static_cast<int>(all.owners));
    if (count < 20) return;
    // What is to be tested has happened.
    EXPECT_GT(all.by_silence, count / 2);
    EXPECT_GT(all.by_release, count / 2);
    EXPECT_GT(all.of_own_earlier_life, count / 2);
    EXPECT_GT(all.lost, count / 2);
    EXPECT_GT(all.torn, count / 4);
    EXPECT_GT(all.failed, count);
    EXPECT_GT(all.pauses, count);
    EXPECT_GT(all.reopened, count);
    EXPECT_GT(all.replaced, count / 10);
    EXPECT_GT(all.stale, count);
}

std::uint64_t seeds_until_violation(ModelOptions options, std::uint64_t most) {
    for (std::uint64_t seed = 1; seed <= most; ++seed) {
        options.seed = seed;
        if (!OwnershipModel(options).run(minutes(10)).violation.empty()) return seed;
    }
    return 0;
}

// The model finds what it is there for: with rules that do not hold there are two owners.
TEST(OwnershipModel, SeesTwoOwnersWhenALeaseIsNotWaitedFor) {
    ModelOptions options;
    options.margin = -seconds(4);
    EXPECT_NE(seeds_until_violation(options, 200), 0U);
}

}  // namespace
}  // namespace understudy::mirror::shared::model
