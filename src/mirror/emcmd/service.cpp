// Who answers a command: this node, another one, or another one through a third.

#include "mirror/emcmd/service.h"

#include "base/text.h"
#include "messages/messages.h"
#include "mirror/control/mirror_limits.h"
#include "runtime/certificate_refusal.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using config::Command;
using config::Reply;
using runtime::Task;

namespace {

/// A changing command may wait for devices and peers; one that goes through a third node waits for both hops.
constexpr runtime::Duration kRemoteLimit = std::chrono::seconds(100);
/// Words of the requests between services.
constexpr const char* kCommand = "command";
constexpr const char* kFacts = "facts";
constexpr const char* kBeside = "beside";
constexpr const char* kSet = "set";
constexpr const char* kJobPut = "job-put";
constexpr const char* kJobRemove = "job-remove";
constexpr const char* kPing = "ping";
constexpr const char* kProbe = "probe";
constexpr const char* kReach = "reach";

std::string_view last_line_of(Ending ending, Status status) {
    switch (ending) {
        case Ending::status:
            return "last";
        case Ending::status_first:
        case Ending::query:
            return status == Status::success ? "" : "last";
        case Ending::silent:
            return "";
    }
    return "";
}

std::string local_zone_free(std::string name) {
    const auto zone = name.find('%');
    if (zone != std::string::npos) name.resize(zone);
    return name;
}

bool is_numeric(std::string_view system) {
    return system.find(':') != std::string_view::npos ||
           (!system.empty() && system.find_first_not_of("0123456789.") == std::string_view::npos);
}

nlohmann::json to_json(const Bitmap& bitmap) {
    nlohmann::json dirty = nlohmann::json::array();
    for (const BlockRange& range : bitmap.dirty) {
        dirty.push_back(range.first);
        dirty.push_back(range.count);
    }
    return {{"blocks", bitmap.blocks}, {"dirty", std::move(dirty)}};
}

/// nullopt: it is none.
std::optional<Bitmap> bitmap_from(const nlohmann::json& json) {
    if (!json.is_object() || !json.contains("dirty") || !json["dirty"].is_array()) return std::nullopt;
    Bitmap out;
    out.blocks = json.value("blocks", std::uint64_t{0});
    const auto& dirty = json["dirty"];
    for (std::size_t i = 0; i + 1 < dirty.size(); i += 2) {
        if (!dirty[i].is_number_unsigned() || !dirty[i + 1].is_number_unsigned()) return std::nullopt;
        out.dirty.push_back({dirty[i].get<std::uint64_t>(), dirty[i + 1].get<std::uint64_t>()});
    }
    return out;
}

Status second_hop(const Error& error) {
    // The node answered, and its certificate was not taken: the manual's 1265. Spec: EMC-035
    if (runtime::is_certificate_refusal(error) || error.text.find("handshake") != std::string::npos)
        return Status::downgrade_detected;
    // A host that lives and has no service. Spec: EMC-017, EMC-065
    if (error.text.find("refused") != std::string::npos) return Status::file_not_found;
    return status_of(error);
}

}  // namespace

Service::Service(runtime::World world, control::Manager& manager, HostFacts& host, ServiceOptions options)
    : world_(world),
      manager_(manager),
      host_(host),
      options_(std::move(options)),
      settings_(world.files, options_.layout),
      jobs_(world.files, options_.layout),
      alerts_(world, options_.layout),
      started_(host.now_s()),
      modified_(started_) {
    manager_.set_service(
        [this](const std::string& caller, std::string payload, control::PeerServer::Answer answer) {
            serve(caller, std::move(payload), std::move(answer));
        });
    manager_.set_target_check([this](const VolumeId& volume) { return may_be_target(volume); });
    manager_.set_observer([this](const control::MirrorRecord& before, const control::MirrorRecord& now) {
        record_changed(before, now);
    });
}

Service::~Service() {
    tasks_.clear();
    manager_.set_service({});
    manager_.set_target_check({});
    manager_.set_observer({});
}

