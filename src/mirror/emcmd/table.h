#pragma once
// emcmd's commands in one table: usage, synopses, the man page's index, completion and the service's
// dispatch come from it. Spec: EMC-001, EMC-030, EMC-038, EMC-040.

#include <span>
#include <string>
#include <string_view>

namespace understudy::mirror::emcmd {

enum class Verb {
    break_mirror,
    change_mirror_endpoints,
    change_mirror_type,
    clear_block_target,
    clear_snapshot_location,
    clear_switchover,
    continue_mirror,
    create_job,
    create_mirror,
    delete_job,
    delete_local_mirror_only,
    delete_mirror,
    drop_snapshot,
    get_block_target,
    get_complete_volume_list,
    get_configuration,
    get_extended_volume_info,
    get_job_info,
    get_job_info_for_vol,
    get_mirror_type,
    get_mirror_vol_info,
    get_remote_bitmap,
    get_resync_status,
    get_service_info,
    get_snapshot_location,
    get_source_mirrored_volumes,
    get_target_mirrored_volumes,
    get_volume_drv_state,
    get_volume_info,
    is_break_user_requested,
    is_potential_mirror_vol,
    lock_volume,
    merge_target_bitmap,
    pause_mirror,
    prepare_to_become_target,
    read_registry,
    register_cluster_volume,
    restart_volume_pipe,
    resync_mirror,
    set_block_target,
    set_configuration,
    set_snapshot_location,
    stop_service,
    switchover_volume,
    take_snapshot,
    unlock_volume,
    update_job,
    update_volume_info,
};

/// What a command prints besides its data.
enum class Ending {
    status,        // "Status = n" as the last line
    status_first,  // "Status = 0" as the first line
    query,         // nothing; "Status = n" only when it fails
    silent,        // nothing at all: the exit code says it
};

struct Spec {
    Verb verb;
    std::string_view name;       // in capitals, as the manual prints it
    std::string_view arguments;  // synopsis of what follows the name
    std::string_view summary;
    std::size_t least = 0;
    std::size_t most = 0;  // kAnyNumber: no limit
    Ending ending = Ending::status;
    bool changes = true;      // needs an administrator
    bool has_volume = true;   // the first argument is a volume
    bool internal = false;    // for the service, consoles and the cluster
    bool local_only = false;  // refused for another system
};

inline constexpr std::size_t kAnyNumber = 64;

/// Sorted by name.
std::span<const Spec> table();
/// nullptr when there is none: names are not abbreviated. CREATMIRROR is CREATEMIRROR. Spec: EMC-004,
/// EMC-005.
const Spec* find(std::string_view name);

std::string synopsis(const Spec& spec);  // "emcmd <system> PAUSEMIRROR <volume letter> [<target system ip>]"
/// The list of commands, internal ones apart, with the warning. Spec: EMC-003.
std::string usage();

}  // namespace understudy::mirror::emcmd
