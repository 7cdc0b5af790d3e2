// The IP kit: a switchable address. Spec: KIT-087 to KIT-118, CLU-168, CLU-169.
//
// id: the address. info: device=INTERFACE prefix=LENGTH [backup=INTERFACE] [restore_mode=enable|disable]
// restore: refuses an address that answers on the network, adds it, tells the neighbours, tries the ping
// list. recover: the same interface again, then the backup interface. remove: deletes the address.

#include "base/text.h"
#include "kits/ip/address.h"
#include "kits/ip/configure.h"
#include "kits/ip/neighbour.h"
#include "kits/ip/ping.h"
#include "kits/ip/settings.h"
#include "kits/sdk/kit.h"

#include <filesystem>
#include <fstream>
#include <iterator>

namespace understudy::kits {
namespace {

using std::chrono::seconds;

// How long nobody may answer for the address; part of every takeover, so no longer than a LAN needs.
constexpr auto kProbeLimit = std::chrono::milliseconds(150);

/// What is known of this boot only: the interface in use, and whether a broadcast ping was ever answered.
/// Spec: KIT-109.
struct Notes {
    std::string interface;
    bool broadcast_answered = false;
    bool broadcast_silent = false;  // which is said once
};

std::string notes_path(const Instance& instance) {
    return instance.layout.run() + "/ip." + file_name_of(instance.tag);
}

Notes read_notes(const Instance& instance) {
    Notes notes;
    std::string answered;
    std::ifstream(notes_path(instance)) >> notes.interface >> answered;
    notes.broadcast_answered = answered == "answered";
    notes.broadcast_silent = answered == "silent";
    return notes;
}

void write_notes(const Instance& instance, const Notes& notes) {
    const auto* broadcast =
        notes.broadcast_answered ? " answered" : (notes.broadcast_silent ? " silent" : "");
    std::ofstream(notes_path(instance)) << notes.interface << broadcast << '\n';
}

bool checks_link(const Instance& instance) {
    return instance.setting("IP_NOLINKCHECK", 0, 0) == 0;
}

/// Nobody else may answer for an IPv4 address; the kernel asks for IPv6 itself. Spec: KIT-089.
Result<> refuse_duplicate(const Instance& instance, const Interface& interface, const std::string& address) {
    if (!is_ipv4(address) || instance.setting("NOIPUNIQUE", 0, 0) != 0) return {};
    UNDERSTUDY_TRY(const auto user, who_has(interface, address, kProbeLimit));
    if (!user) return {};
    return fail(Code::failure,
                "{} is in use: the host with MAC address {} answers for it on {}; free it there first",
                address, *user, interface.name);
}

/// Spec: KIT-114, KIT-115. One answer is enough; no list, no test.
Result<> try_ping_list(const Instance& instance, const IpSettings& settings) {
    const auto path =
        instance.layout.lkroot() + "/subsys/comm/resources/ip/pinglist." + file_name_of(instance.tag);
    std::ifstream file(path);
    if (!file) return {};
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    std::vector<std::string> bad;
    const auto targets = parse_ping_list(content, &bad);
    for (const auto& line : bad)
        say(fmt::format("{}: \"{}\" is not an address and is left out", path, line));
    if (targets.empty()) return {};
    PingRequest request;
    request.source = settings.address;
    request.targets = targets;
    request.interface = settings.device;
    request.tries = static_cast<int>(instance.setting("IP_PINGTRIES", 3, 1));
    request.per_try = seconds(instance.setting("IP_PINGTIME", 1, 1));
    UNDERSTUDY_TRY(const auto answer, ping(request));
    if (!answer.empty()) return {};
    return fail(Code::failure, "none of {} answers a ping from {} ({})", text::join(targets, ", "),
                settings.address, path);
}

bool has_ping_list(const Instance& instance) {
    std::error_code error;
    return std::filesystem::exists(
        instance.layout.lkroot() + "/subsys/comm/resources/ip/pinglist." + file_name_of(instance.tag), error);
}

/// A network on which nobody has ever answered a broadcast says nothing by its silence: most Linux hosts
/// ignore such pings. Spec: KIT-105.
Result<> try_broadcast(const Instance& instance, const IpSettings& settings, const std::string& interface) {
    if (instance.setting("NOBCASTPING", 0, 0) != 0 || has_ping_list(instance)) return {};
    PingRequest request;
    request.source = settings.address;
    request.interface = interface;
    request.anybody = true;
    request.tries = static_cast<int>(instance.setting("IP_PINGTRIES", 3, 1));
    request.per_try = seconds(instance.setting("IP_PINGTIME", 1, 1));
    if (is_ipv4(settings.address)) {
        const auto broadcast = broadcast_of(settings.address, settings.prefix);
        if (!broadcast) return {};
        request.targets = {*broadcast};
    } else {
        request.targets = {"ff02::1"};
    }
    UNDERSTUDY_TRY(const auto answer, ping(request));
    auto notes = read_notes(instance);
    if (!answer.empty()) {
        if (notes.broadcast_answered) return {};
        notes.broadcast_answered = true;
        if (notes.interface.empty()) notes.interface = interface;
        write_notes(instance, notes);
        return {};
    }
    if (notes.broadcast_answered)
        return fail(Code::failure, "nobody on the network of {} answers a broadcast ping from {} any more",
                    interface, settings.address);
    if (notes.broadcast_silent) return {};
    notes.broadcast_silent = true;
    if (notes.interface.empty()) notes.interface = interface;
    write_notes(instance, notes);
    say(
        fmt::format("nobody on the network of {} answers broadcast pings; that proves nothing, and a ping "
                    "list would",
                    interface));
    return {};
}

Result<> check_on(const Instance& instance, const IpSettings& settings, const std::string& device,
                  bool deep) {
    UNDERSTUDY_TRY(const auto holder, holder_of(settings.address));
    if (!holder || *holder != device) return fail(Code::failure, "{} is not on {}", settings.address, device);
    UNDERSTUDY_TRY(const auto interface, find_interface(device));
    if (!interface.link_up && checks_link(instance)) return fail(Code::failure, "{} has no link", device);
    UNDERSTUDY_CHECK(try_ping_list(instance, settings));
    return deep ? try_broadcast(instance, settings, device) : Result<>{};
}

/// Adds the address and tells the neighbours; on an error it is not there.
Result<> bring_up(const Instance& instance, const IpSettings& settings, const std::string& device) {
    UNDERSTUDY_TRY(const auto interface, find_interface(device));
    if (!interface.link_up && checks_link(instance)) return fail(Code::failure, "{} has no link", device);
    UNDERSTUDY_CHECK(refuse_duplicate(instance, interface, settings.address));
    UNDERSTUDY_CHECK(add_address(settings.address, settings.prefix, device));
    if (const auto told = announce(interface, settings.address); !told) {
        if (const auto removed = remove_address(settings.address, device); !removed)
            say(removed.error().text);
        return told;
    }
    return {};
}

/// Where the address is, when that is an interface of ours.
Result<std::string> interface_in_use(const Instance& instance, const IpSettings& settings) {
    UNDERSTUDY_TRY(const auto holder, holder_of(settings.address));
    const auto ours = [&](const std::string& name) {
        return name == settings.device || (!settings.backup.empty() && name == settings.backup);
    };
    if (holder && ours(*holder)) return *holder;
    const auto noted = read_notes(instance).interface;
    return ours(noted) ? noted : settings.device;
}

Result<> start(const Instance& instance, const IpSettings& settings) {
    UNDERSTUDY_TRY(const auto holder, holder_of(settings.address));
    if (holder) {
        // It is here already, perhaps on the backup interface after a local recovery: not to be disturbed.
        if (*holder != settings.device && *holder != settings.backup)
            return fail(Code::failure, "{} is on interface {} of this host already, not on {}",
                        settings.address, *holder, settings.device);
        UNDERSTUDY_TRY(const auto interface, find_interface(*holder));
        UNDERSTUDY_CHECK(announce(interface, settings.address));
        write_notes(instance, {*holder, read_notes(instance).broadcast_answered});
        return {};
    }
    UNDERSTUDY_CHECK(bring_up(instance, settings, settings.device));  // the primary one first. Spec: KIT-109
    if (const auto reached = try_ping_list(instance, settings); !reached) {
        if (const auto removed = remove_address(settings.address, settings.device); !removed)
            say(removed.error().text);
        return reached;
    }
    write_notes(instance, {settings.device, false});
    say(fmt::format("{}/{} is on {}", settings.address, settings.prefix, settings.device));
    return {};
}

Result<> stop(const IpSettings& settings) {
    // From whichever interface holds it. Spec: KIT-103
    UNDERSTUDY_TRY(const auto holder, holder_of(settings.address));
    if (!holder) return {};
    return remove_address(settings.address, *holder);
}

Result<> restore(const Instance& instance) {
    UNDERSTUDY_TRY(const auto settings, ip_settings(instance.id.str(), instance.info));
    if (settings.disabled) return {};
    return start(instance, settings);
}

Result<> remove(const Instance& instance) {
    UNDERSTUDY_TRY(const auto settings, ip_settings(instance.id.str(), instance.info));
    UNDERSTUDY_CHECK(stop(settings));
    std::error_code error;
    std::filesystem::remove(notes_path(instance), error);
    return {};
}

Result<> check(const Instance& instance, bool deep) {
    UNDERSTUDY_TRY(const auto settings, ip_settings(instance.id.str(), instance.info));
    if (settings.disabled) return {};
    UNDERSTUDY_TRY(const auto device, interface_in_use(instance, settings));
    return check_on(instance, settings, device, deep);
}

/// Takes the address off and puts it on `device`; there it must pass the check that failed.
Result<> recover_on(const Instance& instance, const IpSettings& settings, const std::string& device,
                    bool wait_for_link) {
    UNDERSTUDY_CHECK(stop(settings));
    const auto limit = seconds(instance.setting("IP_MAX_LINKCHK", 5, 0));
    if (wait_for_link && checks_link(instance))
        wait_until(limit, [&] {
            const auto interface = find_interface(device);
            return !interface || interface->link_up;
        });
    UNDERSTUDY_CHECK(bring_up(instance, settings, device));
    if (const auto good = check_on(instance, settings, device, true); !good) {
        UNDERSTUDY_CHECK(stop(settings));
        return good;
    }
    write_notes(instance, {device, read_notes(instance).broadcast_answered});
    say(fmt::format("{} is on {} again", settings.address, device));
    return {};
}

/// Spec: CLU-168, CMD-141, CMD-142, KIT-106, KIT-109.
Result<> recover(const Instance& instance) {
    UNDERSTUDY_TRY(const auto settings, ip_settings(instance.id.str(), instance.info));
    if (settings.disabled) return {};
    UNDERSTUDY_TRY(const auto in_use, interface_in_use(instance, settings));
    std::vector<std::string> devices{in_use};
    if (!settings.backup.empty())
        devices.push_back(in_use == settings.device ? settings.backup : settings.device);
    Result<> done;
    for (const auto& device : devices) {
        if (device != in_use) prefer_other_routes(in_use, is_ipv4(settings.address));
        // A link is waited for only where nothing is left to try.
        done = recover_on(instance, settings, device, device == devices.back());
        if (!done) {
            say(fmt::format("{} cannot be brought up on {}: {}", settings.address, device,
                            done.error().text));
            continue;
        }
        return {};
    }
    return with_context(done.error(), fmt::format("local recovery of {} failed", instance.tag.str()));
}

/// restore-mode [enable|disable]: changes it at once, also in service. Spec: KIT-101, CLU-258.
Result<> restore_mode(const Instance& instance) {
    UNDERSTUDY_TRY(auto settings, ip_settings(instance.id.str(), instance.info));
    const auto mode = instance.arguments.size() == 1 ? instance.arguments[0] : std::string();
    if (mode != "enable" && mode != "disable")
        return fail(Code::syntax, "usage: perform_action -t {} -a restore-mode -- enable|disable",
                    instance.tag.str());
    settings.disabled = mode == "disable";
    const bool in_service = instance.state == "ISP";
    // The address goes after the checks have been told, and is there before they ask for it.
    if (!settings.disabled && in_service) UNDERSTUDY_CHECK(start(instance, settings));
    UNDERSTUDY_CHECK(set_info(instance, settings));
    if (settings.disabled && in_service) UNDERSTUDY_CHECK(stop(settings));
    return {};
}

int run_kit(int argc, char** argv) {
    return run(argc, argv,
               {{"restore", restore},
                {"remove", remove},
                {"quickchk", [](const Instance& instance) { return check(instance, false); }},
                {"deepchk", [](const Instance& instance) { return check(instance, true); }},
                {"recover", recover},
                {"restore-mode", restore_mode},
                {"create", create_ip},
                {"canextend", can_extend_ip},
                {"extend", extend_ip}});
}

}  // namespace
}  // namespace understudy::kits

int main(int argc, char** argv) {
    return understudy::kits::run_kit(argc, argv);
}