void Service::add_to(control::CommandService& commands) {
    commands_ = &commands;
    commands.set_problems([this] { return host_problems(); });
    commands.add("mirror create", [this](Command command) { return run_create(std::move(command)); });
    commands.add("emcmd", [this](Command command) { return run(std::move(command)); });
    commands.add("mirror health", [this](Command command) { return run_health(std::move(command)); });
    commands.add("mirror job", [this](Command command) { return run_job(std::move(command)); });
    commands.add("mirror set", [this](Command command) { return run_set(std::move(command)); });
    commands.add("mirror delete", [this](Command command) { return run_delete(std::move(command)); });
    for (const char* word : {"pause", "continue", "break", "resync"})
        commands.add(fmt::format("mirror {}", word),
                     [this, word](Command command) { return run_on_both_ends(word, std::move(command)); });
    commands.add("mirror type", [this](Command command) { return run_type(std::move(command)); });
    commands.add("mirror add", [this](Command command) { return run_add(std::move(command)); });
    commands.add("mirror endpoints", [this](Command command) { return run_endpoints(std::move(command)); });
    commands.add("mirror promote", [this](Command command) { return run_promote(std::move(command)); });
    for (const char* name : {"share", "owner"})
        commands.add(fmt::format("understudy volume {}", name),
                     [this](Command command) { return run_share(std::move(command)); });
    for (const char* name : {"set", "list", "forget", "lock", "unlock"})
        commands.add(fmt::format("understudy volume {}", name),
                     [this](Command command) { return run_volume(std::move(command)); });
}

void Service::start() {
    // What was changed while this node, or another, was away.
    for (const Job& job : jobs_.all())
        for (const std::string& system : systems_of(job))
            if (!is_this(system)) remember_untold(job.id, system);
    for (const VolumeId& volume : settings_.all()) {
        const auto settings = settings_.get(volume);
        if (!settings) {
            messages::error("{}", settings.error().text);
            continue;
        }
        const bool shut = settings->locked || (settings->attributes & shared_volume) != 0;
        if (!shut || settings->device.empty() || manager_.find(volume)) continue;
        if (shared_ != nullptr && shared_->was_open(volume)) {
            shared_->go_on({volume, settings->device, settings->area});
            continue;
        }
        hold_again(volume);
    }
    if (shared_ != nullptr) tasks_.spawn(watch_shared());
}

Result<> Service::may_be_target(const VolumeId& volume) const {
    UNDERSTUDY_CHECK(may_be_target_disk(volume));
    UNDERSTUDY_TRY(const VolumeSettings settings, settings_.get(volume));
    if (settings.block_target)
        return fail(Code::failure, "{} is ineligible to become a target of volume {} (SETBLOCKTARGET)",
                    options_.node, volume.str());
    if (settings_.switchover_flag(volume))
        return fail(Code::failure,
                    "the switchover flag of volume {} is set on {}: its mirror was removed there alone "
                    "(CLEARSWITCHOVER)",
                    volume.str(), options_.node);
    return {};
}

void Service::record_changed(const control::MirrorRecord& before, const control::MirrorRecord& now) {
    const std::int64_t moment = host_.now_s();
    for (const control::PeerRecord& peer : now.peers)
        addresses_[text::lower(peer.host_name())] = peer.address;
    if (before == now) return;
    changed_[now.volume] = modified_ = moment;
    alerts_.send(alerts_of(before, now));
    if (const auto settings = settings_.get(now.volume))
        alerts_.send(net_alerts_of(before, now, settings->attributes));
    for (const control::PeerRecord& peer : now.peers) {
        const control::PeerRecord* const old = before.peer(peer.node);
        const bool was = old != nullptr && old->state == MirrorState::resync;
        const bool is = now.role == Role::source && peer.state == MirrorState::resync;
        if (was == is) continue;
        ResyncTimes& times = resyncs_[{now.volume, peer.node}];
        if (is) times.started = moment;
        times.last = moment;
    }
}

// --- systems

bool Service::is_this(const std::string& system) const {
    if (system == "." || same_system(system, options_.node)) return true;
    return is_numeric(system) && host_.is_local(local_zone_free(system));
}

