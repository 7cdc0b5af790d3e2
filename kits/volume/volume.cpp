// The volume kit: the mirror's source role and the mounted file system, as one resource. Spec: KIT-058 to
// KIT-077.
//
// id: the volume. info: see fields.h; of a shared volume, shared.h. restore: become source (takes over when
// the peer is gone), wait for the device, mount. remove: unmount, give the device up. Whoever holds the
// volume is named.

#include "base/text.h"
#include "cli/client.h"
#include "kits/sdk/cluster.h"
#include "kits/sdk/kit.h"
#include "kits/volume/configure.h"
#include "kits/volume/mirror.h"
#include "kits/volume/mount_point.h"
#include "kits/volume/shared.h"
#include "messages/messages.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace understudy::kits {
namespace {

constexpr auto kDeviceLimit = std::chrono::seconds(10);
constexpr auto kMountLimit = std::chrono::seconds(120);    // journal replay of a large file system
constexpr auto kUnmountLimit = std::chrono::seconds(120);  // writes back what is dirty
constexpr auto kReleaseLimit = std::chrono::seconds(10);
constexpr auto kReleaseLook = std::chrono::milliseconds(200);

std::string device_of(const Instance& instance) {
    return instance.layout.root + "/dev/understudy/" + instance.id.str();
}

/// Whether the cluster knows that every other node of this volume is dead: then nobody need be waited for.
bool peers_are_dead(const Instance& instance) {
    const auto peers = peers_of(instance);
    if (!peers) return false;
    std::vector<std::string> nodes;
    for (const auto& peer : *peers)
        nodes.push_back(peer.node.str());
    return are_dead(instance, nodes);
}

Result<> bring_up(const Instance& instance) {
    UNDERSTUDY_TRY(const auto directory, instance.required("mount"));
    if (is_shared(instance)) {
        // What is mounted without a device is left from before this host lost the volume.
        if (is_mount_point(directory) && access(device_of(instance).c_str(), F_OK) != 0)
            UNDERSTUDY_CHECK(must_run({{"umount", directory}, "", "/", kUnmountLimit}));
        UNDERSTUDY_CHECK(take_shared(instance));
    } else {
        UNDERSTUDY_CHECK(check_mirror_identity(instance));
        UNDERSTUDY_CHECK(promote(instance, peers_are_dead(instance)));
    }
    if (is_mount_point(directory)) return {};  // restore must not disturb what runs. Spec: CLU-149
    const auto device = device_of(instance);
    if (!wait_until(kDeviceLimit, [&] { return access(device.c_str(), R_OK | W_OK) == 0; }))
        return fail(Code::failure, "{} did not appear within {} s", device, kDeviceLimit.count());
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    Program program{{"mount"}, "", "/", kMountLimit};
    if (const auto type = instance.optional("fs", ""); !type.empty()) {
        if (type != "ext4" && type != "xfs")  // Spec: KIT-059
            return fail(Code::bad_argument, "the file system of {} is {}; ext4 and xfs can be protected",
                        instance.tag.str(), type);
        program.words.insert(program.words.end(), {"-t", type});
    }
    if (const auto options = instance.optional("options", ""); !options.empty())
        program.words.insert(program.words.end(), {"-o", options});
    program.words.insert(program.words.end(), {device, directory});
    UNDERSTUDY_CHECK(must_run(program));
    say(fmt::format("{} is mounted on {}", device, directory));
    return {};
}

Result<> restore(const Instance& instance) {
    const auto done = bring_up(instance);
    if (done && (is_mixed(instance) || is_shared(instance))) let_sharing_hosts_follow(instance);
    if (done) return {};
    return fail(Code::failure, "{} {}", messages::text(messages::volume_restore_failed, instance.id.str()),
                done.error().text);
}

/// A killed process may hold a file system, unmounted lazily, or the device for a moment after it was seen to
/// be gone: that must not keep what failed here from going elsewhere.
Result<> give_up(const Instance& instance) {
    const auto attempt = [&]() -> Result<> {
        if (is_shared(instance)) return give_up_shared(instance);
        UNDERSTUDY_CHECK(command(instance.layout, "understudy mirror demote", {instance.id.str()}));
        return {};
    };
    Result<> done = attempt();
    const auto held = [&done] { return !done && done.error().code == Code::has_dependents; };
    if (!held()) return done;
    say(fmt::format("{}; waiting up to {} s for that", done.error().text, kReleaseLimit.count()));
    const auto try_again = [&] {
        done = attempt();
        return !held();
    };
    wait_until(kReleaseLimit, try_again, kReleaseLook);
    return done;
}

Result<> remove(const Instance& instance) {
    UNDERSTUDY_TRY(const auto directory, instance.required("mount"));
    if (is_mount_point(directory)) {
        UNDERSTUDY_TRY(const auto unmounted, run_program({{"umount", directory}, "", "/", kUnmountLimit}));
        if (unmounted.exit_code != 0 || unmounted.timed_out) {
            const auto holders = holders_of(directory);
            return fail(Code::failure, "{} Held by: {}. ({})",
                        messages::text(messages::volume_in_use, instance.id.str(), instance.node),
                        holders.empty() ? "nobody visible" : holders, text::trim(unmounted.output));
        }
        say(fmt::format("{} is unmounted", directory));
    }
    return give_up(instance);
}

Result<> quick_check(const Instance& instance) {
    if (instance.state != "ISP") return {};  // Spec: CLU-149
    // In maintenance nothing is checked. Spec: KIT-077
    UNDERSTUDY_TRY(const auto flag,
                   cli::run(instance.layout, "flg_test", {"-f", "Maintenance_" + instance.id.str()}));
    if (flag.exit_code == 0) return {};
    UNDERSTUDY_TRY(const auto directory, instance.required("mount"));
    // A file system that is mounted still answers from memory when its device was taken away.
    if (is_shared(instance) && access(device_of(instance).c_str(), F_OK) != 0)
        return fail(Code::failure, "{} does not own {} any more", instance.node, instance.id.str());
    if (!is_mount_point(directory))
        return fail(Code::failure, "{} is not mounted on {}", instance.id.str(), directory);
    struct statvfs status {};
    if (statvfs(directory.c_str(), &status) != 0)
        return fail(Code::failure, "{} cannot be accessed: {}", directory, std::strerror(errno));
    if ((status.f_flag & ST_RDONLY) != 0)
        return fail(Code::failure, "{} has become read-only; its device reported an error", directory);
    return {};
}

/// Besides: who shares the disk to which this volume is mirrored has one that follows, and the other nodes
/// know which mirror this is. Spec: KIT-058, CLU-161
Result<> deep_check(const Instance& instance) {
    UNDERSTUDY_CHECK(quick_check(instance));
    if (is_mixed(instance) || is_shared(instance)) let_sharing_hosts_follow(instance);
    tell_mirror_identity(instance);
    return {};
}

int run_kit(int argc, char** argv) {
    return run(argc, argv,
               {{"restore", restore},
                {"remove", remove},
                {"quickchk", quick_check},
                {"deepchk", deep_check},
                {"create", create_volume},
                {"canextend", can_extend_volume},
                {"extend", extend_volume},
                {"takeback", take_back_volume},
                {"canunextend", can_unextend_volume},
                {"unextend", unextend_volume},
                {"candelete", can_delete_volume},
                {"delete", delete_volume}});
}

}  // namespace
}  // namespace understudy::kits

int main(int argc, char** argv) {
    return understudy::kits::run_kit(argc, argv);
}
