#include "quorum/request.h"

#include "base/text.h"

#include <map>

namespace understudy::quorum {
namespace {

tl::unexpected<Error> refused(int number, std::string text) {
    return fail(Error{Code::bad_argument, std::move(text), number});
}

}  // namespace

Result<Request> decode_request(std::string_view text, const std::set<NodeName>& known) {
    if (text.size() > kMaxRequestBytes)
        return refused(18178, fmt::format("a request of {} bytes", text.size()));
    std::map<std::string, std::string> fields;
    for (const auto& line : text::split(text, '\n')) {
        if (line.empty()) continue;
        const auto equals = line.find('=');
        if (equals == std::string::npos || equals == 0)
            return refused(18171, fmt::format("\"{}\" is not of the form key=value", line));
        fields[std::string(line.substr(0, equals))] = std::string(line.substr(equals + 1));
    }
    const auto command = fields["command"];
    Request request{Request::Kind::terminate, {}, {}};
    if (command == "terminate") return request;
    if (command != "quorum_verify" && command != "witness_verify")
        return refused(18175, fmt::format("unknown command \"{}\"", command));
    const bool witness = command == "witness_verify";
    request.kind = witness ? Request::Kind::witness_verify : Request::Kind::quorum_verify;
    request.event = fields["lkevent"];
    if (request.event.empty())
        return refused(witness ? 18173 : 18172, fmt::format("lkevent is missing in {}", command));
    if (request.event != "COMM_DOWN" && request.event != "COMM_UP" && request.event != "LCM_AVAIL")
        return refused(18207, fmt::format("unknown event \"{}\"", request.event));
    if (!witness) return request;
    request.target = NodeName(fields["target_node"]);
    if (request.target.empty()) return refused(18174, "target_node is missing in witness_verify");
    if (!known.contains(request.target))
        return refused(18167, fmt::format("unknown node \"{}\"", request.target.str()));
    return request;
}

std::string answer_text(std::string_view result) {
    return fmt::format("result={}\n", result);
}

std::string answer_text(const Error& error) {
    return fmt::format("error={}\ntext={}\n", error.number, error.text);
}

}  // namespace understudy::quorum
