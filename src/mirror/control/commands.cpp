#include "mirror/control/commands.h"

#include "base/text.h"
#include "config/address.h"
#include "messages/messages.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::control {

using config::Command;
using config::Reply;
using runtime::Task;
using Json = nlohmann::json;

namespace {

constexpr std::size_t kMaxClients = 128;
constexpr std::int64_t kDefaultRate_MiB = 64;
constexpr std::int64_t kMostRate_MiB = 100'000;
constexpr std::int64_t kDefaultWait_s = 600;
constexpr std::int64_t kMostWait_s = 7 * 24 * 3600;

Reply reply_of(const Result<>& result) {
    return result ? config::success() : config::failure(result.error());
}

Reply reply_of(const Result<std::string>& result, std::string_view end = "\n") {
    return result ? config::success(*result + std::string(end)) : config::failure(result.error());
}

Reply wrong(std::string text) {
    return config::failure({Code::syntax, std::move(text), 0});
}

std::optional<MirrorType> parse_type(std::string_view word) {
    if (word == "sync") return MirrorType::sync;
    if (word == "async") return MirrorType::async;
    return std::nullopt;
}

std::string_view type_word(MirrorType type) {
    return type == MirrorType::async ? "async" : "sync";
}

/// The state a person should see: a target whose link went keeps what it knew last (REP-152).
MirrorState shown_state(const MirrorView& view, const PeerView& peer) {
    return view.open ? peer.volume.state : peer.record.state;
}

Json snapshot_json(const MirrorView& view) {
    const VolumeStatus volume = view.peers.empty() ? VolumeStatus() : view.peers[view.main].volume;
    return {
        {"state", to_string(volume.snapshot)}, {"location", view.record.snapshot_location},
        {"device", view.snapshot_device},      {"bytes", volume.snapshot_bytes},
        {"taken_s", view.snapshot_taken_s},    {"problem", view.snapshot_problem},
    };
}

Json counters_json(const PeerView& peer) {
    Json out = Json::object();
    for (const Counter& counter : peer.counters)
        out[std::string(counter.name)] = counter.value;
    return out;
}

/// Causes that have occurred, with their texts.
Json pauses_json(const SourceCounters& counted) {
    Json out = Json::object();
    for (std::size_t i = 0; i < counted.pauses.size(); ++i)
        if (counted.pauses[i] > 0)
            out[std::string(to_string(static_cast<PauseCause>(i)))] = counted.pauses[i];
    return out;
}

Json acknowledgements_json(const SourceCounters& counted) {
    return {{"bounds_us", SourceCounters::kLatencyBounds},
            {"counts", counted.acknowledged},
            {"sum_us", counted.acknowledged_us}};
}

/// The mirror with one peer.
Json json_of(const MirrorView& view, const PeerView& peer) {
    const MirrorState state = shown_state(view, peer);
    return {
        {"state", to_string(state)},
        {"state_number", static_cast<int>(state)},
        {"pause_cause", to_string(peer.record.cause)},
        {"user_requested", peer.record.user_requested},
        {"type", type_word(peer.record.type)},
        {"peer", peer.record.node},
        {"peer_address", peer.record.address},
        {"local_address", peer.record.local_address},
        {"connected", peer.linked},
        {"peer_device_size", peer.device_size},
        {"dirty_blocks", peer.volume.dirty_blocks},
        {"others_known", peer.volume.recent_known},
        {"dirty_bytes", peer.volume.dirty_blocks * 65536},
        {"resync_bytes_sent", peer.volume.resync_bytes_sent},
        {"resync_pass", peer.volume.resync_pass},
        {"left_out_blocks", peer.volume.left_out_blocks},
        {"queue_requests", peer.volume.queue_requests},
        {"queue_bytes", peer.volume.queue_bytes},
        {"log_commits", peer.volume.log_commits},
        {"lag",
         {{"seconds", static_cast<double>(peer.volume.counters.lag_ms) / 1000},
          {"bytes", peer.volume.counters.lag_bytes},
          {"writes", peer.volume.counters.lag_requests}}},
        {"counters", counters_json(peer)},
        {"pauses", pauses_json(peer.volume.counters)},
        {"acknowledgements", acknowledgements_json(peer.volume.counters)},
        {"log_valid", peer.record.log_valid && peer.volume.log_valid},
        {"reconnects", peer.volume.reconnects},
        {"parameters", peer.record.parameters},
        {"split_brain", peer.record.split_brain},
        {"comparison",
         {{"running", peer.volume.comparison.running},
          {"compared_bytes", peer.volume.comparison.compared_bytes},
          {"unused_bytes", peer.volume.comparison.unused_bytes},
          {"different_blocks", peer.volume.comparison.different_blocks}}},
        {"problem", peer.problem},
    };
}

/// The volume, with the values of the mirror that stands for it, and every mirror by itself in "targets".
Json json_of(const MirrorView& view) {
    const MirrorRecord& record = view.record;
    const PeerView none;
    const PeerView& main = view.peers.empty() ? none : view.peers[view.main];
    Json json = json_of(view, main);
    json.update({
        {"volume", record.volume.str()},
        {"id", text::hex(std::as_bytes(std::span(record.uuid)))},  // the same at all ends
        {"role", to_string(record.role)},
        {"role_number", static_cast<int>(record.role)},
        {"device", view.device_path},
        {"lower_device", record.device},
        {"export", to_string(record.export_kind)},
        {"exported", view.exporting},
        {"writes_held", view.writes_held},
        {"size", record.size},
        {"device_size", view.device_size},
        {"sector_size", record.sector_size},
        {"writes", main.volume.writes},
        {"write_bytes", main.volume.write_bytes},
        {"reads", main.volume.reads},
        {"read_bytes", main.volume.read_bytes},
        {"role_epoch", record.role_epoch},
        {"generation", fmt::format("{:016x}", record.lineage.current)},
        {"demoted", record.demoted},
        {"consistent", record.consistent},
        {"outdated", record.outdated},
        {"unlocked", record.unlocked},
        {"problem", view.problem},
        {"snapshot", snapshot_json(view)},
    });
    // A target's mirrors with the others are endpoints only.
    json["targets"] = Json::array();
    json["peers"] = Json::array();
    for (const PeerView& peer : view.peers) {
        if (record.role == Role::source) json["targets"].push_back(json_of(view, peer));
        json["peers"].push_back({{"node", peer.record.node},
                                 {"address", peer.record.address},
                                 {"local_address", peer.record.local_address}});
    }
    return json;
}

std::string line_of(const MirrorView& view, const PeerView& peer) {
    const MirrorRecord& record = view.record;
    std::string notes;
    if (peer.volume.dirty_blocks > 0)
        notes += fmt::format(" {} to send,", text::human_bytes(peer.volume.dirty_blocks * 65536));
    if (peer.volume.role == Role::source && view.open) {
        const SourceCounters& counted = peer.volume.counters;
        notes += fmt::format(" lag {:.1f} s {} in {} writes,", static_cast<double>(counted.lag_ms) / 1000,
                             text::human_bytes(counted.lag_bytes), counted.lag_requests);
    }
    if (view.open && view.device_size != record.size)
        notes += fmt::format(" volume of {} on a device of {},", text::human_bytes(record.size),
                             text::human_bytes(view.device_size));
    if (record.demoted) notes += " device given up,";
    if (!record.consistent) notes += " not consistent,";
    if (record.outdated) notes += " out of date,";
    if (record.unlocked) notes += " unlocked,";
    if (peer.record.user_requested) notes += " until continued,";
    if (peer.volume.snapshot != SnapshotState::none) notes += " snapshot,";
    if (!notes.empty()) notes.back() = ' ';
    std::string line =
        fmt::format("{:<16} {:<7} {:<16} {:<6} {:<12} {}{}", record.volume.str(), to_string(record.role),
                    to_string(shown_state(view, peer)), type_word(peer.record.type), peer.record.node,
                    view.device_path.empty() ? "-" : view.device_path, notes);
    while (line.ends_with(' '))
        line.pop_back();
    line += "\n";
    if (!peer.problem.empty()) line += fmt::format("    {}\n", peer.problem);
    return line;
}

std::string line_without_target(const MirrorView& view) {
    return fmt::format("{:<16} {:<7} no target {:<13} {}{}\n", view.record.volume.str(),
                       to_string(view.record.role), "", view.device_path.empty() ? "-" : view.device_path,
                       view.record.demoted ? " device given up" : "");
}

std::string dump(const Json& json) {
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string view_line(const MirrorView& view) {
    std::string out, told;
    if (view.peers.empty()) out = line_without_target(view);
    for (std::size_t i = 0; i < view.peers.size(); ++i) {
        if (view.record.role != Role::source && i != view.main) continue;
        out += line_of(view, view.peers[i]);
        told += view.peers[i].problem;
    }
    if (!view.problem.empty() && told.find(view.problem) == std::string::npos)
        out += fmt::format("    {}\n", view.problem);
    return out;
}

CommandService::CommandService(runtime::World world, Manager& manager) : world_(world), manager_(manager) {}

CommandService::~CommandService() {
    tasks_.clear();
}

Result<> CommandService::listen(const std::string& socket_path) {
    auto listener = world_.network.listen(
        {socket_path, 0}, runtime::Security::plain,
        [this](std::unique_ptr<runtime::Channel> channel) { accept(std::move(channel)); });
    if (!listener) return with_context(listener.error(), "cannot serve mirror commands");
    listener_ = std::move(*listener);
    return {};
}

void CommandService::accept(std::unique_ptr<runtime::Channel> channel) {
    if (clients_.size() >= kMaxClients) return;
    const std::uint64_t client = next_client_++;
    auto& kept = clients_[client] = std::move(channel);
    kept->start(
        [this, client](std::span<const std::byte> frame) {
            const auto at = clients_.find(client);
            if (at == clients_.end()) return;
            auto command =
                config::decode_command({reinterpret_cast<const char*>(frame.data()), frame.size()});
            if (!command) {
                const auto data = config::encode(config::failure(command.error()));
                at->second->send(std::as_bytes(std::span(data)));
                return;
            }
            command->uid = at->second->peer().uid;
            tasks_.spawn(answer(client, std::move(*command)));
        },
        [this, client](const Error&) { world_.tasks.post([this, client] { clients_.erase(client); }); });
}

Task<> CommandService::answer(std::uint64_t client, Command command) {
    const Reply reply = co_await run(std::move(command));
    const auto at = clients_.find(client);
    if (at == clients_.end()) co_return;  // gone; what it asked for was done all the same
    const auto data = config::encode(reply);
    at->second->send(std::as_bytes(std::span(data)));
}

Task<Reply> CommandService::run(Command command) {
    if (const auto at = more_.find(command.name); at != more_.end())
        co_return co_await at->second(std::move(command));
    if (command.name != "mirror" || command.arguments.empty())
        co_return wrong(fmt::format("mirrord knows no command \"{}\"", command.name));
    const std::string verb = command.arguments.front();
    command.arguments.erase(command.arguments.begin());
    if (const auto at = more_.find("mirror " + verb); at != more_.end())
        co_return co_await at->second(std::move(command));
    if (verb == "status") co_return co_await status(std::move(command));
    const bool asks_snapshots =
        verb == "snapshot" && !command.arguments.empty() && command.arguments.front() == "status";
    if (command.uid != 0 && verb != "wait" && !asks_snapshots)
        co_return config::failure({Code::failure, fmt::format("mirror {} needs root", verb), 0});
    if (verb == "create") co_return co_await create(std::move(command));
    if (verb == "snapshot") co_return co_await snapshot(std::move(command));
    co_return co_await on_volume(verb, std::move(command));
}

namespace {

/// "a,b" and "c" for option NAME of the first, the second, ... target; the last counts for all further ones.
std::string nth(const Command& command, const char* name, std::size_t index) {
    const auto values = text::split(command.get(name), ',');
    return values.empty() ? std::string() : values[std::min(index, values.size() - 1)];
}

/// None of a volume that gets its first target later. Spec: KIT-068
Result<std::vector<TargetOptions>> targets_of(const Command& command, bool needs_one) {
    const std::vector<const char*> options{"target", "target-device", "source-address", "target-address"};
    if (!needs_one && std::none_of(options.begin(), options.end(),
                                   [&](const char* option) { return command.has(option); })) {
        for (const char* option : {"type", "no-resync", "job"})
            if (command.has(option)) return fail(Code::syntax, "--{} goes with --target", option);
        return std::vector<TargetOptions>();
    }
    for (const char* needed : {"target", "target-device", "source-address", "target-address"})
        if (command.get(needed).empty()) return fail(Code::syntax, "--{} is missing", needed);
    const std::size_t count = text::split(command.get("target"), ',').size();
    if (text::split(command.get("target-address"), ',').size() != count)
        return fail(Code::syntax, "--target names {} nodes: give --target-address for each", count);
    std::vector<TargetOptions> out;
    for (std::size_t i = 0; i < count; ++i) {
        TargetOptions target;
        target.node = nth(command, "target", i);
        target.device = nth(command, "target-device", i);
        target.source_address = nth(command, "source-address", i);
        target.address = nth(command, "target-address", i);
        const std::string word = command.has("type") ? nth(command, "type", i) : "sync";
        const auto type = parse_type(word);
        if (!type) return fail(Code::syntax, "--type is sync or async, not \"{}\"", word);
        for (const std::string& address : {target.source_address, target.address})
            if (!config::is_numeric_address(address))
                return fail(Code::bad_argument, "\"{}\" is no numeric IPv4 or IPv6 address", address);
        target.type = *type;
        out.push_back(std::move(target));
    }
    return out;
}

}  // namespace

Task<Reply> CommandService::create(Command command) {
    if (command.arguments.size() != 1) co_return wrong("mirror create takes one volume");
    if (command.get("device").empty()) co_return wrong("--device is missing");
    auto targets = targets_of(command, false);
    if (!targets) co_return config::failure(targets.error());
    CreateOptions options;
    options.volume = VolumeId(command.arguments.front());
    options.device = command.get("device");
    options.targets = std::move(*targets);
    const auto kind = parse_export(command.get("export", "auto"));
    if (!kind)
        co_return wrong(
            fmt::format("--export is auto, ublk, fuse or nbd, not \"{}\"", command.get("export")));
    options.export_kind = *kind;
    options.resync = !command.has("no-resync");
    auto made = co_await manager_.create(std::move(options));
    co_return reply_of(made);
}

Task<Reply> CommandService::status(Command command) {
    std::vector<std::shared_ptr<Mirror>> mirrors;
    if (command.arguments.empty()) {
        mirrors = manager_.all();
    } else {
        auto one = manager_.find(VolumeId(command.arguments.front()));
        if (!one)
            co_return config::failure(
                {Code::not_found,
                 fmt::format("no volume {} on {}", command.arguments.front(), manager_.options().node), 0});
        mirrors.push_back(one);
    }
    Json list = Json::array();
    std::string text;
    for (const auto& mirror : mirrors) {
        const MirrorView view = co_await mirror->view();
        list.push_back(json_of(view));
        text += view_line(view);
    }
    const auto problems = problems_ ? problems_() : std::vector<std::string>();
    if (command.has("json")) {
        Json damaged = Json::object();
        for (const auto& [file, why] : manager_.damaged())
            damaged[file] = why;
        co_return config::success(dump({{"node", manager_.options().node},
                                        {"mirrors", list},
                                        {"damaged_records", damaged},
                                        {"configuration_problems", problems}}));
    }
    if (command.arguments.empty())
        for (const auto& [file, why] : manager_.damaged())
            text += fmt::format("{}: {}\n", file, why);
    if (command.arguments.empty())
        for (const std::string& problem : problems)
            text += fmt::format("{}: {}\n", manager_.options().node, problem);
    if (text.empty()) text = "no mirrors\n";
    co_return config::success(text);
}

Task<Reply> CommandService::verify(std::shared_ptr<Mirror> mirror, Command command) {
    const auto rate = text::to_int(command.get("rate", std::to_string(kDefaultRate_MiB)));
    if (!rate || *rate < 1 || *rate > kMostRate_MiB)
        co_return wrong(fmt::format("--rate takes 1 to {} MiB a second", kMostRate_MiB));
    CompareOptions options;
    options.bytes_per_second = static_cast<std::uint64_t>(*rate) << 20;
    options.repair = command.has("repair");
    auto done = co_await mirror->compare(command.get("target"), options);
    if (!done) co_return config::failure(done.error());
    const CompareReport& report = *done;
    const std::string volume = mirror->id().str();
    std::string text =
        fmt::format("volume {}: {} of {} compared", volume, text::human_bytes(report.compared_bytes),
                    text::human_bytes(report.total_bytes));
    if (report.skipped_bytes > 0)
        text += fmt::format(" ({} were being sent again)", text::human_bytes(report.skipped_bytes));
    if (report.unused_bytes > 0)
        text +=
            fmt::format(" ({} are free space that was never copied)", text::human_bytes(report.unused_bytes));
    if (report.completed_blocks > 0)
        text += fmt::format(" ({} blocks were free when the volume was copied; they are sent as a whole now)",
                            report.completed_blocks);
    if (report.different_blocks == 0) {
        text += ", no difference\n";
    } else {
        text += fmt::format(", {} blocks of 64 KiB differ{}, at byte", report.different_blocks,
                            options.repair ? " and were sent again" : "");
        for (const std::uint64_t offset : report.offsets)
            text += fmt::format(" {}", offset);
        text += report.different_blocks > report.offsets.size() ? " ...\n" : "\n";
    }
    if (!report.stopped.empty())
        co_return config::failure({Code::failure, fmt::format("{}{}", text, report.stopped), 0});
    if (report.different_blocks > 0 && !options.repair)
        co_return config::failure(
            {Code::failure,
             text + (mirror->record().free_left_out
                         ? "--repair sends them again; blocks that were free in part when the volume was "
                           "copied can be among them, without harm"
                         : "--repair sends them again"),
             0});
    co_return config::success(text);
}

Task<Reply> CommandService::snapshot(Command command) {
    const std::string action = command.arguments.empty() ? "" : command.arguments.front();
    if (!command.arguments.empty()) command.arguments.erase(command.arguments.begin());
    if (action == "status") co_return co_await snapshot_status(std::move(command));
    if (action != "take" && action != "drop" && action != "location")
        co_return wrong("mirror snapshot takes take, drop, location or status");
    if (command.arguments.empty()) co_return wrong(fmt::format("mirror snapshot {} takes a volume", action));
    std::vector<VolumeId> volumes;
    for (const std::string& name : command.arguments)
        volumes.emplace_back(name);
    if (action == "take") {
        auto taken = co_await manager_.take_snapshot(volumes, command.has("refresh"));
        co_return taken ? config::success(*taken) : config::failure(taken.error());
    }
    if (action == "drop") {
        auto dropped = co_await manager_.drop_snapshot(volumes, command.has("force"));
        co_return reply_of(dropped);
    }
    if (command.arguments.size() > 2)
        co_return wrong("mirror snapshot location takes a volume and a directory");
    if (command.has("clear") || command.arguments.size() == 2) {
        if (command.has("clear") && command.arguments.size() == 2)
            co_return wrong("--clear goes without a directory");
        std::string directory = command.has("clear") ? "" : command.arguments[1];
        if (directory.empty() && !command.has("clear")) co_return wrong("--clear takes a location away");
        co_return reply_of(manager_.set_snapshot_location(volumes.front(), std::move(directory)));
    }
    auto mirror = manager_.find(volumes.front());
    if (!mirror)
        co_return config::failure(
            {Code::not_found,
             fmt::format("no volume {} on {}", volumes.front().str(), manager_.options().node), 0});
    const std::string location = mirror->record().snapshot_location;
    co_return config::success(location.empty() ? "" : location + "\n");
}

Task<Reply> CommandService::snapshot_status(Command command) {
    Json list = Json::array();
    std::string text;
    for (const auto& mirror : manager_.all()) {
        const std::string name = mirror->id().str();
        if (!command.arguments.empty() && command.arguments.front() != name) continue;
        const MirrorView view = co_await mirror->view();
        const VolumeStatus volume = view.peers.empty() ? VolumeStatus() : view.peers[view.main].volume;
        Json one = snapshot_json(view);
        one["volume"] = name;
        list.push_back(std::move(one));
        text += fmt::format("{:<16} {:<9} {:>10} {}\n", name, to_string(volume.snapshot),
                            text::human_bytes(volume.snapshot_bytes),
                            view.snapshot_device.empty() ? "-" : view.snapshot_device);
        if (!view.snapshot_problem.empty()) text += fmt::format("    {}\n", view.snapshot_problem);
    }
    if (list.empty() && !command.arguments.empty())
        co_return config::failure(
            {Code::not_found,
             fmt::format("no volume {} on {}", command.arguments.front(), manager_.options().node), 0});
    if (command.has("json"))
        co_return config::success(dump({{"node", manager_.options().node}, {"snapshots", list}}));
    co_return config::success(text.empty() ? "no mirrors\n" : text);
}

Task<Reply> CommandService::on_volume(std::string verb, Command command) {
    if (command.arguments.empty()) co_return wrong(fmt::format("mirror {} takes a volume", verb));
    const VolumeId volume(command.arguments.front());
    auto mirror = manager_.find(volume);
    if (!mirror)
        co_return config::failure(
            {Code::not_found, fmt::format("no volume {} on {}", volume.str(), manager_.options().node), 0});
    Result<> done;
    const std::string target = command.get("target");  // empty: all
    if (verb == "pause") {
        done = co_await mirror->pause(target);
    } else if (verb == "continue") {
        done = co_await mirror->resume(target);
    } else if (verb == "break") {
        done = co_await mirror->break_mirror(target);
    } else if (verb == "resync") {
        done = co_await mirror->resync(target);
    } else if (verb == "lock") {
        done = co_await mirror->lock_target();
    } else if (verb == "unlock" && mirror->record().role == Role::source && !mirror->record().peers.empty()) {
        co_return config::failure(
            {Code::bad_argument,
             fmt::format(
                 "{} is source of volume {}: a target is unlocked. Run it there, or \"understudy mirror "
                 "pause {} --unlock\" here",
                 manager_.options().node, volume.str(), volume.str()),
             0});
    } else if (verb == "unlock") {
        auto opened = co_await mirror->unlock();
        co_return reply_of(opened);
    } else if (verb == "resize") {
        auto resized = co_await mirror->resize();
        co_return reply_of(resized);
    } else if (verb == "add") {
        auto targets = targets_of(command, true);
        if (!targets) co_return config::failure(targets.error());
        if (targets->size() != 1) co_return wrong("mirror add takes one target at a time");
        done = co_await manager_.add_target(volume, targets->front(), command.has("no-resync"));
    } else if (verb == "endpoints") {
        if (target.empty() || command.get("source-address").empty() || command.get("target-address").empty())
            co_return wrong("mirror endpoints needs --target, --source-address and --target-address");
        done = co_await mirror->change_endpoints(target, command.get("source-address"),
                                                 command.get("target-address"));
    } else if (verb == "demote") {
        done = co_await mirror->demote();
    } else if (verb == "yield") {
        done = co_await mirror->yield_to_peer();
    } else if (verb == "delete") {
        if (target.empty())
            done = co_await manager_.remove(volume, command.has("force"));
        else
            done = co_await manager_.remove_target(volume, target, command.has("force"));
    } else if (verb == "promote") {
        PromoteOptions options{command.has("force"), command.has("peer-dead")};
        auto promoted = co_await mirror->promote(options);
        co_return reply_of(promoted);
    } else if (verb == "type") {
        const auto type = command.arguments.size() == 2 ? parse_type(command.arguments[1]) : std::nullopt;
        if (!type) co_return wrong("mirror type takes a volume and sync or async");
        done = co_await mirror->set_type(target, *type);
    } else if (verb == "split-brain") {
        auto view = co_await mirror->split_view(target, command.has("json"));
        co_return view ? config::success(*view) : config::failure(view.error());
    } else if (verb == "verify") {
        co_return co_await verify(std::move(mirror), std::move(command));
    } else if (verb == "set") {
        if (command.arguments.size() == 1) co_return reply_of(mirror->parameters(target), "");
        done = mirror->set_parameters(target, std::span(command.arguments).subspan(1));
    } else if (verb == "wait") {
        const auto limit = text::to_int(command.get("timeout", std::to_string(kDefaultWait_s)));
        if (!limit || *limit < 0 || *limit > kMostWait_s)
            co_return wrong(fmt::format("--timeout takes 0 to {} seconds", kMostWait_s));
        done = co_await mirror->wait_in_sync(target, std::chrono::seconds(*limit));
    } else {
        co_return wrong(fmt::format("mirrord knows no command \"mirror {}\"", verb));
    }
    co_return reply_of(done);
}

}  // namespace understudy::mirror::control
