#pragma once
// Requests of qwk.sock as values and text: frames of a 4-byte length and UTF-8 key=value lines. Pure. Spec:
// QUO-125, QUO-126.

#include "base/result.h"
#include "base/types.h"

#include <set>
#include <string>
#include <string_view>

namespace understudy::quorum {

inline constexpr std::size_t kMaxRequestBytes = 64UL << 10;

struct Request {
    enum class Kind : std::uint8_t { quorum_verify, witness_verify, terminate } kind;
    std::string event;  // COMM_DOWN, COMM_UP or LCM_AVAIL
    NodeName target;    // witness_verify
};

/// Errors carry the message's number: 18171 to 18175, 18178, 18207, 18167.
Result<Request> decode_request(std::string_view text, const std::set<NodeName>& known);
/// "result=HAVE\n", or "error=18175\ntext=...\n".
std::string answer_text(std::string_view result);
std::string answer_text(const Error& error);

}  // namespace understudy::quorum
