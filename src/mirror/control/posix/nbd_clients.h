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
        /// `clients`: see set_authorities(); `removed`: nodes that are let in no more, of which only those of
        /// the cluster's authority can be.
        runtime::CredentialPaths credentials;
    };
    explicit NbdClients(Options options) : options_(std::move(options)) {}

    /// Reads the credentials anew; new connections use them. With an error nobody is let in by TLS until the
    /// next time. Nothing is read where no volume has a place. Blocking, for milliseconds.
    Result<> reload(const runtime::Files& files);
    /// The file of the authorities whose certificates are taken from the next reload() on; empty: the
    /// cluster's.
    void set_authorities(std::string file);
    /// Whether any volume has a place.
    [[nodiscard]] bool any() const { return !options_.places.empty(); }
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
