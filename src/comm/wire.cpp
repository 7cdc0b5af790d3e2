#include "comm/wire.h"

#include "comm/cluster.pb.h"
#include "comm/protocol.h"

namespace understudy::comm::wire {
namespace {

pb::ProposedPath to_pb(const ProposedPath& path) {
    pb::ProposedPath out;
    out.set_device(path.device);
    out.set_transport(path.transport);
    out.set_priority(path.priority);
    out.set_interval_ms(path.interval_ms);
    out.set_misses(path.misses);
    out.set_joiner_address(path.joiner_address);
    out.set_member_address(path.member_address);
    return out;
}

struct Encoder {
    pb::Envelope& out;

    void operator()(const Hello& in) {
        auto& to = *out.mutable_hello();
        to.set_major(in.major);
        to.set_minor(in.minor);
        to.set_node(in.node);
        to.set_software(in.software);
        to.set_device(in.device);
        to.set_incarnation(in.incarnation);
        to.set_interval_ms(in.interval_ms);
        to.set_misses(in.misses);
        to.set_highest(in.highest);
        to.set_features(in.features);
    }
    void operator()(const Unknown&) {}
    void operator()(const Refusal& in) { out.mutable_refusal()->set_reason(in.reason); }
    void operator()(const Heartbeat& in) {
        auto& to = *out.mutable_heartbeat();
        to.set_sequence(in.sequence);
        to.set_last_seen(in.last_seen);
        to.set_view(static_cast<std::uint32_t>(in.view));
        to.set_wall_us(in.wall_us);
        to.set_sent_ns(in.sent_ns);
        to.set_echo_ns(in.echo_ns);
        to.set_held_ns(in.held_ns);
    }
    void operator()(const Call& in) {
        auto& to = *out.mutable_call();
        to.set_id(in.id);
        to.set_oldest(in.oldest);
        to.set_attempt(in.attempt);
        to.set_deadline_ms(in.deadline_ms);
        to.set_method(in.method);
        to.set_payload(in.payload);
    }
    void operator()(const Answer& in) {
        auto& to = *out.mutable_answer();
        to.set_id(in.id);
        to.set_code(static_cast<std::uint32_t>(in.code));
        to.set_number(in.number);
        to.set_text(in.text.substr(0, kMaxTextBytes));
        to.set_payload(in.payload);
    }
    void operator()(const Notice& in) {
        auto& to = *out.mutable_notice();
        to.set_method(in.method);
        to.set_payload(in.payload);
    }
    void operator()(const JoinRequest& in) {
        auto& to = *out.mutable_join_request();
        to.set_secret(in.secret);
        to.set_node(in.node);
        to.set_request_pem(in.request_pem);
        for (const auto& path : in.paths)
            *to.add_paths() = to_pb(path);
        to.set_wall_us(in.wall_us);
        to.set_software(in.software);
    }
    void operator()(const JoinReply& in) {
        auto& to = *out.mutable_join_reply();
        to.set_code(static_cast<std::uint32_t>(in.code));
        to.set_text(in.text.substr(0, kMaxTextBytes));
        to.set_certificate_pem(in.certificate_pem);
        to.set_ca_pem(in.ca_pem);
        to.set_cluster(in.cluster);
        to.set_member(in.member);
        for (const auto& path : in.paths)
            *to.add_paths() = to_pb(path);
    }
};

// Reads fields and remembers the first one that is not legal, so that each message is one straight list.
struct Reader {
    std::string problem;

