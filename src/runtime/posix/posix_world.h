#pragma once
// The real world: Asio event loop, TLS by OpenSSL, child processes by pidfd, files with fsync.

#include "runtime/world.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace understudy::runtime {

/// Where a node's credentials lie. Absent files are legal until the node is initialised or has joined.
struct CredentialPaths {
    std::string ca_certificate;
    std::string certificate;
    std::string private_key;
    /// Nodes that are refused (removed_nodes.h); empty: the program judges them itself.
    std::string removed = {};
    /// Certificates of the CAs that issue the certificates of those who may connect; empty: `ca_certificate`.
    std::string clients = {};
};

class PosixWorld {
  public:
    /// `process_records`: directory below /run for what is needed to end, after a crash, the processes that
    /// were running; empty: they go on.
    explicit PosixWorld(CredentialPaths credentials, std::string process_records = {});
    PosixWorld(const PosixWorld&) = delete;
    PosixWorld& operator=(const PosixWorld&) = delete;
    ~PosixWorld();

    [[nodiscard]] World world();
    /// Ends the processes that were running when the daemon before this one died, with what they started and
    /// still wait for; returns their command lines. Blocks until they are dead. To be called once nobody else
    /// can be that daemon, before anything is started.
    std::vector<std::string> end_unfinished_processes();
    /// Runs the loop on the calling thread until stop().
    void run();
    /// Callable from any thread.
    void stop();
    /// Calls `handler` on the loop for each delivery of SIGTERM or SIGINT.
    void on_terminate(std::function<void()> handler);
    /// Calls `handler` when a connection to one of our TLS ports was refused (another cluster, not TLS, too
    /// slow): it concerns no accepted channel, but an operator wants to know. The handler limits its own
    /// rate.
    using RefusalHandler = std::function<void(const Endpoint& at, const Endpoint& from, const Error& why)>;
    void on_refused(RefusalHandler handler);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::runtime
