// Bytes from a peer never crash the decoder, and what it accepts survives a round trip unchanged.

#include "comm/wire.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace understudy::comm;
    const auto frame = wire::decode(std::as_bytes(std::span(data, size)));
    if (!frame) return 0;
    const auto bytes = wire::encode(*frame);
    const auto again = wire::decode(std::as_bytes(std::span(bytes.data(), bytes.size())));
    if (!again || *again != *frame) std::abort();
    return 0;
}
