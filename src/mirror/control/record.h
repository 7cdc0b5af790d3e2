#pragma once
// The persistent record of one mirror on one host: everything that must survive a crash except the intent
// log. One JSON file per volume under Layout::mirrors(), replaced as a whole before a transition is reported
// as done. Spec: REP-148, REP-151. Threading: the control loop's thread.

#include "base/result.h"
#include "mirror/control/decision.h"
#include "runtime/files.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::control {

/// Which way a volume should be offered. Builds that know only two write and read 0 for "a block device", 1
/// for NBD.
enum class ExportKind { automatic, nbd, fuse, ublk };
std::string_view to_string(ExportKind kind);  // "auto", "nbd", "fuse", "ublk"
std::optional<ExportKind> parse_export(std::string_view word);

/// Another host of the volume, and the mirror with it.
struct PeerRecord {
    std::string node;
    std::string local_address;  // numeric, of this end
    std::string address;        // numeric, of the peer
    std::uint16_t port = 9999;  // the peer's dispatch port. Spec: REP-042
    MirrorType type = MirrorType::sync;

    MirrorState state = MirrorState::none;
    PauseCause cause = PauseCause::none;
    bool user_requested = false;  // no automatic reconnection. Spec: REP-135
    bool split_brain = false;
    std::string problem;  // why a person has to act; empty when nothing is wrong

    std::string log_path;
    bool log_valid = true;      // Spec: REP-055
    bool log_complete = false;  // source: got from the one before, holds the peer's differences too
    bool clean = false;         // the last life ended by a clean shutdown. Spec: REP-184
    /// Since when this end has had writes that the peer lacks, seconds since 1970: when it first went on
    /// without it after both were equal. 0: they are equal, or nobody knows. Spec: MOP-096.
    std::int64_t alone_since_s = 0;
    std::map<std::string, std::string> parameters;  // this mirror's own; see parameters.h

    friend bool operator==(const PeerRecord&, const PeerRecord&) = default;
};

struct MirrorRecord {
    VolumeId volume;
    MirrorUuid uuid{};
    std::string device;             // lower file or block device
    std::string media;              // what tells its medium from another; see Devices::media()
    bool replaced = false;          // target: another medium lies there, which has had no full resync yet
    std::uint64_t size = 0;         // of the replicated volume on the source, bytes
    std::uint64_t device_size = 0;  // of the device when `size` was settled, bytes; 0: not known
    std::uint32_t sector_size = 0;  // bytes
    ExportKind export_kind = ExportKind::fuse;

    Role role = Role::none;
    std::uint64_t role_epoch = 0;  // grows with each promotion
    Lineage lineage;
    /// Every other host of the volume, each with the endpoints between it and this one, so that any of them
    /// can become source. A target has a session with one of them only. Spec: REP-240, MOP-070.
    std::vector<PeerRecord> peers;
    /// Target: whose content this end has had or gets. Empty: the logs of all peers tell for themselves what
    /// differs.
    std::string origin;

    bool creating = false;           // creation has not finished: undone at the next start
    bool demoted = false;            // source that gave up its device
    bool consistent = true;          // target: false from the first block of a resync to its last
    bool outdated = false;           // target that was told that the source goes on alone
    bool unlocked = false;           // target opened to local writes. Spec: REP-202
    bool yielded = false;            // loser of a split brain by the administrator's decision
    bool alone_noted = true;         // the cluster knows that this end goes on alone with this generation
    std::int64_t alone_since_s = 0;  // of this generation, seconds since 1970

    /// Free space was left out when this volume was copied: what the file system does not use differs.
    bool free_left_out = false;

    std::string snapshot_location;  // directory of its snapshots' files; empty: none can be taken

    /// nullptr: no such host.
    [[nodiscard]] PeerRecord* peer(const std::string& node);
    [[nodiscard]] const PeerRecord* peer(const std::string& node) const;
    /// The one that stands for the volume where one is enough: of a target its source, else the first.
    [[nodiscard]] const PeerRecord& main() const;
    /// The ids as `node` is told them.
    [[nodiscard]] Generations generations(const std::string& node) const { return lineage.with(node); }
    /// "right" or "right, third".
    [[nodiscard]] std::string peer_names() const;

    friend bool operator==(const MirrorRecord&, const MirrorRecord&) = default;
};

std::string encode(const MirrorRecord& record);
/// Errors: not JSON, a field missing or out of its range, written by a newer version.
Result<MirrorRecord> decode_record(std::string_view text);

/// Rules for a volume's name: 1 to 32 of [A-Za-z0-9_-], not starting with '-'. Empty when legal.
std::string volume_id_problem(const VolumeId& volume);

class RecordStore {
  public:
    /// `directory` is made when it is missing. `files` is borrowed.
    RecordStore(runtime::Files& files, std::string directory);

    struct Loaded {
        std::string file;  // name without directory
        Result<MirrorRecord> record;
    };
    /// Every record, readable or not: a damaged one is reported and left as it is.
    [[nodiscard]] std::vector<Loaded> load_all() const;
    /// Durable when it returns success.
    Result<> save(const MirrorRecord& record);
    Result<> remove(const VolumeId& volume);
    [[nodiscard]] bool exists(const VolumeId& volume) const;

  private:
    [[nodiscard]] std::string path(const VolumeId& volume) const;
    runtime::Files& files_;
    std::string directory_;
};

}  // namespace understudy::mirror::control
