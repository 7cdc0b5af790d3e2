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

inline constexpr std::size_t kMostEndpointPairs = 64;

/// How one host of this end reaches one host of the other end. Spec: MOP-018, MOP-070.
struct EndpointPair {
    std::string here, there;    // names of hosts
    std::string local_address;  // numeric
    std::string address;        // numeric
    std::uint16_t port = 9999;  // dispatch port of `there`
    /// How often the addresses have been changed since the mirror was made: what is told with a higher one
    /// counts. Spec: EMC-095, EMC-109.
    std::uint32_t serial = 0;

    friend bool operator==(const EndpointPair&, const EndpointPair&) = default;
};

/// Another host of the volume, or the hosts that share its disk there, and the mirror with it.
struct PeerRecord {
    std::string node;           // of hosts that share: the one by which this end knows them, whichever serves
    std::string host;           // of hosts that share: the one that was met last; empty: `node`
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
    /// Why all of it has to be sent with the next session, as far as this end knows; empty: nothing says so.
    /// Spec: MOP-131
    std::string full_cause;
    bool clean = false;  // the last life ended by a clean shutdown. Spec: REP-184
    /// Since when this end has had writes that the peer lacks, seconds since 1970: when it first went on
    /// without it after both were equal. 0: they are equal, or nobody knows. Spec: MOP-096.
    std::int64_t alone_since_s = 0;
    std::map<std::string, std::string> parameters;  // this mirror's own; see parameters.h
    /// When hosts share the disk of either end: each pair of them; else empty.
    std::vector<EndpointPair> pairs;

    /// The host that is meant by the addresses above.
    [[nodiscard]] const std::string& host_name() const { return host.empty() ? node : host; }
    /// Every host that may serve that end: the one met last first.
    [[nodiscard]] std::vector<std::string> hosts() const;
    /// The log tells no longer what differs. The first cause since both were equal counts.
    void distrust_log(std::string why);
    /// Means `there` from here on, as `here` reaches it. False: no such pair.
    bool use(const std::string& here, const std::string& there);

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
    /// can become source. A target has a session with one of them only. A source may have none yet: it serves
    /// its device, and nothing is mirrored. Spec: REP-240, MOP-070, KIT-068.
    std::vector<PeerRecord> peers;
    /// Target: whose content this end has had or gets. Empty: the logs of all peers tell for themselves what
    /// differs.
    std::string origin;

    /// The device is shared with other hosts, of which one at a time serves it: this record lies beside the
    /// volume, for the next of them. Spec: MOP-067, REP-058.
    bool shared = false;

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
    /// The peer that `host` is, or shares the disk of; nullptr: none.
    [[nodiscard]] const PeerRecord* peer_of_host(const std::string& host) const;
    /// The one that stands for the volume where one is enough: of a target its source, else the first; one
    /// without a name when there is none.
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

/// Where the records of shared volumes are: each beside its volume, while this host owns it.
class SharedRecords {
  public:
    virtual ~SharedRecords() = default;
    /// Durable when it returns success. Blocks for a moment at most. Error: this host does not own the
    /// volume, or it could not be written in time.
    virtual Result<> save(const VolumeId& volume, std::string_view text) = 0;
    /// The volume is not mirrored any more.
    virtual Result<> remove(const VolumeId& volume) = 0;
};

class RecordStore {
  public:
    /// `directory` is made when it is missing. `files` is borrowed.
    RecordStore(runtime::Files& files, std::string directory);
    /// Before anything of a shared volume is saved; outlives this.
    void set_shared(SharedRecords* shared) { shared_ = shared; }

    struct Loaded {
        std::string file;  // name without directory
        Result<MirrorRecord> record;
    };
    /// Every record, readable or not: a damaged one is reported and left as it is.
    [[nodiscard]] std::vector<Loaded> load_all() const;
    /// Durable when it returns success.
    Result<> save(const MirrorRecord& record);
    Result<> remove(const MirrorRecord& record);
    [[nodiscard]] bool exists(const VolumeId& volume) const;

  private:
    [[nodiscard]] std::string path(const VolumeId& volume) const;
    runtime::Files& files_;
    std::string directory_;
    SharedRecords* shared_ = nullptr;
};

}  // namespace understudy::mirror::control
