#include "kits/volume/configure.h"

#include "base/text.h"
#include "kits/sdk/cluster.h"
#include "kits/volume/attributes.h"
#include "kits/volume/fields.h"
#include "kits/volume/identity.h"
#include "kits/volume/mirror.h"
#include "kits/volume/mount_point.h"
#include "kits/volume/shared.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace understudy::kits {
namespace {

/// Another protected volume of this host with the same directory.
Result<> check_directory_is_free(const Instance& instance, const std::string& mount) {
    UNDERSTUDY_TRY(const auto out, command(instance.layout, "ins_list", {"-a", "filesys", "-r", "volume"}));
    for (const auto& line : text::split(text::trim(out), '\n')) {
        const auto fields = text::split(line, '\x01');
        if (fields.size() < 6 || fields[3] == instance.tag.str()) continue;
        const auto info = parse_info(fields[5]);
        if (info && info->contains("mount") && info->at("mount") == mount)
            return fail(Code::exists, "mount: {} is the directory of {} already", mount, fields[3]);
    }
    return {};
}

/// What the host mounts by itself, it would mount beside the engine. Spec: KIT-066.
void warn_about_fstab(const std::string& mount) {
    std::ifstream table("/etc/fstab");
    for (std::string line; std::getline(table, line);) {
        const auto fields = text::words(line);
        if (fields.size() < 4 || fields[0].starts_with('#') || fields[1] != mount) continue;
        const auto options = text::split(fields[3], ',');
        if (std::find(options.begin(), options.end(), "noauto") == options.end())
            say(fmt::format("warning: /etc/fstab mounts {} at boot; make it noauto with fsck pass 0", mount));
    }
}

/// The information becomes these words.
Result<> keep(const Instance& instance, const Words& words) {
    UNDERSTUDY_TRY(const auto info, information(words));
    if (!instance.exists || info == instance.info_text) return {};
    UNDERSTUDY_CHECK(command(instance.layout, "ins_setin", {"-t", instance.tag.str(), "-v", info}));
    return {};
}

Result<Words> words_for_here(const Instance& instance, Template* origin) {
    UNDERSTUDY_TRY(const auto from, template_of(instance));
    *origin = from;
    UNDERSTUDY_TRY(auto words, extension_words(instance, from));
    // Whose part of the mirror that node's kit has made is no matter of this one's.
    if (word(words, kMirrorMade) != instance.node) words.erase(kMirrorMade);
    UNDERSTUDY_CHECK(check_fields(words));
    return words;
}

bool deletes_mirror(const Instance& instance) {
    return instance.optional("delete_mirror", "no") == "yes";
}

/// How a person keeps the mirror, for what refuses to delete it.
std::string to_keep_it(const Instance& instance, std::string_view option) {
    return fmt::format("or keep the mirror: understudy resource set {} info.delete_mirror=no{}",
                       instance.tag.str(), option);
}

/// Which mirror the resource is of is remembered here, in the place of what was there. Spec: CLU-087
Result<> remember(const Instance& instance, const std::string& volume) {
    UNDERSTUDY_TRY(const auto here, mirror_here(instance, volume));
    return here ? keep_identity(instance.layout, volume, here->id) : Result<>();
}

/// The mirror that is there, or the one that the words say. Spec: KIT-067, KIT-072.
Result<> create_mirrored(const Instance& instance, const Words& words, const std::string& volume) {
    UNDERSTUDY_TRY(const auto wanted, first_mirror(words));
    UNDERSTUDY_TRY(const auto there, mirror_here(instance, volume));
    if (there && wanted)
        return fail(Code::exists,
                    "{} has a mirror of {} already; to protect it, leave out what a new one is made of "
                    "(device, target, target_device, source_address, target_address, mirror_type)",
                    instance.node, volume);
    if (there) return keep(instance, lasting(words));
    if (!wanted)
        return fail(
            Code::not_found,
            "{} has no mirror of the volume {}; make one (understudy mirror create {} ...), or say what "
            "it is made of: target=NODE device=PATH source_address=A target_address=A "
            "[target_device=PATH] [mirror_type=async]; or device=PATH alone, and the first mirror with "
            "extend",
            instance.node, volume, volume);
    UNDERSTUDY_CHECK(check_file_system(wanted->device, word(words, "fs")));
    // The note comes first: what is taken back after a crash finds it.
    UNDERSTUDY_CHECK(keep(instance, noted(words, instance.node)));
    bool refused = false;
    const auto made = make_mirror(instance, volume, *wanted, &refused);
    if (!made && refused) UNDERSTUDY_CHECK(keep(instance, lasting(words)));
    return made;
}

Result<> can_extend_mirrored(const Instance& instance, const Words& words, const Template& from) {
    const auto volume = from.id.str();
    UNDERSTUDY_TRY(const auto wanted, one_target_more(words, instance.node));
    UNDERSTUDY_TRY(const auto there, mirror_here(instance, volume));
    if (there && wanted)
        return fail(Code::exists,
                    "{} has a mirror of {} already; leave device, source_address and target_address out to "
                    "use it",
                    instance.node, volume);
    UNDERSTUDY_TRY(const auto origin, parse_info(from.info));
    if (is_shared(origin) != is_mixed(words) && !is_mixed(origin))
        return fail(Code::bad_argument,
                    "volume_type: {} has {} as {}; a host to which a shared volume is mirrored gets "
                    "volume_type=mixed, and no other host does",
                    from.node.str(), volume, word(origin, "volume_type", "mirror"));
    if (is_mixed(words)) {
        if (there) return {};  // with whichever host of the shared disk serves
        return fail(Code::not_found,
                    "{} has no mirror of the volume {}; its owner makes it first (emcmd CREATEMIRROR)",
                    instance.node, volume);
    }
    if (there && there->has(from.node.str())) {
        UNDERSTUDY_TRY(const auto known, mirror_on(instance, from.node, volume));
        if (!known || known->id.empty() || there->id.empty() || known->id == there->id) return {};
        return fail(Code::bad_argument,
                    "{} of {} is left from another mirror than that of {} now; delete it there "
                    "(understudy mirror delete {} --force) and extend again with device=PATH "
                    "source_address=A target_address=A",
                    volume, instance.node, from.node.str(), volume);
    }
    if (there)
        return fail(Code::bad_argument, "the mirror of {} on {} is not one with {}, but with {}", volume,
                    instance.node, from.node.str(), text::join(there->peers, ", "));
    if (!wanted)
        return fail(Code::not_found,
                    "{} has no mirror of the volume {}; say what it is made of: device=PATH "
                    "source_address=A target_address=A [mirror_type=async]",
                    instance.node, volume);
    UNDERSTUDY_TRY(const auto known, mirror_on(instance, from.node, volume));
    if (!known) return fail(Code::not_found, "{} has no mirror of the volume {}", from.node.str(), volume);
    if (!std::filesystem::exists(wanted->device))
        return fail(Code::not_found, "device: {} has no {}", instance.node, wanted->device);
    return {};
}

/// Spec: KIT-068, KIT-070, KIT-072.
Result<> extend_mirrored(const Instance& instance, const Words& words, const Template& from) {
    const auto volume = from.id.str();
    UNDERSTUDY_TRY(const auto wanted, one_target_more(words, instance.node));
    UNDERSTUDY_TRY(const auto there, mirror_here(instance, volume));
    if (there) return keep(instance, lasting(words));
    UNDERSTUDY_TRY(const auto known, mirror_on(instance, from.node, volume));
    if (!wanted || !known)
        return fail(Code::not_found, "{} has no mirror of the volume {}",
                    known ? instance.node : from.node.str(), volume);
    UNDERSTUDY_CHECK(keep(instance, noted(words, instance.node)));
    return join_mirror(instance, NodeName(known->source_node), volume, *wanted);
}

}  // namespace

