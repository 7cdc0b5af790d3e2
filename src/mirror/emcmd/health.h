#pragma once
// What is wrong with a node's mirrors, and the one state that an indicator shows. Pure. Spec: EMC-287,
// EMC-288, MOP-175 to MOP-178.

#include "mirror/emcmd/job.h"
#include "mirror/emcmd/report.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::emcmd {

enum class Severity { warning, error };

struct Finding {
    Severity severity = Severity::warning;
    std::string text;
    bool local_configuration = false;  // of this host's settings, not of a mirror
    friend bool operator==(const Finding&, const Finding&) = default;
};

/// Of one mirror, besides what the queries show.
struct MirrorHealth {
    VolumeId volume;
    Role role = Role::none;
    MirrorState state = MirrorState::none;
    std::string peer;
    // As the mirror uses them; empty: hosts share a disk at one end, and their addresses change with them.
    std::string address, local_address;
    MirrorType type = MirrorType::sync;
    bool split_brain = false;
    bool connected = false;
    bool unlocked = false;
    std::string problem;
    std::uint64_t size = 0;         // bytes
    std::uint64_t peer_size = 0;    // source: of the target's device; 0: it has not said
    bool has_swap = false;          // the volume is used as swap
    std::string boot_mount;         // see boot_mounts.h
    std::string snapshot_location;  // target: where snapshots are to be and cannot be
};

struct HealthInput {
    std::string node;
    std::vector<MirrorHealth> mirrors;
    std::vector<Job> jobs;
    std::vector<std::string> damaged;  // records that cannot be read
    std::string bitmaps;               // directory of the intent logs
    bool bitmaps_missing = false;
    std::vector<std::string> closed_ports;         // what is wrong with ports of peers
    std::string ephemeral;                         // see ephemeral.h
    bool logs_elsewhere = false;                   // BitmapBaseDir is set: the logs may be on such a disk
    bool updates_disabled = false;                 // the indicator is switched off
    std::string event_log;                         // the directory that holds it
    std::optional<std::uint64_t> event_log_bytes;  // room there; nullopt: there is no such directory
};

/// Highest first. Spec: MOP-175.
enum class Indicator { disabled, error, warning, resync, mirroring, none };
std::string_view to_string(Indicator indicator);

struct Health {
    Indicator indicator = Indicator::none;
    std::map<std::string, int> counts;  // mirrors by state, in words
    std::vector<Finding> findings;
};

Health assess(const HealthInput& input);
/// "healthy", "warning" or "error": exit codes 0, 1 and 2 of dkhealthcheck.
std::string_view verdict(const Health& health);
/// Lines for people, configuration errors with the node's name in front.
std::string print(const Health& health, const std::string& node);

}  // namespace understudy::mirror::emcmd
