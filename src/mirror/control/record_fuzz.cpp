// The record file of a mirror from arbitrary bytes: what is accepted survives another round.

#include "mirror/control/record.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace understudy::mirror::control;
    const auto record = decode_record({reinterpret_cast<const char*>(data), size});
    if (!record) return 0;
    const auto again = decode_record(encode(*record));
    if (!again || *again != *record) std::abort();
    return 0;
}
