// Another medium under the volume's device: a disk that was replaced, a file that was restored. Nothing on
// the volume says whose it is, so the device's own identity is kept on record and compared at every start.
// Spec: MOP-115, REP-177. While the volume is open the kernel keeps its device in place whatever becomes of
// the device's name; a name that means something else is told in time for the next start. Spec: REP-033.
//
//   target: holds nothing that counts -> its source's next session is refused unless it sends everything
//   source: must not be copied over good targets by itself -> every mirror waits for a person

#include "messages/messages.h"
#include "mirror/control/mirror.h"

#include <algorithm>

namespace understudy::mirror::control {

using runtime::Task;

namespace {

constexpr std::uint64_t kBlockBytes = 65536;

std::string_view kind_of(std::string_view media) {
    return media.substr(0, media.find(':'));
}

}  // namespace

/// At the start, before the logs are opened.
Result<> Mirror::look_at_media() {
    if (around_.devices == nullptr) return {};
    const std::string found = around_.devices->media(record_.device);
    if (found.empty() || found == record_.media) return {};
    MirrorRecord next = record_;
    next.media = found;
    // A kernel that tells it in another way than before says nothing about the medium.
    if (record_.media.empty() || record_.creating || kind_of(found) != kind_of(record_.media))
        return commit(std::move(next));
    const std::string what =
        fmt::format("{} of volume {} on {} is another medium than before ({}, it was {})", record_.device,
                    record_.volume.str(), around_.node, found, record_.media);
    for (PeerRecord& peer : next.peers) {
        peer.log_complete = peer.clean = false;
        peer.distrust_log(what);
        if (!source()) {
            peer.problem = fmt::format(
                "{}: only a full resync makes it a copy again; run \"understudy mirror resync {}\" on its "
                "source",
                what, record_.volume.str());
            continue;
        }
        peer.user_requested = true;
        peer.state = MirrorState::broken;
        peer.problem = fmt::format(
            "{}: nothing is copied from it by itself. If it holds the right data, run \"understudy mirror "
            "resync {}\"; otherwise stop mirrord here, promote a target with --force, and start it again",
            what, record_.volume.str());
    }
    if (!source()) {
        next.replaced = true;
        next.consistent = false;
    }
    tell(Event::medium_changed, {}, next.peers.empty() ? what : next.peers.front().problem);
    return commit(std::move(next));
}

void Mirror::look_at_name() {
    if (around_.devices == nullptr || record_.media.empty()) return;
    const std::string found = around_.devices->media(record_.device);
    if (found == record_.media) {
        if (std::exchange(name_problem_, {}).empty()) return;
        messages::info("volume {}: {} is its device again", record_.volume.str(), record_.device);
        return;
    }
    if (!found.empty() && kind_of(found) != kind_of(record_.media)) return;
    std::string text = found.empty() ? fmt::format("{} is not there any more", record_.device)
                                     : fmt::format("{} is another medium now ({}, it was {})", record_.device,
                                                   found, record_.media);
    text +=
        "; the volume goes on with the device that is open, but the next start of mirrord will not find "
        "it: give the device its name back, or delete the mirror";
    if (text == name_problem_) return;
    tell(found.empty() ? Event::name_gone : Event::name_lost, {}, text);
    name_problem_ = std::move(text);
}

/// Whether the source has every block marked, as it has after a break or without a log.
bool Mirror::wants_full_resync(const EndSummary& source) const {
    return !source.log_valid || source.dirty_blocks >= (source.size + kBlockBytes - 1) / kBlockBytes;
}

/// The mirror stops, everything counts as different, and `text` says what to do.
Task<> Mirror::break_for_a_person(std::string peer, std::string text) {
    auto broken = co_await break_locked(peer, text);
    if (!broken) alarm(peer, broken.error().text);
    MirrorRecord next = record_;
    next.peer(peer)->problem = text;
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
    alarm(peer, text);
}

}  // namespace understudy::mirror::control
