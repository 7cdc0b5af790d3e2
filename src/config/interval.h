#pragma once
// Heartbeat intervals as people write them: "6" and "6s" are seconds, "200ms" is what it says. Pure.

#include <optional>
#include <string>
#include <string_view>

namespace understudy::config {

/// Milliseconds, 1 to a million seconds; nullopt for anything else.
std::optional<int> parse_interval_ms(std::string_view text);
/// The shortest form that parse_interval_ms reads as the same.
std::string interval_text(int interval_ms);

}  // namespace understudy::config
