#include "mirror/emcmd/table.h"

#include "base/text.h"
#include "mirror/emcmd/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace understudy::mirror::emcmd {

namespace {

constexpr std::string_view kVolume = "<volume letter>";
constexpr std::string_view kVolumeTarget = "<volume letter> [<target system ip>]";
constexpr std::string_view kVolumes = "<volume letter> [<volume letter> ...]";
/// Name, description, and seven words for each pair. Spec: EMC-138
constexpr std::size_t kMostJobWords = 2 + 7 * kMostPairs;

constexpr Spec query(Verb verb, std::string_view name, std::string_view arguments, std::string_view summary,
                     std::size_t least, std::size_t most, bool has_volume = true) {
    return {verb, name, arguments, summary, least, most, Ending::query, false, has_volume};
}

constexpr Spec internal(Spec spec) {
    spec.internal = true;
    return spec;
}

constexpr Spec local(Spec spec) {
    spec.local_only = true;
    return spec;
}

constexpr Spec ends(Ending ending, Spec spec) {
    spec.ending = ending;
    return spec;
}

constexpr Spec no_volume(Spec spec) {
    spec.has_volume = false;
    return spec;
}

using enum Verb;

constexpr std::array kTable{
    Spec{break_mirror, "BREAKMIRROR", kVolumeTarget, "Break mirrors; what follows is a full resync", 1, 2},
    Spec{change_mirror_endpoints, "CHANGEMIRRORENDPOINTS",
         "<volume letter> <original target IP> <new source IP> <new target IP>",
         "Change the replication addresses of one pair", 4, 4},
    Spec{change_mirror_type, "CHANGEMIRRORTYPE", "<volume letter> <target ip> <A|S>",
         "Make one pair asynchronous or synchronous", 3, 3},
    internal(ends(Ending::silent, {clear_block_target, "CLEARBLOCKTARGET", kVolume,
                                   "Let the system become a target of the volume again", 1, 1})),
    Spec{clear_snapshot_location, "CLEARSNAPSHOTLOCATION", kVolume,
         "Forget the snapshot directory; no snapshots until it is set again", 1, 1},
    Spec{clear_switchover, "CLEARSWITCHOVER", kVolume,
         "Let a target whose mirror was removed with DELETELOCALMIRRORONLY be mirrored to again", 1, 1},
    Spec{continue_mirror, "CONTINUEMIRROR", kVolumeTarget, "Continue paused or broken mirrors", 1, 2},
    internal(no_volume({create_job, "CREATEJOB",
                        "<JobName> <Description> (<SysName1> <letter1> <IP1> <SysName2> <letter2> <IP2> "
                        "<MirrorType>) ...",
                        "Make a job", 9, kMostJobWords})),
    Spec{create_mirror, "CREATEMIRROR", "<volume letter> <target system> <type> [options]",
         "Create a mirror; the target's content is overwritten", 3, 4},
    internal(no_volume(
        {delete_job, "DELETEJOB", "<JobId>", "Delete a job on all its systems; mirrors stay", 1, 1})),
    Spec{delete_local_mirror_only, "DELETELOCALMIRRORONLY", kVolumeTarget,
         "Remove this system's side of a mirror", 1, 2},
    Spec{delete_mirror, "DELETEMIRROR", kVolumeTarget, "Remove both sides of mirrors", 1, 2},
    Spec{drop_snapshot, "DROPSNAPSHOT", kVolumes, "Drop snapshots of target volumes", 1, kAnyNumber},
    internal(query(get_block_target, "GETBLOCKTARGET", kVolume,
                   "Whether the system may not become a target of the volume", 1, 1)),
    query(get_complete_volume_list, "GETCOMPLETEVOLUMELIST", "", "All volumes known here, and their mirrors",
          0, 0, false),
    query(get_configuration, "GETCONFIGURATION", kVolume, "A volume's attributes", 1, 1),
    query(get_extended_volume_info, "GETEXTENDEDVOLUMEINFO", kVolume, "The disk below a volume", 1, 1),
    query(get_job_info, "GETJOBINFO", "[<JobId>]", "One job, or all", 0, 1, false),
    query(get_job_info_for_vol, "GETJOBINFOFORVOL", "<volume letter> [<full system name>|<IP>]",
          "The job that contains a volume", 1, 2),
    query(get_mirror_type, "GETMIRRORTYPE", kVolume, "A mirror's type as a number", 1, 1),
    query(get_mirror_vol_info, "GETMIRRORVOLINFO", kVolume, "A mirror's state in one line, for scripts", 1,
          1),
    internal({get_remote_bitmap, "GETREMOTEBITMAP", "<volume letter> <targetsystem> <local file>",
              "Copy the bitmap that the system keeps for a target", 3, 3}),
    query(get_resync_status, "GETRESYNCSTATUS", kVolume, "How far a resync is", 1, 1),
    query(get_service_info, "GETSERVICEINFO", "", "Versions and start of the service", 0, 0, false),
    query(get_snapshot_location, "GETSNAPSHOTLOCATION", kVolume, "The snapshot directory of a volume", 1, 1),
    ends(Ending::status_first, query(get_source_mirrored_volumes, "GETSOURCEMIRROREDVOLUMES", "",
                                     "Volumes whose source the system is", 0, 0, false)),
    query(get_target_mirrored_volumes, "GETTARGETMIRROREDVOLUMES", "", "Volumes whose target the system is",
          0, 0, false),
    query(get_volume_drv_state, "GETVOLUMEDRVSTATE", kVolume,
          "A mirror's state as the data path has it, as a number", 1, 1),
    query(get_volume_info, "GETVOLUMEINFO", "<volume letter> <level>",
          "A volume and its mirrors; level 1 to 3", 2, 2),
    local(query(is_break_user_requested, "ISBREAKUSERREQUESTED", kVolume,
                "Whether a mirror waits for an administrator", 1, 1)),
    local(query(is_potential_mirror_vol, "ISPOTENTIALMIRRORVOL", kVolume, "Whether a volume can be mirrored",
                1, 1)),
    Spec{lock_volume, "LOCKVOLUME", kVolume, "Take a volume away from its users", 1, 1},
    internal({merge_target_bitmap, "MERGETARGETBITMAP", "<volume letter> <target system>",
              "Take over which blocks were written on the target", 2, 2}),
    Spec{pause_mirror, "PAUSEMIRROR", kVolumeTarget, "Pause mirrors; writes are tracked", 1, 2},
    Spec{prepare_to_become_target, "PREPARETOBECOMETARGET", kVolume,
         "Split brain: give this system's changes up", 1, 1},
    Spec{read_registry, "READREGISTRY", kVolume, "Read a mirror's parameters again", 1, 1},
    Spec{register_cluster_volume, "REGISTERCLUSTERVOLUME", kVolume,
         "Register a mirrored volume with the cluster", 1, 1},
    internal({restart_volume_pipe, "RESTARTVOLUMEPIPE", kVolume, "Make a volume's connections anew", 1, 1}),
    Spec{resync_mirror, "RESYNCMIRROR", kVolumeTarget, "Copy the whole volume again", 1, 2},
    internal(ends(Ending::silent, {set_block_target, "SETBLOCKTARGET", kVolume,
                                   "Keep the system from becoming a target of the volume", 1, 1})),
    Spec{set_configuration, "SETCONFIGURATION", "<volume letter> [<configuration mask>]",
         "Set all attributes of a volume", 1, 2},
    Spec{set_snapshot_location, "SETSNAPSHOTLOCATION", "<volume letter> \"<directory path>\"",
         "Set the directory for snapshots of a volume", 2, 2},
    no_volume(
        {stop_service, "STOPSERVICE", "", "Stop the service; replication goes on at its next start", 0, 0}),
    Spec{switchover_volume, "SWITCHOVERVOLUME", "<volume letter> [-f]",
         "Make the system the source of the volume", 1, 2},
    Spec{take_snapshot, "TAKESNAPSHOT", kVolumes, "Snapshots of target volumes at one instant", 1,
         kAnyNumber},
    Spec{unlock_volume, "UNLOCKVOLUME", kVolume, "Open a locked volume", 1, 1},
    internal(no_volume({update_job, "UPDATEJOB",
                        "<JobId> <Name> <Descr> [<SysName1> <letter1> <IP1> <SysName2> <letter2> <IP2> "
                        "<MirrorType>] ...",
                        "Replace the contents of a job", 3, kAnyNumber})),
    Spec{update_volume_info, "UPDATEVOLUMEINFO", kVolume, "Look at a volume again", 1, 1},
};

constexpr bool sorted() {
    for (std::size_t i = 1; i < kTable.size(); ++i)
        if (!(kTable[i - 1].name < kTable[i].name)) return false;
    return true;
}
static_assert(sorted());

}  // namespace

