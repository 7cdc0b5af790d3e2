#pragma once
// `understudy status` and `understudy events`: the whole cluster as one node sees it, for people and as JSON.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "config/settings_file.h"
#include "daemons/node.h"
#include "recovery/engine.h"

#include <functional>
#include <memory>
#include <optional>
#include <string_view>

namespace understudy::daemons {

class QuorumService;

class StatusService {
  public:
    using Done = std::function<void(config::Reply)>;
    StatusService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                  const recovery::Engine& engine, QuorumService& quorum, const NodeOptions& options,
                  config::SettingsFile& settings);
    ~StatusService();
    StatusService(const StatusService&) = delete;
    StatusService& operator=(const StatusService&) = delete;
    void start();
    /// False when the command is not one of these.
    bool run(const config::Command& command, const Done& done);
    /// This host's mirrors as mirrord tells them (JSON); an empty list when it does not run.
    void ask_mirrors(std::function<void(Result<std::string>)> answer);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// "2026-11-22 14:05:06.123", local time, of microseconds since 1970.
std::string local_time(std::int64_t wall_us);

/// What people read in a server's cell for an instance's state there; without one: it cannot be told. Spec:
/// CLU-116.
std::string_view shown_state(std::optional<config::State> state);

/// Summary of the paths to one system. Spec: CLU-063.
std::string path_summary(const std::vector<comm::PathStatus>& paths, const NodeName& peer);

/// What is wrong with the paths to one system, for people; empty when nothing is. That a pair of systems has
/// fewer than two paths is wrong only when `redundant` is wanted; a path that is DEAD always is, unless the
/// system itself is known to be DEAD, which its state says. Spec: CLU-064.
std::string path_warning(const std::vector<comm::PathStatus>& paths, const NodeName& peer,
                         comm::PeerState state, bool redundant);

}  // namespace understudy::daemons
