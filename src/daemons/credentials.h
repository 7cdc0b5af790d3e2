#pragma once
// Who belongs to the cluster, as certificates say it: `understudy remove` takes a node out, `understudy keys
// rotate` gives every node a new certificate of a new authority. Spec: CLU-099, CLU-272, DEP-216.
//
// What is void is a set that only grows (runtime/removed_nodes.h): removed nodes by name, and replaced
// authorities as "ca:FINGERPRINT". Members exchange it whenever they come together, so one that was down
// learns it from the first that it meets; from then on it refuses what is void and forgets removed nodes.
//
//   keys rotate, on one node, all others ALIVE:
//      every node   pki.trust    the new authority, beside the old one
//      every node   pki.request  a new key's request  -> signed here -> pki.install
//      this node    the new authority's key; the old authority is void -> exchange
//
// Threading: loop thread only.

#include "comm/cluster.h"
#include "comm/pki.h"
#include "config/command.h"
#include "config/database.h"
#include "daemons/node.h"
#include "runtime/removed_nodes.h"

#include <functional>
#include <optional>
#include <string>

namespace understudy::daemons {

class Credentials {
  public:
    using Done = std::function<void(config::Reply)>;
    /// `key_wanted`: called when the authority's key must come from another member.
    Credentials(runtime::World world, config::Database& database, comm::Cluster& cluster,
                const NodeOptions& options, std::function<void()> key_wanted);
    Credentials(const Credentials&) = delete;
    Credentials& operator=(const Credentials&) = delete;
    ~Credentials() { *alive_ = false; }
    void start();
    /// False when the command is another one.
    bool run(const config::Command& command, const Done& done);
    /// The number of the next certificate of this name.
    [[nodiscard]] std::uint32_t next_issue(const NodeName& node) const { return void_.next_issue(node); }

  private:
    [[nodiscard]] std::string why_not(const runtime::PeerIdentity& peer) const;
    void serve(const std::string& method, Result<std::string> (Credentials::*answer)(std::string_view));
    Result<std::string> exchange(std::string_view theirs);
    Result<std::string> trust(std::string_view ca_pem);
    Result<std::string> request(std::string_view);
    Result<std::string> install(std::string_view certificate_pem);

    void tell(const NodeName& peer);
    Result<> keep();
    /// What this node does about what has become void; lines for a person.
    std::string enforce(const std::vector<NodeName>& news);
    std::string forget(const NodeName& node);
    void drop_authority(const std::string& fingerprint);

    runtime::Task<> remove(config::Command command, Done done);
    runtime::Task<> rotate(Done done);
    runtime::Task<Result<>> renew(std::vector<NodeName> members);
    [[nodiscard]] Result<std::vector<NodeName>> members_for_rotation() const;

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    const NodeOptions& options_;
    std::function<void()> key_wanted_;
    runtime::RemovedNodes void_;
    std::optional<comm::KeyAndCertificate> requested_;  // key of the last pki.request
    bool rotating_ = false;
    runtime::TaskScope tasks_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy::daemons
