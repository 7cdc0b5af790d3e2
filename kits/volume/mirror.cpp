#include "kits/volume/mirror.h"

#include "base/text.h"
#include "cli/client.h"
#include "kits/volume/identity.h"
#include "kits/volume/shared.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace understudy::kits {
namespace {

constexpr auto kLookLimit = std::chrono::seconds(20);
constexpr auto kTellLimit = std::chrono::seconds(10);  // a hung peer must not make a check fail here
constexpr int kNotFound = static_cast<int>(Code::not_found);
constexpr int kUnreachable = static_cast<int>(Code::unreachable);

Error refusal(const config::Reply& reply, const std::string& what) {
    return {static_cast<Code>(reply.exit_code), fmt::format("{}: {}", what, text::trim(reply.err)), 0};
}

bool is_dead(const Instance& instance, const std::string& node) {
    const auto state = cli::run(instance.layout, "sys_getst", {"-s", node});
    return state && text::trim(state->out) == "DEAD";
}

}  // namespace

Result<std::optional<MirrorView>> mirror_here(const Instance& instance, const std::string& volume) {
    UNDERSTUDY_TRY(const auto reply,
                   cli::run(instance.layout, "understudy mirror status", {volume, "--json"}));
    if (reply.exit_code == kNotFound) return std::nullopt;
    if (reply.exit_code != 0) return fail(refusal(reply, "understudy mirror status"));
    return parse_status(reply.out, volume);
}

Result<std::optional<MirrorView>> mirror_on(const Instance& instance, const NodeName& node,
                                            const std::string& volume) {
    // The exit code of the line tells only that it failed.
    UNDERSTUDY_TRY(const auto out, on_node(instance.layout, node,
                                           fmt::format("understudy mirror status {} --json || test $? = {}",
                                                       shell_quoted(volume), kNotFound)));
    if (text::trim(out).empty()) return std::nullopt;
    return parse_status(out, volume);
}

Result<> make_mirror(const Instance& instance, const std::string& volume, const NewMirror& wanted,
                     bool* refused) {
    *refused = false;
    std::vector<std::string> line{volume, "--device", wanted.device};
    if (!wanted.target.empty())
        line.insert(line.end(), {"--target", wanted.target, "--target-device", wanted.target_device,
                                 "--source-address", wanted.source_address, "--target-address",
                                 wanted.target_address, "--type", wanted.type, "--job", instance.tag.str()});
    UNDERSTUDY_TRY(const auto reply, cli::run(instance.layout, "understudy mirror create", line));
    *refused = reply.exit_code != 0;
    if (*refused) return fail(refusal(reply, fmt::format("the mirror of {} cannot be made", volume)));
    say(wanted.target.empty() ? fmt::format("{} is served without a target", volume)
                              : fmt::format("{} is mirrored to {}", volume, wanted.target));
    return {};
}

Result<> join_mirror(const Instance& instance, const NodeName& source, const std::string& volume,
                     const NewMirror& wanted) {
    std::string line = "understudy mirror add " + shell_quoted(volume);
    const auto option = [&line](const char* name, const std::string& value) {
        line += fmt::format(" --{} {}", name, shell_quoted(value));
    };
    option("target", instance.node);
    option("target-device", wanted.device);
    option("source-address", wanted.source_address);
    option("target-address", wanted.target_address);
    option("type", wanted.type);
    option("job", instance.tag.str());
    UNDERSTUDY_CHECK(on_node(instance.layout, source, line));
    say(fmt::format("{} is a target of {} now; {} copies the volume", instance.node, volume, source.str()));
    return {};
}

