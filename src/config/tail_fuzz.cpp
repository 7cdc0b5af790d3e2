// Bytes of the run directory's file of commits (tail_store.h): whatever a killed daemon, a full file system
// or anybody else left there, what is taken from it continues the database without a gap, and what follows
// the last sound record changes nothing.

#include "base/checksum.h"
#include "config/tail_store.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

using namespace understudy;
using namespace understudy::config;

namespace {

const NodeName kSelf("nodeA");

void require(bool condition) {
    if (!condition) std::abort();
}

void put(std::string& to, std::uint32_t number) {
    for (int shift = 0; shift < 32; shift += 8)
        to += static_cast<char>((number >> shift) & 0xffU);
}

/// Pieces of the input as payloads of records whose length and checksum are right: nothing else gets as far
/// as their decoding.
std::string framed(std::string_view input) {
    std::string file;
    while (!input.empty()) {
        const auto length = std::min<std::size_t>(static_cast<unsigned char>(input.front()) * std::size_t{4},
                                                  input.size() - 1);
        const auto payload = input.substr(1, length);
        put(file, static_cast<std::uint32_t>(payload.size()));
        put(file, crc32c(std::as_bytes(std::span(payload.data(), payload.size()))));
        file += payload;
        input.remove_prefix(1 + length);
    }
    return file;
}

void check(std::string_view file, std::uint64_t generation) {
    const auto tail = parse_tail(file, kSelf, generation);
    require(tail.sound_bytes <= file.size());
    NodeConfig config;
    config.generation = generation;
    for (const auto& entry : tail.entries) {
        require(entry.change.owner == kSelf);
        require(entry.change.generation == ++generation);
    }
    understudy::config::apply(config, tail);
    require(config.generation == generation);
    // What was read once is read the same without what came after it.
    const auto again = parse_tail(file.substr(0, tail.sound_bytes), kSelf, generation - tail.entries.size());
    require(again.fits && again.sound_bytes == tail.sound_bytes);
    require(again.entries.size() == tail.entries.size());
    // A daemon that has all of it finds nothing new.
    require(parse_tail(file.substr(0, tail.sound_bytes), kSelf, generation).entries.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const std::uint64_t generation = data[0];
    const std::string_view input(reinterpret_cast<const char*>(data + 1), size - 1);
    check(input, generation);
    check(framed(input), generation);
    return 0;
}
