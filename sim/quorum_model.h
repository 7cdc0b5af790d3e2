#pragma once
// What quorum needs of the world in a simulation: a shared storage that may be slow, stale or out of reach,
// and the watchdog of each host, which goes by true time whatever the host does.

#include "quorum/storage.h"
#include "runtime/simulated/simulated_world.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace understudy::sim {

/// The file server: objects by path, seen by every host that reaches it.
class SharedStorage {
  public:
    explicit SharedStorage(runtime::Simulation& simulation) : simulation_(simulation) {}
    SharedStorage(const SharedStorage&) = delete;
    SharedStorage& operator=(const SharedStorage&) = delete;

    void reachable(const NodeName& host, bool is) { unreachable_[host] = !is; }
    [[nodiscard]] bool reached(const NodeName& host) const {
        const auto at = unreachable_.find(host);
        return at == unreachable_.end() || !at->second;
    }
    void all_reachable() {
        unreachable_.clear();
        stale_ = {};
        slow_ = std::chrono::milliseconds(20);
    }
    /// Reads may be as old as this (S3, a client's cache).
    void set_staleness(runtime::Duration most) { stale_ = most; }
    /// An access takes up to this long.
    void set_delay(runtime::Duration most) { slow_ = most; }
    /// Damages a byte of an object.
    void damage(const std::string& path);
    [[nodiscard]] std::optional<std::string> newest(const std::string& path) const;

    /// `done` is called through `tasks`, so it dies with the program.
    void cycle(const NodeName& host, runtime::Tasks& tasks, const quorum::Storage::Request& request,
               quorum::Storage::Done done);

  private:
    struct Version {
        runtime::TimePoint at;
        std::string bytes;
    };
    void write(const std::string& path, std::string bytes);
    [[nodiscard]] Result<std::string> read(const std::string& path) const;
    [[nodiscard]] runtime::Duration delay() const {
        return simulation_.random_duration(std::chrono::milliseconds(1), slow_);
    }

    runtime::Simulation& simulation_;
    std::map<NodeName, bool> unreachable_;
    runtime::Duration stale_{};
    runtime::Duration slow_ = std::chrono::milliseconds(20);
    std::map<std::string, std::deque<Version>> objects_;
};

/// One life of a daemon as a client of the storage.
class StorageClient final : public quorum::Storage {
  public:
    StorageClient(SharedStorage& storage, NodeName host, runtime::Tasks& tasks)
        : storage_(storage), host_(std::move(host)), tasks_(tasks) {}
    void cycle(const Request& request, Done done) override {
        storage_.cycle(host_, tasks_, request, std::move(done));
    }

  private:
    SharedStorage& storage_;
    NodeName host_;
    runtime::Tasks& tasks_;
};

/// A host's watchdog: outlives its daemon, ends with the power.
class HostWatchdog final : public quorum::Watchdog {
  public:
    /// `reset` pulls the plug and lets the host boot again.
    HostWatchdog(runtime::Simulation& simulation, runtime::SimulatedNode& host,
                 std::function<void(const std::string&)> reset)
        : simulation_(simulation), host_(host), reset_(std::move(reset)) {}
    void arm(runtime::Duration time) override;
    void disarm() override { ++setting_; }
    void reset(const std::string& why) override;
    [[nodiscard]] bool present() const override { return true; }
    [[nodiscard]] int resets() const { return resets_; }

  private:
    runtime::Simulation& simulation_;
    runtime::SimulatedNode& host_;
    std::function<void(const std::string&)> reset_;
    std::uint64_t setting_ = 0;
    int resets_ = 0;
};

}  // namespace understudy::sim