/// A node's address: as typed, from a mirror with it, from a job, or by the resolver.
Task<Result<std::string>> Service::address_of(std::string system) {
    if (is_numeric(system)) co_return system;
    for (const auto& mirror : manager_.all())
        for (const control::PeerRecord& peer : mirror->record().peers)
            if (same_system(peer.node, system)) co_return peer.address;
    for (const Job& job : jobs_.all())
        if (const std::string address = emcmd::address_of(job, system); !address.empty()) co_return address;
    for (const auto& [name, address] : addresses_)
        if (same_system(name, system)) co_return address;
    runtime::OneShot<Result<std::vector<std::string>>> resolved(world_.tasks);
    auto found = std::make_shared<Result<std::vector<std::string>>>();
    const bool asked = world_.tasks.run_blocking([this, system, found] { *found = host_.resolve(system); },
                                                 [resolved, found] { resolved.set(*found); });
    if (!asked) co_return fail(Code::failure, "too much to do; try again");
    const auto addresses = co_await resolved;
    if (!addresses) co_return fail(addresses.error());
    co_return addresses->front();
}

Task<Result<Service::Json>> Service::ask(std::string system, Json request, runtime::Duration limit) {
    auto address = co_await address_of(system);
    if (!address)
        co_return fail(Code::unreachable, "{} cannot be resolved: {}", system, address.error().text);
    control::PeerRequest sent;
    sent.kind = control::RequestKind::service;
    sent.volume = VolumeId("-");
    sent.payload = request.dump(-1, ' ', false, Json::error_handler_t::replace);
    control::PeerAddress peer;
    peer.remote_address = *address;
    peer.remote_port = options_.dispatch_port;
    control::CallLimits limits;
    limits.connect = control::kConnectLimit;
    limits.answer = limit;
    auto reply = co_await control::call_peer(world_, peer, sent, limits);
    if (!reply) co_return fail(reply.error());
    Json json = Json::parse(reply->payload, nullptr, false);
    if (!json.is_object()) co_return fail(Code::internal, "{} gave an answer that is none", system);
    co_return json;
}

// --- requests of other nodes

void Service::serve(const std::string& caller, std::string payload, control::PeerServer::Answer answer) {
    tasks_.spawn(serve_task(caller, std::move(payload), std::move(answer)));
}

Task<> Service::serve_task(std::string caller, std::string payload, control::PeerServer::Answer answer) {
    control::PeerReply reply;
    Json request = Json::parse(payload, nullptr, false);
    if (!request.is_object() || !request.contains("do") || !request["do"].is_string()) {
        reply.code = Code::internal;
        reply.error = fmt::format("{} sent what is no request", caller);
    } else {
        Json result = co_await serve_json(std::move(request), caller);
        reply.payload = result.dump(-1, ' ', false, Json::error_handler_t::replace);
        if (reply.payload.size() > control::kMaxMessageBytes / 2) {
            result = {{"status", number(Status::more_data)},
                      {"out", ""},
                      {"err", "the answer is too long; run the command on the system itself"}};
            reply.payload = result.dump();
        }
    }
    answer(reply);
}

