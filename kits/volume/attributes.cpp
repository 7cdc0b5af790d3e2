#include "kits/volume/attributes.h"

#include "base/text.h"
#include "cli/client.h"
#include "kits/volume/fields.h"

#include <fmt/format.h>

namespace understudy::kits {
namespace {

constexpr unsigned kLifeKeeperConfig = 32;

/// As emcmd is told of a volume: a letter, or a name.
std::string named(const std::string& volume) {
    const bool letter = volume.size() == 1 && volume.front() >= 'A' && volume.front() <= 'Z';
    return letter ? volume : "vol:" + volume;
}

Result<std::string> emcmd(const Instance& instance, const std::vector<std::string>& words) {
    UNDERSTUDY_TRY(const auto reply, cli::run(instance.layout, "emcmd", words));
    if (reply.exit_code != 0) return fail(Code::failure, "{}", text::trim(reply.err));
    return reply.out;
}

Result<> mark(const Instance& instance, const std::string& volume, bool is_protected) {
    UNDERSTUDY_TRY(const auto printed, emcmd(instance, {".", "GETCONFIGURATION", named(volume)}));
    UNDERSTUDY_TRY(const auto mask, parse_attributes(printed));
    const auto wanted = is_protected ? mask | kLifeKeeperConfig : mask & ~kLifeKeeperConfig;
    return wanted == mask ? Result<>{} : set_attributes(instance, volume, wanted);
}

}  // namespace

Result<> set_attributes(const Instance& instance, const std::string& volume, unsigned mask) {
    UNDERSTUDY_CHECK(emcmd(instance, {".", "SETCONFIGURATION", named(volume), std::to_string(mask)}));
    return {};
}

void mark_protected(const Instance& instance, const std::string& volume, bool is_protected) {
    if (const auto done = mark(instance, volume, is_protected); !done)
        say(fmt::format("the attributes of {} stay as they are: {}", volume, done.error().text));
}

}  // namespace understudy::kits
