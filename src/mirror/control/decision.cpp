#include "mirror/control/decision.h"

#include "base/text.h"

namespace understudy::mirror::control {

namespace {

Decision refuse(std::string why) {
    return {Verdict::refuse, ResyncKind::none, std::move(why)};
}

std::string uuid_text(const MirrorUuid& uuid) {
    return text::hex(std::as_bytes(std::span(uuid)));
}

/// The resync of a fitting pair.
Decision resync_of(const EndSummary& source, const EndSummary& target) {
    const auto attach = [](ResyncKind kind, std::string why) {
        return Decision{Verdict::attach, kind, std::move(why)};
    };
    if (target.generations.current == 0) return attach(ResyncKind::full, "the target holds no content yet");

    const GenerationId base = target.yielded ? target.generations.sync_base : target.generations.current;
    const bool related = source.generations.knows(base);
    if (!related && !target.yielded) {
        return refuse(
            fmt::format("source {} and target {} have no common history: delete and create the mirror",
                        source.node, target.node));
    }
    // The administrator chose the loser of a split brain, so its content may go; without a common base there
    // is no log that says what differs. Spec: REP-228.
    if (!related) return attach(ResyncKind::full, "no common base after the split brain");
    if (!source.log_valid) return attach(ResyncKind::full, "the source's intent log is not valid");
    if (!target.log_valid && !source.log_complete)
        return attach(ResyncKind::full, "the target's intent log is not valid");
    if (!source.generations.log_covers(base))
        return attach(ResyncKind::full, "the target's content is older than the intent log");
    // Equal content and nobody can write meanwhile: the target stays consistent throughout (planned
    // switchover).
    if (source.dirty_blocks == 0 && target.dirty_blocks == 0 && !source.serving && target.consistent &&
        !target.yielded)
        return attach(ResyncKind::none, "both ends are equal");
    return attach(ResyncKind::partial, "the intent logs hold every difference");
}

Decision fit(const EndSummary& source, const EndSummary& target) {
    if (target.sector_size != source.sector_size)
        return refuse(fmt::format("sector sizes differ: {} bytes on source {}, {} on target {}",
                                  source.sector_size, source.node, target.sector_size, target.node));
    if (target.size < source.size)
        return refuse(fmt::format("target {} has {} bytes, less than source {} with {} (event 225)",
                                  target.node, target.size, source.node, source.size));
    if (target.unlocked)
        return refuse(fmt::format("target {} is unlocked: lock its volume first", target.node));
    return resync_of(source, target);
}

/// Whether the target follows a promotion that the source knows nothing of.
bool overtaken(const EndSummary& source, const EndSummary& target) {
    if (target.yielded || target.generations.current == 0) return false;
    const bool newer = target.generations.knows(source.generations.current) &&
                       !source.generations.knows(target.generations.current);
    return newer || target.role_epoch > source.role_epoch;
}

/// A source that was down while another was promoted, and has not met that one yet. Spec: REP-237.
Decision overtaken_source(const EndSummary& self, const EndSummary& peer) {
    const EndSummary& source = self.role == Role::source ? self : peer;
    const EndSummary& target = self.role == Role::source ? peer : self;
    std::string why =
        fmt::format("the target {} holds newer data than the source {}", target.node, source.node);
    if (source.serving) return refuse(why + ": promote it there first");
    return {self.role == Role::source ? Verdict::become_target : Verdict::wait, ResyncKind::none,
            std::move(why)};
}

Decision two_sources(const EndSummary& self, const EndSummary& peer) {
    const auto split = [&] {
        return Decision{
            Verdict::split_brain, ResyncKind::none,
            fmt::format("{} and {} are both source of volume {}", self.node, peer.node, self.volume.str())};
    };
    if (self.split_brain || peer.split_brain) return split();
    const bool peer_followed = peer.generations.current != self.generations.current &&
                               peer.generations.knows(self.generations.current);
    const bool self_followed = peer.generations.current != self.generations.current &&
                               self.generations.knows(peer.generations.current);
    // Exactly one grew out of the other's last state, and the other has written nothing since. Spec: REP-237.
    if (peer_followed && !self_followed && !self.serving)
        return {Verdict::become_target, ResyncKind::none,
                fmt::format("{} became source while {} was down", peer.node, self.node)};
    if (self_followed && !peer_followed && !peer.serving)
        return {
            Verdict::wait, ResyncKind::none,
            fmt::format("{} was down while {} became source and will become target", peer.node, self.node)};
    return split();
}

}  // namespace

std::string_view to_string(Verdict verdict) {
    switch (verdict) {
        case Verdict::attach:
            return "attach";
        case Verdict::become_target:
            return "become target";
        case Verdict::wait:
            return "wait";
        case Verdict::split_brain:
            return "split brain";
        case Verdict::refuse:
            return "refuse";
    }
    return "?";
}

Decision decide(const EndSummary& self, const EndSummary& peer) {
    if (self.volume != peer.volume)
        return refuse(fmt::format("{} asked about volume {}, {} answered about {}", self.node,
                                  self.volume.str(), peer.node, peer.volume.str()));
    if (self.uuid != peer.uuid)
        return refuse(fmt::format("volume {} of {} belongs to another mirror ({}, here {})",
                                  peer.volume.str(), peer.node, uuid_text(peer.uuid), uuid_text(self.uuid)));
    if (self.role == Role::none || peer.role == Role::none)
        return refuse(fmt::format("volume {} has no role on {}", self.volume.str(),
                                  self.role == Role::none ? self.node : peer.node));
    if (self.role == Role::source && peer.role == Role::source) return two_sources(self, peer);
    if (self.role == Role::target && peer.role == Role::target)
        return {
            Verdict::wait, ResyncKind::none,
            fmt::format("neither {} nor {} is source of volume {}", self.node, peer.node, self.volume.str())};
    if (self.role == Role::source ? overtaken(self, peer) : overtaken(peer, self))
        return overtaken_source(self, peer);
    return self.role == Role::source ? fit(self, peer) : fit(peer, self);
}

std::string promotion_problem(const EndSummary& self) {
    if (self.role != Role::target)
        return fmt::format("{} is not target of volume {}", self.node, self.volume.str());
    if (self.generations.current == 0)
        return fmt::format("volume {} on {} was never synchronised", self.volume.str(), self.node);
    if (!self.consistent)
        return fmt::format(
            "a resync of volume {} to {} was interrupted: its content is a mixture of old and new "
            "blocks and must not be used until a resync has finished",
            self.volume.str(), self.node);
    if (self.unlocked)
        return fmt::format("volume {} is unlocked on {}: lock it first", self.volume.str(), self.node);
    if (self.yielded)
        return fmt::format("{} gave up volume {} in a split brain and waits for its resync", self.node,
                           self.volume.str());
    return {};
}

}  // namespace understudy::mirror::control
