// The IP kit: a switchable address. Spec: KIT-087 to KIT-105.
//
// id: the address. info: device=INTERFACE prefix=LENGTH [restore_mode=enable|disable]
// restore: refuses an address that answers on the network, adds it, tells the neighbours. remove: deletes it.

#include "base/text.h"
#include "kits/ip/address.h"
#include "kits/ip/neighbour.h"
#include "kits/sdk/kit.h"

namespace understudy::kits {
namespace {

// How long nobody may answer for the address; part of every takeover, so no longer than a LAN needs.
constexpr auto kProbeLimit = std::chrono::milliseconds(150);

struct Settings {
    std::string address;
    std::string device;
    int prefix = 0;
    bool disabled = false;  // restore mode Disable. Spec: KIT-099
};

Result<Settings> settings_of(const Instance& instance) {
    Settings settings;
    settings.address = instance.id.str();
    if (!is_address(settings.address))
        return fail(Code::bad_argument, "the id of {} must be its address, not \"{}\"", instance.tag.str(),
                    settings.address);
    UNDERSTUDY_TRY(settings.device, instance.required("device"));
    const auto fallback = settings.address.find(':') == std::string::npos ? "24" : "64";
    const auto prefix = text::to_int(instance.optional("prefix", fallback));
    if (!prefix)
        return fail(Code::bad_argument, "prefix={} of {} is not a number", instance.optional("prefix", ""),
                    instance.tag.str());
    settings.prefix = static_cast<int>(*prefix);
    settings.disabled = instance.optional("restore_mode", "enable") == "disable";
    return settings;
}

Result<> restore(const Instance& instance) {
    UNDERSTUDY_TRY(const auto settings, settings_of(instance));
    if (settings.disabled) return {};
    UNDERSTUDY_TRY(const auto interface, find_interface(settings.device));
    UNDERSTUDY_TRY(const auto holder, holder_of(settings.address));
    if (holder && *holder != settings.device)
        return fail(Code::failure, "{} is on interface {} of this host already, not on {}", settings.address,
                    *holder, settings.device);
    const bool four = settings.address.find(':') == std::string::npos;
    if (!holder && four && instance.setting("NOIPUNIQUE", 0, 0) == 0) {
        UNDERSTUDY_TRY(const auto user, who_has(interface, settings.address, kProbeLimit));
        if (user)
            return fail(
                Code::failure,
                "{} is in use: the host with MAC address {} answers for it on {}; free it there first",
                settings.address, *user, settings.device);
    }
    if (!holder) UNDERSTUDY_CHECK(add_address(settings.address, settings.prefix, settings.device));
    if (const auto told = announce(interface, settings.address); !told) {
        if (const auto removed = remove_address(settings.address, settings.device); !removed)
            say(removed.error().text);
        return told;
    }
    say(fmt::format("{}/{} is on {}", settings.address, settings.prefix, settings.device));
    return {};
}

Result<> remove(const Instance& instance) {
    UNDERSTUDY_TRY(const auto settings, settings_of(instance));
    // From whichever interface holds it. Spec: KIT-103
    UNDERSTUDY_TRY(const auto holder, holder_of(settings.address));
    if (!holder) return {};
    return remove_address(settings.address, *holder);
}

Result<> quick_check(const Instance& instance) {
    if (instance.state != "ISP") return {};
    UNDERSTUDY_TRY(const auto settings, settings_of(instance));
    if (settings.disabled) return {};
    UNDERSTUDY_TRY(const auto holder, holder_of(settings.address));
    if (!holder || *holder != settings.device)
        return fail(Code::failure, "{} is not on {}", settings.address, settings.device);
    UNDERSTUDY_TRY(const auto interface, find_interface(settings.device));
    if (!interface.link_up && instance.setting("IP_NOLINKCHECK", 0, 0) == 0)
        return fail(Code::failure, "{} has no link", settings.device);
    return {};
}

int run_kit(int argc, char** argv) {
    return run(argc, argv, {{"restore", restore}, {"remove", remove}, {"quickchk", quick_check}});
}

}  // namespace
}  // namespace understudy::kits

int main(int argc, char** argv) {
    return understudy::kits::run_kit(argc, argv);
}
