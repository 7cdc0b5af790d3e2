#pragma once
// Numbers at fixed places of a block of the lock area. `block` must reach that far. Pure.

#include <bit>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

namespace understudy::mirror::shared {

static_assert(std::endian::native == std::endian::little, "formats are little-endian; add byte swaps here");

template <class T>
void put(std::string& block, std::size_t at, T value) {
    std::memcpy(block.data() + at, &value, sizeof value);
}

template <class T>
T get(std::string_view block, std::size_t at) {
    T value;
    std::memcpy(&value, block.data() + at, sizeof value);
    return value;
}

}  // namespace understudy::mirror::shared
