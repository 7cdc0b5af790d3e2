#include "mirror/core/model_world.h"

#include "base/checksum.h"

#include <algorithm>
#include <utility>

namespace understudy::mirror::model {

World::World(std::uint64_t seed) : dice(seed) {
    for (int i = 0; i < 2; ++i) {
        nodes[static_cast<std::size_t>(i)] = std::make_unique<Node>(*this, dice, i);
        nodes[static_cast<std::size_t>(i)]->start_log();
    }
}

World::~World() {
    for (auto& node : nodes)
        node->crash();
}

void World::start(ResyncKind kind) {
    // Different beginnings, unless the caller warrants that they are equal.
    for (std::uint64_t cell = 0; cell < kCells; ++cell) {
        const std::uint64_t a = dice.chance(30) ? 0 : next_id++, b = kind == ResyncKind::none ? a : next_id++;
        std::memcpy(nodes[0]->disk.content_for_setup().data() + cell * kCell, &a, sizeof a);
        std::memcpy(nodes[1]->disk.content_for_setup().data() + cell * kCell, &b, sizeof b);
    }
    nodes[0]->disk.make_durable();
    nodes[1]->disk.make_durable();
    source().become_source(MirrorState::pending);
    target().become_target();
    out_of_date = kind != ResyncKind::none;
    connect(kind);
}

void World::submit_random() {
    const std::uint64_t kind = dice.below(100);
    if (kind < 8) return submit(BlockOp::flush, 0, 0, false);
    // A few hot blocks, so that writes meet each other and the resync.
    const std::uint64_t cells = dice.chance(5) ? 1 + dice.below(300) : 1 + dice.below(16);
    std::uint64_t cell = dice.chance(50) ? dice.below(64) : dice.below(kCells);
    cell = std::min(cell, kCells - cells);
    const BlockOp op = kind < 14 ? BlockOp::write_zeroes : kind < 18 ? BlockOp::discard : BlockOp::write;
    submit(op, cell, cells, dice.chance(5));
}

void World::submit(BlockOp op, std::uint64_t cell, std::uint64_t cells, bool fua) {
    auto owned = std::make_unique<AppRequest>();
    AppRequest& request = *owned;
    request.world = this;
    request.id = op == BlockOp::write ? next_id++ : 0;
    request.submitted = ++now_step;
    request.block.op = op;
    request.block.fua = fua && op == BlockOp::write;
    request.block.offset = cell * kCell;
    request.block.length = static_cast<std::uint32_t>(cells * kCell);
    request.block.owner = &request;
    if (op == BlockOp::write) {
        request.buffer.resize(request.block.length);
        for (std::uint64_t at = 0; at < request.buffer.size(); at += 8)
            std::memcpy(request.buffer.data() + at, &request.id, 8);
        request.block.data = request.buffer.data();
    }
    request.block.done = [](BlockRequest& block) {
        AppRequest& done = *static_cast<AppRequest*>(block.owner);
        done.completed = ++done.world->now_step;
        done.failed = block.result != 0;
        --done.world->pending_requests;
        done.mirrored = done.mirrored && done.world->mirrors();
        // A caller may use its buffer again at once: nobody may read it any more.
        std::fill(done.buffer.begin(), done.buffer.end(), std::byte{0xee});
    };
    request.mirrored = mirrors();
    ++pending_requests;
    (op == BlockOp::flush ? flushes : history).push_back(std::move(owned));
    if (entry)
        entry(request.block);
    else
        source().source->submit(request.block);
}

bool World::mirrors() const {
    if (all_mirror) return all_mirror();
    const Node& node = *nodes[static_cast<std::size_t>(source_index)];
    return node.source && node.source->state() == MirrorState::mirroring;
}

/// What the frame reader checks, of a message that may get a wrong bit on its way.
bool World::arrived_whole(Message& message) {
    const bool flip = flips > 0 && dice.below(1000) < flips;
    if (flip) {
        ++flipped;
        const std::uint64_t bit = dice.below((wire::kHeaderBytes + message.payload.size()) * 8);
        std::byte& byte = bit / 8 < wire::kHeaderBytes ? message.header[bit / 8]
                                                       : message.payload[bit / 8 - wire::kHeaderBytes];
        byte ^= static_cast<std::byte>(1U << (bit % 8));
    }
    const auto header = wire::decode(message.header);
    const bool whole = header && header->length == message.payload.size() &&
                       (message.payload.empty() || crc32c(message.payload) == header->payload_crc);
    if (flip && whole)
        undetected = fmt::format("a wrong bit in {} was not seen", wire::to_string(header->type));
    return whole;
}

bool World::deliver(Node& from, bool resync) {
    Node& to = *nodes[static_cast<std::size_t>(1 - from.number)];
    Pipe& pipe = resync ? from.resync : from.data;
    if (pipe.travelling.empty()) return false;
    if (to.target && to.target->full()) return false;
    Message message = std::move(pipe.travelling.front());
    pipe.travelling.pop_front();
    if (!to.link_open) return true;
    if (!arrived_whole(message)) {
        // As the frame reader does: the stream is lost, and the other end sees the connection close.
        for (Node* node : {&to, &from}) {
            if (node->target) node->target->link_broken("broken message");
            if (node->source) node->source->link_broken("broken message");
        }
        return true;
    }
    const auto header = wire::decode(message.header);
    std::byte* payload = nullptr;
    if (!message.payload.empty()) {
        payload = to.pool.take(message.payload.size());
        std::memcpy(payload, message.payload.data(), message.payload.size());
    }
    if (to.target) {
        resync ? to.target->on_resync(*header, payload, now) : to.target->on_data(*header, payload, now);
    } else {
        if (to.source)
            resync ? to.source->on_resync(*header, now) : to.source->on_data(*header, payload, now);
        if (payload != nullptr) to.pool.give_back(payload, message.payload.size());
    }
    return true;
}

bool World::step() {
    ++now_step;
    if (stalls > 0 && dice.below(1000) < stalls)
        nodes[dice.below(2)]->disk.stalled = static_cast<unsigned>(dice.below(300));
    const auto offset = dice.below(14);
    for (std::uint64_t i = 0; i < 14; ++i) {
        const std::uint64_t choice = (offset + i) % 14;
        Node& node = *nodes[choice % 2];
        switch (choice / 2) {
            case 0:
                if (!node.disk.busy()) continue;
                if (node.disk.stalled > 0) {
                    --node.disk.stalled;
                    continue;
                }
                node.disk.complete_one();
                return true;
            case 1:
                if (node.commit_wanted) {
                    node.start_commit();
                    return true;
                }
                if (node.log->committing()) {
                    node.finish_commit();
                    return true;
                }
                if (node.mark) {
                    node.finish_mark();
                    return true;
                }
                continue;
            case 2:
                if (node.data.queued.empty()) continue;
                node.data.transmit();
                return true;
            case 3:
                if (node.resync.queued.empty()) continue;
                node.resync.transmit();
                return true;
            case 4:
                if (!deliver(node, false)) continue;
                if (node.target) node.target->flush_acknowledgements();
                return true;
            case 5:
                if (!deliver(node, true)) continue;
                return true;
            case 6:
                if (node.target && dice.chance(50)) node.target->flush_acknowledgements();
                if (!node.release) continue;
                // The cluster's record is made first, then the source may go on.
                out_of_date = true;
                std::exchange(node.release, nullptr)(true);
                return true;
            default:
                continue;
        }
    }
    for (auto& node : nodes)
        if (node->target) node->target->flush_acknowledgements();
    for (auto& node : nodes)
        if (!node->data.queued.empty() || (node->disk.busy() && std::exchange(node->disk.stalled, 0U) > 0))
            return true;
    return false;
}

void World::tick(std::chrono::milliseconds by) {
    now += by;
    for (auto& node : nodes) {
        if (node->source) node->source->tick(now);
        if (node->target) node->target->tick(now);
    }
}

void World::settle(unsigned limit) {
    while (limit-- > 0 && step()) {
    }
}

bool World::run_until(const std::function<bool()>& condition, unsigned limit) {
    while (limit-- > 0) {
        if (condition()) return true;
        if (!step() || dice.chance(1)) tick(kTick);
    }
    return condition();
}

void World::connect(ResyncKind kind) {
    for (auto& node : nodes) {
        node->data.travelling.clear();
        node->resync.travelling.clear();
    }
    if (target().target->linked()) target().target->detach();
    if (source().source->linked() || source().source->suspended()) source().source->detach();
    // As the volume does: the target takes a new link when the last one's writes are on its device.
    while (!target().target->applied())
        step();
    for (auto& node : nodes)
        node->link_open = true;
    target().target->attach({kind, features}, now);
    source().source->attach({kind, features}, now);
}

void World::reconnect() {
    for (auto& node : nodes) {
        node->data.travelling.clear();
        node->resync.travelling.clear();
    }
    if (target().target->linked()) target().target->detach();
    if (!source().source->suspended()) return;
    if (!target().target->resumable()) return source().source->give_up_links("the target cannot go on");
    for (auto& node : nodes)
        node->link_open = true;
    const LinkTerms terms{ResyncKind::partial, features, true};
    target().target->attach(terms, now);
    source().source->attach(terms, now);
}

void World::cut() {
    for (auto& node : nodes) {
        // A prefix of what travels may still arrive.
        const bool first = dice.chance(50);
        for (Pipe* pipe : {first ? &node->data : &node->resync, first ? &node->resync : &node->data}) {
            for (std::uint64_t count = dice.below(pipe->travelling.size() + 1); count > 0; --count)
                if (!deliver(*node, pipe == &node->resync)) break;
            pipe->travelling.clear();
        }
    }
    const std::uint64_t order = dice.below(2);
    for (std::uint64_t i = 0; i < 2; ++i) {
        Node& node = *nodes[(order + i) % 2];
        if (node.source) node.source->link_broken("cut");
        if (node.target) node.target->link_broken("cut");
        if (i == 0)
            for (std::uint64_t steps = dice.below(20); steps > 0; --steps)
                step();
    }
}

void World::drain_target() {
    if (target().target->linked()) target().target->link_broken("the source is gone");
    bool drained = false;
    target().target->drain([&](Result<> result) { drained = result.has_value(); });
    while (!drained && step()) {
    }
}

void World::forget_history() {
    for (auto& request : history)
        old.push_back(std::move(request));
    for (auto& request : flushes)
        old.push_back(std::move(request));
    history.clear();
    flushes.clear();
}

void World::crash_source_and_promote() {
    source().crash();
    // Everything that was on the wire has arrived or never will.
    for (std::uint64_t count = dice.below(source().data.travelling.size() + 1); count > 0; --count)
        deliver(source(), false);
    source().data.travelling.clear();
    source().resync.travelling.clear();
    drain_target();
}

void World::restart_source() {
    source().crash();
    target().target->link_broken("the source is gone");
    forget_history();
    source().become_source(MirrorState::pending);
    // What the source lost with its cache is lost for its callers too; the target must follow.
    out_of_date = true;
}

void World::restart_target() {
    target().crash();
    source().source->link_broken("the target is gone");
    target().become_target();
    target().data.travelling.clear();
    target().resync.travelling.clear();
}

void World::restart_both() {
    target().crash();
    source().crash();
    forget_history();
    source().become_source(MirrorState::pending);
    target().become_target();
    out_of_date = true;
}

}  // namespace understudy::mirror::model
