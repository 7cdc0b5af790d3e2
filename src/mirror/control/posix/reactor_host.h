#pragma once
// The real VolumeHost: one reactor thread that runs the volume, its gate and its export; calls go over by
// Reactor::post, answers and events come back by Tasks::post_from_thread.
//
//   control loop                     reactor thread
//   ReactorHost  --- post --->       Seat { Volume, Gate, Export }
//                <-- post_from_thread ---
//
// An event of a link that has been replaced meanwhile is dropped, so that the end of an old session is never
// taken for that of the new one.

#include "config/layout.h"
#include "mirror/control/posix/nbd_clients.h"
#include "mirror/control/volume_host.h"
#include "runtime/world.h"

#include <memory>
#include <vector>

namespace understudy::mirror::control {

struct HostPlaces {
    config::Layout layout;
    std::string keeper_socket;                  // empty: no keeper
    ExportKind device = ExportKind::automatic;  // what the host prefers
    std::vector<unsigned> processors;           // of the volume's thread; empty: all
    NbdClients* nbd_clients = nullptr;          // on other hosts; null: none are served
};

/// `kept`: an earlier process left the volume's export with the keeper.
Result<std::unique_ptr<VolumeHost>> make_reactor_host(runtime::World world, HostPlaces places,
                                                      VolumeId volume, HostEvents& events, bool kept);

}  // namespace understudy::mirror::control
