// The ports of a node's mirrors, tried by new connections: what a firewall closes later is not seen by those
// that there are. Spec: REP-045.

#include "base/text.h"
#include "mirror/emcmd/service.h"
#include "runtime/certificate_refusal.h"

#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using control::SessionId;
using control::SessionKey;
using runtime::Task;

namespace {

constexpr runtime::Duration kProbeLimit = std::chrono::seconds(5);
/// The peer's own try, to connect and to be answered, is within this.
constexpr runtime::Duration kReachLimit = std::chrono::seconds(10);
constexpr const char* kProbe = "probe";
constexpr const char* kReach = "reach";

template <std::size_t N>
bool from_hex(std::string_view text, std::array<std::byte, N>& out) {
    const auto bytes = text::from_hex(text);
    if (!bytes || bytes->size() != N) return false;
    std::copy(bytes->begin(), bytes->end(), out.begin());
    return true;
}

}  // namespace

/// What `wrong` has of the peer's ports when it is set. Source and target ask each other by the dispatch
/// port, in both directions; a source that has links tries the data port as well.
Task<> Service::probe_ports(MirrorPtr mirror, std::string peer, bool data,
                            runtime::OneShot<std::string> wrong) {
    const control::PeerRecord* const found = mirror->record().peer(peer);
    if (found == nullptr) {
        wrong.set({});
        co_return;
    }
    const control::PeerRecord one = *found;
    SessionId session;
    SessionKey key;
    world_.random.fill(session);
    world_.random.fill(key);
    Json request{{"do", data ? kProbe : "ping"}};
    if (data) {
        request["volume"] = mirror->id().str();
        request["session"] = text::hex(session);
        request["key"] = text::hex(key);
    }
    const std::string name = volume_letter(mirror->id());
    auto asked = co_await ask(one.address, std::move(request), kProbeLimit);
    if (!asked) {
        const std::string& why = asked.error().text;
        if (runtime::is_certificate_refusal(asked.error()))
            wrong.set(fmt::format("volume {}: {} ({}) and {} do not accept each other: {}", name, peer,
                                  one.address, options_.node, why));
        else
            wrong.set(fmt::format("volume {}: port {} of {} ({}) takes no new connections: {}", name,
                                  one.port, peer, one.address, why));
        co_return;
    }
    Json back{{"do", kReach}, {"volume", mirror->id().str()}};
    const auto returned = co_await ask(one.address, std::move(back), kReachLimit);
    // Nothing is said by an older program.
    if (const std::string why = returned ? returned->value("unreached", "") : std::string(); !why.empty()) {
        wrong.set(fmt::format("volume {}: {} cannot connect to {}: {}", name, peer, options_.node, why));
        co_return;
    }
    // None: an older program, or a session is just being made.
    const auto given = asked->find("port");
    const auto port = given != asked->end() && given->is_number_unsigned() ? given->get<std::uint64_t>() : 0;
    if (!data || port < 1 || port > 65535) {
        wrong.set({});
        co_return;
    }
    const Result<> reached =
        co_await mirror->reach_probe(peer, static_cast<std::uint16_t>(port), session, key);
    if (reached)
        wrong.set({});
    else
        wrong.set(
            fmt::format("volume {}: port {} of {} ({}) takes no new connections, so that a lost link stays "
                        "lost: {}",
                        name, port, peer, one.address, reached.error().text));
}

/// All mirrors at a time: a port that is filtered takes its whole limit.
Task<std::vector<std::string>> Service::closed_ports() {
    std::vector<runtime::OneShot<std::string>> answers;
    for (const auto& mirror : manager_.all()) {
        const control::MirrorView view = co_await mirror->view();
        for (const control::PeerView& peer : view.peers) {
            const bool source = view.record.role == Role::source;
            if (!source && peer.record.node != view.record.main().node) continue;
            answers.emplace_back(world_.tasks);
            tasks_.spawn(probe_ports(mirror, peer.record.node, source && peer.linked, answers.back()));
        }
    }
    std::vector<std::string> out;
    for (auto& answer : answers) {
        std::string wrong = co_await answer;
        if (!wrong.empty()) out.push_back(std::move(wrong));
    }
    co_return out;
}

/// The peer's side: whether it reaches the host that asks by a new connection of its own. Spec: REP-337.
Task<Service::Json> Service::reach_back(VolumeId volume, std::string caller) {
    const MirrorPtr mirror = manager_.find(volume);
    const control::PeerRecord* const peer = mirror ? mirror->record().peer_of_host(caller) : nullptr;
    Json answer{{"status", number(Status::file_not_found)}};
    if (peer == nullptr) co_return answer;
    answer["status"] = 0;
    Json ping{{"do", "ping"}};
    const auto asked = co_await ask(peer->address, std::move(ping), kProbeLimit);
    if (!asked) answer["unreached"] = asked.error().text;
    co_return answer;
}

/// The target's side: its data port listens for a moment.
Service::Json Service::expect_probe(const VolumeId& volume, std::string_view session_hex,
                                    std::string_view key_hex, const std::string& caller) {
    SessionId session;
    SessionKey key;
    const MirrorPtr mirror = manager_.find(volume);
    if (!mirror || !from_hex(session_hex, session) || !from_hex(key_hex, key))
        return {{"status", number(Status::file_not_found)}};
    const control::PeerRecord* const peer = mirror->record().peer_of_host(caller);
    if (peer == nullptr) return {{"status", number(Status::access_denied)}};
    const auto port = mirror->expect_probe(peer->node, session, key);
    if (!port) return {{"status", number(Status::busy)}};
    return {{"status", 0}, {"port", *port}};
}

}  // namespace understudy::mirror::emcmd
