#pragma once
// What the cluster remembers about a mirror, so that a target that is behind is not promoted after its source
// has died: a note "SOURCE went on alone, generation G" as a flag in the databases of all nodes that are
// alive.
//
//   source's mirrord -> its understudyd -> flg_create on every ALIVE node -> lcdsync there -> writes go on
//   target's mirrord -> its understudyd -> flg_list on every ALIVE node    -> promote, or refuse
//
// The path is the cluster's heartbeat paths, which may work while the mirror's own address does not. A note
// needs no removal to become harmless: an end that knows generation G, or that has followed a promotion
// since, is not behind it. Only the source writes and withdraws notes. Spec: REP-079. Threading: the control
// loop's thread.

#include "base/types.h"
#include "config/command.h"
#include "config/layout.h"
#include "mirror/control/generation.h"
#include "runtime/task.h"
#include "runtime/world.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::control {

struct BehindNote {
    VolumeId volume;
    std::string source;            // the node that went on alone
    std::string mirror;            // the mirror's id in hex: a volume of the same name may be made anew
    std::uint64_t role_epoch = 0;  // of the source
    GenerationId generation = 0;   // with which it went on
    std::int64_t since_s = 0;      // seconds since 1970

    friend bool operator==(const BehindNote&, const BehindNote&) = default;
};

/// As a flag's name, and back; nullopt for a flag that is no such note.
std::string to_flag(const BehindNote& note);
std::optional<BehindNote> note_of_flag(std::string_view flag);

/// Whether the note is of a peer that was promoted over the living source `node`, which lost its targets at
/// `alone_since_s`: the promotion is newer than the source's own, was made at about that time or later (two
/// hosts' clocks differ), and this end does not know its generation.
bool is_takeover(const BehindNote& note, std::string_view node, std::string_view mirror,
                 std::uint64_t role_epoch, const Generations& generations, std::int64_t alone_since_s);

/// Whether an end with these ids lacks what the note tells of.
bool is_behind(const BehindNote& note, std::string_view node, std::string_view mirror,
               std::uint64_t role_epoch, const Generations& generations);

class ClusterNotes {
  public:
    virtual ~ClusterNotes() = default;
    /// Replaces older notes of the same source. Success: every node that is alive, this one included, has the
    /// note on disk; the value says whether all of `peers` were among them (or are no nodes of the cluster).
    virtual runtime::Task<Result<bool>> post(BehindNote note, std::vector<std::string> peers) = 0;
    /// Removes every note of the volume that is alive nodes' to give; false when one of `peers` could not be
    /// asked.
    virtual runtime::Task<Result<bool>> withdraw(VolumeId volume, std::vector<std::string> peers) = 0;
    /// Notes of the volume on this node and on those that are alive. Error: this node's own cannot be read.
    virtual runtime::Task<Result<std::vector<BehindNote>>> read(VolumeId volume) = 0;
    /// Whether the heartbeats have found `node` dead. False also when nobody can say.
    virtual runtime::Task<bool> is_dead(std::string node) = 0;
    /// Whether this node's own cluster daemon answers, whatever it says. True where there is no cluster.
    virtual runtime::Task<bool> answers() = 0;
};

/// A command of this host's understudyd, and what it answers within `limit`. Error: it does not answer.
runtime::Task<Result<config::Reply>> ask_engine(runtime::World world, config::Layout layout,
                                                config::Command command, runtime::Duration limit);

/// Through this host's understudyd. A host without a cluster database has no notes: posting succeeds.
class EngineNotes : public ClusterNotes {
  public:
    EngineNotes(runtime::World world, config::Layout layout, std::string node)
        : world_(world), layout_(std::move(layout)), node_(std::move(node)) {}
    runtime::Task<Result<bool>> post(BehindNote note, std::vector<std::string> peers) override;
    runtime::Task<Result<bool>> withdraw(VolumeId volume, std::vector<std::string> peers) override;
    runtime::Task<Result<std::vector<BehindNote>>> read(VolumeId volume) override;
    runtime::Task<bool> is_dead(std::string node) override;
    runtime::Task<bool> answers() override;

  private:
    struct Node {
        std::string name;
        bool alive = false;
    };
    [[nodiscard]] bool protects() const { return world_.files.exists(layout_.database()); }
    runtime::Task<Result<std::string>> ask(std::string node, std::string command, std::string flag);
    runtime::Task<Result<std::vector<Node>>> nodes();
    runtime::Task<Result<std::vector<BehindNote>>> notes_of(std::string node, VolumeId volume);
    runtime::Task<Result<>> post_to(std::string node, BehindNote note);
    runtime::Task<Result<>> withdraw_from(std::string node, VolumeId volume);
    runtime::Task<bool> died(std::string node);

    runtime::World world_;
    config::Layout layout_;
    std::string node_;
};

}  // namespace understudy::mirror::control
