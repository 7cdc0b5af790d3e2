#include "mirror/control/peer_call.h"

#include <map>
#include <vector>

namespace understudy::mirror::control {

namespace {

using runtime::Channel;
using runtime::OneShot;

/// Channels served at once; a further one is closed at once.
constexpr std::size_t kMaxServedChannels = 256;
/// From connecting to the request, and for the peer to take the reply.
constexpr auto kRequestLimit = std::chrono::seconds(5);
constexpr auto kCloseLimit = std::chrono::seconds(5);

std::span<const std::byte> frame_of(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

runtime::Task<Result<PeerReply>> call_peer(runtime::World world, PeerAddress peer, PeerRequest request,
                                           CallLimits limits) {
    using Connected = Result<std::shared_ptr<Channel>>;
    const runtime::Endpoint remote{peer.remote_address, peer.remote_port};
    runtime::ConnectOptions options;
    options.remote = remote;
    options.local_address = peer.local_address;
    options.security = runtime::Security::cluster;
    options.timeout = limits.connect;
    OneShot<Connected> connected(world.tasks);
    world.network.connect(options, [connected](Result<std::unique_ptr<Channel>> made) {
        if (made)
            connected.set(std::shared_ptr<Channel>(std::move(*made)));
        else
            connected.set(fail(made.error()));
    });
    const Connected channel = co_await connected;
    if (!channel)
        co_return fail(Code::unreachable, "mirrord of {} at {} does not answer: {}",
                       peer.node.empty() ? "the node" : peer.node, runtime::to_string(remote),
                       channel.error().text);
    if (peer.node.empty()) peer.node = (*channel)->peer().common_name;
    if ((*channel)->peer().common_name != peer.node)
        co_return fail(Code::bad_argument, "{} is node {}, not {}: check the mirror's address",
                       runtime::to_string(remote), (*channel)->peer().common_name, peer.node);

    OneShot<Result<PeerReply>> answered(world.tasks);
    (*channel)->start(
        [answered](std::span<const std::byte> frame) { answered.set(decode_reply(frame)); },
        [answered, node = peer.node](const Error& why) {
            answered.set(fail(Code::unreachable, "mirrord of {} closed the connection: {}", node, why.text));
        });
    const std::string frame = encode(request);
    if (!(*channel)->send(frame_of(frame)))
        co_return fail(Code::unreachable, "mirrord of {} closed the connection", peer.node);
    const auto timer = world.tasks.after(limits.answer, [answered, node = peer.node] {
        answered.set(
            fail(Code::unreachable, "mirrord of {} took the request but did not answer in time", node));
    });
    Result<PeerReply> reply = co_await answered;
    world.tasks.cancel(timer);
    if (!reply) co_return fail(reply.error());
    if (reply->code != Code::ok) co_return fail(Error{reply->code, reply->error, 0});
    co_return reply;
}

struct PeerServer::Impl : std::enable_shared_from_this<PeerServer::Impl> {
    Impl(runtime::World world_in, Handler handler_in) : world(world_in), handler(std::move(handler_in)) {}

    struct Served {
        std::unique_ptr<Channel> channel;
        runtime::TimerId timer{};
        bool asked = false;
    };

    void accept(std::unique_ptr<Channel> channel) {
        if (served.size() >= kMaxServedChannels) return;
        const std::uint64_t id = next_id++;
        Served& entry = served[id];
        entry.channel = std::move(channel);
        entry.timer = world.tasks.after(kRequestLimit, [this, id] { served.erase(id); });
        entry.channel->start([this, id](std::span<const std::byte> frame) { on_frame(id, frame); },
                             [this, id](const Error&) { drop(id); });
    }

    void on_frame(std::uint64_t id, std::span<const std::byte> frame) {
        const auto at = served.find(id);
        if (at == served.end() || at->second.asked) return;
        at->second.asked = true;
        world.tasks.cancel(at->second.timer);
        auto request = decode_request(frame);
        if (!request) {
            PeerReply reply;
            reply.code = request.error().code;
            reply.error = request.error().text;
            return answer(id, reply);
        }
        const std::string caller = at->second.channel->peer().common_name;
        std::weak_ptr<Impl> weak = weak_from_this();
        handler(caller, std::move(*request), [weak, id](const PeerReply& reply) {
            if (auto self = weak.lock()) self->answer(id, reply);
        });
    }

    void answer(std::uint64_t id, const PeerReply& reply) {
        const auto at = served.find(id);
        if (at == served.end()) return;
        const std::string frame = encode(reply);
        at->second.channel->send(frame_of(frame));
        // The asking side closes; this end only makes sure that it does not stay for ever.
        at->second.timer = world.tasks.after(kCloseLimit, [this, id] { served.erase(id); });
    }

    void drop(std::uint64_t id) {
        const auto at = served.find(id);
        if (at == served.end()) return;
        world.tasks.cancel(at->second.timer);
        // Not on the channel's own stack.
        auto dead = std::make_shared<std::unique_ptr<Channel>>(std::move(at->second.channel));
        served.erase(at);
        world.tasks.post([dead] { dead->reset(); });
    }

    runtime::World world;
    Handler handler;
    std::vector<std::unique_ptr<runtime::Listener>> listeners;
    std::map<std::uint64_t, Served> served;
    std::uint64_t next_id = 1;
};

PeerServer::PeerServer(runtime::World world, Handler handler)
    : impl_(std::make_shared<Impl>(world, std::move(handler))) {}

PeerServer::~PeerServer() {
    impl_->listeners.clear();
    for (auto& [id, entry] : impl_->served)
        impl_->world.tasks.cancel(entry.timer);
}

Result<> PeerServer::listen(const runtime::Endpoint& at) {
    std::weak_ptr<Impl> weak = impl_;
    auto listener =
        impl_->world.network.listen(at, runtime::Security::cluster, [weak](std::unique_ptr<Channel> channel) {
            if (auto self = weak.lock()) self->accept(std::move(channel));
        });
    if (!listener) return fail(listener.error());
    impl_->listeners.push_back(std::move(*listener));
    return {};
}

}  // namespace understudy::mirror::control
