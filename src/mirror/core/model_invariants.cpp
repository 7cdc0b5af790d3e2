// What must hold in the model.

#include "mirror/core/model_world.h"

#include <algorithm>

namespace understudy::mirror::model {

/// Empty when the target has `write`, or something not older, in each of its cells.
std::string World::missing(const Node& node, const AppRequest& write) const {
    for (std::uint64_t at = 0; at < write.block.length; at += kCell) {
        const std::uint64_t cell = (write.block.offset + at) / kCell;
        const std::uint64_t value = node.disk.cell(cell);
        bool fine = false;
        for (const auto& other : history) {
            const bool covers = other->block.offset <= cell * kCell &&
                                cell * kCell < other->block.offset + other->block.length;
            if (!covers || other->id != value) continue;
            const bool older = other->completed != 0 && other->completed < write.submitted;
            if (!older) {
                fine = true;
                break;
            }
        }
        if (!fine)
            return fmt::format("write {} (steps {}-{}) is not in cell {}, which has {}", write.id,
                               write.submitted, write.completed, cell, value);
    }
    return {};
}

std::string World::check_promoted() const {
    return check_promoted(*nodes[static_cast<std::size_t>(1 - source_index)]);
}

std::string World::check_promoted(const Node& node) const {
    // The newest write that arrived: everything completed before it was submitted must have arrived as well.
    std::uint64_t newest = 0;
    for (const auto& write : history) {
        if (write->id == 0) continue;
        for (std::uint64_t at = 0; at < write->block.length; at += kCell)
            if (node.disk.cell((write->block.offset + at) / kCell) == write->id)
                newest = std::max(newest, write->submitted);
    }
    for (const auto& flush : flushes)
        if (flush->completed != 0 && !flush->failed && flush->mirrored && !parameters.dont_flush_async_queue)
            newest = std::max(newest, flush->submitted);
    for (const auto& write : history) {
        if (write->completed == 0 || write->failed) continue;
        if (type == MirrorType::async && write->completed >= newest) continue;
        if (std::string text = missing(node, *write); !text.empty())
            return text +
                   (type == MirrorType::async ? fmt::format(" but one of step {} arrived", newest) : "");
    }
    return {};
}

std::string World::check_bits() const {
    const auto& a = nodes[0]->disk.content();
    const auto& b = nodes[1]->disk.content();
    for (std::uint64_t block = 0; block < blocks_of(kVolume); ++block) {
        const std::uint64_t from = block * kBlockBytes, to = std::min(kVolume, from + kBlockBytes);
        if (std::memcmp(a.data() + from, b.data() + from, to - from) == 0) continue;
        const auto bit = [&](const Node& node) { return (node.file[block / 64] >> (block % 64) & 1U) != 0; };
        if (!bit(*nodes[0]) && !bit(*nodes[1])) return fmt::format("block {} differs and has no bit", block);
    }
    return {};
}

std::string World::check_equal() const {
    for (std::uint64_t cell = 0; cell < kCells; ++cell)
        if (std::memcmp(nodes[0]->disk.content().data() + cell * kCell,
                        nodes[1]->disk.content().data() + cell * kCell, kCell) != 0)
            return fmt::format("cell {} (block {}) differs: {} and {}", cell, cell * kCell / kBlockBytes,
                               nodes[0]->disk.cell(cell), nodes[1]->disk.cell(cell));
    return {};
}

}  // namespace understudy::mirror::model
