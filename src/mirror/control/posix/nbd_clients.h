#pragma once
// Clients of NBD exports on other hosts: where they find which volume, and how they prove who they are.

#include "base/result.h"
#include "base/types.h"
#include "mirror/export/export.h"
#include "runtime/network.h"
#include "runtime/posix/tls_server.h"

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace understudy::mirror::control {

/// "data=10.0.0.1:10809 logs=[fd00::1]:10810" as what it says. Errors: no such list; a volume or a place
/// twice.
Result<std::map<VolumeId, runtime::Endpoint>> parse_nbd_places(std::string_view list);

/// Threading: any; volumes' reactors ask while the control loop reloads.
class NbdClients {
  public:
    struct Options {
        std::map<VolumeId, runtime::Endpoint> places;
        bool plain = false;
        runtime::CredentialPaths credentials;
    };
    explicit NbdClients(Options options) : options_(std::move(options)) {}

    /// Reads the credentials anew; new connections use them. With an error nobody is let in by TLS until the
    /// next time. Nothing is read where no volume has a place. Blocking, for milliseconds.
    Result<> reload(const runtime::Files& files);
    /// For a volume that other hosts may reach. This object outlives the export.
    std::optional<NbdTcpOptions> of(const VolumeId& volume);

  private:
    Result<std::unique_ptr<runtime::TlsPipe>> begin_tls() const;

    Options options_;
    mutable std::mutex mutex_;
    std::shared_ptr<const runtime::TlsServer> server_;
    std::string problem_ = "this host has no credentials yet";
};

}  // namespace understudy::mirror::control
