#pragma once
// A disk that several hosts of a simulation reach: accesses take time, a host may lose it or wait for it
// forever, and a write that a power cut hits is torn.

#include "runtime/shared_disk.h"
#include "runtime/simulated/simulated_world.h"

#include <map>
#include <string>
#include <vector>

namespace understudy::runtime {

class SimulatedDisk {
  public:
    SimulatedDisk(Simulation& simulation, std::size_t bytes)
        : simulation_(simulation), content_(bytes, '\0') {}
    SimulatedDisk(const SimulatedDisk&) = delete;
    SimulatedDisk& operator=(const SimulatedDisk&) = delete;

    enum class Link { works, fails, hangs };
    /// What accesses of this host meet from now on. `hangs`: they end when that is over.
    void set_link(const std::string& host, Link link);
    [[nodiscard]] bool reached(const std::string& host) const { return link(host) == Link::works; }
    void all_reach();
    void set_delay(Duration least, Duration most);
    /// The bytes on the disk, to look at and to damage.
    [[nodiscard]] std::string& content() { return content_; }

  private:
    friend class SimulatedDisks;
    class Client;
    [[nodiscard]] Link link(const std::string& host) const;
    [[nodiscard]] Duration delay() const;
    void write(const SimulatedNode& host, std::uint64_t boots, std::uint64_t offset,
               const std::string& bytes);
    /// `function` when accesses of this host work or fail, at once or when they have stopped hanging.
    void when_not_hanging(const std::string& host, std::function<void()> function);

    Simulation& simulation_;
    std::string content_;
    std::map<std::string, Link> links_;
    std::map<std::string, std::vector<std::function<void()>>> hanging_;
    Duration least_ = std::chrono::microseconds(200);
    Duration most_ = std::chrono::milliseconds(5);
};

/// The disks that one life of a node's program can open, by device name.
class SimulatedDisks final : public SharedDisks {
  public:
    SimulatedDisks(const SimulatedNode& host, Tasks& tasks, std::map<std::string, SimulatedDisk*> disks)
        : host_(host), tasks_(tasks), disks_(std::move(disks)) {}
    [[nodiscard]] std::unique_ptr<SharedDisk> open(const std::string& device, Use use) override;

  private:
    const SimulatedNode& host_;
    Tasks& tasks_;
    std::map<std::string, SimulatedDisk*> disks_;
};

}  // namespace understudy::runtime
