#include "sim/timeline.h"

#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::sim {
namespace {

constexpr std::size_t kTimeWidth = 10;
constexpr std::size_t kColumn = 24;

// What a full trace has besides notes.
constexpr std::string_view kDetails[] = {
    "listens on", "cannot connect", "connects to",      "gets ",           "process ",
    "writes ",    "removes ",       "loses connection", "sees connection", "gives up connection"};

bool is_detail(std::string_view what) {
    return std::any_of(std::begin(kDetails), std::end(kDetails),
                       [&](std::string_view start) { return what.starts_with(start); });
}

/// "12.345678901" as "    12.346".
std::string time_text(std::string_view seconds) {
    const auto dot = seconds.find('.');
    const auto shown = dot == std::string_view::npos ? seconds : seconds.substr(0, dot + 4);
    return fmt::format("{:>{}}", shown, kTimeWidth);
}

}  // namespace

std::string timeline(std::string_view trace, const std::vector<std::string>& nodes) {
    auto out = std::string(kTimeWidth, ' ');
    for (const auto& node : nodes)
        out += fmt::format("  {:<{}}", node, kColumn);
    out = std::string(out.substr(0, out.find_last_not_of(' ') + 1)) + "\n";
    std::string last;
    while (!trace.empty()) {
        const auto end = trace.find('\n');
        const auto line = trace.substr(0, end);
        trace.remove_prefix(end == std::string_view::npos ? trace.size() : end + 1);
        const auto who_at = line.find(' ');
        const auto what_at = line.find(' ', who_at + 1);
        if (who_at == std::string_view::npos || what_at == std::string_view::npos) continue;
        const auto who = line.substr(who_at + 1, what_at - who_at - 1);
        const auto what = line.substr(what_at + 1);
        if (is_detail(what)) continue;
        const auto column = std::find(nodes.begin(), nodes.end(), who);
        std::string text;
        if (column == nodes.end()) {
            text = fmt::format("  --- {}: {}", who, what);
        } else {
            const auto index = static_cast<std::size_t>(column - nodes.begin());
            text = std::string(2 + index * (kColumn + 2), ' ') + std::string(what);
        }
        // A state that is recorded again because something else about the resource changed tells nothing.
        if (text == last) continue;
        out += time_text(line.substr(0, who_at)) + text + "\n";
        last = std::move(text);
    }
    return out;
}

}  // namespace understudy::sim
