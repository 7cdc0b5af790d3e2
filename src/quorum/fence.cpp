#include "quorum/fence.h"

#include "quorum/decisions.h"

#include <algorithm>

namespace understudy::quorum {

std::optional<runtime::TimePoint> majority_proof(std::vector<std::optional<runtime::TimePoint>> heard,
                                                 std::size_t known) {
    const auto others = majority_of(known) - 1;
    if (others == 0 || heard.size() < others) return std::nullopt;
    std::sort(heard.begin(), heard.end(), std::greater<>());  // an empty one is the least
    return heard[others - 1];
}

std::optional<runtime::TimePoint> proven_until(Mode mode,
                                               const std::vector<std::optional<runtime::TimePoint>>& heard,
                                               std::size_t known, runtime::Duration patience,
                                               std::optional<runtime::TimePoint> last_write,
                                               runtime::Duration write_patience) {
    if (mode == Mode::majority) {
        const auto proof = majority_proof(heard, known);
        if (!proof) return std::nullopt;
        return *proof + patience;
    }
    const auto least = std::min_element(heard.begin(), heard.end());
    auto until = least == heard.end() ? std::nullopt : *least;
    if (until) *until += patience;
    if (!last_write) return until;
    const auto written = *last_write + write_patience;
    return until ? std::max(*until, written) : written;
}

runtime::Duration silence_needed(runtime::Duration patience, runtime::Duration grace) {
    const auto sum = patience + grace;
    return sum + kMargin + sum / 1000;
}

bool silent_for_majority(const std::vector<runtime::Duration>& silences, std::size_t known,
                         runtime::Duration needed) {
    const auto silent = std::count_if(silences.begin(), silences.end(),
                                      [&](runtime::Duration silence) { return silence >= needed; });
    return static_cast<std::size_t>(silent) >= majority_of(known);
}

}  // namespace understudy::quorum
