#pragma once
// A driver's command that has more to say than a reactor's entry holds. Any thread, no state.

#include <cstddef>
#include <cstdint>
#include <span>

namespace understudy::mirror {

inline constexpr std::size_t kDriverArgument = 32;  // bytes

/// Sends one command through an io_uring of its own and waits for its end, as long as the driver takes. 0 or
/// more, or a negative errno.
int run_driver_command(int fd, std::uint32_t command, std::span<const std::byte, kDriverArgument> argument);

}  // namespace understudy::mirror
