#pragma once
// The hierarchies that the engine's tests have on their clusters.

#include "recovery/test_cluster.h"

namespace understudy::recovery::testing {

inline constexpr std::uint64_t kSeed = 7;

/// web.0 needs ip.0 and Vol.E, db.0 needs Vol.E. In service on A after boot.
struct Web : TestCluster {
    explicit Web(const std::vector<std::string>& names = {"A", "B"}, std::uint64_t seed = kSeed)
        : TestCluster(seed, names) {
        resource("web.0", {"ip.0", "Vol.E"});
        resource("db.0", {"Vol.E"});
    }
};

/// pg.0 needs ip.0 and Vol.E.
struct One : TestCluster {
    explicit One(const std::vector<std::string>& names = {"A", "B"}, std::uint64_t seed = kSeed)
        : TestCluster(seed, names) {
        resource("pg.0", {"ip.0", "Vol.E"});
    }
};

}  // namespace understudy::recovery::testing
