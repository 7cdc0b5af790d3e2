#pragma once
// Listening unix sockets: one owner per path, dead owners' files are replaced. Private to runtime/posix.

#include "base/result.h"
#include "runtime/network.h"
#include "runtime/posix/descriptor.h"

#include <string>

namespace understudy::runtime {

/// The socket, and a lock on "<path>.lock" that is held as long as it listens: two daemons that start at the
/// same time cannot remove each other's socket. The kernel drops a dead process's lock.
class UnixListenSocket {
  public:
    /// Any user may connect (mode 0666): who may do what is decided by the peer's uid and gid. Error "already
    /// running" when a live process owns the path; a socket nobody listens on is replaced.
    static Result<UnixListenSocket> open(const std::string& path);
    UnixListenSocket(UnixListenSocket&&) noexcept = default;
    UnixListenSocket& operator=(UnixListenSocket&&) = delete;
    UnixListenSocket(const UnixListenSocket&) = delete;
    UnixListenSocket& operator=(const UnixListenSocket&) = delete;
    /// Removes the socket file, then lets the lock go.
    ~UnixListenSocket();

    [[nodiscard]] int fd() const { return socket_.get(); }

  private:
    UnixListenSocket(std::string path, Descriptor lock, Descriptor socket)
        : path_(std::move(path)), lock_(std::move(lock)), socket_(std::move(socket)) {}

    std::string path_;
    Descriptor lock_;
    Descriptor socket_;
};

/// Begins a connection to `path`. EAGAIN in `busy`: the listener's queue is full, try again soon.
Result<Descriptor> connect_unix(const std::string& path, bool& busy);

/// uid, gid and pid of the process at the other end, as they were when it connected.
PeerIdentity unix_peer(int fd);

}  // namespace understudy::runtime
