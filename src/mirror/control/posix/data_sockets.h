#pragma once
// The data links of a session as TCP sockets: the target listens for a few seconds, the source connects
// twice, both prove that they know the session's key (session.h). Each attempt runs on a short-lived thread
// with a deadline, so that neither the control loop nor a volume's reactor ever waits for a network.

#include "mirror/control/volume_host.h"
#include "runtime/world.h"

#include <memory>

namespace understudy::mirror::control {

class TcpDataLinks : public DataLinks {
  public:
    /// Port parameters as in session.h. `world` outlives this.
    explicit TcpDataLinks(runtime::World world, std::uint16_t port_base = kTargetPortBase,
                          std::uint16_t port_increment = kTargetPortIncrement);
    ~TcpDataLinks() override;

    Result<std::uint16_t> expect(const VolumeId& volume, const std::string& address, const SessionId& session,
                                 const SessionKey& key, std::function<void(LinkResult)> done) override;
    void forget(const VolumeId& volume) override;
    void set_ports(std::uint16_t base, std::uint16_t increment) override;
    runtime::Task<LinkResult> connect(runtime::Endpoint remote, std::string local_address, SessionId session,
                                      SessionKey key) override;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::mirror::control