Result<> create_volume(const Instance& instance) {
    UNDERSTUDY_TRY(const auto words, create_words(instance));
    UNDERSTUDY_CHECK(check_fields(words));
    const auto volume = instance.exists ? instance.id.str() : instance.tag.str();
    const auto mount = word(words, "mount");
    UNDERSTUDY_CHECK(check_directory_is_free(instance, mount));
    if (is_shared(words)) {
        UNDERSTUDY_CHECK(create_shared(instance, words, volume));
        UNDERSTUDY_CHECK(keep(instance, lasting(words)));
    } else {
        UNDERSTUDY_CHECK(create_mirrored(instance, words, volume));
        UNDERSTUDY_CHECK(remember(instance, volume));
        mark_protected(instance, volume, true);
    }
    warn_about_fstab(mount);
    return {};
}

Result<> can_extend_volume(const Instance& instance) {
    Template from;
    UNDERSTUDY_TRY(const auto words, words_for_here(instance, &from));
    UNDERSTUDY_TRY(const auto origin, parse_info(from.info));
    if (is_shared(words) && !is_shared(origin))
        return fail(Code::bad_argument,
                    "volume_type=shared: {} does not share the volume; extend from a host that does (--from)",
                    from.node.str());
    if (is_shared(words))
        UNDERSTUDY_CHECK(can_extend_shared(instance, words, from.node, from.id.str()));
    else
        UNDERSTUDY_CHECK(can_extend_mirrored(instance, words, from));
    const auto mount = word(words, "mount");
    UNDERSTUDY_CHECK(check_directory_is_free(instance, mount));
    if (is_mount_point(mount))
        return fail(Code::failure, "mount: something is mounted on {} of {} already", mount, instance.node);
    warn_about_fstab(mount);
    return {};
}

