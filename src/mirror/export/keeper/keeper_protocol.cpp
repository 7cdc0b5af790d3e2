#include "mirror/export/keeper/keeper_protocol.h"

#include <algorithm>

namespace understudy::mirror::keeper {

bool valid_name(std::string_view name) {
    constexpr std::string_view kAllowed =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-";
    return !name.empty() && name.size() <= kMaxName &&
           name.find_first_not_of(kAllowed) == std::string_view::npos;
}

std::optional<Command> parse(std::string_view packet) {
    const std::size_t end = packet.find('\n');
    if (end == std::string_view::npos || packet.size() > kMaxPacket) return std::nullopt;
    const std::string_view line = packet.substr(0, end);
    const std::string_view rest = packet.substr(end + 1);
    const std::size_t space = line.find(' ');
    const std::string_view word = line.substr(0, space);
    const std::string_view name =
        space == std::string_view::npos ? std::string_view() : line.substr(space + 1);

    Command command;
    command.name = name;
    if (word == "list") {
        if (space != std::string_view::npos || !rest.empty()) return std::nullopt;
        command.verb = Verb::list;
        return command;
    }
    if (!valid_name(name)) return std::nullopt;
    if (word == "put" && rest.size() <= kMaxState) {
        command.verb = Verb::put;
        command.state = rest;
        return command;
    }
    if (!rest.empty()) return std::nullopt;
    if (word == "get") {
        command.verb = Verb::get;
        return command;
    }
    if (word == "drop") {
        command.verb = Verb::drop;
        return command;
    }
    return std::nullopt;
}

}  // namespace understudy::mirror::keeper
