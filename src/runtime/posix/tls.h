#pragma once
// TLS 1.3 by OpenSSL: the node's credentials, sessions, and who the other end is. No I/O happens here; a
// Transport drives a session on a socket. Private to runtime/posix.
//
//   Security::cluster    both sides show a certificate that a CA of the node's CA file issued
//   Security::enrolment  the server shows its certificate and its CA's; the client, which has no CA file yet,
//                        accepts a leaf issued by a CA of the presented chain whose fingerprint is the pinned
//                        one (from the join token)

#include "base/result.h"
#include "runtime/files.h"
#include "runtime/network.h"
#include "runtime/posix/posix_world.h"
#include "runtime/removed_nodes.h"

#include <memory>
#include <optional>
#include <string>

struct ssl_st;
struct ssl_ctx_st;

namespace understudy::runtime {

struct SslDeleter {
    void operator()(ssl_st* session) const;
    void operator()(ssl_ctx_st* context) const;
};
using SslPtr = std::unique_ptr<ssl_st, SslDeleter>;
using SslContextPtr = std::unique_ptr<ssl_ctx_st, SslDeleter>;

/// One TLS connection's OpenSSL state and what its verification found out.
struct TlsSession {
    SslPtr ssl;
    bool is_server = false;
    Security security = Security::cluster;
    std::string pinned_ca;  // enrolment client: lower-case hex, empty accepts any
    std::string found_ca;   // enrolment client: the CA that issued the server's certificate
    std::shared_ptr<const RemovedNodes> removed;  // null: not judged here
};

inline constexpr int kNoSocket = -1;

class TlsCredentials {
  public:
    TlsCredentials(CredentialPaths paths, const Files& files);
    TlsCredentials(const TlsCredentials&) = delete;
    TlsCredentials& operator=(const TlsCredentials&) = delete;
    ~TlsCredentials();

    /// Reads the files. When none is there the node has no credentials from now on and the error says
    /// so; with any other error the credentials in use stay.
    Result<> load();
    /// Whether a session could be made; the error says what to do.
    [[nodiscard]] Result<> usable(Security security, bool is_server) const;
    /// A session on the connected, non-blocking socket `fd`; kNoSocket: the caller gives it its BIOs.
    [[nodiscard]] Result<std::unique_ptr<TlsSession>> session(int fd, Security security, bool is_server,
                                                              std::string pinned_ca) const;

  private:
    struct Loaded;
    Result<> read_and_check();
    Result<> read_removed();

    CredentialPaths paths_;
    const Files& files_;
    std::unique_ptr<Loaded> loaded_;  // null: none
    std::shared_ptr<const RemovedNodes> removed_;
    std::optional<Error> problem_;            // why not, when load() has failed
    mutable SslContextPtr enrolment_client_;  // needs no credentials; made on first use
};

/// After a complete handshake: the peer as its certificate proves it. An enrolment server learns nothing.
Result<PeerIdentity> peer_identity(const TlsSession& session);

/// What went wrong in an operation on `session`, for a person, from OpenSSL's error queue and the
/// verification's result. `system_error` is errno after the operation. Empties the queue.
std::string tls_problem(const TlsSession& session, int system_error);

}  // namespace understudy::runtime
