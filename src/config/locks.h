#pragma once
// Cluster-wide admin locks (manual: getlocks, rlslocks), as one node sees them. Pure: no time, no network.
//
// At most one request in the whole cluster is held; the others wait in the order of (timestamp, node, pid),
// the same everywhere. A node tells its own requests only:
//
//   node A: "my requests are {...}" -----> node B remembers them, tells which of them it agrees to:
//                                          those with no request that B knows of held or in front of them
//
// A request is granted when every living peer agrees to it and no remembered request of another node is in
// front. That excludes a second holder: of two requests on two nodes the later one needs the agreement of the
// earlier one's node, which it does not get while the earlier one exists. A node numbers a new request later
// than every one it has seen, so what it has agreed to stays in front of its own.
//
// Lost and late messages do no harm: each message carries all of a node's requests and a number, older ones
// are ignored, and the driver (daemons/locks.h) repeats them. Spec: CLU-213, CLU-214, CMD-100.

#include "base/result.h"
#include "base/types.h"

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

/// Requests of one node that wait or are held; more are refused.
inline constexpr std::size_t kMaxLockRequests = 64;
/// Longest identifier and name of a lock.
inline constexpr std::size_t kMaxLockTextBytes = 200;

/// Who asked, in the order in which requests are served.
struct LockId {
    std::int64_t timestamp = 0;  // seconds since 1970, or later when the node has seen a later one
    NodeName node;
    int pid = 0;  // of the process that wants the lock
    friend auto operator<=>(const LockId&, const LockId&) = default;
};

struct LockRequest {
    LockId id;
    std::string identifier;  // kind of operation: "Create_Hierarchy"
    bool held = false;
    friend bool operator==(const LockRequest&, const LockRequest&) = default;
};

/// `!action!<pid>!<timestamp>!<node>:<identifier>`. Spec: CLU-213, CMD-100.
FlagName lock_flag(const LockRequest& request);
/// Whether a flag has the form of a lock's, whoever made it.
bool is_lock_flag(const FlagName& flag);

/// All requests of a node, as it tells its peers.
struct LockNotice {
    std::uint64_t incarnation = 0;  // of the node's daemon: another one with every start
    std::uint64_t number = 0;       // ascending within it
    std::vector<LockRequest> requests;
};

/// What the peer says to it.
struct LockAnswer {
    std::vector<LockId> agreed;
    /// A lock of the answering node that is held although one in the notice is too: they were apart. Empty
    /// otherwise.
    std::optional<LockRequest> conflict;
};

class LockTable {
  public:
    /// `incarnation` must differ from every earlier life's of this node.
    LockTable(NodeName self, std::uint64_t incarnation) : self_(std::move(self)), incarnation_(incarnation) {}

    /// A new request of this node at the end of the queue. Errors: too many, an identifier that no flag can
    /// carry.
    Result<LockId> request(int pid, const std::string& identifier, std::int64_t now_s);
    /// A lock that this node held in an earlier life and whose owner still runs.
    void restore(const LockRequest& request);
    /// Ends a request, waiting or held. False when there is none.
    bool release(const LockId& id);

    /// What to tell the peers now.
    LockNotice notice();
    /// A peer's notice.
    LockAnswer hear(const NodeName& peer, const LockNotice& notice);
    /// A peer's answer to the notice with this number; answers to older ones still count, an agreement is
    /// never taken back.
    void answered(const NodeName& peer, const LockAnswer& answer);
    /// The peer died, or another life of it began: its requests and agreements are void. Spec: CLU-214.
    void forget(const NodeName& peer);

    /// The own request that may be granted now, given who lives; nothing when none may.
    [[nodiscard]] std::optional<LockId> grantable(const std::vector<NodeName>& living_peers) const;
    /// Marks it as held.
    void grant(const LockId& id);

    [[nodiscard]] const LockRequest* find(const LockId& id) const;
    [[nodiscard]] std::vector<LockRequest> own() const;
    /// Own and remembered ones, in the order of service, held ones first.
    [[nodiscard]] std::vector<LockRequest> all() const;

  private:
    struct Own {
        LockRequest request;
        std::set<NodeName> agreed;
    };
    struct Peer {
        std::uint64_t incarnation = 0;
        std::uint64_t number = 0;
        std::vector<LockRequest> requests;
    };
    [[nodiscard]] bool agrees(const LockId& id) const;

    NodeName self_;
    std::uint64_t incarnation_;
    std::uint64_t number_ = 0;
    std::int64_t latest_ = 0;  // the latest timestamp seen
    std::map<LockId, Own> own_;
    std::map<NodeName, Peer> peers_;
};

std::string encode(const LockNotice& notice);
Result<LockNotice> decode_lock_notice(std::string_view data);
std::string encode(const LockAnswer& answer);
Result<LockAnswer> decode_lock_answer(std::string_view data);

}  // namespace understudy::config
