// Listening and connecting.

#include "runtime/certificate_refusal.h"
#include "runtime/simulated/channel.h"
#include "runtime/simulated/network_core.h"

#include <algorithm>

namespace understudy::runtime::simulated {
namespace {

// An unanswered attempt is repeated after this long, as TCP repeats its first packet.
constexpr Duration kConnectRetry = std::chrono::milliseconds(250);

std::string describe(const Endpoint& endpoint) {
    return endpoint.is_unix() ? endpoint.address : fmt::format("{}:{}", endpoint.address, endpoint.port);
}

bool is_loopback(const std::string& address) {
    return address == "::1" || address.starts_with("127.");
}

bool is_any(const std::string& address) {
    return address == "0.0.0.0" || address == "::";
}

}  // namespace

struct NetworkCore::Attempt {
    std::shared_ptr<Incarnation> program;
    ConnectOptions options;
    Network::ConnectHandler on_done;
    TimePoint deadline;
    NetworkHost* from = nullptr;
    std::string local_address;
};

bool NetworkHost::owns(const std::string& address) const {
    return is_loopback(address) || std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

NetworkHost& NetworkCore::host_of(const Incarnation& program) {
    const auto at = std::find_if(hosts_.begin(), hosts_.end(),
                                 [&](const auto* host) { return host->program.get() == &program; });
    assert(at != hosts_.end());
    return **at;
}

NetworkHost* NetworkCore::host_at(const std::string& address, NetworkHost& from) {
    if (from.owns(address)) return &from;
    for (auto* host : hosts_)
        if (std::find(host->addresses.begin(), host->addresses.end(), address) != host->addresses.end())
            return host;
    return nullptr;
}

Duration NetworkCore::delay(bool local) {
    const auto least = local ? std::chrono::microseconds(10) : least_delay_;
    const auto most = local ? std::chrono::microseconds(50) : most_delay_;
    return least + Duration(random_.below(static_cast<std::uint64_t>((most - least).count()) + 1));
}

Result<std::unique_ptr<Listener>> NetworkCore::listen(const std::shared_ptr<Incarnation>& program,
                                                      const Endpoint& at, Security security,
                                                      Network::AcceptHandler on_accept) {
    auto& host = host_of(*program);
    if (at.is_unix() != (security == Security::plain))
        return fail(Code::bad_argument, "cannot listen on {}: plain channels are for unix sockets only",
                    describe(at));
    if (security != Security::plain && host.ca_fingerprint.empty())
        return fail(Code::failure, "cannot listen on {}: {} has no certificate yet", describe(at), host.name);
    if (!at.is_unix() && !is_any(at.address) && !host.owns(at.address))
        return fail(Code::bad_argument, "cannot listen on {}: {} does not have this address", describe(at),
                    host.name);
    auto where = at;
    if (!at.is_unix() && at.port == 0) where.port = host.next_port++;
    for (const auto& [key, point] : listeners_)
        if (key.first == host.name && key.second.port == where.port && !where.is_unix() &&
            !key.second.is_unix() &&
            (key.second.address == where.address || is_any(key.second.address) || is_any(where.address)))
            return fail(Code::exists, "cannot listen on {}: the port is taken on {}", describe(where),
                        host.name);
    ListenKey key{host.name, where};
    if (listeners_.contains(key))
        return fail(Code::exists, "cannot listen on {}: another program of {} does", describe(where),
                    host.name);
    const auto id = next_id_++;
    listeners_[key] = {id, program, security, std::make_shared<Network::AcceptHandler>(std::move(on_accept))};
    if (trace_) trace_(host.name, fmt::format("listens on {}", describe(where)));
    return std::make_unique<SimulatedListener>(*this, key, id);
}

void NetworkCore::connect(const std::shared_ptr<Incarnation>& program, const ConnectOptions& options,
                          Network::ConnectHandler on_done) {
    auto& host = host_of(*program);
    auto attempt = std::make_shared<Attempt>();
    attempt->program = program;
    attempt->options = options;
    attempt->on_done = std::move(on_done);
    attempt->deadline = queue_.now() + options.timeout;
    attempt->from = &host;
    const auto& remote = options.remote;
    const bool local = remote.is_unix() || host.owns(remote.address);
    attempt->local_address = options.local_address;
    if (remote.is_unix() != (options.security == Security::plain))
        return finish(attempt, {Code::bad_argument, "plain channels are for unix sockets only", 0});
    if (!options.local_address.empty() && !host.owns(options.local_address))
        return finish(attempt,
                      {Code::bad_argument,
                       fmt::format("{} does not have the address {}", host.name, options.local_address), 0});
    if (options.security == Security::cluster && host.ca_fingerprint.empty())
        return finish(attempt, {Code::failure, fmt::format("{} has no certificate yet", host.name), 0});
    if (attempt->local_address.empty())
        attempt->local_address = local ? remote.address : host.addresses.front();
    program->schedule(queue_.now() + delay(local), [this, attempt] { try_connect(attempt); });
}

void NetworkCore::finish(const std::shared_ptr<Attempt>& attempt, Error why) {
    why.text = fmt::format("cannot connect to {}: {}", describe(attempt->options.remote), why.text);
    if (trace_) trace_(attempt->from->name, why.text);
    attempt->program->schedule(
        queue_.now(), [attempt, why = std::move(why)] { attempt->on_done(tl::unexpected<Error>(why)); });
}

void NetworkCore::retry(const std::shared_ptr<Attempt>& attempt) {
    if (queue_.now() >= attempt->deadline)
        return finish(attempt, {Code::unreachable, "no answer in time", 0});
    const auto next = std::min(queue_.now() + kConnectRetry, attempt->deadline);
    attempt->program->schedule(next, [this, attempt] { try_connect(attempt); });
}

NetworkCore::ListenPoint* NetworkCore::listener_at(const NetworkHost& host, const Endpoint& at) {
    auto found = listeners_.find({host.name, at});
    if (found == listeners_.end() && !at.is_unix()) {
        found = listeners_.find({host.name, {"0.0.0.0", at.port}});
        if (found == listeners_.end()) found = listeners_.find({host.name, {"::", at.port}});
    }
    return found == listeners_.end() ? nullptr : &found->second;
}

void NetworkCore::try_connect(const std::shared_ptr<Attempt>& attempt) {
    const auto& remote = attempt->options.remote;
    auto* server = remote.is_unix() ? attempt->from : host_at(remote.address, *attempt->from);
    const bool local = server == attempt->from;
    if (server == nullptr || !server->answers()) return retry(attempt);
    if (!local &&
        (is_cut(attempt->local_address, remote.address) || is_cut(remote.address, attempt->local_address)))
        return retry(attempt);
    auto* listener = listener_at(*server, remote);
    if (listener == nullptr) return finish(attempt, {Code::unreachable, "connection refused", 0});
    // A stopped program does not answer the TLS handshake; a unix socket connects without it.
    if (listener->program->held && attempt->options.security != Security::plain) return retry(attempt);
    if (listener->security != attempt->options.security)
        return finish(attempt, {Code::failure, "the peer expects another kind of connection", 0});
    const auto& ca = server->ca_fingerprint;
    if (attempt->options.security == Security::cluster && ca != attempt->from->ca_fingerprint)
        return finish(
            attempt,
            {Code::failure, fmt::format("{}: that host belongs to another cluster", kForeignCertificate), 0});
    const auto& expected = attempt->options.expected_ca_fingerprint;
    if (attempt->options.security == Security::enrolment && !expected.empty() && ca != expected)
        return finish(attempt,
                      {Code::failure, fmt::format("the peer's cluster is {}, not {}", ca, expected), 0});
    establish(attempt, *server, *listener);
}

void NetworkCore::establish(const std::shared_ptr<Attempt>& attempt, NetworkHost& server,
                            ListenPoint& listener) {
    const auto& remote = attempt->options.remote;
    const auto security = attempt->options.security;
    auto connection = std::make_shared<Connection>();
    connection->id = next_id_++;
    connection->local = &server == attempt->from;
    auto& [ours, theirs] = connection->ends;
    ours.host = attempt->from;
    ours.program = attempt->program;
    ours.remote = remote;
    theirs.host = &server;
    theirs.program = listener.program;
    theirs.local = remote;
    if (security == Security::plain) {
        ours.peer = {"", "", 0, 0, listener.program->pid()};
        theirs.peer = {"", "", 0, 0, attempt->program->pid()};
        ours.local = theirs.remote = {remote.address, 0};
    } else {
        auto& port = attempt->from->next_port;
        ours.local = theirs.remote = {attempt->local_address, port};
        port = port == 0xffff ? std::uint16_t{32768} : static_cast<std::uint16_t>(port + 1);
        ours.peer.common_name = server.name;
        ours.peer.ca_fingerprint = server.ca_fingerprint;
        if (security == Security::cluster) {
            theirs.peer.common_name = attempt->from->name;
            theirs.peer.ca_fingerprint = attempt->from->ca_fingerprint;
        }
    }
    connections_.push_back(connection);
    if (trace_)
        trace_(attempt->from->name, fmt::format("connects to {} from {} (connection {})", describe(remote),
                                                describe(ours.local), connection->id));
    const auto accepted_at = queue_.now() + delay(connection->local);
    listener.program->schedule(accepted_at, [this, connection, on_accept = listener.on_accept] {
        (*on_accept)(std::make_unique<SimulatedChannel>(*this, connection, 1));
    });
    const auto connected_at = std::min(accepted_at + delay(connection->local), attempt->deadline);
    attempt->program->schedule(connected_at, [this, connection, attempt] {
        attempt->on_done(std::make_unique<SimulatedChannel>(*this, connection, 0));
    });
    reassess(*connection);
}

}  // namespace understudy::runtime::simulated
