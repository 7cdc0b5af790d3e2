// What both ends changed since they were equal.

#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"

namespace understudy::mirror::control {

using runtime::Task;

Task<SideChanges> Mirror::changes(std::string peer) {
    BlockRanges ranges;
    if (open_) ranges = co_await host_->dirty_ranges(peer);
    SideChanges side = side_of(around_.node, ranges);
    side.known = open_ && record_.peer(peer)->log_valid;
    side.source = source();
    // An end that has gone on alone says so by its generation; a yielded one keeps the time. A record of an
    // older build has the newest time only.
    const std::int64_t since = record_.peer(peer)->alone_since_s;
    if (!record_.generations(peer).peer_may_hold_current)
        side.since_s = since != 0 ? since : record_.alone_since_s;
    co_await name_files(side, std::move(ranges));
    co_return side;
}

Task<Result<BlockRanges>> Mirror::dirty_ranges(std::string peer) {
    if (!open_)
        co_return fail(Code::failure, "volume {} is not open on {}: {}", record_.volume.str(), around_.node,
                       problem_);
    auto which = named(peer);
    if (!which) co_return fail(which.error());
    BlockRanges out = co_await host_->dirty_ranges(peer);
    co_return out;
}

/// Which files lie there, as far as that can be told within a few seconds.
Task<> Mirror::name_files(SideChanges& side, BlockRanges ranges) {
    if (!open_ || !side.known || ranges.empty() || file_systems() == nullptr) co_return;
    FileSystems::Place place;
    place.device = record_.device;
    if (exporting_) place.exported = device_path_;
    Result<FileNames> found = co_await file_systems()->files(std::move(place), std::move(ranges));
    if (!found) {
        side.files_note = fmt::format("not known: {}", found.error().text);
        co_return;
    }
    side.files_found = found->found;
    for (std::string& name : found->names)
        if (side.files.size() < kMostSideFiles && name.size() <= kMostNameBytes)
            side.files.push_back(std::move(name));
    if (!found->complete)
        side.files_note = "there may be more: not all of the file system was looked at";
    else if (found->found == 0)
        side.files_note = "none: the changes are of deleted files or of the file system itself";
}

Task<Result<std::string>> Mirror::split_view(std::string peer, bool json) {
    if (!open_)
        co_return fail(Code::failure, "volume {} is not open on {}: {}", record_.volume.str(), around_.node,
                       problem_);
    auto which = named(peer);
    if (!which) co_return fail(which.error());
    // Without a name, the one that it is about.
    if (peer.empty()) peer = record_.main().node;
    for (const PeerRecord& one : record_.peers)
        if (which->size() > 1 && one.split_brain) peer = one.node;
    SideChanges self = co_await changes(peer);
    const CallLimits limits{.connect = kConnectLimit, .answer = kFilesLimit};
    auto reply = co_await call(peer, request(RequestKind::changes, peer), limits);
    if (!reply)
        co_return fail(reply.error().code, "{} does not say what it changed: {}", peer, reply.error().text);
    auto theirs = decode_side(reply->text);
    if (!theirs) co_return fail(theirs.error());
    const std::string& volume = record_.volume.str();
    co_return json ? split_json(volume, self, *theirs) : describe_split(volume, self, *theirs);
}

}  // namespace understudy::mirror::control
