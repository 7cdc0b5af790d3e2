#include "kits/ip/configure.h"

#include "base/text.h"
#include "kits/ip/address.h"
#include "kits/ip/neighbour.h"
#include "kits/sdk/cluster.h"

#include <algorithm>

namespace understudy::kits {
namespace {

constexpr auto kProbeLimit = std::chrono::milliseconds(300);
const std::vector<std::string> kFields{"address",        "prefix", "mask",         "device",
                                       "local_recovery", "backup", "restore_mode", "template"};

struct Choice {
    IpSettings settings;
    bool local_recovery = false;
};

/// The interface whose address shares the longest subnet with this one. Spec: KIT-093.
std::string best_interface(const std::vector<InterfaceAddress>& host, const std::string& address) {
    std::string best;
    int longest = 0;
    for (const auto& each : host)
        if (each.prefix > longest && same_subnet(each.address, address, each.prefix)) {
            best = each.interface;
            longest = each.prefix;
        }
    return best;
}

int best_prefix(const std::vector<InterfaceAddress>& host, const IpSettings& settings) {
    for (const auto& each : host)
        if (each.interface == settings.device && same_subnet(each.address, settings.address, each.prefix))
            return each.prefix;
    return usual_prefix(settings.address);
}

Result<Choice> choice_of(const Instance& instance, const std::string& address, Words words) {
    UNDERSTUDY_CHECK(check_words(words, kFields));
    if (words.contains("mask")) {
        if (words.contains("prefix"))
            return fail(Code::bad_argument, "prefix= and mask= say the same; give one");
        words["prefix"] = words["mask"];
    }
    UNDERSTUDY_TRY(const auto host, host_addresses());
    if (word(words, "device").empty()) {
        words["device"] = best_interface(host, address);
        if (words["device"].empty())
            return fail(
                Code::bad_argument,
                "device: no interface of {} has an address in the subnet of {}; name one with device=",
                instance.node, address);
    }
    const bool prefix_given = !word(words, "prefix").empty();
    Choice choice;
    UNDERSTUDY_TRY(choice.settings, ip_settings(address, words));
    if (!prefix_given) choice.settings.prefix = best_prefix(host, choice.settings);
    const auto recovery = text::lower(word(words, "local_recovery", "no"));
    if (recovery != "yes" && recovery != "no" && recovery != "y" && recovery != "n")
        return fail(Code::bad_argument, "local_recovery={} is neither yes nor no", recovery);
    choice.local_recovery = recovery.starts_with('y');
    if (!choice.local_recovery && !choice.settings.backup.empty())
        return fail(Code::bad_argument, "backup={} is of use with local_recovery=yes only",
                    choice.settings.backup);
    return choice;
}

/// Spec: KIT-111, KIT-112, CMD-145: two interfaces in one subnet are a documented use too, hence warnings.
void warn_about_local_recovery(const std::vector<InterfaceAddress>& host, const IpSettings& settings) {
    if (!has_default_gateway()) say("warning: this host has no default gateway; local recovery expects one");
    for (const auto& spare : host) {
        if (spare.interface != settings.backup) continue;
        const bool with_address = same_subnet(spare.address, settings.address, settings.prefix);
        const bool with_primary = std::any_of(host.begin(), host.end(), [&](const InterfaceAddress& each) {
            return each.interface == settings.device && same_subnet(spare.address, each.address, each.prefix);
        });
        if (with_address || with_primary)
            say(fmt::format(
                "warning: {} of the backup interface {} is in the subnet of {}; replies may leave "
                "by the wrong interface",
                spare.address, spare.interface,
                with_address ? settings.address : "the interface " + settings.device));
    }
}

Result<> validate(const Choice& choice) {
    const auto& settings = choice.settings;
    UNDERSTUDY_TRY(const auto interface, find_interface(settings.device));
    if (!settings.backup.empty()) UNDERSTUDY_CHECK(find_interface(settings.backup));
    UNDERSTUDY_TRY(const auto host, host_addresses());
    if (choice.local_recovery) warn_about_local_recovery(host, settings);
    // Whole addresses are compared. Spec: KIT-096.
    UNDERSTUDY_TRY(const auto holder, holder_of(settings.address));
    if (holder)
        return fail(Code::exists, "address: {} is an address of this host already, on {}", settings.address,
                    *holder);
    return {};
}

}  // namespace

Result<> set_info(const Instance& instance, const IpSettings& settings) {
    UNDERSTUDY_TRY(const auto out, command(instance.layout, "ins_setin",
                                           {"-t", instance.tag.str(), "-v", ip_info(settings)}));
    return {};
}

Result<> create_ip(const Instance& instance) {
    UNDERSTUDY_TRY(const auto words, create_words(instance));
    const auto address = word(words, "address", instance.exists ? instance.id.str() : instance.tag.str());
    if (!is_address(address))
        return fail(Code::bad_argument, "address: \"{}\" is not an address (address=, or --id)", address);
    UNDERSTUDY_TRY(const auto choice, choice_of(instance, address, words));
    UNDERSTUDY_CHECK(validate(choice));
    UNDERSTUDY_TRY(const auto interface, find_interface(choice.settings.device));
    if (is_ipv4(address)) {
        UNDERSTUDY_TRY(const auto user, who_has(interface, address, kProbeLimit));
        if (user)
            return fail(Code::exists,
                        "address: {} is in use: the host with MAC address {} answers for it on {}", address,
                        *user, interface.name);
    }
    return define_instance(instance, {.app = "comm",
                                      .type = "ip",
                                      .id = address,
                                      .info = ip_info(choice.settings),
                                      .local_recovery = choice.local_recovery});
}

namespace {

/// The mask is the template's; the interface is it where this host has one of that name, else the one that
/// fits; local recovery is each node's own and off unless asked for. Spec: KIT-097, KIT-098.
Result<Choice> choice_of_extension(const Instance& instance, std::string* address) {
    UNDERSTUDY_TRY(const auto from, template_of(instance));
    UNDERSTUDY_TRY(auto words, extension_words(instance, from));
    *address = from.id.str();
    if (!find_interface(word(words, "device"))) words.erase("device");
    if (!words.contains("local_recovery")) words.erase("backup");
    return choice_of(instance, *address, words);
}

}  // namespace

Result<> can_extend_ip(const Instance& instance) {
    std::string address;
    UNDERSTUDY_TRY(const auto choice, choice_of_extension(instance, &address));
    return validate(choice);
}

Result<> extend_ip(const Instance& instance) {
    std::string address;
    UNDERSTUDY_TRY(const auto choice, choice_of_extension(instance, &address));
    return define_instance(instance, {.app = "comm",
                                      .type = "ip",
                                      .id = address,
                                      .info = ip_info(choice.settings),
                                      .local_recovery = choice.local_recovery});
}

}  // namespace understudy::kits
