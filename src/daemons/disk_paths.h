#pragma once
// net_create of a DISK path: the device is looked at, and made the path's own, before the path is defined.
// Spec: CLU-053, CLU-057. Threading: loop thread only.

#include "config/lcdi.h"
#include "daemons/node.h"

#include <functional>

namespace understudy::daemons {

class DiskPaths {
  public:
    using Done = std::function<void(config::Reply)>;
    DiskPaths(runtime::World world, config::Database& database, const NodeOptions& options,
              std::function<config::LiveView()> live)
        : world_(world), database_(database), options_(options), live_(std::move(live)) {}
    /// False when the command is another one.
    bool run(const config::Command& command, const Done& done);

  private:
    runtime::Task<> create(config::Command command, Done done);

    runtime::World world_;
    config::Database& database_;
    const NodeOptions& options_;
    std::function<config::LiveView()> live_;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::daemons
