#pragma once
// Random numbers from the kernel; strong enough for keys and tokens. Any thread.

#include "runtime/world.h"

namespace understudy::runtime {

class PosixRandom final : public Random {
  public:
    std::uint64_t next() override;
    void fill(std::span<std::byte> out) override;
};

}  // namespace understudy::runtime
