#pragma once
// How a cluster begins and how a node enters it.
//
//   make_cluster()      first node: CA, own certificate
//   create_token()      a member that holds the CA's key: text for the administrator to carry over
//   join()              new node: key and request -> TLS to the member, its CA pinned by the token
//                         -> {secret, name, request, proposed paths}
//                         <- {certificate, CA certificate, cluster's and member's names, accepted paths}
//   store_joined()      new node: writes them; then Network::reload_credentials()
//
// The private key never leaves its node. Nothing is stored on either side unless all went well; a token that
// was used is used, even if the answer is lost. Spec: DEP-216. Threading: loop thread only.

#include "comm/token_store.h"
#include "config/model.h"
#include "config/ports.h"
#include "runtime/task.h"
#include "runtime/world.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace understudy::comm {

inline constexpr std::uint16_t kEnrolmentPort = config::kMessageServerPort;  // Spec: CLU-031
/// Clocks further apart than this are put right before a node joins. Spec: DEP-216.
inline constexpr auto kMaxClockDifference = std::chrono::seconds(60);

/// Makes ca.pem, ca.key, node.pem, node.key (keys: mode 0600) in the pki directory. Code::exists when this
/// host belongs to a cluster already. When it was interrupted, calling it again with the same cluster name
/// goes on.
Result<> make_cluster(runtime::World world, const std::string& pki_directory, const NodeName& self,
                      const std::string& cluster);

/// What a node has after it joined.
struct Joined {
    std::string private_key;
    std::string certificate;
    std::string ca_certificate;
    std::string cluster;
    NodeName member;                  // the node that let it in
    std::vector<config::Path> paths;  // the joiner's ends of the paths that the member has created
};
/// Writes ca.pem, node.key, node.pem. Code::exists when this host belongs to a cluster already.
Result<> store_joined(runtime::World world, const std::string& pki_directory, const Joined& joined);
/// Code::exists when the pki directory holds a node's certificate: asked before join() spends a token.
Result<> check_no_cluster(runtime::World world, const std::string& pki_directory);

struct JoinOptions {
    NodeName self;
    std::string software_version;
    std::string token;
    std::string address;  // the member's, numeric
    std::uint16_t port = kEnrolmentPort;
    std::string local_address;  // to connect from; empty: any
    /// The joiner's ends of wanted paths. `remote` is not known yet and ignored; empty addresses become those
    /// of the enrolment connection. None at all: one path with the defaults over those addresses.
    std::vector<config::Path> paths;
    runtime::Duration limit = std::chrono::seconds(30);
};
/// Errors: no token; wrong, used or expired token (one text); name taken, versions or clocks apart
/// (bad_argument, exists); another cluster answers (bad_argument); nobody answers (unreachable).
runtime::Task<Result<Joined>> join(runtime::World world, JoinOptions options);

class EnrolmentService {
  public:
    struct Hooks {
        /// Whether the cluster knows a node of this name.
        std::function<bool(const NodeName&)> known;
        /// Creates the member's ends of the proposed paths (addresses filled in, `remote` = the new node) and
        /// says which it created, perhaps changed. All or nothing.
        std::function<Result<std::vector<config::Path>>(const NodeName&, std::vector<config::Path>)>
            accept_paths;
        /// The number of the node's certificate (runtime/removed_nodes.h); empty: 1.
        std::function<std::uint32_t(const NodeName&)> next_issue = {};
    };
    struct Options {
        NodeName self;
        std::string software_version;
        std::string pki_directory;
    };
    /// Requests that have not been read yet; more connections are closed at once.
    static constexpr std::size_t kMaxWaiting = 16;
    static constexpr auto kRequestLimit = std::chrono::seconds(10);

    EnrolmentService(runtime::World world, Options options, Hooks hooks);
    EnrolmentService(const EnrolmentService&) = delete;
    EnrolmentService& operator=(const EnrolmentService&) = delete;
    ~EnrolmentService();

    /// Listens on a numeric address. Errors: port taken, no certificate yet.
    Result<> listen(const std::string& address, std::uint16_t port = kEnrolmentPort);
    /// A token's text. `replaces`: the name of a known node that is set up anew with it. Errors: this node
    /// has no CA key yet, lifetime out of range.
    Result<std::string> create_token(runtime::Duration lifetime,
                                     const std::optional<NodeName>& replaces = {});

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // callbacks hold it weakly
};

}  // namespace understudy::comm
