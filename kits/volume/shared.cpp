#include "kits/volume/shared.h"

#include "base/text.h"
#include "cli/client.h"
#include "kits/volume/attributes.h"
#include "kits/volume/mirror.h"
#include "mirror/shared/owner_format.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace understudy::kits {
namespace {

using Json = nlohmann::json;

constexpr auto kSessionLimit = std::chrono::seconds(60);  // and what the target lacks is sent
constexpr unsigned kShared = 256;
constexpr unsigned kSharedProtected = 800;  // shared, and the cluster's. Spec: EMC-181, EMC-299

Result<> run_command(const Instance& instance, const std::string& name,
                     const std::vector<std::string>& words) {
    UNDERSTUDY_TRY(const auto reply, cli::run(instance.layout, name, words));
    if (reply.exit_code != 0) return fail(Code::failure, "{}", text::trim(reply.err));
    return {};
}

/// The id of the lock area that a host's volume has; the answer of `understudy volume owner --json`.
Result<std::string> area_of(const std::string& answer) {
    const Json json = Json::parse(answer, nullptr, false);
    if (!json.is_object() || !json.contains("area_id") || !json["area_id"].is_string())
        return fail(Code::internal, "understudy volume owner gave no lock area");
    return json["area_id"].get<std::string>();
}

Result<std::string> area_here(const Instance& instance, const std::string& volume) {
    UNDERSTUDY_TRY(const auto out, command(instance.layout, "understudy volume owner", {volume, "--json"}));
    return area_of(out);
}

/// Where the volume lies here, for a host that does not know it yet.
struct Place {
    std::string device;
    std::string area;
};
Result<Place> place_of(const Instance& instance, const Words& words, const std::string& volume) {
    Place place{word(words, "device"), word(words, "area")};
    if (!place.device.empty() && !place.area.empty()) return place;
    return fail(
        Code::bad_argument,
        "{} does not know the shared volume {}: give device=PATH and area=PATH, or use understudy volume set "
        "and share first",
        instance.node, volume);
}

/// The id of the lock area at a path that nobody uses here yet. Errors: there is none, it is another
/// volume's, this host is not named in it.
Result<std::string> area_at(const Instance& instance, const std::string& path, const std::string& volume) {
    using mirror::shared::kAreaBlock;
    std::string blocks(2 * kAreaBlock, '\0');
    std::ifstream file(path, std::ios::binary);
    if (!file.read(blocks.data(), static_cast<std::streamsize>(blocks.size())))
        return fail(Code::failure, "area: {} cannot be read on {}", path, instance.node);
    const auto header = mirror::shared::decode_header(blocks);
    if (!header) return fail(header.error().code, "area: {}: {}", path, header.error().text);
    if (header->volume.str() != volume)
        return fail(Code::bad_argument, "area: {} is the lock area of volume {}", path, header->volume.str());
    if (!header->slot_of(NodeName(instance.node)))
        return fail(Code::not_found, "area: {} is not among the hosts of volume {} in {}", instance.node,
                    volume, path);
    return fmt::format("{:016x}", header->id);
}

/// What this host is told of the volume, when it does not know it yet.
Result<> make_shared_here(const Instance& instance, const Words& words, const std::string& volume) {
    if (area_here(instance, volume)) return {};
    UNDERSTUDY_TRY(const auto place, place_of(instance, words, volume));
    UNDERSTUDY_CHECK(run_command(instance, "understudy volume set", {volume, "--device", place.device}));
    return run_command(instance, "understudy volume share", {volume, "--area", place.area});
}

Result<> open_here(const Instance& instance, const std::string& volume) {
    return run_command(instance, "understudy volume unlock", {volume, "--cluster"});
}

/// The owner of a volume that is mirrored besides keeps it when it is out of service there. True when it has
/// given it up now.
Result<bool> idle_owner_gives_up(const Instance& instance, const std::string& volume) {
    UNDERSTUDY_TRY(const auto out, command(instance.layout, "understudy volume owner", {volume}));
    const NodeName owner(std::string(text::trim(out)));
    if (owner.str() == "-" || owner.str() == instance.node || are_dead(instance, {owner.str()})) return false;
    const auto there = mirror_on(instance, owner, volume);
    if (!there || !*there) return false;
    UNDERSTUDY_CHECK(on_node(instance.layout, owner,
                             fmt::format("understudy volume lock {} --cluster", shell_quoted(volume))));
    say(fmt::format("{} has given {} up", owner.str(), volume));
    return true;
}

/// The other nodes of the resource that are there and share a disk which this one does not have.
Result<std::vector<NodeName>> living_sharers_elsewhere(const Instance& instance) {
    UNDERSTUDY_TRY(const auto peers, peers_of(instance));
    const auto volume = instance.id.str();
    std::string own;
    if (is_shared(instance)) {
        UNDERSTUDY_TRY(own, area_here(instance, volume));
    }
    std::vector<NodeName> out;
    for (const auto& peer : peers) {
        if (are_dead(instance, {peer.node.str()})) continue;
        const auto line = command(instance.layout, "ins_list", {"-d", peer.node.str(), "-t", peer.tag.str()});
        const auto fields = line ? text::split(text::trim(*line), '\x01') : std::vector<std::string>();
        const auto info = fields.size() > 5 ? parse_info(fields[5]) : Result<Words>(Words());
        if (!info || !is_shared(*info)) continue;
        if (!own.empty()) {
            const auto shown = on_node(instance.layout, peer.node,
                                       "understudy volume owner " + shell_quoted(volume) + " --json");
            const auto area = shown ? area_of(*shown) : Result<std::string>(own);
            if (!area || *area == own) continue;
        }
        out.push_back(peer.node);
    }
    return out;
}

}  // namespace

