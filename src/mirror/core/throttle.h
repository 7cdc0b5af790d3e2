#pragma once
// How much a mirror may send now: a token bucket over both of its links. Pure: told the time, reads no clock.
// Spec: REP-244.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace understudy::mirror {

class Throttle {
  public:
    using Instant = std::chrono::steady_clock::time_point;
    static constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

    /// In thousands of bits a second; 0: no limit. Takes effect at once.
    void set_rate(std::uint32_t kilobits, Instant now) {
        refill(now);
        rate_ = std::uint64_t{kilobits} * 1000 / 8;
        tokens_ = std::min(tokens_, burst());
    }
    [[nodiscard]] bool limits() const { return rate_ != 0; }

    /// Bytes that may be sent now. Small rests are saved up, so that a message is not sent byte by byte.
    [[nodiscard]] std::size_t allowed(Instant now) {
        if (rate_ == 0) return kUnlimited;
        refill(now);
        return tokens_ >= quantum() ? static_cast<std::size_t>(tokens_) : 0;
    }
    void spend(std::size_t bytes) {
        if (rate_ != 0) tokens_ -= static_cast<std::int64_t>(bytes);
    }
    /// What was spent and not sent after all.
    void give_back(std::size_t bytes) {
        if (rate_ != 0) tokens_ = std::min(tokens_ + static_cast<std::int64_t>(bytes), burst());
    }
    /// From `now` until something is allowed.
    [[nodiscard]] std::chrono::nanoseconds wait(Instant now) {
        refill(now);
        if (rate_ == 0 || tokens_ >= quantum()) return std::chrono::nanoseconds(0);
        const auto missing = static_cast<std::uint64_t>(quantum() - tokens_);
        return std::chrono::nanoseconds((missing * kSecond + rate_ - 1) / rate_);
    }

  private:
    static constexpr std::uint64_t kSecond = 1'000'000'000;
    static constexpr std::int64_t kLargestQuantum = 16 << 10;

    /// A tenth of a second's worth.
    [[nodiscard]] std::int64_t burst() const {
        return static_cast<std::int64_t>(std::max<std::uint64_t>(rate_ / 10, 1));
    }
    [[nodiscard]] std::int64_t quantum() const {
        return std::clamp<std::int64_t>(burst() / 2, 1, kLargestQuantum);
    }
    void refill(Instant now) {
        // A full bucket takes no more, however long nothing was sent; so the product below stays small.
        const auto passed = std::clamp<std::chrono::nanoseconds>(now - filled_, std::chrono::nanoseconds(0),
                                                                 std::chrono::seconds(10));
        const std::uint64_t parts = static_cast<std::uint64_t>(passed.count()) * rate_ + rest_;
        rest_ = rate_ == 0 ? 0 : parts % kSecond;
        tokens_ = std::min(tokens_ + static_cast<std::int64_t>(parts / kSecond), burst());
        filled_ = now;
    }

    std::uint64_t rate_ = 0;  // bytes a second
    std::int64_t tokens_ = 0;
    std::uint64_t rest_ = 0;  // of a byte, in billionths
    Instant filled_{};
};

}  // namespace understudy::mirror