Result<> end_mirrors(const Instance& instance, const std::string& volume, const MirrorView& here) {
    std::vector<std::string> dead;
    for (const auto& peer : here.peers)
        if (is_dead(instance, peer)) dead.push_back(peer);
    const auto end = [&](bool force) {
        std::vector<std::string> words{volume, "--cluster"};
        if (force) words.emplace_back("--force");
        return cli::run(instance.layout, "understudy mirror delete", words);
    };
    const bool all_dead = dead.size() == here.peers.size();
    UNDERSTUDY_TRY(auto reply, end(all_dead));
    if (reply.exit_code == kUnreachable && !all_dead && !dead.empty()) {
        UNDERSTUDY_TRY(reply, end(true));
    }
    if (reply.exit_code != 0)
        return fail(refusal(reply, fmt::format("the mirror of {} cannot be deleted", volume)));
    say(here.peers.empty() ? fmt::format("{} is not served any more", volume)
                           : fmt::format("the mirror of {} is deleted", volume));
    if (!dead.empty())
        say(fmt::format(
            "{} had no part in it and keeps its half: understudy mirror delete {} --force --cluster there",
            text::join(dead, ", "), volume));
    return {};
}

Result<> check_mirror_identity(const Instance& instance) {
    if (is_shared(instance) || is_mixed(instance)) return {};
    UNDERSTUDY_TRY(const auto here, mirror_here(instance, instance.id.str()));
    return here ? check_identity(instance.layout, instance.id.str(), here->id) : Result<>();
}

void tell_mirror_identity(const Instance& instance) {
    if (is_shared(instance) || is_mixed(instance)) return;
    const auto& volume = instance.id.str();
    const auto here = mirror_here(instance, volume);
    const auto peers = peers_of(instance);
    if (!here || !*here || !(*here)->source || !peers) return;
    if (const auto kept = keep_identity(instance.layout, volume, (*here)->id); !kept)
        say("warning: " + kept.error().text);
    const auto line = line_to_keep_identity(volume, (*here)->id);
    for (const auto& peer : *peers) {
        if (line.empty() || is_dead(instance, peer.node.str())) continue;
        const auto told =
            must_run({{"lcdremexec", "-e", "-d", peer.node.str(), "--", line}, "", "/", kTellLimit});
        if (!told)
            say(fmt::format("warning: {} was not told which mirror {} is: {}", peer.node.str(), volume,
                            told.error().text));
    }
}

Result<> promote(const Instance& instance, bool peers_are_dead) {
    std::vector<std::string> words{instance.id.str(), "--cluster"};
    if (peers_are_dead) words.emplace_back("--peer-dead");
    UNDERSTUDY_TRY(const auto reply, cli::run(instance.layout, "understudy mirror promote", words));
    if (reply.exit_code != 0) return fail(Code::failure, "{}", reply.err);
    return {};
}

bool are_dead(const Instance& instance, const std::vector<std::string>& nodes) {
    return !nodes.empty() && std::all_of(nodes.begin(), nodes.end(),
                                         [&](const std::string& node) { return is_dead(instance, node); });
}

Result<> leave_mirror(const Instance& instance, const std::string& volume, const MirrorView& here) {
    UNDERSTUDY_CHECK(on_node(instance.layout, NodeName(here.source_node),
                             fmt::format("understudy mirror delete {} --cluster --target {}",
                                         shell_quoted(volume), shell_quoted(instance.node))));
    say(fmt::format("{} is no target of {} any more", instance.node, volume));
    return {};
}

Result<> check_file_system(const std::string& device, const std::string& wanted) {
    if (!std::filesystem::exists(device))
        return fail(Code::not_found, "device: there is no {} on this node", device);
    UNDERSTUDY_TRY(const auto looked,
                   run_program({{"blkid", "-p", "-s", "TYPE", "-o", "value", device}, "", "/", kLookLimit}));
    const std::string type(text::trim(looked.output));
    if (looked.exit_code != 0 || type.empty())
        return fail(Code::bad_argument, "device: {} has no file system; make one first, e.g. mkfs.ext4 {}",
                    device, device);
    if (type != "ext4" && type != "xfs")
        return fail(Code::bad_argument, "device: {} has {}; ext4 and xfs can be protected", device, type);
    if (!wanted.empty() && wanted != type)
        return fail(Code::bad_argument, "fs: {} has {}, not {}", device, type, wanted);
    return {};
}

}  // namespace understudy::kits
