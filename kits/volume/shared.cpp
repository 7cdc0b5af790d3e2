#include "kits/volume/shared.h"

#include "base/text.h"
#include "cli/client.h"
#include "kits/volume/attributes.h"

#include <filesystem>
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

/// What this host is told of the volume, when it does not know it yet.
Result<> make_shared_here(const Instance& instance, const Words& words, const std::string& volume) {
    if (area_here(instance, volume)) return {};
    const auto device = word(words, "device"), area = word(words, "area");
    if (device.empty() || area.empty())
        return fail(
            Code::bad_argument,
            "{} does not know the shared volume {}: give device=PATH and area=PATH, or use understudy volume "
            "set and share first",
            instance.node, volume);
    UNDERSTUDY_CHECK(run_command(instance, "understudy volume set", {volume, "--device", device}));
    return run_command(instance, "understudy volume share", {volume, "--area", area});
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
    UNDERSTUDY_CHECK(make_shared_here(instance, words, volume));
    UNDERSTUDY_TRY(const auto here, area_here(instance, volume));
    UNDERSTUDY_TRY(const auto out, on_node(instance.layout, known,
                                           "understudy volume owner " + shell_quoted(volume) + " --json"));
    UNDERSTUDY_TRY(const auto there, area_of(out));
    if (here != there)  // Spec: MOP-058, MOP-062
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