    std::string text(const std::string& value, std::size_t most, std::string_view field) {
        if (value.size() > most && problem.empty())
            problem = fmt::format("{} has {} bytes, at most {} are legal", field, value.size(), most);
        return value;
    }
    std::string name(const std::string& value, std::string_view field) {
        return text(value, kMaxNameBytes, field);
    }
    template <class Number>
    Number number(Number value, Number least, Number most, std::string_view field) {
        if ((value < least || value > most) && problem.empty())
            problem = fmt::format("{} is {}, legal are {} to {}", field, value, least, most);
        return value;
    }
    static Code code(std::uint32_t value) {
        return value <= static_cast<std::uint32_t>(Code::unreachable) ? static_cast<Code>(value)
                                                                      : Code::failure;
    }
    static View view(std::uint32_t value) {
        return value <= static_cast<std::uint32_t>(View::silent) ? static_cast<View>(value) : View::unknown;
    }
};

// Field 1000, empty: no release will use it.
constexpr std::string_view kUnknownField{"\xc2\x3e\0", 3};

constexpr std::uint32_t kMaxIntervalMs = 3'600'000;
constexpr std::uint32_t kMaxMisses = 1000;

template <class Repeated>
std::vector<ProposedPath> read_paths(Reader& reader, const Repeated& in) {
    std::vector<ProposedPath> out;
    reader.number<std::size_t>(static_cast<std::size_t>(in.size()), 0, kMaxPathsProposed, "number of paths");
    if (!reader.problem.empty()) return out;
    for (const auto& path : in)
        out.push_back(
            ProposedPath{reader.name(path.device(), "device"), reader.name(path.transport(), "transport"),
                         reader.number<std::uint32_t>(path.priority(), 0, 99, "priority"),
                         reader.number<std::uint32_t>(path.interval_ms(), 0, kMaxIntervalMs, "interval"),
                         reader.number<std::uint32_t>(path.misses(), 0, kMaxMisses, "misses"),
                         reader.name(path.joiner_address(), "joiner's address"),
                         reader.name(path.member_address(), "member's address")});
    return out;
}

Hello read_hello(Reader& reader, const pb::Hello& in) {
    return Hello{in.major(),
                 in.minor(),
                 reader.name(in.node(), "node"),
                 reader.name(in.software(), "software"),
                 reader.name(in.device(), "device"),
                 in.incarnation(),
                 reader.number<std::uint32_t>(in.interval_ms(), 0, kMaxIntervalMs, "interval"),
                 reader.number<std::uint32_t>(in.misses(), 0, kMaxMisses, "misses"),
                 in.highest(),
                 in.features()};
}

Frame read(Reader& reader, const pb::Envelope& in) {
    switch (in.frame_case()) {
        case pb::Envelope::kHello:
            return read_hello(reader, in.hello());
        case pb::Envelope::kRefusal:
            return Refusal{reader.text(in.refusal().reason(), kMaxTextBytes, "reason")};
        case pb::Envelope::kHeartbeat: {
            const auto& from = in.heartbeat();
            return Heartbeat{from.sequence(), from.last_seen(), Reader::view(from.view()),
                             from.wall_us(),  from.sent_ns(),   from.echo_ns(),
                             from.held_ns()};
        }
        case pb::Envelope::kCall: {
            const auto& from = in.call();
            return Call{from.id(),
                        from.oldest(),
                        from.attempt(),
                        from.deadline_ms(),
                        reader.name(from.method(), "method"),
                        from.payload()};
        }
        case pb::Envelope::kAnswer: {
            const auto& from = in.answer();
            return Answer{from.id(), Reader::code(from.code()), from.number(),
                          reader.text(from.text(), kMaxTextBytes, "text"), from.payload()};
        }
        case pb::Envelope::kNotice:
            return Notice{reader.name(in.notice().method(), "method"), in.notice().payload()};
        case pb::Envelope::kJoinRequest: {
            const auto& from = in.join_request();
            return JoinRequest{reader.name(from.secret(), "secret"),
                               reader.name(from.node(), "node"),
                               reader.text(from.request_pem(), kMaxTextBytes, "certificate request"),
                               read_paths(reader, from.paths()),
                               from.wall_us(),
                               reader.name(from.software(), "software")};
        }
        case pb::Envelope::kJoinReply: {
            const auto& from = in.join_reply();
            return JoinReply{Reader::code(from.code()),
                             reader.text(from.text(), kMaxTextBytes, "text"),
                             reader.text(from.certificate_pem(), kMaxTextBytes, "certificate"),
                             reader.text(from.ca_pem(), kMaxTextBytes, "CA certificate"),
                             reader.name(from.cluster(), "cluster"),
                             reader.name(from.member(), "member"),
                             read_paths(reader, from.paths())};
        }
        case pb::Envelope::FRAME_NOT_SET:
            break;
    }
    pb::Envelope known;
    known.set_major(in.major());
    if (in.ByteSizeLong() <= known.ByteSizeLong()) reader.problem = "it is empty";
    return Unknown{};
}

}  // namespace

std::string encode(const Frame& frame, std::uint32_t version) {
    pb::Envelope out;
    out.set_major(version);
    std::visit(Encoder{out}, frame);
    auto bytes = out.SerializeAsString();
    if (std::holds_alternative<Unknown>(frame)) bytes += kUnknownField;
    return bytes;
}

Result<Frame> decode(std::span<const std::byte> bytes, std::uint32_t lowest, std::uint32_t highest) {
    pb::Envelope in;
    if (bytes.size() > (64UL << 20) || !in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
        return fail(Code::internal, "malformed frame of {} bytes", bytes.size());
    const bool for_ever = in.has_hello() || in.has_refusal();
    if (!for_ever && (in.major() < lowest || in.major() > highest))
        return fail(Code::internal, "frame of protocol version {}; this node speaks versions {} to {}",
                    in.major(), lowest, highest);
    Reader reader;
    auto frame = read(reader, in);
    if (!reader.problem.empty()) return fail(Code::internal, "illegal frame: {}", reader.problem);
    return frame;
}

bool is_node_name(std::string_view name) {
    const auto alnum = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    return !name.empty() && name.size() <= 63 && alnum(name.front()) &&
           std::all_of(name.begin(), name.end(),
                       [&](char c) { return alnum(c) || c == '.' || c == '-' || c == '_'; });
}

}  // namespace understudy::comm::wire
