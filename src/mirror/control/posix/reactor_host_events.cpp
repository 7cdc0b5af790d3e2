// What happens to a volume on its reactor's thread, as the control loop is told.

#include "mirror/control/posix/reactor_host_impl.h"

namespace understudy::mirror::control {

void ReactorHost::PeerEvents::state_changed(MirrorState from, MirrorState to, PauseCause cause) {
    const bool was_with_target = from == MirrorState::mirroring || from == MirrorState::resync;
    if (source && was_with_target && to == MirrorState::paused) host_.close_gate();
    host_.tell([host = &host_, peer = peer_, from, to, cause, closures = host_.closures_] {
        host->seen_closures_ = closures;
        host->events_.state_changed(peer, from, to, cause);
        host->set_gate(host->wanted_gate_);
    });
}

void ReactorHost::PeerEvents::link_lost(std::string why) {
    if (source) host_.close_gate();
    host_.tell(
        [host = &host_, peer = peer_, why = std::move(why), number = link, closures = host_.closures_] {
            host->seen_closures_ = closures;
            if (number == host->links_[peer])
                host->events_.link_lost(peer, why);
            else
                host->set_gate(host->wanted_gate_);
        });
}

void ReactorHost::PeerEvents::link_interrupted(std::string why) {
    host_.tell([host = &host_, peer = peer_, why = std::move(why), number = link] {
        if (number == host->links_[peer]) host->events_.link_interrupted(peer, why);
    });
}

void ReactorHost::PeerEvents::degraded(DegradeAnswer release) {
    host_.tell([host = &host_, peer = peer_, release = std::move(release)] {
        host->events_.degraded(
            peer, [host, release](bool recorded) { host->run([release, recorded] { release(recorded); }); });
    });
}

void ReactorHost::PeerEvents::in_sync() {
    host_.tell([host = &host_, peer = peer_, number = link] {
        if (number == host->links_[peer]) host->events_.in_sync(peer);
    });
}

void ReactorHost::PeerEvents::target_silent() {
    host_.tell([host = &host_, peer = peer_, number = link] {
        if (number == host->links_[peer]) host->events_.target_silent(peer);
    });
}

void ReactorHost::PeerEvents::snapshot_failed(std::string why) {
    host_.tell([host = &host_, why = std::move(why)] { host->events_.snapshot_failed(why); });
}

void ReactorHost::PeerEvents::log_failed(std::string why) {
    host_.tell([host = &host_, peer = peer_, why = std::move(why)] { host->events_.log_failed(peer, why); });
}

}  // namespace understudy::mirror::control
