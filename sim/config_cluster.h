#pragma once
// Hosts that run the configuration's services and communication, without recovery: databases and their
// copies, locks, changes of priorities.

#include "comm/cluster.h"
#include "daemons/config_replication.h"
#include "daemons/locks.h"
#include "daemons/priorities.h"
#include "messages/messages.h"
#include "runtime/simulated/simulated_world.h"
#include "sim/simulated_store.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace understudy::sim {

using namespace std::chrono_literals;

/// One life of a node's daemon.
struct ConfigNode {
    ConfigNode(runtime::World w, StoreDisk& disk, const NodeName& self,
               const std::vector<config::Path>& paths)
        : world(w),
          store(w, disk),
          database(std::move(*config::Database::open(w, store, self))),
          cluster(w, {.self = self, .software_version = "1"}),
          replication(w, *database, cluster),
          locks(w, *database, cluster, "/run/locks", 1),
          transactions(w, *database, cluster, locks, "/state/change.json"),
          priorities(w, *database, cluster, transactions) {
        cluster.on_peer_event([this](const comm::PeerEvent& event) {
            if (event.kind == comm::PeerEvent::Kind::comm_down) ++downs;
        });
        replication.start();
        locks.start();
        transactions.start();
        priorities.start();
        cluster.set_paths(paths);
    }
    runtime::World world;
    SimulatedStore store;
    std::unique_ptr<config::Database> database;
    comm::Cluster cluster;
    daemons::ConfigReplication replication;
    daemons::LockService locks;
    daemons::TransactionService transactions;
    daemons::PriorityService priorities;
    int downs = 0;  // peers taken for dead in this life
};

class ConfigCluster {
  public:
    static constexpr auto kInterval = 1s;
    static constexpr int kMisses = 3;

    ConfigCluster(std::uint64_t seed, int count) : sim(seed) {
        messages::configure({.process = "simulation", .file = "", .least = messages::Severity::critical});
        for (int i = 0; i < count; ++i) {
            names.emplace_back(fmt::format("n{}", i));
            auto& host = sim.add_node(names.back().str(), {address(i)});
            static_cast<void>(host.files().make_directories("/run"));
            static_cast<void>(host.files().make_directories("/state"));
        }
        for (const auto& name : names)
            disks[name].own.systems.insert(names.begin(), names.end());
    }
    ConfigCluster(const ConfigCluster&) = delete;
    ConfigCluster& operator=(const ConfigCluster&) = delete;
    ~ConfigCluster() {
        sim.after_each_event(nullptr);
        for (const auto& name : names)
            host(name).power_off();
    }

    static std::string address(int node) { return fmt::format("10.0.0.{}", node + 1); }
    runtime::SimulatedNode& host(const NodeName& name) { return sim.node(name.str()); }
    /// Null while its daemon does not run.
    ConfigNode* node(const NodeName& name) { return host(name).running() ? nodes[name] : nullptr; }

    void boot(const NodeName& name) {
        if (host(name).running()) return;
        host(name).boot([this, name](runtime::World world) {
            auto made = std::make_unique<ConfigNode>(world, disks[name], name, paths(name));
            nodes[name] = made.get();
            return made;
        });
    }
    bool boot_all() {
        for (const auto& name : names)
            boot(name);
        return wait_together();
    }
    bool wait_together(runtime::Duration limit = 60s) {
        return sim.run_until(
            [&] {
                return std::all_of(names.begin(), names.end(), [&](const NodeName& name) {
                    auto* each = node(name);
                    return each != nullptr && each->cluster.settled() &&
                           each->cluster.alive_peers().size() + 1 == names.size();
                });
            },
            limit);
    }
    /// Whether every node's copies are their owners' configurations.
    bool copies_are_equal() {
        for (const auto& name : names)
            for (const auto& owner : names) {
                auto* here = node(name);
                auto* there = node(owner);
                if (here == nullptr || there == nullptr) return false;
                const auto* copy = here->database->of(owner);
                if (copy == nullptr || !(*copy == there->database->own())) return false;
            }
        return true;
    }
    /// Starts a process on the host that ends after so many seconds; its pid.
    int start_process(const NodeName& name, int seconds) {
        return host(name).start_foreign_process(std::chrono::seconds(seconds));
    }

    runtime::Simulation sim;
    std::vector<NodeName> names;
    std::map<NodeName, StoreDisk> disks;
    std::map<NodeName, ConfigNode*> nodes;  // of the life that was started last

  private:
    std::vector<config::Path> paths(const NodeName& name) {
        std::vector<config::Path> result;
        const auto index = static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin());
        for (int other = 0; other < static_cast<int>(names.size()); ++other) {
            if (other == index) continue;
            config::Path path;
            path.remote = names[static_cast<std::size_t>(other)];
            path.device = fmt::format("TCP:{}", 1500 + std::min(index, other) * 10 + std::max(index, other));
            path.transport = "TLI";
            path.interval_ms = static_cast<int>(std::chrono::milliseconds(kInterval).count());
            path.misses = kMisses;
            path.local_address = address(index);
            path.remote_address = address(other);
            result.push_back(path);
        }
        return result;
    }
};

}  // namespace understudy::sim
