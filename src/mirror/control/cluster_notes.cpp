#include "mirror/control/cluster_notes.h"

#include "base/text.h"
#include "messages/messages.h"

#include <algorithm>
#include <charconv>

namespace understudy::mirror::control {

using runtime::Task;

namespace {

// Flags that begin with ! are the engine's.
constexpr std::string_view kFlagKind = "!mirrorbehind";
constexpr char kFieldSeparator = '!';
constexpr std::size_t kFlagFields = 8;  // empty, kind, volume, source, mirror, epoch, generation, time

// A node that hangs is found DEAD by the heartbeats; until then one question waits so long for it.
constexpr runtime::Duration kAskLimit = std::chrono::seconds(4);
constexpr runtime::Duration kEngineConnectLimit = std::chrono::seconds(2);
// Between the clocks of two hosts of a cluster, at most.
constexpr auto kClockDifference = std::chrono::seconds(60);

template <class Number>
std::optional<Number> number_of(std::string_view text, int base) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace

std::string to_flag(const BehindNote& note) {
    return fmt::format("{}!{}!{}!{}!{}!{:016x}!{}", kFlagKind, note.volume.str(), note.source, note.mirror,
                       note.role_epoch, note.generation, note.since_s);
}

std::optional<BehindNote> note_of_flag(std::string_view flag) {
    if (!flag.starts_with(kFlagKind)) return std::nullopt;
    const auto fields = text::split(flag, kFieldSeparator);
    if (fields.size() != kFlagFields || fmt::format("!{}", fields[1]) != kFlagKind) return std::nullopt;
    const auto epoch = number_of<std::uint64_t>(fields[5], 10);
    const auto generation = number_of<GenerationId>(fields[6], 16);
    const auto since = number_of<std::int64_t>(fields[7], 10);
    if (fields[2].empty() || fields[3].empty() || fields[4].empty() || !epoch || !generation ||
        *generation == 0 || !since)
        return std::nullopt;
    return BehindNote{VolumeId(fields[2]), fields[3], fields[4], *epoch, *generation, *since};
}

bool is_behind(const BehindNote& note, std::string_view node, std::string_view mirror,
               std::uint64_t role_epoch, const Generations& generations) {
    return note.source != node && note.mirror == mirror && note.role_epoch >= role_epoch &&
           !generations.knows(note.generation);
}

bool is_takeover(const BehindNote& note, std::string_view node, std::string_view mirror,
                 std::uint64_t role_epoch, const Generations& generations, std::int64_t alone_since_s) {
    // An older note may be left over from a split brain that this end has won.
    return note.role_epoch > role_epoch && note.since_s + kClockDifference.count() >= alone_since_s &&
           is_behind(note, node, mirror, role_epoch, generations);
}

/// One command of understudyd, for `node`; its output.
Task<Result<config::Reply>> ask_engine(runtime::World world, config::Layout layout, config::Command command,
                                       runtime::Duration limit) {
    using Connected = Result<std::shared_ptr<runtime::Channel>>;
    runtime::ConnectOptions options;
    options.remote = {layout.daemon_socket(), 0};
    options.security = runtime::Security::plain;
    options.timeout = kEngineConnectLimit;
    runtime::OneShot<Connected> connected(world.tasks);
    world.network.connect(options, [connected](Result<std::unique_ptr<runtime::Channel>> made) {
        if (made)
            connected.set(std::shared_ptr<runtime::Channel>(std::move(*made)));
        else
            connected.set(fail(made.error()));
    });
    const Connected channel = co_await connected;
    if (!channel)
        co_return fail(Code::unreachable, "understudyd does not answer: {}; start it with lkstart",
                       channel.error().text);
    runtime::OneShot<Result<config::Reply>> answered(world.tasks);
    (*channel)->start(
        [answered](std::span<const std::byte> frame) {
            auto reply = config::decode_reply({reinterpret_cast<const char*>(frame.data()), frame.size()});
            if (reply && reply->exit_code == config::kMoreFollows) return;  // how far it is
            answered.set(std::move(reply));
        },
        [answered](const Error& why) {
            answered.set(fail(Code::unreachable, "understudyd closed the connection: {}", why.text));
        });
    const std::string frame = config::encode(command);
    (void)(*channel)->send(std::as_bytes(std::span(frame)));  // a closed channel answers by its handler
    const auto timer = world.tasks.after(limit, [answered, name = command.name] {
        answered.set(fail(Code::unreachable, "{} took too long", name));
    });
    Result<config::Reply> reply = co_await answered;
    world.tasks.cancel(timer);
    co_return reply;
}

Task<Result<std::string>> EngineNotes::ask(std::string node, std::string command, std::string flag) {
    config::Command asked;
    asked.name = command;
    if (node != node_) asked.options["d"] = node;
    if (!flag.empty()) asked.options[command == "sys_getst" ? "s" : "f"] = flag;
    const Result<config::Reply> reply = co_await ask_engine(world_, layout_, std::move(asked), kAskLimit);
    if (!reply) co_return fail(reply.error().code, "{} on {}: {}", command, node, reply.error().text);
    if (reply->exit_code != 0)
        co_return fail(static_cast<Code>(reply->exit_code), "{} on {}: {}", command, node, reply->err);
    co_return reply->out;
}

Task<Result<std::vector<EngineNotes::Node>>> EngineNotes::nodes() {
    auto listed = co_await ask(node_, "sys_list", "");
    if (!listed) co_return fail(listed.error());
    std::vector<Node> out{{node_, true}};
    for (const auto& line : text::split(*listed, '\n')) {
        const std::string name(text::trim(line));
        if (name.empty() || name == node_) continue;
        auto state = co_await ask(node_, "sys_getst", name);
        if (!state) co_return fail(state.error());
        // UNKNOWN is a node that has not been seen since this one started: it cannot be told either.
        out.push_back({name, text::trim(*state) == "ALIVE"});
    }
    co_return out;
}

/// Whether a node that did not answer is not alive any more.
Task<bool> EngineNotes::died(std::string node) {
    auto state = co_await ask(node_, "sys_getst", node);
    if (!state) co_return false;
    co_return text::trim(*state) != "ALIVE";
}

Task<bool> EngineNotes::is_dead(std::string node) {
    if (!protects()) co_return false;
    auto state = co_await ask(node_, "sys_getst", node);
    // UNKNOWN is a node that this one has never seen since it started: that says nothing.
    co_return state&& text::trim(*state) == "DEAD";
}

Task<bool> EngineNotes::answers() {
    if (!protects()) co_return true;
    config::Command asked;
    asked.name = "sys_list";
    const Result<config::Reply> reply = co_await ask_engine(world_, layout_, std::move(asked), kAskLimit);
    co_return reply.has_value();
}

Task<Result<std::vector<BehindNote>>> EngineNotes::notes_of(std::string node, VolumeId volume) {
    auto listed = co_await ask(node, "flg_list", "");
    if (!listed) co_return fail(listed.error());
    std::vector<BehindNote> out;
    for (const auto& line : text::split(*listed, '\n'))
        if (auto note = note_of_flag(text::trim(line)); note && note->volume == volume)
            out.push_back(std::move(*note));
    co_return out;
}

Task<Result<>> EngineNotes::post_to(std::string node, BehindNote note) {
    auto old = co_await notes_of(node, note.volume);
    if (!old) co_return fail(old.error());
    const bool known = std::any_of(old->begin(), old->end(), [&](const BehindNote& one) {
        return one.source == note.source && one.generation == note.generation;
    });
    if (!known) {
        auto made = co_await ask(node, "flg_create", to_flag(note));
        if (!made && made.error().code != Code::exists) co_return fail(made.error());
    }
    // Repeated also for a known note: the attempt that wrote it may have ended before it was on disk.
    auto synced = co_await ask(node, "lcdsync", "");
    if (!synced) co_return fail(synced.error());
    for (const BehindNote& one : *old) {
        if (one.source != note.source || one.generation == note.generation) continue;
        auto gone = co_await ask(node, "flg_remove", to_flag(one));
        if (!gone) messages::info("{}", gone.error().text);  // an old note says less than the new one
    }
    co_return Result<>{};
}

Task<Result<>> EngineNotes::withdraw_from(std::string node, VolumeId volume) {
    auto notes = co_await notes_of(node, volume);
    if (!notes) co_return fail(notes.error());
    for (const BehindNote& one : *notes) {
        auto gone = co_await ask(node, "flg_remove", to_flag(one));
        if (!gone && gone.error().code != Code::not_found) co_return fail(gone.error());
    }
    co_return Result<>{};
}

Task<Result<bool>> EngineNotes::post(BehindNote note, std::vector<std::string> peers) {
    if (!protects()) co_return true;
    auto members = co_await nodes();
    if (!members) co_return fail(members.error());
    bool peer_has_it = true;
    for (const Node& member : *members) {
        Result<> posted;
        if (member.alive) posted = co_await post_to(member.name, note);
        if (!posted && !co_await died(member.name)) co_return fail(posted.error());
        const bool is_peer = std::find(peers.begin(), peers.end(), member.name) != peers.end();
        if (is_peer && (!member.alive || !posted)) peer_has_it = false;
    }
    co_return peer_has_it;
}

Task<Result<bool>> EngineNotes::withdraw(VolumeId volume, std::vector<std::string> peers) {
    if (!protects()) co_return true;
    auto members = co_await nodes();
    if (!members) co_return fail(members.error());
    bool peer_asked = true;
    for (const Node& member : *members) {
        Result<> gone;
        if (member.alive) gone = co_await withdraw_from(member.name, volume);
        const bool is_peer = std::find(peers.begin(), peers.end(), member.name) != peers.end();
        if (is_peer && (!member.alive || !gone)) peer_asked = false;
    }
    co_return peer_asked;
}

Task<Result<std::vector<BehindNote>>> EngineNotes::read(VolumeId volume) {
    std::vector<BehindNote> out;
    if (!protects()) co_return out;
    auto members = co_await nodes();
    if (!members) co_return fail(members.error());
    for (const Node& member : *members) {
        if (!member.alive) continue;
        auto notes = co_await notes_of(member.name, volume);
        if (!notes && member.name == node_) co_return fail(notes.error());
        if (!notes) {
            messages::warning("volume {}: {}", volume.str(), notes.error().text);
            continue;
        }
        out.insert(out.end(), notes->begin(), notes->end());
    }
    co_return out;
}

}  // namespace understudy::mirror::control
