#include "kits/volume/configure.h"

#include "base/text.h"
#include "cli/client.h"
#include "kits/sdk/cluster.h"
#include "kits/volume/shared.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace understudy::kits {
namespace {

// The last four are this node's part of a mirror that create or extend has to make.
const std::vector<std::string> kFields{"mount",       "fs",          "options",        "delete_mirror",
                                       "device",      "mirror_type", "source_address", "target_address",
                                       "volume_type", "area"};

/// "source" or "target". Code::not_found when this node has no mirror of the volume.
Result<std::string> role_of(const Instance& instance, const std::string& volume) {
    UNDERSTUDY_TRY(const auto reply, cli::run(instance.layout, "understudy mirror status", {volume}));
    const auto words = text::words(reply.out);
    if (reply.exit_code != 0 || words.size() < 2 || words[0] != volume)
        return fail(Code::not_found,
                    "{} has no mirror of the volume {}; make one first: understudy mirror create {} ...",
                    instance.node, volume, volume);
    return words[1];
}

/// The node that is source of the volume, as `node` knows it.
Result<NodeName> source_of(const Instance& instance, const NodeName& node, const std::string& volume) {
    UNDERSTUDY_TRY(const auto out,
                   on_node(instance.layout, node, "understudy mirror status " + shell_quoted(volume)));
    const auto words = text::words(out);
    if (words.size() < 5 || words[0] != volume)
        return fail(Code::not_found, "{} has no mirror of the volume {}", node.str(), volume);
    return words[1] == "source" ? node : NodeName(words[4]);
}

/// Whether the words say how this node becomes one more target; all of them or none.
Result<bool> wants_mirror(const Words& words) {
    std::vector<std::string> missing;
    for (const char* field : {"device", "source_address", "target_address"})
        if (word(words, field).empty()) missing.emplace_back(field);
    if (missing.size() == 3) return false;
    if (!missing.empty())
        return fail(Code::bad_argument,
                    "{}: needed to make the mirror, with device, source_address and "
                    "target_address (and mirror_type=sync or async)",
                    missing.front());
    return true;
}

/// Makes this node a target of the volume, by its source. Spec: KIT-068, KIT-070.
Result<> add_target(const Instance& instance, const Words& words, const NodeName& known,
                    const std::string& volume) {
    UNDERSTUDY_TRY(const auto source, source_of(instance, known, volume));
    std::string line = "understudy mirror add " + shell_quoted(volume);
    const auto option = [&line](const char* name, const std::string& value) {
        line += fmt::format(" --{} {}", name, shell_quoted(value));
    };
    option("target", instance.node);
    option("target-device", word(words, "device"));
    option("source-address", word(words, "source_address"));
    option("target-address", word(words, "target_address"));
    option("type", word(words, "mirror_type", "sync"));
    UNDERSTUDY_CHECK(on_node(instance.layout, source, line));
    say(fmt::format("{} is a target of {} now; {} copies the volume", instance.node, volume, source.str()));
    return {};
}

Result<> check_information(const Words& words) {
    UNDERSTUDY_CHECK(check_words(words, kFields));
    if (!word(words, "mount").starts_with('/'))
        return fail(Code::bad_argument, "mount: give the full path of the directory (mount=DIR)");
    const auto type = word(words, "fs");
    if (!type.empty() && type != "ext4" && type != "xfs")  // Spec: KIT-059
        return fail(Code::bad_argument, "fs: the file system is {}; ext4 and xfs can be protected", type);
    const auto mirror_type = word(words, "mirror_type", "sync");
    if (mirror_type != "sync" && mirror_type != "async")
        return fail(Code::bad_argument, "mirror_type={} is neither sync nor async", mirror_type);
    const auto volume_type = word(words, "volume_type", "mirror");
    if (volume_type != "mirror" && volume_type != "shared")
        return fail(Code::bad_argument, "volume_type={} is neither mirror nor shared", volume_type);
    const auto flag = word(words, "delete_mirror", "no");
    if (flag != "yes" && flag != "no")
        return fail(Code::bad_argument, "delete_mirror={} is neither yes nor no", flag);
    return {};
}

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

bool is_mount_point(const std::string& directory) {
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);)
        if (const auto fields = text::words(line); fields.size() > 4 && fields[4] == directory) return true;
    return false;
}

