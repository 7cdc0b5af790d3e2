#include "config/locks.h"

#include <algorithm>
#include <cassert>

namespace understudy::config {
namespace {

constexpr std::string_view kFlagPrefix = "!action!";

}  // namespace

FlagName lock_flag(const LockRequest& request) {
    return FlagName(fmt::format("{}{:05}!{}!{}:{}", kFlagPrefix, request.id.pid, request.id.timestamp,
                                request.id.node.str(), request.identifier));
}

bool is_lock_flag(const FlagName& flag) {
    return flag.str().starts_with(kFlagPrefix);
}

Result<LockId> LockTable::request(int pid, const std::string& identifier, std::int64_t now_s) {
    const auto legal = [](char c) { return c > ' ' && c < 0x7f && c != '!'; };
    if (identifier.empty() || identifier.size() > kMaxLockTextBytes ||
        !std::all_of(identifier.begin(), identifier.end(), legal))
        return fail(
            Code::bad_argument,
            "the identifier \"{}\" of a lock must have 1 to {} printable characters without blanks and "
            "\"!\"",
            identifier, kMaxLockTextBytes);
    if (own_.size() >= kMaxLockRequests)
        return fail(Code::failure, "{} lock requests wait on {} already; flg_list shows them", own_.size(),
                    self_.str());
    latest_ = std::max(now_s, latest_ + 1);
    const LockId id{latest_, self_, pid};
    own_[id] = {{id, identifier, false}, {}};
    return id;
}

void LockTable::restore(const LockRequest& request) {
    assert(request.id.node == self_ && request.held);
    latest_ = std::max(latest_, request.id.timestamp);
    own_[request.id] = {request, {}};
}

bool LockTable::release(const LockId& id) {
    return own_.erase(id) > 0;
}

LockNotice LockTable::notice() {
    return {incarnation_, ++number_, own()};
}

LockAnswer LockTable::hear(const NodeName& peer, const LockNotice& notice) {
    LockAnswer answer;
    const auto known = peers_.find(peer);
    const bool same_life = known != peers_.end() && known->second.incarnation == notice.incarnation;
    // Overtaken by a newer one: what it asked for may be gone.
    if (same_life && notice.number < known->second.number) return answer;
    if (!same_life) forget(peer);
    auto& now = peers_[peer];
    now.incarnation = notice.incarnation;
    now.number = notice.number;
    now.requests.clear();
    for (const auto& request : notice.requests) {
        if (request.id.node != peer || now.requests.size() >= kMaxLockRequests) continue;
        latest_ = std::max(latest_, request.id.timestamp);
        now.requests.push_back(request);
        if (agrees(request.id)) answer.agreed.push_back(request.id);
        if (!request.held) continue;
        for (const auto& [id, own] : own_)
            if (own.request.held) answer.conflict = own.request;
    }
    return answer;
}

bool LockTable::agrees(const LockId& id) const {
    const auto comes_first = [&](const LockRequest& request) {
        return request.id != id && (request.held || request.id < id);
    };
    // What others hold counts too: a node that they cannot hear learns of it here.
    const auto known = all();
    return std::none_of(known.begin(), known.end(), comes_first);
}

void LockTable::answered(const NodeName& peer, const LockAnswer& answer) {
    for (const auto& id : answer.agreed)
        if (const auto at = own_.find(id); at != own_.end()) at->second.agreed.insert(peer);
}

void LockTable::forget(const NodeName& peer) {
    peers_.erase(peer);
    for (auto& [id, own] : own_)
        own.agreed.erase(peer);
}

std::optional<LockId> LockTable::grantable(const std::vector<NodeName>& living_peers) const {
    if (own_.empty()) return std::nullopt;
    for (const auto& [id, own] : own_)
        if (own.request.held) return std::nullopt;
    const auto& [first, own] = *own_.begin();
    for (const auto& [peer, known] : peers_)
        for (const auto& request : known.requests)
            if (request.held || request.id < first) return std::nullopt;
    for (const auto& peer : living_peers)
        if (!own.agreed.contains(peer)) return std::nullopt;
    return first;
}

void LockTable::grant(const LockId& id) {
    const auto at = own_.find(id);
    assert(at != own_.end() && !at->second.request.held);
    at->second.request.held = true;
}

const LockRequest* LockTable::find(const LockId& id) const {
    const auto at = own_.find(id);
    return at == own_.end() ? nullptr : &at->second.request;
}

std::vector<LockRequest> LockTable::own() const {
    std::vector<LockRequest> requests;
    for (const auto& [id, own] : own_)
        requests.push_back(own.request);
    return requests;
}

std::vector<LockRequest> LockTable::all() const {
    auto requests = own();
    for (const auto& [peer, known] : peers_)
        requests.insert(requests.end(), known.requests.begin(), known.requests.end());
    std::sort(requests.begin(), requests.end(), [](const LockRequest& a, const LockRequest& b) {
        return std::tuple(!a.held, a.id) < std::tuple(!b.held, b.id);
    });
    return requests;
}

}  // namespace understudy::config
