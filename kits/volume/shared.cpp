#include "kits/volume/shared.h"

#include "base/text.h"
#include "cli/client.h"
#include "kits/volume/attributes.h"
#include "mirror/shared/owner_format.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace understudy::kits {
namespace {

using Json = nlohmann::json;

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

}  // namespace

bool is_shared(const Words& words) {
    return word(words, "volume_type") == "shared";
}

bool is_shared(const Instance& instance) {
    return instance.optional("volume_type", "") == "shared";
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
    if (*here != there)  // Spec: MOP-058, MOP-062
        return fail(Code::bad_argument,
                    "area: {} and {} do not see the same lock area of {}: it is not shared between them",
                    instance.node, known.str(), volume);
    return {};
}

Result<> release_shared(const Instance& instance) {
    return set_attributes(instance, instance.id.str(), kShared);
}

Result<> take_shared(const Instance& instance) {
    return run_command(instance, "understudy volume unlock", {instance.id.str(), "--cluster"});
}

Result<> give_up_shared(const Instance& instance) {
    return run_command(instance, "understudy volume lock", {instance.id.str(), "--cluster"});
}

}  // namespace understudy::kits
