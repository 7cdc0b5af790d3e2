#include "daemons/disk_paths.h"

#include "comm/disk_setup.h"

namespace understudy::daemons {
namespace {

constexpr std::string_view kDevicePrefix = "DISK:";

}  // namespace

bool DiskPaths::run(const config::Command& command, const Done& done) {
    if (command.name != "net_create" || command.get("n") != "DISK") return false;
    tasks_.spawn(create(command, done));
    return true;
}

runtime::Task<> DiskPaths::create(config::Command command, Done done) {
    const auto path = config::new_path(database_, live_(), command);
    if (!path) {
        done(config::failure(path.error()));
        co_return;
    }
    if (options_.shared_disks == nullptr) {
        done(config::failure({Code::failure, "this program has no access to disks", 0}));
        co_return;
    }
    const auto device = path->device.substr(kDevicePrefix.size());
    const auto prepared = co_await comm::prepare_disk(*options_.shared_disks, world_.clock, world_.tasks,
                                                      device, options_.self, path->remote);
    if (!prepared) {
        done(config::failure(prepared.error()));
        co_return;
    }
    // Checked again: the configuration may have changed meanwhile.
    done(*config::run_lcdi(database_, live_(), command));
}

}  // namespace understudy::daemons
