// Requests and replies of the dispatch port, and the hello of a data link, from arbitrary bytes.

#include "mirror/control/protocol.h"

#include <algorithm>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace understudy::mirror::control;
    const auto bytes = std::as_bytes(std::span(data, size));
    if (const auto request = decode_request(bytes)) {
        const auto again = encode(*request);
        if (!decode_request(std::as_bytes(std::span(again)))) std::abort();
    }
    if (const auto reply = decode_reply(bytes)) {
        const auto again = encode(*reply);
        if (!decode_reply(std::as_bytes(std::span(again)))) std::abort();
    }
    if (size >= kLinkHelloBytes) {
        LinkHello hello;
        std::copy_n(bytes.begin(), hello.size(), hello.begin());
        if (const auto fields = parse_hello(hello); fields && fields->session.size() != 16) std::abort();
    }
    return 0;
}