std::span<const Spec> table() {
    return kTable;
}

const Spec* find(std::string_view name) {
    if (text::iequals(name, "CREATMIRROR")) name = "CREATEMIRROR";  // the manual's own slip
    const auto* const at = std::find_if(kTable.begin(), kTable.end(),
                                        [name](const Spec& spec) { return text::iequals(spec.name, name); });
    return at == kTable.end() ? nullptr : &*at;
}

std::string synopsis(const Spec& spec) {
    std::string line = fmt::format("emcmd <system> {}", spec.name);
    if (!spec.arguments.empty()) line += fmt::format(" {}", spec.arguments);
    return line;
}

std::string usage() {
    std::string out =
        "usage: emcmd <system> <COMMAND> [arguments ...] [-proxy <proxy_system>]\n"
        "       emcmd -helpmsg <status>\n\n"
        "<system> is a node's name or address, \".\" is this one. emcmd does what it is told: it checks "
        "less\n"
        "than the console does, and can destroy data in the hands of who does not know the mirror's "
        "state.\n\n";
    for (const Spec& spec : kTable)
        if (!spec.internal) out += fmt::format("  {:<25} {}\n", spec.name, spec.summary);
    out += "\nFor the service, consoles and the cluster:\n";
    for (const Spec& spec : kTable)
        if (spec.internal) out += fmt::format("  {:<25} {}\n", spec.name, spec.summary);
    return out;
}

}  // namespace understudy::mirror::emcmd
