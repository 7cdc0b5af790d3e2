#pragma once
// Quorum and witness of one node, driven: it gathers what the decisions need from comm::Cluster and the
// shared storage, waits with limits, and keeps the proof of this node's right to run (fence.h).
//
//   engine (through gates)  --quorum_gate(P), witness_gate(P)-->  Guard  --"quorum.view"-->  other nodes
//                           --judge(event, silent), refusal()-->    |
//   node  <--lose(deadline): quorum loss action--                   +--> Storage: one cycle per HBEATTIME
//                                                                   +--> Watchdog: deadline of the proof
//
// The settings that take effect at once are read anew at each use. Loop thread only.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "quorum/counters.h"
#include "quorum/decisions.h"
#include "quorum/fence.h"
#include "quorum/storage.h"

#include <functional>
#include <memory>
#include <set>
#include <string>

namespace understudy::quorum {

/// What the guard asks of its node. All are called on the loop's thread; none may be empty.
struct Host {
    /// Whether anything is in service here, being started, or may still run after a failed action.
    std::function<bool()> holds_resources;
    /// The quorum loss action, until `deadline`: take everything out of service, then quarantine. Called once
    /// in this object's life. Spec: QUO-073, QUO-079.
    std::function<void(runtime::TimePoint deadline, const std::string& why)> lose;
    /// Judge the loss of this peer again. Spec: QUO-049, QUO-072.
    std::function<void(const NodeName& peer)> lost_again;
    /// Quorum is there after it was not: what is in service nowhere may be started. Spec: QUO-069, QUO-072.
    std::function<void()> quorum_returned;
    std::function<void(const std::string& text)> journal;
};

struct GuardOptions {
    NodeName self;
    std::string settings_path;     // etc/default/LifeKeeper
    std::string captured_path;     // qwk.conf: what qwk_storage_init captured
    std::string socket_path;       // qwk.sock; empty: none
    Counters* counters = nullptr;  // outlives the guard; null: it counts for itself
};

struct PeerStatus {
    NodeName name;
    comm::PeerState state = comm::PeerState::unknown;
    bool proven_dead = false;
    std::optional<std::uint64_t> sequence;   // storage quorum only
    std::optional<runtime::Duration> quiet;  // storage quorum only
    bool writes = false;                     // its object is no older than a living node's may be
};
struct Status {
    Configuration configuration;
    Quorum quorum = Quorum::have;
    std::size_t known = 0;
    std::size_t reachable = 0;
    bool storage_ready = false;  // qwk_storage_init has been run
    std::uint64_t sequence = 0;
    std::vector<PeerStatus> peers;
    bool watchdog = false;
};

class Guard {
  public:
    struct Verdict {
        bool proceed = true;
        std::string why;
    };
    /// `storage` and `watchdog` may be null: no storage quorum, nothing enforces the grace.
    Guard(runtime::World world, config::Database& database, comm::Cluster& cluster, Storage* storage,
          Watchdog* watchdog, GuardOptions options, Host host);
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard();

    /// Reads the captured storage configuration and begins its cycles; serves other nodes. Before the
    /// engine's start.
    void start();

    /// The quorum check, now. Spec: QUO-037.
    [[nodiscard]] Quorum check();
    /// First gate of a lost peer: at once. Without quorum the loss action begins. Spec: QUO-057, QUO-059.
    runtime::Task<Verdict> quorum_gate(NodeName peer);
    /// Second gate: the witness's verdict, then the wait until the lost node must have stopped.
    runtime::Task<Verdict> witness_gate(NodeName peer);
    /// LCM_AVAIL, COMM_UP: waits for quorum within one path timeout (LCM_AVAIL only) and judges peers that
    /// cannot be reached. proven_dead() knows the outcome. Spec: QUO-064, QUO-065, QUO-069.
    runtime::Task<> judge(std::string event, std::set<NodeName> silent);
    /// Why nothing may be started here at this moment; empty: it may, and the watchdog knows of it. Asked
    /// before every step that starts something. Spec: QUO-044.
    [[nodiscard]] std::string refusal();
    /// Whether a peer that cannot be reached is known to be down; without quorum every silent one is.
    [[nodiscard]] bool proven_dead(const NodeName& peer) const;
    /// Whether COMM_UP starts what is in service nowhere: with a quorum mode only. Spec: QUO-133.
    [[nodiscard]] bool starts_at_comm_up();
    /// A person starts something without quorum: what runs then is not ended for want of a proof until quorum
    /// has been there again. Spec: QUO-044.
    void forced(const std::string& who);
    /// The node has stopped: no proof is looked for and nothing resets this host any more.
    void leave();
    /// The loss action is under way.
    [[nodiscard]] bool losing() const;

    [[nodiscard]] Status status();
    [[nodiscard]] Configuration configuration();
    [[nodiscard]] const Counters& counters() const;

    /// qwk_storage_init: answers when the objects of all nodes are being written. Spec: QUO-099 to QUO-103.
    void storage_init(const config::Command& command, std::function<void(std::string)> progress,
                      std::function<void(config::Reply)> done);
    /// qwk_storage_exit. Spec: QUO-101.
    [[nodiscard]] config::Reply storage_exit();

    struct Impl;

  private:
    std::shared_ptr<Impl> impl_;
};

/// Exit codes of qwk_storage_init and qwk_storage_exit. Spec: QUO-102.
enum class QwkExit : std::uint8_t {
    success = 0,
    configuration = 1,
    usage = 2,
    storage = 3,
    precondition = 4,
    interrupted = 5,
};

inline constexpr std::string_view kViewMethod = "quorum.view";
inline constexpr std::string_view kDownNotice = "quorum.down";

}  // namespace understudy::quorum
