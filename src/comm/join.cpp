// The joiner's side of enrolment.

#include "comm/enrolment.h"
#include "comm/pki.h"
#include "comm/proposals.h"
#include "comm/wire.h"

namespace understudy::comm {
namespace {

using Connected = Result<std::shared_ptr<runtime::Channel>>;
using Reply = Result<wire::JoinReply>;

runtime::OneShot<Connected> connect(runtime::World& world, const JoinOptions& options, std::string pinned,
                                    runtime::Duration timeout) {
    runtime::ConnectOptions to;
    to.remote = {options.address, options.port};
    to.local_address = options.local_address;
    to.security = runtime::Security::enrolment;
    to.expected_ca_fingerprint = std::move(pinned);
    to.timeout = timeout;
    runtime::OneShot<Connected> done(world.tasks);
    world.network.connect(to, [done](Result<std::unique_ptr<runtime::Channel>> result) {
        if (result)
            done.set(std::shared_ptr<runtime::Channel>(std::move(*result)));
        else
            done.set(tl::unexpected<Error>(std::move(result.error())));
    });
    return done;
}

runtime::OneShot<Reply> exchange(runtime::World& world, runtime::Channel& channel,
                                 const wire::JoinRequest& request, const std::string& host) {
    runtime::OneShot<Reply> done(world.tasks);
    channel.start(
        [done, host](std::span<const std::byte> bytes) {
            auto frame = wire::decode(bytes);
            if (!frame) return done.set(with_context(frame.error(), fmt::format("answer of {}", host)));
            if (auto* reply = std::get_if<wire::JoinReply>(&*frame)) return done.set(std::move(*reply));
            done.set(fail(Code::internal, "{} answered with something else than an enrolment", host));
        },
        [done, host](const Error& why) {
            done.set(
                fail(Code::unreachable, "{} closed the connection before it answered: {}", host, why.text));
        });
    const auto bytes = wire::encode(request);
    if (!channel.send(std::as_bytes(std::span(bytes.data(), bytes.size()))))
        done.set(fail(Code::unreachable, "{} closed the connection", host));
    return done;
}

// What came is used only if it is what the token and this node's key stand for.
Result<Joined> accept(wire::JoinReply reply, const KeyAndCertificate& request, const NodeName& self,
                      const std::string& pinned) {
    if (reply.code != Code::ok) return fail(reply.code, "{}", reply.text);
    UNDERSTUDY_TRY(const auto found, fingerprint(reply.ca_pem));
    if (found != pinned)
        return fail(Code::internal, "{} sent another CA's certificate than the one it showed", reply.member);
    UNDERSTUDY_CHECK(check_node_certificate(reply.certificate_pem, request.private_key, reply.ca_pem, self));
    if (!wire::is_node_name(reply.member))
        return fail(Code::internal, "\"{}\" cannot be a node's name", reply.member);
    Joined joined;
    joined.private_key = request.private_key;
    joined.certificate = std::move(reply.certificate_pem);
    joined.ca_certificate = std::move(reply.ca_pem);
    joined.cluster = std::move(reply.cluster);
    joined.member = NodeName(reply.member);
    joined.paths = joiner_ends(reply.paths, joined.member);
    return joined;
}

// Fires once after `limit`; harmless when the answer came first.
class Limit {
  public:
    Limit(runtime::Tasks& tasks, runtime::Duration limit, std::function<void()> passed)
        : tasks_(tasks), timer_(tasks.after(limit, std::move(passed))) {}
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;
    ~Limit() { tasks_.cancel(timer_); }

  private:
    runtime::Tasks& tasks_;
    runtime::TimerId timer_;
};

}  // namespace

runtime::Task<Result<Joined>> join(runtime::World world, JoinOptions options) {
    const auto host = fmt::format("{} port {}", options.address, options.port);
    const auto token = parse_token(options.token);
    if (!token) co_return fail(token.error());
    if (options.paths.size() > wire::kMaxPathsProposed)
        co_return fail(Code::bad_argument, "at most {} paths can be made when a node joins",
                       wire::kMaxPathsProposed);
    const auto key = make_request(options.self);
    if (!key) co_return fail(key.error());

    const auto connect_limit = std::min<runtime::Duration>(options.limit, std::chrono::seconds(10));
    auto connecting = connect(world, options, token->ca_fingerprint, connect_limit);
    Connected connected = co_await connecting;
    if (!connected) {
        // Nothing secret was said. Whether another cluster lives there is asked without the pin.
        auto asking = connect(world, options, {}, connect_limit);
        Connected other = co_await asking;
        if (other && (*other)->peer().ca_fingerprint != token->ca_fingerprint)
            co_return fail(
                Code::bad_argument,
                "{} belongs to another cluster than the one that gave the token: check the address and the "
                "token",
                host);
        Error why = connected.error();
        why.code = Code::unreachable;
        why.text = fmt::format("cannot reach {}: {}; is understudyd running there, and the port open?", host,
                               why.text);
        co_return fail(std::move(why));
    }
    auto channel = *connected;
    if (channel->peer().ca_fingerprint != token->ca_fingerprint)
        co_return fail(Code::internal, "{} was not checked against the token", host);

    wire::JoinRequest request;
    request.secret = token->secret;
    request.node = options.self.str();
    request.request_pem = key->certificate;
    request.paths = to_proposal(options.paths);
    request.wall_us = world.clock.wall().time_since_epoch().count();
    request.software = options.software_version;
    auto exchanging = exchange(world, *channel, request, host);
    const Limit limit(world.tasks, options.limit, [exchanging, host] {
        exchanging.set(
            fail(Code::unreachable, "{} accepted the connection but did not answer in time", host));
    });
    Reply reply = co_await exchanging;
    channel->close();
    if (!reply) co_return fail(reply.error());
    auto joined = accept(std::move(*reply), *key, options.self, token->ca_fingerprint);
    co_return joined;
}

}  // namespace understudy::comm
