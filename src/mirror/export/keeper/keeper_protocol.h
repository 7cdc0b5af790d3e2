#pragma once
// What the keeper and its clients say to each other: one request and one answer per connection or more, each
// one packet of a unix SOCK_SEQPACKET socket. The first line is text, the rest of the packet is the entry's
// state.
//
//   put NAME\n<state>  + descriptors   ->  ok\n
//   get NAME\n                         ->  ok\n<state>  + descriptors
//   drop NAME\n                        ->  ok\n           (also when there is no such entry)
//   list\n                             ->  ok\n<name>\n<name>\n...
//   anything wrong                     ->  error <text>\n ("missing <text>\n" for a get of an unknown name)
//
// A put replaces the entry of that name. Pure; any thread.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace understudy::mirror::keeper {

inline constexpr std::size_t kMaxPacket = 65536;
inline constexpr std::size_t kMaxState = 8192;  // bytes of state per entry
inline constexpr std::size_t kMaxName = 64;
inline constexpr std::size_t kMaxDescriptors = 8;  // per entry
inline constexpr std::size_t kMaxEntries = 1000;   // a list of the longest names must fit into one packet
/// What a keeper that is full has open: its entries' descriptors, a connection for each, and some more.
inline constexpr std::size_t kMostOpenFiles = kMaxEntries * (kMaxDescriptors + 1) + 128;
static_assert(kMaxEntries * (kMaxName + 1) + 16 <= kMaxPacket);

enum class Verb { put, get, drop, list };

struct Command {
    Verb verb = Verb::list;
    std::string_view name;
    std::string_view state;
};

/// Views into `packet`. Nothing when it is not a command.
std::optional<Command> parse(std::string_view packet);

/// 1 to kMaxName of letters, digits and "._:-".
bool valid_name(std::string_view name);

}  // namespace understudy::mirror::keeper
