#pragma once
// How far resyncs and comparisons of a volume are, for who waits for them: a bar with rate and time left for
// each target, on standard error. The meter is pure. Spec: EMC-200, MOP-077

#include "base/result.h"
#include "config/command.h"
#include "config/layout.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

namespace understudy::cli {

/// Rate and time left from what is left now and then.
class ProgressMeter {
  public:
    using Time = std::chrono::milliseconds;  // since any moment
    /// `left`: bytes. What is left may grow again: by what is written meanwhile.
    void add(Time at, std::uint64_t left);
    [[nodiscard]] std::uint64_t left() const { return samples_.empty() ? 0 : samples_.back().left; }
    /// Of all that has been to do since the meter began.
    [[nodiscard]] double part_done() const;
    /// Bytes a second over the last kWindow; 0: nothing has moved.
    [[nodiscard]] double rate() const;
    /// nullopt: at this rate never, or not yet known.
    [[nodiscard]] std::optional<std::chrono::seconds> time_left() const;

  private:
    struct Sample {
        Time at;
        std::uint64_t left;
    };
    static constexpr Time kWindow{10'000};
    std::deque<Sample> samples_;
    std::uint64_t most_ = 0;
};

/// "right        [#########-----------]  45 %  1.2 GiB left, 110.0 MiB/s, 12 s"
std::string progress_line(const std::string& name, const ProgressMeter& meter);
/// "1 h 02 min", "3 min 20 s", "12 s"
std::string duration_text(std::chrono::seconds duration);

/// Runs `work` on a thread of its own and shows the volume's progress until it ends. Without a terminal on
/// standard error a line comes with each further tenth.
config::Reply with_progress(const config::Layout& layout, const std::string& volume,
                            const std::string& target, const std::function<config::Reply()>& work);

}  // namespace understudy::cli