Result<Words> words_for_here(const Instance& instance, Template* origin) {
    UNDERSTUDY_TRY(const auto from, template_of(instance));
    *origin = from;
    UNDERSTUDY_TRY(auto words, extension_words(instance, from));
    UNDERSTUDY_CHECK(check_information(words));
    return words;
}

}  // namespace

Result<> create_volume(const Instance& instance) {
    UNDERSTUDY_TRY(const auto words, create_words(instance));
    UNDERSTUDY_CHECK(check_information(words));
    const auto volume = instance.exists ? instance.id.str() : instance.tag.str();
    if (is_shared(words))
        UNDERSTUDY_CHECK(create_shared(instance, words, volume));
    else
        UNDERSTUDY_CHECK(role_of(instance, volume));
    const auto mount = word(words, "mount");
    UNDERSTUDY_CHECK(check_directory_is_free(instance, mount));
    warn_about_fstab(mount);
    return {};
}

Result<> can_extend_volume(const Instance& instance) {
    Template from;
    UNDERSTUDY_TRY(const auto words, words_for_here(instance, &from));
    if (is_shared(words)) {
        UNDERSTUDY_CHECK(can_extend_shared(instance, words, from.node, from.id.str()));
    } else if (const auto role = role_of(instance, from.id.str()); !role) {
        UNDERSTUDY_TRY(const bool makes_it, wants_mirror(words));
        if (!makes_it || role.error().code != Code::not_found) return fail(role.error());
        UNDERSTUDY_CHECK(source_of(instance, from.node, from.id.str()));
        if (!std::filesystem::exists(word(words, "device")))
            return fail(Code::not_found, "device: {} has no {}", instance.node, word(words, "device"));
    }
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
    if (is_shared(words)) {
        UNDERSTUDY_CHECK(create_shared(instance, words, from.id.str()));
    } else if (const auto role = role_of(instance, from.id.str()); !role) {
        if (role.error().code != Code::not_found) return fail(role.error());
        UNDERSTUDY_CHECK(add_target(instance, words, from.node, from.id.str()));
    }
    std::error_code error;
    std::filesystem::create_directories(word(words, "mount"), error);
    if (error)
        return fail(Code::failure, "mount: {} cannot be made: {}", word(words, "mount"), error.message());
    return {};
}

Result<> unextend_volume(const Instance& instance) {
    if (is_shared(instance)) return release_shared(instance);
    if (instance.optional("delete_mirror", "no") != "yes") return {};
    const std::string volume = instance.id.str();
    const auto role = role_of(instance, volume);
    if (!role || *role != "target") return {};
    UNDERSTUDY_TRY(const auto source, source_of(instance, NodeName(instance.node), volume));
    const auto ended = on_node(instance.layout, source,
                               fmt::format("understudy mirror delete {} --target {}", shell_quoted(volume),
                                           shell_quoted(instance.node)));
    if (ended)
        say(fmt::format("{} is no target of {} any more", instance.node, volume));
    else
        say(fmt::format("the mirror of {} to {} stays: {}", volume, instance.node, ended.error().text));
    return {};
}

Result<> delete_volume(const Instance& instance) {
    if (is_shared(instance)) return release_shared(instance);
    if (instance.optional("delete_mirror", "no") != "yes") return {};
    const auto role = role_of(instance, instance.id.str());
    if (!role || *role != "source") return {};  // the source ends it for both
    UNDERSTUDY_TRY(const auto out, command(instance.layout, "understudy mirror delete", {instance.id.str()}));
    say(fmt::format("the mirror of {} is ended", instance.id.str()));
    return {};
}

}  // namespace understudy::kits
