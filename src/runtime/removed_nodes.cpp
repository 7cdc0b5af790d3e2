#include "runtime/removed_nodes.h"

#include "base/text.h"

#include <limits>
#include <tuple>
#include <vector>

namespace understudy::runtime {

Result<RemovedNodes> RemovedNodes::parse(std::string_view text) {
    RemovedNodes out;
    for (const auto& line : text::split(text, '\n')) {
        if (line.empty()) continue;
        const auto fields = text::split(line, ' ');
        const auto issue = fields.size() == 4 ? text::to_int(fields[1]) : std::nullopt;
        const auto when = fields.size() == 4 ? text::to_int(fields[2]) : std::nullopt;
        if (!issue || !when || fields[0].empty() || *issue < 1 ||
            *issue > std::numeric_limits<std::uint32_t>::max())
            return fail(Code::internal, "\"{}\" is no removed node", line.substr(0, 80));
        if (out.removed_.size() >= kMaxRemovedNodes)
            return fail(Code::internal, "more than {} removed nodes", kMaxRemovedNodes);
        out.removed_[NodeName(fields[0])] = {static_cast<std::uint32_t>(*issue), *when, fields[3]};
    }
    return out;
}

std::string RemovedNodes::text() const {
    std::string out;
    for (const auto& [name, removal] : removed_)
        out += fmt::format("{} {} {} {}\n", name.str(), removal.issue, removal.when_s, removal.by);
    return out;
}

std::vector<NodeName> RemovedNodes::merge(const RemovedNodes& other) {
    std::vector<NodeName> news;
    for (const auto& [name, removal] : other.removed_) {
        auto& ours = removed_[name];
        // Of two that removed the same certificate one is chosen, so that all members have the same text.
        if (std::tie(removal.issue, removal.when_s, removal.by) <= std::tie(ours.issue, ours.when_s, ours.by))
            continue;
        if (removal.issue > ours.issue) news.push_back(name);
        ours = removal;
    }
    return news;
}

void RemovedNodes::remove(const NodeName& node, std::int64_t when_s, const std::string& by) {
    removed_[node] = {next_issue(node), when_s, by};
}

const RemovedNodes::Removal* RemovedNodes::find(std::string_view name, std::uint32_t issue) const {
    const auto at = removed_.find(NodeName(std::string(name)));
    return at == removed_.end() || issue > at->second.issue ? nullptr : &at->second;
}

std::uint32_t RemovedNodes::next_issue(const NodeName& node) const {
    const auto at = removed_.find(node);
    return at == removed_.end() ? 1 : at->second.issue + 1;
}

std::string RemovedNodes::why_not(const PeerIdentity& peer) const {
    const auto* removal = find(peer.common_name, peer.issue);
    if (removal == nullptr) return {};
    return fmt::format("{} was removed from the cluster on {}", peer.common_name, removal->by);
}

}  // namespace understudy::runtime
