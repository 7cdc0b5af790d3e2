#pragma once
// What emcmd's queries print, from plain values. Pure; widths, zeros and words are the manual's, since
// scripts parse them. Spec: EMC-041 to EMC-049, EMC-063, EMC-175 to EMC-217.

#include "base/types.h"
#include "mirror/mirror_types.h"

#include <cstdint>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::emcmd {

/// The other end of one mirror.
struct Remote {
    std::string node;
    std::string address;  // its replication address
    VolumeId volume;
    MirrorState state = MirrorState::none;
    MirrorType type = MirrorType::none;
    bool user_requested = false;
    std::uint64_t dirty_blocks = 0;  // 64 KiB each
    std::uint64_t blocks = 0;
    std::uint32_t pass = 0;
    std::uint64_t current_block = 0;
    std::uint64_t new_writes = 0;
    std::int64_t resync_started = 0;  // seconds since 1970; 0: never since the service started
    std::int64_t resync_last = 0;
};

/// A volume of one system as the queries see it.
struct VolumeFacts {
    VolumeId volume;
    std::string system;         // this node's name
    std::string local_address;  // its replication address
    Role role = Role::none;
    std::string label;
    std::string file_system;
    std::optional<std::uint64_t> size;  // bytes; nullopt: locked
    unsigned attributes = 0;
    std::int64_t modified = 0;  // seconds since 1970
    std::vector<Remote> remotes;
};

/// Bits of a volume's attributes. Spec: EMC-048.
enum Attribute : unsigned {
    all_net_alert = 0x01,
    broken_alert = 0x02,
    resync_done_alert = 0x04,
    failover_alert = 0x08,
    net_failure_alert = 0x10,
    lifekeeper_config = 0x20,
    auto_resync = 0x40,
    failover_cluster_config = 0x80,
    shared_volume = 0x100,
    lifekeeper_protected = 0x200,
};
inline constexpr unsigned kClusterProtected = lifekeeper_config | failover_cluster_config;

struct ServiceFacts {
    std::string description;
    std::string build_type;
    std::string version;
    std::string build;
    std::uint32_t volume_bits = 0;  // bit n: volume 'A' + n
    std::int64_t started = 0;
    std::int64_t modified = 0;
};

/// What a disk is known by.
struct DiskIdentity {
    std::string signature;  // a GUID, or the 32 bits of an MBR disk
    std::uint64_t offset = 0;
    std::uint16_t id = 0;
};

/// Why a volume cannot be mirrored. Spec: EMC-215.
struct Eligibility {
    bool opened = true;    // false: no block device or file of this host
    bool readable = true;  // false: an internal error
    bool system_drive = false, raw = false, fat = false, active = false, swap = false, not_fixed = false,
         bitmaps = false;
};

std::string local_time(std::int64_t seconds);                   // "Tue Mar 05 10:02:11 2024"
std::string_view state_word(MirrorState state);                 // MIRROR, RESYNC, ... Spec: EMC-043
std::string_view role_word(Role role);                          // NONE, SOURCE, TARGET
std::string_view type_word(MirrorType type);                    // ASYNCHRONOUSLY, ...
std::string mirror_vol_info(const VolumeFacts& volume);         // Spec: EMC-191
std::string mirror_type(const VolumeFacts& volume);             // Spec: EMC-189
std::string volume_drv_state(const VolumeFacts& volume);        // Spec: EMC-208
std::string resync_status(const VolumeFacts& volume);           // Spec: EMC-199
std::string volume_info(const VolumeFacts& volume, int level);  // Spec: EMC-209
std::string configuration(const VolumeFacts& volume);           // Spec: EMC-177, EMC-181
std::string complete_volume_list(std::span<const VolumeFacts> volumes);
std::string source_mirrored_volumes(std::span<const VolumeFacts> volumes);
std::string target_mirrored_volumes(std::span<const VolumeFacts> volumes);
std::string service_info(const ServiceFacts& service);
std::string extended_volume_info(const DiskIdentity& disk);
std::string break_user_requested(const VolumeFacts& volume);  // Spec: EMC-213
/// "TRUE", or one reason a line. Spec: EMC-215, EMC-216.
std::string potential_mirror_vol(const Eligibility& found);

}  // namespace understudy::mirror::emcmd
