// Any bytes in any pieces: the reader must neither read nor write out of bounds, and never lose a buffer.

#include "base/checksum.h"
#include "mirror/wire/frame.h"

#include <algorithm>
#include <cstring>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace understudy::mirror;
    if (size < 3) return 0;
    // The first two bytes choose the pieces and whether headers get a right checksum, which luck never finds.
    const std::size_t piece = std::size_t{data[0]} * 37 + 1;
    std::vector<std::byte> stream(size - 2);
    std::memcpy(stream.data(), data + 2, size - 2);
    if ((data[1] & 1) != 0 && stream.size() >= wire::kHeaderBytes) {
        const auto crc = understudy::crc32c(std::span(stream).first(60));
        std::memcpy(stream.data() + 60, &crc, 4);
    }
    BufferPool pool(1 << 20);
    wire::FrameReader reader(pool, 32 << 10);
    std::size_t at = 0;
    while (true) {
        wire::Frame frame;
        const auto step = reader.next(frame);
        if (step == wire::FrameReader::Step::frame) {
            if (frame.payload != nullptr) pool.give_back(frame.payload, frame.header.length);
            wire::HeaderBytes again;
            wire::encode(frame.header, again);
            const auto back = wire::decode(again);
            if (!back || *back != frame.header) __builtin_trap();
            continue;
        }
        if (step != wire::FrameReader::Step::need_more || at == stream.size()) break;
        const auto space = reader.space();
        if (space.empty()) __builtin_trap();
        const std::size_t count = std::min({piece, space.size(), stream.size() - at});
        std::memcpy(space.data(), stream.data() + at, count);
        reader.received(count);
        at += count;
    }
    return 0;
}
