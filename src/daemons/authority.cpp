#include "daemons/authority.h"

#include "comm/pki.h"
#include "comm/rotation.h"
#include "messages/messages.h"

namespace understudy::daemons {
namespace {

constexpr std::string_view kMethod = "authority.key";
constexpr auto kCallLimit = std::chrono::seconds(10);
constexpr int kKeyMode = 0600;

std::string key_file(const NodeOptions& options) {
    return options.layout.pki() + "/ca.key";
}

}  // namespace

Authority::Authority(runtime::World world, config::Database& database, comm::Cluster& cluster,
                     const NodeOptions& options)
    : world_(world), database_(database), cluster_(cluster), options_(options) {}

void Authority::start() {
    cluster_.serve(std::string(kMethod),
                   [this](const NodeName& caller, std::string_view, const comm::Cluster::Answer& answer) {
                       answer(give(caller));
                   });
    cluster_.on_peer_event([this](const comm::PeerEvent& event) {
        if (event.kind == comm::PeerEvent::Kind::comm_up && wanted()) ask(event.peer);
    });
}

bool Authority::wanted() const {
    return options_.settings.boolean("SHARE_CA_KEY") &&
           world_.files.exists(options_.layout.pki() + "/node.pem") &&
           !comm::load_ca(world_, options_.layout.pki());
}

void Authority::ask_all() {
    if (!wanted()) return;
    for (const auto& peer : cluster_.alive_peers())
        ask(peer);
}

Result<std::string> Authority::give(const NodeName& caller) const {
    // Its certificate was good, but it may have been removed since. Spec: CLU-099.
    if (!database_.own().systems.contains(caller))
        return fail(Code::not_found, "{} is no system of {}", caller.str(), database_.self().str());
    if (!options_.settings.boolean("SHARE_CA_KEY"))
        return fail(Code::failure, "{} keeps the certificate authority to itself", database_.self().str());
    return world_.files.read(key_file(options_));
}

void Authority::ask(const NodeName& peer) {
    cluster_.call(
        peer, kMethod, {}, kCallLimit, [this, peer, alive = alive_](const Result<std::string>& key) {
            if (!*alive || !key || !wanted()) return;  // another peer may have it
            if (auto kept = keep(*key); !kept)
                messages::warning("the certificate authority of {} was not taken: {}", peer.str(),
                                  kept.error().text);
            else
                messages::info("hosts can join through this node: {} has given the certificate authority",
                               peer.str());
        });
}

/// Only what belongs to an authority that this node trusts.
Result<> Authority::keep(const std::string& key) {
    UNDERSTUDY_TRY(const auto trusted, world_.files.read(options_.layout.pki() + "/ca.pem"));
    for (const auto& certificate : comm::split_certificates(trusted))
        if (comm::check_pair({key, certificate}))
            return world_.files.write_atomic(key_file(options_), key, kKeyMode);
    return fail(Code::internal, "it is not the key of a certificate authority that this node trusts");
}

}  // namespace understudy::daemons