bool is_shared(const Words& words) {
    return word(words, "volume_type") == "shared";
}

bool is_shared(const Instance& instance) {
    return instance.optional("volume_type", "") == "shared";
}

bool is_mixed(const Words& words) {
    return word(words, "volume_type") == "mixed";
}

bool is_mixed(const Instance& instance) {
    return instance.optional("volume_type", "") == "mixed";
}

Result<> create_shared(const Instance& instance, const Words& words, const std::string& volume) {
    UNDERSTUDY_CHECK(make_shared_here(instance, words, volume));
    return set_attributes(instance, volume, kSharedProtected);
}

Result<> can_extend_shared(const Instance& instance, const Words& words, const NodeName& known,
                           const std::string& volume) {
    for (const char* field : {"device", "area"})
        if (const auto path = word(words, field); !path.empty() && !std::filesystem::exists(path))
            return fail(Code::not_found, "{}: {} has no {}", field, instance.node, path);
    auto here = area_here(instance, volume);
    if (!here) {
        UNDERSTUDY_TRY(const auto place, place_of(instance, words, volume));
        here = area_at(instance, place.area, volume);
        if (!here) return fail(here.error());
    }
    UNDERSTUDY_TRY(const auto out, on_node(instance.layout, known,
                                           "understudy volume owner " + shell_quoted(volume) + " --json"));
    UNDERSTUDY_TRY(const auto there, area_of(out));
    if (*here == there) return {};
    // The disk at the other end of the mirror, which hosts share as well. Spec: MOP-019
    UNDERSTUDY_TRY(const auto mirrored, mirror_here(instance, volume));
    if (mirrored) return {};
    return fail(
        Code::bad_argument,  // Spec: MOP-058, MOP-062
        "area: {} and {} do not see the same lock area of {}: it is not shared between them. Where it is "
        "mirrored to a disk of {}, extend to the host that owns that one first, and from there to others "
        "of it (--from)",
        instance.node, known.str(), volume, instance.node);
}

Result<> leave_shared(const Instance& instance) {
    const auto volume = instance.id.str();
    UNDERSTUDY_TRY(const auto here, mirror_here(instance, volume));
    return here ? run_command(instance, "understudy volume lock", {volume, "--cluster"}) : Result<>{};
}

Result<> release_shared(const Instance& instance) {
    return set_attributes(instance, instance.id.str(), kShared);
}

Result<> take_shared(const Instance& instance) {
    const auto volume = instance.id.str();
    auto opened = open_here(instance, volume);
    if (!opened) {
        UNDERSTUDY_TRY(const bool given, idle_owner_gives_up(instance, volume));
        if (given) opened = open_here(instance, volume);
    }
    UNDERSTUDY_TRY(const auto here, mirror_here(instance, volume));
    // The owner has become the mirror's target, which is an error of that command alone.
    if (!here || (!opened && here->source)) return opened;
    const bool dead = are_dead(instance, here->peers);
    // Its source hands over to the host that it knows as the target: after the first session.
    if (!here->source && !dead)
        (void)wait_until(kSessionLimit, [&] {
            const auto now = mirror_here(instance, volume);
            return !now || !*now || (*now)->source || (*now)->mirroring;
        });
    return promote(instance, dead);
}

Result<> give_up_shared(const Instance& instance) {
    const auto volume = instance.id.str();
    UNDERSTUDY_TRY(const auto here, mirror_here(instance, volume));
    if (here) return run_command(instance, "understudy mirror demote", {volume});
    return run_command(instance, "understudy volume lock", {volume, "--cluster"});
}

void let_sharing_hosts_follow(const Instance& instance) {
    const auto volume = instance.id.str();
    const auto done = [&]() -> Result<> {
        UNDERSTUDY_TRY(const auto here, mirror_here(instance, volume));
        if (!here) return {};  // of a disk that is not mirrored
        UNDERSTUDY_TRY(const auto sharing, living_sharers_elsewhere(instance));
        for (const auto& node : sharing) {
            UNDERSTUDY_TRY(const auto there, mirror_on(instance, node, volume));
            if (there) return {};
        }
        if (sharing.empty()) return {};
        // It becomes the target, with which the command ends as an error; nobody may use it there. It waits
        // for the end of a dead owner's lease, for which nothing waits here.
        const auto take =
            fmt::format("understudy volume unlock {0} --cluster && understudy volume lock {0} --cluster",
                        shell_quoted(volume));
        UNDERSTUDY_CHECK(
            on_node(instance.layout, sharing.front(),
                    fmt::format("setsid sh -c {} </dev/null >/dev/null 2>&1 &", shell_quoted(take))));
        return {};
    }();
    if (!done) say(fmt::format("no host that shares {} follows: {}", volume, done.error().text));
}

}  // namespace understudy::kits
