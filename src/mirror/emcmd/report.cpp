#include "mirror/emcmd/report.h"

#include "mirror/emcmd/request.h"

#include <fmt/format.h>

#include <array>

namespace understudy::mirror::emcmd {

namespace {

/// Resync phases. Spec: EMC-047.
constexpr int kPhaseUnknown = 0, kPhaseInitial = 1, kPhaseUpdate = 2, kPhaseDone = 3;

int phase(const Remote& remote) {
    switch (remote.state) {
        case MirrorState::mirroring:
            return kPhaseDone;
        case MirrorState::resync:
            return remote.pass == 0 ? kPhaseInitial : kPhaseUpdate;
        case MirrorState::pending:
            return kPhaseInitial;
        case MirrorState::invalid:
        case MirrorState::none:
        case MirrorState::broken:
        case MirrorState::paused:
            return kPhaseUnknown;
    }
    return kPhaseUnknown;
}

std::string size_text(const VolumeFacts& volume) {
    return volume.size ? std::to_string(*volume.size) : "N/A";
}

std::string resync_fields(const Remote& remote) {
    return fmt::format(
        "ResyncPhase     : {}\nBitmapPass      : {}\nNumberOfBlocks  : {}\nDirtyBlocks     : {}\n"
        "CurrentBlock    : {}\nNewWrites       : {}\nResyncStartTime : {}\nLastResyncTime  : {}\n",
        phase(remote), remote.pass, remote.blocks, remote.dirty_blocks, remote.current_block,
        remote.new_writes, local_time(remote.resync_started), local_time(remote.resync_last));
}

struct Label {
    std::string_view text;
    unsigned bits;
};
constexpr std::array kLabels{
    Label{"All Net Alert bit", all_net_alert},
    // No bit of its own: any of the alerts. Spec: EMC-049
    Label{"Net Alert", all_net_alert | broken_alert | resync_done_alert | failover_alert | net_failure_alert},
    Label{"Broken State Alert", broken_alert},
    Label{"Resync Done Alert", resync_done_alert},
    Label{"Failover Alert", failover_alert},
    Label{"Net Failure Alert", net_failure_alert},
    Label{"LK Config", lifekeeper_config},
    Label{"Auto Resync", auto_resync},
    Label{"MS Failover Cluster Config", failover_cluster_config},
    Label{"Shared Volume", shared_volume},
};

}  // namespace

std::string local_time(std::int64_t seconds) {
    const std::time_t time = seconds;
    std::tm parts{};
    std::array<char, 32> out{};
    if (localtime_r(&time, &parts) == nullptr) return {};
    // Names of days and months are those of C whatever the caller's language is.
    constexpr std::string_view kDays = "SunMonTueWedThuFriSat",
                               kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
    std::strftime(out.data(), out.size(), "%d %H:%M:%S %Y", &parts);
    return fmt::format("{} {} {}", kDays.substr(static_cast<std::size_t>(parts.tm_wday) * 3, 3),
                       kMonths.substr(static_cast<std::size_t>(parts.tm_mon) * 3, 3), out.data());
}

std::string_view state_word(MirrorState state) {
    switch (state) {
        case MirrorState::invalid:
            return "INVALID";
        case MirrorState::none:
            return "NONE";
        case MirrorState::mirroring:
            return "MIRROR";
        case MirrorState::resync:
            return "RESYNC";
        case MirrorState::broken:
            return "BROKEN";
        case MirrorState::paused:
            return "PAUSED";
        case MirrorState::pending:
            return "RESYNC_PENDING";
    }
    return "INVALID";
}

std::string_view role_word(Role role) {
    switch (role) {
        case Role::none:
            return "NONE";
        case Role::source:
            return "SOURCE";
        case Role::target:
            return "TARGET";
    }
    return "NONE";
}

std::string_view type_word(MirrorType type) {
    switch (type) {
        case MirrorType::none:
            return "NONE";
        case MirrorType::sync:
            return "SYNCHRONOUSLY";
        case MirrorType::async:
            return "ASYNCHRONOUSLY";
    }
    return "NONE";
}

std::string mirror_vol_info(const VolumeFacts& volume) {
    const std::string root = volume_root(volume.volume);
    if (volume.role == Role::none || volume.remotes.empty()) return fmt::format("{} 0 - - 0\n", root);
    std::string out;
    for (const Remote& remote : volume.remotes) {
        const bool source = volume.role == Role::source;
        out += fmt::format("{} {} {} {} {}\n", root, static_cast<int>(volume.role),
                           source ? volume.system : remote.address, source ? remote.address : volume.system,
                           static_cast<int>(remote.state));
    }
    return out;
}

std::string mirror_type(const VolumeFacts& volume) {
    if (volume.role == Role::none || volume.remotes.empty()) return "Target system -, Type 0\n";
    std::string out;
    for (const Remote& remote : volume.remotes)
        out += fmt::format("Target system {}, Type {}\n",
                           volume.role == Role::source ? remote.address : volume.local_address,
                           static_cast<int>(remote.type));
    return out;
}

std::string volume_drv_state(const VolumeFacts& volume) {
    if (volume.role == Role::none || volume.remotes.empty()) return "0\n";
    std::string out;
    for (const Remote& remote : volume.remotes)
        out += fmt::format("{} {}\n", static_cast<int>(remote.state), remote.address);
    return out;
}

std::string resync_status(const VolumeFacts& volume) {
    std::string out = fmt::format("Resync Status for Volume {}\n", volume_root(volume.volume));
    if (volume.role != Role::source) return out;
    for (std::size_t i = 0; i < volume.remotes.size(); ++i)
        out += fmt::format("Target {} (Target System {})\n{}", i, volume.remotes[i].address,
                           resync_fields(volume.remotes[i]));
    return out;
}

std::string volume_info(const VolumeFacts& volume, int level) {
    std::string out = fmt::format(
        "-----LEVEL 1 INFO-----\nVolume Root      = {}\nLast Modified    = {}\nMirror Role      = {}\n"
        "Label            = {}\nFileSystem       = {}\nTotal Space      = {}\nNum Targets      = {}\n"
        "Attributes       : {:x}h\n",
        volume_root(volume.volume), local_time(volume.modified), role_word(volume.role), volume.label,
        volume.file_system, size_text(volume), volume.role == Role::source ? volume.remotes.size() : 0,
        volume.attributes);
    const auto heading = [](std::size_t i, const Remote& remote) {
        return fmt::format(">> Remote [{}]    = {}, {}\n", i, remote.address, volume_root(remote.volume));
    };
    if (level >= 2) {
        out += "-----LEVEL 2 INFO-----\n";
        for (std::size_t i = 0; i < volume.remotes.size(); ++i)
            out +=
                fmt::format("{}Mirror State     = {}\nMirror Type      = {}\n", heading(i, volume.remotes[i]),
                            state_word(volume.remotes[i].state), type_word(volume.remotes[i].type));
    }
    if (level >= 3) {
        out += "-----LEVEL 3 INFO-----\n";
        for (std::size_t i = 0; i < volume.remotes.size(); ++i) {
            const Remote& remote = volume.remotes[i];
            const bool copying = volume.role == Role::source && remote.state == MirrorState::resync;
            out += heading(i, remote) +
                   (copying ? resync_fields(remote) : "No Resync or CompVol Statistics to report\n");
        }
    }
    return out;
}

std::string configuration(const VolumeFacts& volume) {
    std::string out =
        fmt::format("** Calling GetConfiguration [Volume {}] **\n", volume_letter(volume.volume));
    for (const Label& label : kLabels)
        out += fmt::format("{:<26} {}\n", label.text,
                           (volume.attributes & label.bits) != 0 ? "IS enabled" : "IS NOT enabled");
    return out +
           fmt::format("{:<26} = {} ({:x}h)\n", "Configuration mask", volume.attributes, volume.attributes);
}

std::string complete_volume_list(std::span<const VolumeFacts> volumes) {
    std::string out;
    for (std::size_t i = 0; i < volumes.size(); ++i) {
        const VolumeFacts& volume = volumes[i];
        out += fmt::format(
            "Volume {} information:\nVolume Root        = {}\nVolume Label       = {}\n"
            "Volume File System = {}\nVolume Total Space = {}\nMirror Role        = {:02}\n"
            "Number of targets  = {}\n",
            i + 1, volume_root(volume.volume), volume.label, volume.file_system, size_text(volume),
            static_cast<int>(volume.role), volume.role == Role::none ? 0 : volume.remotes.size());
        if (volume.role == Role::none) continue;
        for (std::size_t target = 0; target < volume.remotes.size(); ++target) {
            const Remote& remote = volume.remotes[target];
            const bool source = volume.role == Role::source;
            out += fmt::format(
                "Target {} information:\nVolume State        = {:04}\nTarget System       = {}\n"
                "Target Drive Letter = {}\n",
                target, static_cast<int>(remote.state), source ? remote.address : volume.system,
                volume_letter(source ? remote.volume : volume.volume));
        }
    }
    return out;
}

std::string source_mirrored_volumes(std::span<const VolumeFacts> volumes) {
    std::string out = "Status = 0\n";
    for (const VolumeFacts& volume : volumes) {
        if (volume.role != Role::source) continue;
        out += fmt::format("Source Volume  = {}\nSource Label   = {}\nSource #Targs  = {}\n",
                           volume_root(volume.volume), volume.label, volume.remotes.size());
        for (std::size_t i = 0; i < volume.remotes.size(); ++i)
            out += fmt::format("Target {}\nTarget System  = {}\nMirror State   = {:04}\n", i,
                               volume.remotes[i].address, static_cast<int>(volume.remotes[i].state));
    }
    return out;
}

std::string target_mirrored_volumes(std::span<const VolumeFacts> volumes) {
    std::string list;
    int count = 0;
    for (const VolumeFacts& volume : volumes) {
        if (volume.role != Role::target || volume.remotes.empty()) continue;
        list += fmt::format(
            "Target Volume {} information:\nVolume Root  = {}\nVolume State = {}\nSource       = {}\n"
            "Target       = {}\n",
            ++count, volume_root(volume.volume), static_cast<int>(volume.remotes.front().state),
            volume.remotes.front().address, volume.system);
    }
    return fmt::format("** Calling GetTargetMirroredVolumes **\nReturned {} Target Volumes\n{}", count, list);
}

std::string service_info(const ServiceFacts& service) {
    return fmt::format(
        "Service Description:= {}\nService Build Type: = {}\nService Version     = {}\n"
        "Service Build       = {}\nDriver Version      = {}\nDriver Build        = {}\n"
        "Volume Bit Map      = {:x}h\nService Start Time  = {}\nLast Modified Time  = {}\n",
        service.description, service.build_type, service.version, service.build, service.version,
        service.build, service.volume_bits, local_time(service.started), local_time(service.modified));
}

std::string extended_volume_info(const DiskIdentity& disk) {
    return fmt::format(
        "-----EXTENDED INFO ---\nPhysical Disk Signature = {{{}}}\nPhysical Disk Offset = {}\n"
        "Internal Disk ID = 0x{:04x}\n",
        disk.signature, disk.offset, disk.id);
}

std::string break_user_requested(const VolumeFacts& volume) {
    std::string out;
    for (std::size_t i = 0; i < volume.remotes.size(); ++i)
        out += fmt::format("Target {}, remote system {}: {}\n", i, volume.remotes[i].address,
                           volume.remotes[i].user_requested ? "TRUE" : "FALSE");
    return out;
}

std::string potential_mirror_vol(const Eligibility& found) {
    if (!found.opened)
        return "Unable to open - the Understudy driver might not be attached or this might not be a valid "
               "hard disk volume.\n";
    if (!found.readable)
        return "Unable to retrieve the volume information for use in determining the potential use as a "
               "mirrored volume. The volume may be locked by another process or may not be formatted as a "
               "supported file system.\n";
    std::string out;
    const auto reason = [&out](bool holds, std::string_view text) {
        if (holds) out += fmt::format("{}\n", text);
    };
    reason(found.system_drive, "System Drive");
    reason(found.raw, "RAW filesystem");
    reason(found.fat, "FAT filesystem");
    reason(found.active, "ACTIVE partition");
    reason(found.swap, "Contains PageFile");
    reason(found.not_fixed, "GetDriveType not DRIVE_FIXED");
    reason(found.bitmaps, "Contains DataKeeper bitmap files");
    return out.empty() ? "TRUE\n" : out;
}

}  // namespace understudy::mirror::emcmd
