#include "daemons/credentials.h"

#include "base/text.h"
#include "comm/enrolment.h"
#include "comm/rotation.h"
#include "config/lcdi.h"
#include "messages/messages.h"

namespace understudy::daemons {
namespace {

using config::Command;
using config::Reply;

constexpr std::string_view kExchange = "pki.removed";
constexpr std::string_view kTrust = "pki.trust";
constexpr std::string_view kRequest = "pki.request";
constexpr std::string_view kInstall = "pki.install";
constexpr auto kCallLimit = std::chrono::seconds(10);
constexpr std::string_view kAuthorityPrefix = "ca:";

std::string void_file(const NodeOptions& options) {
    return options.layout.pki() + "/removed";
}

std::int64_t seconds_of(runtime::WallTime wall) {
    return std::chrono::floor<std::chrono::seconds>(wall).time_since_epoch().count();
}

}  // namespace

Credentials::Credentials(runtime::World world, config::Database& database, comm::Cluster& cluster,
                         const NodeOptions& options, std::function<void()> key_wanted)
    : world_(world),
      database_(database),
      cluster_(cluster),
      options_(options),
      key_wanted_(std::move(key_wanted)) {}

void Credentials::start() {
    if (const auto text = world_.files.read(void_file(options_))) {
        if (auto set = runtime::RemovedNodes::parse(*text))
            void_ = std::move(*set);
        else
            messages::error("{}: {}; what was removed is learnt from the other nodes", void_file(options_),
                            set.error().text);
    }
    if (const auto completed = comm::complete_install(world_, options_.layout.pki()); !completed)
        messages::error("this node's new key was not installed: {}", completed.error().text);
    else if (*completed)
        static_cast<void>(world_.network.reload_credentials());
    cluster_.judge_certificates([this](const runtime::PeerIdentity& peer) { return why_not(peer); });
    serve(std::string(kExchange), &Credentials::exchange);
    serve(std::string(kTrust), &Credentials::trust);
    serve(std::string(kRequest), &Credentials::request);
    serve(std::string(kInstall), &Credentials::install);
    cluster_.on_peer_event([this](const comm::PeerEvent& event) {
        if (event.kind == comm::PeerEvent::Kind::comm_up) tell(event.peer);
    });
}

void Credentials::serve(const std::string& method,
                        Result<std::string> (Credentials::*answer)(std::string_view)) {
    cluster_.serve(method, [this, answer](const NodeName& caller, std::string_view payload,
                                          const comm::Cluster::Answer& done) {
        if (!database_.own().systems.contains(caller))
            return done(fail(Code::not_found, "{} is no system of {}", caller.str(), database_.self().str()));
        done((this->*answer)(payload));
    });
}

bool Credentials::run(const Command& command, const Done& done) {
    if (command.name == "understudy remove")
        tasks_.spawn(remove(command, done));
    else if (command.name == "understudy keys rotate")
        tasks_.spawn(rotate(done));
    else
        return false;
    return true;
}

std::string Credentials::why_not(const runtime::PeerIdentity& peer) const {
    if (void_.find(std::string(kAuthorityPrefix) + peer.ca_fingerprint, 1) != nullptr)
        return fmt::format("the certificate of {} is of an authority that was replaced", peer.common_name);
    return void_.why_not(peer);
}

// --- the set that only grows

void Credentials::tell(const NodeName& peer) {
    if (!cluster_.has_feature(peer, comm::Feature::credentials)) return;
    cluster_.call(peer, kExchange, void_.text(), kCallLimit,
                  [this, alive = alive_](const Result<std::string>& answer) {
                      if (*alive && answer) static_cast<void>(exchange(*answer));
                  });
}

Result<std::string> Credentials::exchange(std::string_view theirs) {
    UNDERSTUDY_TRY(const auto set, runtime::RemovedNodes::parse(theirs));
    const auto news = void_.merge(set);
    if (!news.empty()) {
        UNDERSTUDY_CHECK(keep());
        enforce(news);
    }
    return void_.text();
}

Result<> Credentials::keep() {
    UNDERSTUDY_CHECK(world_.files.make_directories(options_.layout.pki()));
    return world_.files.write_atomic(void_file(options_), void_.text());
}

std::string Credentials::enforce(const std::vector<NodeName>& news) {
    std::string told;
    for (const auto& name : news) {
        if (name.str().starts_with(kAuthorityPrefix))
            drop_authority(name.str().substr(kAuthorityPrefix.size()));
        else if (name != database_.self())
            told += forget(name);
    }
    // After the answer to who told it has gone out over what is closed now.
    world_.tasks.post([this, alive = alive_] {
        if (*alive) cluster_.recheck_certificates();
    });
    return told;
}

std::string Credentials::forget(const NodeName& node) {
    database_.journal(0, "node", node.str(), fmt::format("{} was removed from the cluster", node.str()));
    Command command;
    command.name = "delallsys";
    command.options["f"] = node.str();
    const auto reply = config::run_lcdi(database_, {}, command);
    messages::info("{} was removed from the cluster; {}", node.str(),
                   reply && reply->exit_code == 0 ? "this node has forgotten it" : "nothing was known of it");
    return reply && reply->exit_code == 0 ? reply->out : std::string();
}

void Credentials::drop_authority(const std::string& fingerprint) {
    if (!world_.files.exists(options_.layout.pki() + "/node.pem")) return;
    auto dropped = comm::trust_no_longer(world_, options_.layout.pki(), fingerprint);
    if (dropped) dropped = world_.network.reload_credentials();
    if (!dropped) messages::error("the replaced certificate authority: {}", dropped.error().text);
    database_.journal(0, "node", database_.self().str(), "the cluster's certificate authority was replaced");
    key_wanted_();
}

// --- removal

runtime::Task<> Credentials::remove(Command command, Done done) {
    const NodeName node(command.arguments.at(0));
    const auto refuse = [&](Code code, std::string text) {
        done(config::failure({code, std::move(text), 0}));
    };
    if (node == database_.self()) {
        refuse(Code::bad_argument,
               fmt::format("{} cannot remove itself: run this on another member", node.str()));
        co_return;
    }
    if (!database_.own().systems.contains(node)) {
        refuse(Code::not_found,
               fmt::format("there is no system \"{}\" known to {}", node.str(), database_.self().str()));
        co_return;
    }
    // A living one would take its peers for dead, and what they run for its own.
    if (cluster_.peer_state(node) == comm::PeerState::alive) {
        refuse(Code::failure, fmt::format("{} is ALIVE: move away what it runs, stop it there for good "
                                          "(lkstop), and remove it then",
                                          node.str()));
        co_return;
    }
    auto grown = void_;
    grown.remove(node, seconds_of(world_.clock.wall()), database_.self().str());
    std::swap(void_, grown);
    if (const auto kept = keep(); !kept) {
        std::swap(void_, grown);
        refuse(kept.error().code, kept.error().text);
        co_return;
    }
    Reply reply = config::success(enforce({node}));
    const auto set = void_.text();
    std::vector<NodeName> others;
    for (const auto& system : database_.own().systems)
        if (system != database_.self()) others.push_back(system);
    for (const auto& peer : others) {
        const bool knows = cluster_.has_feature(peer, comm::Feature::credentials);
        Result<std::string> told = fail(Code::failure, "{} runs an older release", peer.str());
        if (knows) told = co_await cluster_.call(peer, std::string(kExchange), set, kCallLimit);
        reply.out += told ? fmt::format("{} has forgotten {}.\n", peer.str(), node.str())
                          : fmt::format("{} learns it when it is ALIVE: {}\n", peer.str(), told.error().text);
    }
    reply.out += fmt::format(
        "{} was removed: its certificate is void, also when it is started again.\nWho has its disk has the "
        "key of the cluster's certificate authority too: if that is not you, run `understudy keys rotate` "
        "now.\n",
        node.str());
    done(reply);
}

// --- rotation

Result<std::string> Credentials::trust(std::string_view ca_pem) {
    UNDERSTUDY_CHECK(comm::trust_also(world_, options_.layout.pki(), std::string(ca_pem)));
    UNDERSTUDY_CHECK(world_.network.reload_credentials());
    return std::string();
}

Result<std::string> Credentials::request(std::string_view) {
    UNDERSTUDY_TRY(auto made, comm::make_request(database_.self()));
    requested_ = std::move(made);
    return requested_->certificate;
}

Result<std::string> Credentials::install(std::string_view certificate_pem) {
    if (!requested_) return fail(Code::failure, "{} has requested no certificate", database_.self().str());
    const comm::KeyAndCertificate own{requested_->private_key, std::string(certificate_pem)};
    UNDERSTUDY_CHECK(comm::install(world_, options_.layout.pki(), database_.self(), own));
    requested_.reset();
    UNDERSTUDY_CHECK(world_.network.reload_credentials());
    return std::string();
}

Result<std::vector<NodeName>> Credentials::members_for_rotation() const {
    if (!world_.files.exists(options_.layout.pki() + "/node.pem"))
        return fail(Code::failure, "{} belongs to no cluster yet: `understudy init` or `understudy join`",
                    database_.self().str());
    std::vector<NodeName> members;
    for (const auto& system : database_.own().systems) {
        if (system == database_.self()) continue;
        if (!cluster_.carries_calls(system))
            return fail(Code::unreachable,
                        "{} is {}: every node must get its new certificate. Start it, or take it out with "
                        "`understudy remove {}`",
                        system.str(), comm::to_string(cluster_.peer_state(system)), system.str());
        if (!cluster_.has_feature(system, comm::Feature::credentials))
            return fail(Code::failure, "{} runs release {}, which cannot renew its keys: upgrade it first",
                        system.str(), cluster_.software_of(system));
        members.push_back(system);
    }
    return members;
}

runtime::Task<> Credentials::rotate(Done done) {
    auto members = members_for_rotation();
    if (members && rotating_) members = fail(Code::failure, "new keys are being made already");
    if (!members) {
        done(config::failure(members.error()));
        co_return;
    }
    rotating_ = true;
    auto renewed = co_await renew(*members);
    rotating_ = false;
    if (!renewed) {
        renewed.error().text +=
            "; nothing is broken: the old keys and the new ones are both accepted. Run the "
            "command again when every node is ALIVE";
        done(config::failure(renewed.error()));
        co_return;
    }
    done(
        config::success(fmt::format("{} node(s) have new keys of a new certificate authority; the old one is "
                                    "void.\nTokens that were made "
                                    "before do not work any more.\n",
                                    members->size() + 1)));
}

runtime::Task<Result<>> Credentials::renew(std::vector<NodeName> members) {
    const auto pki = options_.layout.pki();
    const auto old_text = world_.files.read(pki + "/ca.pem");
    if (!old_text) co_return fail(old_text.error());
    const auto name = comm::cluster_name(*old_text);
    if (!name) co_return fail(name.error());
    const auto ca = comm::make_ca(*name);
    if (!ca) co_return fail(ca.error());

    if (const auto here = trust(ca->certificate); !here) co_return fail(here.error());
    for (const auto& node : members) {
        const auto there = co_await cluster_.call(node, std::string(kTrust), ca->certificate, kCallLimit);
        if (!there) co_return fail(there.error());
    }
    members.push_back(database_.self());
    for (const auto& node : members) {
        const auto wanted = co_await cluster_.call(node, std::string(kRequest), std::string(), kCallLimit);
        if (!wanted) co_return fail(wanted.error());
        const auto certificate = comm::sign_request(*ca, node, *wanted, void_.next_issue(node));
        if (!certificate) co_return fail(certificate.error());
        const auto installed = co_await cluster_.call(node, std::string(kInstall), *certificate, kCallLimit);
        if (!installed) co_return fail(installed.error());
    }
    // Everybody has the new one: the old ones may go. This node's key of the authority first, so that those
    // who lose theirs find it.
    if (auto kept = world_.files.write_atomic(pki + "/ca.key", ca->private_key, 0600); !kept)
        co_return fail(kept.error());
    const auto now = seconds_of(world_.clock.wall());
    std::vector<NodeName> replaced;
    for (const auto& old : comm::split_certificates(*old_text)) {
        replaced.emplace_back(std::string(kAuthorityPrefix) + comm::fingerprint(old).value_or(""));
        void_.remove(replaced.back(), now, database_.self().str());
    }
    if (auto kept = keep(); !kept) co_return fail(kept.error());
    const auto set = void_.text();
    members.pop_back();
    for (const auto& node : members) {
        // Who cannot be told now learns it when it meets anybody.
        const auto told = co_await cluster_.call(node, std::string(kExchange), set, kCallLimit);
        if (!told) messages::warning("{} still accepts the old keys: {}", node.str(), told.error().text);
    }
    enforce(replaced);
    co_return Result<>{};
}

}  // namespace understudy::daemons
