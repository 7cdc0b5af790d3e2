#pragma once
// Which random lives a model test runs.

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace understudy {

/// Seeds from `first` until before `end`.
struct TestSeeds {
    std::uint64_t first = 1, end = 2;
};

/// The environment's UNDERSTUDY_SEED=s (that one, which failed) or UNDERSTUDY_SEEDS=n (the first n);
/// otherwise the first `usual`, of which a build with the address sanitizer runs one in `fewer`, being that
/// much slower.
inline TestSeeds test_seeds(std::uint64_t usual, [[maybe_unused]] std::uint64_t fewer = 1) {
    if (const char* one = std::getenv("UNDERSTUDY_SEED")) {
        const std::uint64_t seed = std::strtoull(one, nullptr, 10);
        return {seed, seed + 1};
    }
    if (const char* many = std::getenv("UNDERSTUDY_SEEDS")) return {1, 1 + std::strtoull(many, nullptr, 10)};
#ifdef __SANITIZE_ADDRESS__
    usual = std::max<std::uint64_t>(usual / fewer, 1);
#endif
    return {1, 1 + usual};
}

}  // namespace understudy
