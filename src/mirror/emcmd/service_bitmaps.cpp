// What the service and the cluster use among themselves: bitmaps, connections, registration. Spec: EMC-195 to
// EMC-198, EMC-234.

#include "base/text.h"
#include "config/layout.h"
#include "messages/messages.h"
#include "mirror/control/cluster_notes.h"
#include "mirror/emcmd/service.h"

#include <algorithm>

namespace understudy::mirror::emcmd {

using control::PeerRecord;
using runtime::Task;

namespace {

constexpr std::uint64_t kBlockBytes = 65536;
/// Bringing a volume in service mounts it, which may replay a long journal.
constexpr runtime::Duration kRegisterLimit = std::chrono::seconds(150);

}  // namespace

std::string to_bytes(const Bitmap& bitmap) {
    std::string out((bitmap.blocks + 7) / 8, '\0');
    for (const BlockRange& range : bitmap.dirty)
        for (auto block = range.first; block < std::min(bitmap.blocks, range.first + range.count); ++block)
            out[block / 8] = static_cast<char>(static_cast<unsigned char>(out[block / 8]) | 1U << block % 8);
    return out;
}

/// The bitmap goes with the answer: the file is written where the command was typed. Spec: EMC-195, EMC-198.
Task<Answer> Service::get_bitmap(Call call, MirrorPtr mirror) {
    const PeerRecord* const peer = peer_with(mirror->record(), call.argument(1));
    if (peer == nullptr)
        co_return refused(Status::file_not_found,
                          fmt::format("{} keeps no bitmap of volume {} for {}", options_.node,
                                      volume_letter(call.volume), call.argument(1)));
    const std::string node = peer->node;
    auto ranges = co_await mirror->dirty_ranges(node);
    if (!ranges) co_return refused(status_of(ranges.error()), ranges.error().text);
    Answer out;
    out.bitmap = Bitmap{std::move(*ranges), (mirror->record().size + kBlockBytes - 1) / kBlockBytes};
    co_return out;
}

/// Spec: EMC-197.
Task<Answer> Service::restart_pipe(MirrorPtr mirror) {
    const Result<> done = co_await mirror->restart_links();
    co_return answer_of(done);
}

/// A resource of the volume, as `understudy resource create` makes it. Spec: EMC-234, MOP-050.
Task<Answer> Service::register_volume(VolumeId volume) {
    const std::string name = volume_letter(volume);
    if (!world_.files.exists(options_.layout.database()))
        co_return refused(
            Status::not_supported,
            fmt::format("{} belongs to no cluster: start it with lkstart first", options_.node));
    const MirrorPtr mirror = manager_.find(volume);
    if (!mirror)
        co_return refused(Status::file_not_found,
                          fmt::format("{} has no mirror of volume {}", options_.node, name));
    if (mirror->record().role != Role::source)
        co_return refused(Status::invalid_function,
                          fmt::format("{} is target of volume {}: register it on its source {}",
                                      options_.node, name, mirror->record().main().node));
    const auto settings = settings_.get(volume);
    if (!settings || settings->mount_point.empty())
        co_return refused(Status::invalid_parameter,
                          fmt::format("where volume {} is mounted is not known: understudy volume set {} "
                                      "--mount-point DIR",
                                      name, volume.str()));
    config::Command command;
    command.name = "understudy resource create";
    command.arguments = {"filesys", "volume", "Vol." + volume.str(), "mount=" + settings->mount_point};
    command.options["id"] = volume.str();
    auto reply = co_await control::ask_engine(world_, options_.layout, std::move(command), kRegisterLimit);
    if (!reply) co_return refused(Status::not_supported, reply.error().text);
    if (reply->exit_code != 0) {
        messages::error("volume {} is not registered with the cluster: {}", volume.str(), reply->err);
        co_return refused(Status::invalid_function, reply->err);
    }
    co_return Answer{};
}

}  // namespace understudy::mirror::emcmd
