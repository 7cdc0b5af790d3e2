// What both ends changed since they were equal.

#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"

namespace understudy::mirror::control {

using runtime::Task;

Task<SideChanges> Mirror::changes() {
    BlockRanges ranges;
    if (open_) ranges = co_await host_->dirty_ranges();
    SideChanges side = side_of(around_.node, std::move(ranges));
    side.known = open_ && record_.log_valid;
    side.source = source();
    // An end that has gone on alone says so by its generation; a yielded one keeps the time.
    if (!record_.generations.peer_may_hold_current) side.since_s = record_.alone_since_s;
    co_return side;
}

Task<Result<std::string>> Mirror::split_view(bool json) {
    if (!open_)
        co_return fail(Code::failure, "volume {} is not open on {}: {}", record_.volume.str(), around_.node,
                       problem_);
    SideChanges self = co_await changes();
    const CallLimits limits{.connect = kConnectLimit, .answer = kQueryLimit};
    auto reply = co_await call_peer(world_, peer_address(), request(RequestKind::changes), limits);
    if (!reply)
        co_return fail(reply.error().code, "{} does not say what it changed: {}", record_.remote_node,
                       reply.error().text);
    auto peer = decode_side(reply->text);
    if (!peer) co_return fail(peer.error());
    const std::string& volume = record_.volume.str();
    co_return json ? split_json(volume, self, *peer) : describe_split(volume, self, *peer);
}

}  // namespace understudy::mirror::control