Task<Service::Json> Service::serve_json(Json request, std::string caller) {
    const auto text = [&request](const char* key) {
        return request.contains(key) && request[key].is_string() ? request[key].get<std::string>()
                                                                 : std::string();
    };
    const std::string what = text("do");
    const auto as_json = [](const Answer& answer) {
        Json out{{"status", number(answer.status)},
                 {"out", answer.out},
                 {"err", answer.err},
                 {"quiet", answer.no_status_line}};
        if (answer.bitmap) out["bitmap"] = to_json(*answer.bitmap);
        return out;
    };
    if (stopped_) co_return as_json({Status::file_not_found, "", "the service is stopped", false});
    if (what == kPing) co_return as_json({});
    if (what == kProbe)
        co_return expect_probe(VolumeId(text("volume")), text("session"), text("key"), caller);
    if (what == kReach) {
        Json reached = co_await reach_back(VolumeId(text("volume")), caller);
        co_return reached;
    }
    if (what == kFacts) {
        Json facts = co_await describe(VolumeId(text("volume")));
        co_return facts;
    }
    if (what == kBeside) {
        Json found = beside(request.value("remotes", Json::array()));
        co_return found;
    }
    if (what == kSet) {
        const MirrorPtr mirror = manager_.find(VolumeId(text("volume")));
        std::vector<std::string> changes;
        if (request.contains("changes") && request["changes"].is_array())
            for (const Json& change : request["changes"])
                if (change.is_string()) changes.push_back(change.get<std::string>());
        Result<> set = fail(Code::not_found, "{} has no such mirror", options_.node);
        if (mirror) set = mirror->set_parameters(caller, changes);
        co_return as_json(answer_of(set));
    }
    if (what == kJobPut) {
        const auto job = decode_job(text("job"));
        Result<> stored;
        const auto known = jobs_.get(job ? job->id : std::string());
        if (job && known && !is_system_of(*known, caller))  // it was removed while it was away. Spec: MOP-160
            stored = fail(Code::failure, "{} is no system of job {} any more", caller, known->name);
        else if (job)
            stored = jobs_.put(*job);
        else
            stored = fail(job.error());
        Json reply =
            stored ? as_json({}) : as_json({status_of(stored.error()), "", stored.error().text, false});
        if (!stored && job && known && is_system_of(*known, caller) && is_newer(*known, *job))
            reply[kNewerJob] = encode(*known);
        co_return reply;
    }
    if (what == kJobRemove) {
        const auto removed = jobs_.remove(text("id"));
        if (!removed) co_return as_json({status_of(removed.error()), "", removed.error().text, false});
        co_return as_json({});
    }
    if (what == kCommand) {
        std::vector<std::string> words;
        if (request.contains("words") && request["words"].is_array())
            for (const Json& word : request["words"])
                if (word.is_string()) words.push_back(word.get<std::string>());
        Answer answer = co_await answer_words(std::move(words), text("system"));
        co_return as_json(answer);
    }
    if (what == kEndpoints) {
        NewEndpoints wanted{VolumeId(text("volume")), text("host"), text("original"), text("source"),
                            text("target")};
        wanted.any_number = request.value("any_number", Json()) == Json(true);
        Answer answer = co_await readdress_as_owner(std::move(wanted));
        co_return as_json(answer);
    }
    co_return as_json({Status::invalid_parameter, "", kUnknownRequest, false});
}

/// As it comes from another node: "." and this node's names are this node; anything else is forwarded, once.
Task<Answer> Service::answer_words(std::vector<std::string> words, std::string typed) {
    auto request = parse(words);
    if (!request) {
        Answer wrong{Status::invalid_parameter, "", request.error().text, false};
        co_return wrong;
    }
    // One level only: whoever is asked by another node for a third one is the proxy. Spec: EMC-036
    request->proxy = options_.node;
    co_return co_await route(std::move(*request), typed);
}

// --- routing

Task<Answer> Service::forward(std::string system, std::vector<std::string> words, std::string typed,
                              std::string hop) {
    // "system" is what was typed: CREATEMIRROR takes the source's address from it.
    Json request{{"do", kCommand}, {"words", words}, {"system", typed}};
    auto reply = co_await ask(system, std::move(request), kRemoteLimit);
    Answer out;
    if (!reply) {
        out.status = second_hop(reply.error());
        out.err = fmt::format("{}: {}\n", hop, reply.error().text);
        co_return out;
    }
    const Json& json = *reply;
    out.status = static_cast<Status>(json.value("status", number(Status::no_data)));
    out.out = json.value("out", "");
    out.err = json.value("err", "");
    out.no_status_line = json.value("quiet", false);
    if (const auto bitmap = json.find("bitmap"); bitmap != json.end()) out.bitmap = bitmap_from(*bitmap);
    co_return out;
}

