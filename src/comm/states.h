#pragma once
// The two state sets of communication: of one path, and of one peer over all its paths.

#include <cstdint>
#include <string_view>

namespace understudy::comm {

enum class PathState : std::uint8_t { dead, alive };
enum class PeerState : std::uint8_t { unknown, alive, dead };  // unknown: never seen since start
std::string_view to_string(PathState state);                   // "ALIVE" ...
std::string_view to_string(PeerState state);

}  // namespace understudy::comm