Result<> extend_volume(const Instance& instance) {
    Template from;
    UNDERSTUDY_TRY(const auto words, words_for_here(instance, &from));
    // Before what costs a copy of the volume.
    std::error_code error;
    std::filesystem::create_directories(word(words, "mount"), error);
    if (error)
        return fail(Code::failure, "mount: {} cannot be made: {}", word(words, "mount"), error.message());
    if (is_shared(words)) {
        UNDERSTUDY_CHECK(create_shared(instance, words, from.id.str()));
        return keep(instance, lasting(words));
    }
    UNDERSTUDY_CHECK(extend_mirrored(instance, words, from));
    UNDERSTUDY_CHECK(remember(instance, from.id.str()));
    mark_protected(instance, from.id.str(), true);
    return {};
}

Result<> take_back_volume(const Instance& instance) {
    if (is_shared(instance)) return release_shared(instance);
    const auto volume = instance.id.str();
    if (instance.optional(kMirrorMade, "") == instance.node) {
        UNDERSTUDY_TRY(const auto here, mirror_here(instance, volume));
        if (here && here->source)
            UNDERSTUDY_CHECK(end_mirrors(instance, volume, *here));
        else if (here)
            UNDERSTUDY_CHECK(leave_mirror(instance, volume, *here));
    }
    mark_protected(instance, volume, false);
    return forget_identity(instance.layout, volume);
}

Result<> can_unextend_volume(const Instance& instance) {
    if (is_shared(instance) || !deletes_mirror(instance)) return {};
    const auto volume = instance.id.str();
    UNDERSTUDY_TRY(const auto here, mirror_here(instance, volume));
    if (!here) return {};
    if (here->source)
        return fail(Code::failure,
                    "{} is the source of {}, whose mirror is to be deleted with the resource "
                    "(delete_mirror=yes): bring it in service on another node first, {}",
                    instance.node, volume, to_keep_it(instance, " --on " + instance.node));
    return {};
}

Result<> unextend_volume(const Instance& instance) {
    if (is_shared(instance)) {
        UNDERSTUDY_CHECK(leave_shared(instance));
        return release_shared(instance);
    }
    const auto volume = instance.id.str();
    if (deletes_mirror(instance)) {
        UNDERSTUDY_TRY(const auto here, mirror_here(instance, volume));
        if (here) {
            UNDERSTUDY_CHECK(can_unextend_volume(instance));
            UNDERSTUDY_CHECK(leave_mirror(instance, volume, *here));
        }
    }
    mark_protected(instance, volume, false);
    return forget_identity(instance.layout, volume);
}

Result<> can_delete_volume(const Instance& instance) {
    if (!deletes_mirror(instance)) return {};
    const auto volume = instance.id.str();
    UNDERSTUDY_TRY(const auto here, mirror_here(instance, volume));
    if (!here || !here->source) return {};
    const auto directory = instance.optional("mount", "");
    if (instance.state != "ISP" && !is_mount_point(directory)) return {};
    return fail(Code::failure,
                "{} is in use on {}, and its mirror is to be deleted with the resource (delete_mirror=yes): "
                "take {} out of service first (perform_action -t {} -a remove), {}",
                volume, instance.node, instance.tag.str(), instance.tag.str(), to_keep_it(instance, ""));
}

Result<> delete_volume(const Instance& instance) {
    const auto volume = instance.id.str();
    if (deletes_mirror(instance)) {
        UNDERSTUDY_TRY(const auto here, mirror_here(instance, volume));
        if (here && here->source)
            UNDERSTUDY_CHECK(end_mirrors(instance, volume, *here));
        else if (here && here->peers.size() > 1)  // the last one ends with its source
            UNDERSTUDY_CHECK(leave_mirror(instance, volume, *here));
    }
    if (is_shared(instance)) return release_shared(instance);
    mark_protected(instance, volume, false);
    return forget_identity(instance.layout, volume);
}

}  // namespace understudy::kits
