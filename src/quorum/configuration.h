#pragma once
// What the administrator has set about quorum, read and judged. Pure. Spec: QUO-001 to QUO-021.

#include "base/result.h"
#include "base/types.h"
#include "config/settings.h"
#include "runtime/tasks.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace understudy::quorum {

enum class Mode : std::uint8_t { none, majority, storage };
enum class WitnessMode : std::uint8_t { none, remote_verify, storage };
std::string_view to_string(Mode mode);
std::string_view to_string(WitnessMode mode);

/// The settings that take effect at once: read anew at each use. Spec: QUO-006.
struct Configuration {
    Mode mode = Mode::none;
    WitnessMode witness = WitnessMode::none;
    runtime::Duration quarantine = std::chrono::seconds(300);
    /// How long a survivor waits between the witness's verdict and the start; empty: "auto", until the lost
    /// node must have stopped or been reset.
    std::optional<runtime::Duration> failover_delay = {};
    runtime::Duration stop_grace = std::chrono::seconds(10);
    bool reevaluate = false;
    bool debug = false;
    std::string error = {};                  // unsupported combination; empty: none. Spec: QUO-021
    std::vector<std::string> warnings = {};  // for a person; nothing is refused for them

    /// Something is asked for, if only by mistake.
    [[nodiscard]] bool on() const {
        return mode != Mode::none || witness != WitnessMode::none || !error.empty();
    }
    /// Whether the promise "never in service twice" holds: some quorum, and survivors that wait for it.
    [[nodiscard]] bool fences() const { return mode != Mode::none && error.empty() && !failover_delay; }
    friend bool operator==(const Configuration&, const Configuration&) = default;
};

/// `problems`: what Settings::parse_leniently had to leave out; a mode among them is an error, not a default.
Configuration configuration_of(const config::Settings& settings, std::size_t known_nodes,
                               const std::vector<std::string>& problems = {});

/// "majority" for an odd number of nodes, "storage" for an even one up to four. Spec: QUO-020.
std::string recommendation(std::size_t known_nodes);

/// The key of a node's object: "QWK_STORAGE_OBJECT_" + its name in upper case, '-' and '.' as '_'. Spec:
/// QUO-010.
std::string object_key(const NodeName& node);

enum class StorageType : std::uint8_t { file, aws_s3 };
std::string_view to_string(StorageType type);

/// Most characters of a QWK_STORAGE_OBJECT_<HOST>. Spec: QUO-005.
inline constexpr std::size_t kMaxObjectPath = 256;
/// A storage witness gives up after this many times T_dead. Spec: QUO-050.
inline constexpr int kTimeoutMultiplier = 2;

/// What qwk_storage_init captures: it holds until qwk_storage_exit, whatever the settings say meanwhile.
/// Spec: QUO-006, QUO-127.
struct StorageConfiguration {
    StorageType type = StorageType::file;
    int hbeattime_s = 6;
    int numhbeats = 4;
    int lcm_hbeattime_s = 5;
    int lcm_numhbeats = 3;
    NodeName self;
    std::map<NodeName, std::vector<std::string>> objects;  // paths or URIs of every known node
    std::string endpoints;                                 // S3 only: overrides, as many as objects of a node
    std::string regions;                                   // S3 only

    [[nodiscard]] runtime::Duration interval() const { return std::chrono::seconds(hbeattime_s); }
    /// A node that has not written for so long is down.
    [[nodiscard]] runtime::Duration dead_after() const { return interval() * numhbeats; }
    /// A check older than this says nothing any more. Spec: QUO-040.
    [[nodiscard]] runtime::Duration stale_after() const { return 2 * interval(); }
    friend bool operator==(const StorageConfiguration&, const StorageConfiguration&) = default;
};

/// Captures the storage settings of `nodes`. Errors (Code::bad_argument) name the key: no type, no object of
/// a node, two objects for `file`, a URI that is none, two names with one key, shorter than the heartbeats.
/// Spec: QUO-011 to QUO-013, QUO-089, QUO-100.
Result<StorageConfiguration> capture(const config::Settings& settings, const NodeName& self,
                                     const std::set<NodeName>& nodes);
/// Warnings about it: shorter than the longest time after which a path is DEAD. Spec: QUO-089.
std::vector<std::string> warnings_about(const StorageConfiguration& storage,
                                        runtime::Duration longest_path_limit);

/// The captured configuration as text (qwk.conf) and back; the error carries the message's number. Spec:
/// QUO-127, QUO-129.
std::string encode(const StorageConfiguration& storage);
Result<StorageConfiguration> decode_storage(std::string_view text);

}  // namespace understudy::quorum