Task<Answer> Service::route(Request request, std::string typed) {
    const Spec& spec = *request.spec;
    std::vector<std::string> words{request.system, std::string(spec.name)};
    words.insert(words.end(), request.arguments.begin(), request.arguments.end());
    const bool here = is_this(request.system);
    const bool proxy_here = !request.proxy || is_this(*request.proxy);
    if (spec.local_only && !(here && proxy_here)) {  // Spec: EMC-029
        Answer refused{Status::not_supported, "",
                       fmt::format("{} works on the system where it is typed only\n", spec.name), false};
        co_return refused;
    }
    if (!proxy_here) {
        const std::string hop = fmt::format("client -> proxy {}", *request.proxy);
        co_return co_await forward(*request.proxy, std::move(words), request.system, hop);
    }
    if (!here) {
        const std::string hop = request.proxy
                                    ? fmt::format("proxy {} -> system {}", options_.node, request.system)
                                    : fmt::format("{} -> system {}", options_.node, request.system);
        words.front() = ".";  // who gets it is who is meant: no request goes round in a circle
        const Answer answer = co_await forward(request.system, std::move(words), typed, hop);
        if (spec.verb == Verb::set_configuration && answer.status != Status::success)  // Spec: EMC-054
            messages::error("emcmd: attributes of {} cannot be set on {}: {} (message 343)",
                            request.arguments.front(), request.system, text::trim(answer.err));
        co_return answer;
    }
    Call call;
    call.spec = &spec;
    call.arguments = std::move(request.arguments);
    call.system = typed;
    if (spec.has_volume) {
        const auto volume = volume_of(call.argument(0));
        if (!volume || !control::volume_id_problem(*volume).empty()) {
            Answer refused{Status::invalid_parameter, "",
                           fmt::format("\"{}\" is no volume\n", call.argument(0)), false};
            co_return refused;
        }
        call.volume = *volume;
    }
    co_return co_await execute(std::move(call));
}

Task<Answer> Service::execute(Call call) {
    const Spec& spec = *call.spec;
    messages::info("emcmd: command received: {} {} (message 37)", spec.name, text::join(call.arguments, " "));
    if (!spec.changes) co_return co_await query(std::move(call));
    // A second switchover of a volume waits for the first, and ends like it. Spec: EMC-245, MOP-086
    if (spec.verb == Verb::switchover_volume) co_return co_await switch_over(std::move(call));
    // The engine's kit gives commands of its own for the volume meanwhile.
    const bool of_engine = spec.verb == Verb::register_cluster_volume;
    if (!spec.has_volume || of_engine) co_return co_await change(std::move(call));
    auto& lock = locks_[call.volume];
    if (!lock) lock = std::make_unique<control::OperationLock>(world_.tasks);
    auto held = co_await lock->acquire(kVolumeWait);
    if (!held) {
        Answer busy{Status::timeout, "",
                    fmt::format("another command for volume {} still runs\n", call.volume.str()), false};
        co_return busy;
    }
    co_return co_await change(std::move(call));
}

Task<Reply> Service::run(Command command) {
    Reply reply;
    reply.raw = true;
    auto request = parse(command.arguments);
    Answer answer;
    Ending ending = Ending::query;
    if (!request) {
        answer = {Status::invalid_parameter, "", request.error().text, false};
        if (!request.error().unknown.empty())
            messages::warning("emcmd: a request that is not known: {}", request.error().unknown);
    } else {
        ending = request->spec->ending;
        if (stopped_) {
            answer = {Status::file_not_found, "", "the service is stopped; it starts with mirrord\n", false};
        } else if (request->spec->changes && command.uid != 0) {  // Spec: EMC-015
            answer = {Status::access_denied, "", fmt::format("{} needs root\n", request->spec->name), false};
        } else {
            const std::string typed = request->system;
            const std::string file = request->arguments.empty() ? std::string() : request->arguments.back();
            answer = co_await route(std::move(*request), typed);
            if (answer.bitmap && answer.status == Status::success) {
                const auto bytes = to_bytes(*answer.bitmap);
                Result<> kept = fail(Code::bad_argument, "{} is no full path", file);
                if (file.starts_with('/')) kept = world_.files.write_atomic(file, bytes, 0600);
                if (!kept) answer = answer_of(kept);
            }
        }
    }
    reply.out = answer.out;
    if (!answer.no_status_line && last_line_of(ending, answer.status) == "last")
        reply.out += status_line(answer.status);
    reply.err = answer.err;
    if (!reply.err.empty() && !reply.err.ends_with('\n')) reply.err += '\n';
    reply.exit_code = exit_code(answer.status);
    co_return reply;
}

}  // namespace understudy::mirror::emcmd
