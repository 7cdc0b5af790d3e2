#pragma once
// The one random stream of a run: xoshiro256** seeded by splitmix64. Written out here because the standard
// library's distributions may give other numbers with another compiler, and a seed must replay everywhere.

#include <array>
#include <bit>
#include <cassert>
#include <cstdint>

namespace understudy::runtime::simulated {

class RandomStream {
  public:
    explicit RandomStream(std::uint64_t seed) {
        for (auto& word : state_) {
            seed += 0x9e3779b97f4a7c15;
            auto mixed = seed;
            mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
            mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
            word = mixed ^ (mixed >> 31);
        }
    }

    std::uint64_t next() {
        const auto result = std::rotl(state_[1] * 5, 7) * 9;
        const auto shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }

    /// Uniform in [0, bound): rejects the incomplete last range, so that no value is preferred.
    std::uint64_t below(std::uint64_t bound) {
        assert(bound > 0);
        const auto unfair = (~std::uint64_t{0} % bound + 1) % bound;
        auto value = next();
        while (value > ~std::uint64_t{0} - unfair)
            value = next();
        return value % bound;
    }

    bool chance(double probability) {
        if (probability <= 0) return false;  // draws nothing: an unused fault does not change the run
        return static_cast<double>(next() >> 11) * 0x1.0p-53 < probability;
    }

  private:
    std::array<std::uint64_t, 4> state_{};
};

}  // namespace understudy::runtime::simulated
