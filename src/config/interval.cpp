#include "config/interval.h"

#include "base/text.h"

#include <fmt/format.h>

namespace understudy::config {

std::optional<int> parse_interval_ms(std::string_view text) {
    constexpr std::int64_t kMost = 1'000'000;
    int unit = 1000;
    if (text.ends_with("ms")) {
        text.remove_suffix(2);
        unit = 1;
    } else if (text.ends_with("s")) {
        text.remove_suffix(1);
    }
    const auto value = text::to_int(text);
    if (!value || *value < 1 || *value > kMost) return std::nullopt;
    return static_cast<int>(*value) * unit;
}

std::string interval_text(int interval_ms) {
    return interval_ms % 1000 == 0 ? fmt::format("{}s", interval_ms / 1000)
                                   : fmt::format("{}ms", interval_ms);
}

}  // namespace understudy::config
