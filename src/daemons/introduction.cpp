#include "daemons/introduction.h"

#include "base/text.h"
#include "config/lcdi.h"
#include "config/ports.h"
#include "messages/messages.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::Command;
using config::Path;
using config::Reply;
using nlohmann::json;

constexpr std::string_view kIntroduce = "membership.introduce";
constexpr std::string_view kAccept = "membership.accept";
constexpr auto kAcceptLimit = std::chrono::seconds(5);
constexpr auto kIntroduceLimit = std::chrono::seconds(60);
/// A new path needs its first heartbeats, and both ends make it anew once an interval while it fails.
constexpr auto kAliveSlack = std::chrono::seconds(5);
constexpr auto kPollInterval = std::chrono::milliseconds(50);

json to_json(const std::vector<Path>& paths) {
    auto list = json::array();
    for (const auto& path : paths)
        list.push_back({{"device", path.device},
                        {"local", path.local_address},
                        {"remote", path.remote_address},
                        {"priority", path.priority},
                        {"interval_ms", path.interval_ms},
                        {"misses", path.misses}});
    return list;
}

/// Throws json::exception for anything else than what to_json() made.
std::vector<Path> paths_of(const json& list, const NodeName& remote) {
    std::vector<Path> paths;
    for (const auto& each : list) {
        Path path;
        path.remote = remote;
        path.transport = "TLI";
        path.device = each.at("device").get<std::string>();
        path.local_address = each.at("local").get<std::string>();
        path.remote_address = each.at("remote").get<std::string>();
        path.priority = each.at("priority").get<int>();
        path.interval_ms = each.at("interval_ms").get<int>();
        path.misses = each.at("misses").get<int>();
        paths.push_back(std::move(path));
    }
    return paths;
}

std::vector<Path> tcp_paths_to(const config::NodeConfig& own, const NodeName& node) {
    std::vector<Path> paths;
    for (const auto& path : own.paths)
        if (path.remote == node && path.port() != 0) paths.push_back(path);
    std::stable_sort(paths.begin(), paths.end(),
                     [](const Path& a, const Path& b) { return a.priority < b.priority; });
    return paths;
}

Path end_between(const Path& to_newcomer, const Path& to_member, std::size_t number) {
    auto path = to_newcomer;
    path.local_address = to_member.remote_address;  // where the member is
    path.device.clear();
    path.priority = static_cast<int>(number) + 1;
    return path;
}

}  // namespace

std::vector<Path> paths_between(const std::vector<Path>& to_newcomer, const std::vector<Path>& to_member) {
    std::vector<Path> ends;
    for (const auto& there : to_newcomer) {
        const auto same_network = std::find_if(to_member.begin(), to_member.end(), [&](const Path& here) {
            return here.local_address == there.local_address;
        });
        if (same_network != to_member.end() && ends.size() < kMaxPathsAtOnce)
            ends.push_back(end_between(there, *same_network, ends.size()));
    }
    if (ends.empty() && !to_newcomer.empty() && !to_member.empty())
        ends.push_back(end_between(to_newcomer.front(), to_member.front(), 0));
    return ends;
}

Result<> create_path(config::Database& database, const config::Settings& settings, const Path& path) {
    Command command;
    command.name = "net_create";
    command.options = {{"s", path.remote.str()},
                       {"D", path.device},
                       {"n", path.transport},
                       {"r", path.remote_address},
                       {"l", path.local_address},
                       {"p", std::to_string(path.priority)},
                       {"h", fmt::format("{}ms", path.interval_ms)},
                       {"c", std::to_string(path.misses)}};
    config::LiveView live;
    live.allow_fast_heartbeats = settings.boolean("ALLOW_FAST_HEARTBEATS");
    const auto reply = config::run_lcdi(database, live, command);
    if (!reply || reply->exit_code != 0)
        return fail(Code::bad_argument, "{} refuses path {}: {}", database.self().str(), path.device,
                    reply ? reply->err : "net_create is missing");
    return {};
}

Result<std::vector<Path>> accept_paths(config::Database& database, const config::Settings& settings,
                                       const NodeName& newcomer, std::vector<Path> proposed,
                                       const std::set<int>& avoid) {
    if (proposed.size() > kMaxPathsAtOnce)
        return fail(Code::bad_argument, "at most {} paths can be made at once", kMaxPathsAtOnce);
    const bool known_before = database.own().systems.contains(newcomer);
    std::vector<std::string> made;
    for (auto& path : proposed) {
        path.remote = newcomer;
        const auto existing = tcp_paths_to(database.own(), newcomer);
        const auto same = std::find_if(existing.begin(), existing.end(), [&](const Path& each) {
            return each.local_address == path.local_address && each.remote_address == path.remote_address;
        });
        if (same != existing.end()) {
            path = *same;
            continue;
        }
        auto port = path.port() != 0 ? path.port() : config::kFirstPathPort;
        const auto taken = [&](int candidate) {
            const auto device = fmt::format("TCP:{}", candidate);
            return avoid.contains(candidate) || database.own().find_path(device) != nullptr;
        };
        while (taken(port))
            port += config::kPathPortStep;
        path.device = fmt::format("TCP:{}", port);
        auto created = create_path(database, settings, path);
        if (created) {
            made.push_back(path.device);
            continue;
        }
        std::vector<config::Edit> undo;
        for (const auto& device : made)
            undo.emplace_back(config::DropPath{device});
        if (!made.empty() && !known_before) undo.emplace_back(config::DropSystem{newcomer});
        database.commit(std::move(undo));
        return fail(created.error());
    }
    return proposed;
}

Introduction::Introduction(runtime::World world, config::Database& database, comm::Cluster& cluster,
                           const NodeOptions& options)
    : world_(world), database_(database), cluster_(cluster), options_(options) {}

void Introduction::start() {
    cluster_.serve(std::string(kIntroduce),
                   [this](const NodeName& caller, std::string_view payload, comm::Cluster::Answer answer) {
                       tasks_.spawn(present(caller, std::string(payload), std::move(answer)));
                   });
    cluster_.serve(std::string(kAccept),
                   [this](const NodeName& caller, std::string_view payload,
                          const comm::Cluster::Answer& answer) { answer(accept(caller, payload)); });
}

bool Introduction::run(const Command& command, const Done& done) {
    if (command.name != "understudy connect") return false;
    tasks_.spawn(connect(done));
    return true;
}

runtime::Task<> Introduction::connect(Done done) {
    if (database_.own().paths.empty()) {
        done(
            config::failure({Code::failure,
                             "this node has no communication path yet; `understudy join` or net_create makes "
                             "the first",
                             0}));
        co_return;
    }
    const auto outcome = co_await introduce();
    Reply reply;
    for (const auto& node : outcome.connected)
        reply.out += fmt::format("{} is connected\n", node.str());
    reply.err = text::join(outcome.problems, "\n");
    if (!outcome.problems.empty()) reply.exit_code = static_cast<int>(Code::unreachable);
    done(reply);
}

std::string Introduction::request() const {
    std::set<NodeName> have;
    auto ports = json::array();
    for (const auto& path : database_.own().paths) {
        have.insert(path.remote);
        if (path.port() != 0) ports.push_back(path.port());
    }
    auto names = json::array();
    for (const auto& node : have)
        names.push_back(node.str());
    return json{{"have", std::move(names)}, {"ports", std::move(ports)}}.dump();
}

runtime::Task<Introduction::Outcome> Introduction::introduce() {
    Outcome outcome;
    runtime::Duration limit = kAliveSlack;
    for (const auto& path : database_.own().paths)
        limit = std::max<runtime::Duration>(
            limit, kAliveSlack + std::chrono::milliseconds(path.interval_ms) * path.misses);
    const auto deadline = world_.clock.now() + limit;
    while (cluster_.alive_peers().empty() && world_.clock.now() < deadline)
        co_await runtime::sleep_for(world_.tasks, kPollInterval);
    const auto members = cluster_.alive_peers();
    if (members.empty())
        outcome.problems.push_back(fmt::format(
            "no member of the cluster was ALIVE within {} s, so paths to the others were not made",
            std::chrono::ceil<std::chrono::seconds>(limit).count()));
    for (const auto& member : members) {
        const auto payload = request();
        const auto answer = co_await cluster_.call(member, std::string(kIntroduce), payload, kIntroduceLimit);
        const auto taken = answer ? take(*answer, outcome) : Result<>(fail(answer.error()));
        if (!taken) outcome.problems.push_back(fmt::format("{}: {}", member.str(), taken.error().text));
    }
    // What one member could not tell, another may have.
    std::erase_if(outcome.problems, [&](const std::string& problem) {
        return std::any_of(outcome.connected.begin(), outcome.connected.end(),
                           [&](const NodeName& node) { return problem.starts_with(node.str() + ":"); });
    });
    std::sort(outcome.problems.begin(), outcome.problems.end());
    outcome.problems.erase(std::unique(outcome.problems.begin(), outcome.problems.end()),
                           outcome.problems.end());
    co_return outcome;
}

/// The other nodes' ends, made into ours.
Result<> Introduction::take(std::string_view answer, Outcome& outcome) {
    try {
        const auto parsed = json::parse(answer);
        for (const auto& each : parsed.at("members")) {
            const NodeName node(each.at("name").get<std::string>());
            std::vector<config::Edit> edits;
            if (!database_.own().systems.contains(node)) edits.emplace_back(config::PutSystem{node});
            for (auto& path : paths_of(each.at("paths"), node)) {
                std::swap(path.local_address, path.remote_address);
                if (database_.own().find_path(path.device) == nullptr)
                    edits.emplace_back(config::PutPath{std::move(path)});
            }
            database_.commit(std::move(edits));
            outcome.connected.push_back(node);
        }
        for (const auto& each : parsed.at("problems"))
            outcome.problems.push_back(each.get<std::string>());
    } catch (const json::exception& error) {
        return fail(Code::internal, "its answer cannot be read: {}", error.what());
    }
    return {};
}

/// The member's part: everyone it reaches and the newcomer does not get a path to each other.
runtime::Task<> Introduction::present(NodeName newcomer, std::string payload, comm::Cluster::Answer answer) {
    if (!database_.own().systems.contains(
            newcomer)) {  // removed since its certificate was made. Spec: CLU-099
        answer(fail(Code::not_found, "{} is no system of {}", newcomer.str(), database_.self().str()));
        co_return;
    }
    std::set<NodeName> have;
    std::set<int> ports;
    try {
        const auto request = json::parse(payload);
        for (const auto& name : request.at("have"))
            have.insert(NodeName(name.get<std::string>()));
        for (const auto& port : request.at("ports"))
            ports.insert(port.get<int>());
    } catch (const json::exception& error) {
        answer(fail(Code::internal, "an introduction cannot be read: {}", error.what()));
        co_return;
    }
    auto members = json::array();
    auto problems = json::array();
    const auto systems = database_.own().systems;  // it may change while a member is asked
    for (const auto& member : systems) {
        if (member == database_.self() || member == newcomer || have.contains(member)) continue;
        if (cluster_.peer_state(member) != comm::PeerState::alive) {
            problems.push_back(
                fmt::format("{}: {} does not reach it; run `understudy connect` on {} when it is back",
                            member.str(), database_.self().str(), newcomer.str()));
            continue;
        }
        const auto ends =
            paths_between(tcp_paths_to(database_.own(), newcomer), tcp_paths_to(database_.own(), member));
        if (ends.empty()) {
            problems.push_back(fmt::format("{}: {} has no TCP path from which one to it could be derived",
                                           member.str(), database_.self().str()));
            continue;
        }
        const auto request =
            json{{"newcomer", newcomer.str()}, {"ports", ports}, {"paths", to_json(ends)}}.dump();
        const auto accepted = co_await cluster_.call(member, std::string(kAccept), request, kAcceptLimit);
        if (!accepted) {
            problems.push_back(fmt::format("{}: {}", member.str(), accepted.error().text));
            continue;
        }
        auto paths = json::parse(*accepted, nullptr, false);
        if (!paths.is_array()) {
            problems.push_back(fmt::format("{}: its answer cannot be read", member.str()));
            continue;
        }
        for (const auto& path : paths)
            if (path.is_object() && path.contains("device") && path["device"].is_string()) {
                Path made;
                made.device = path["device"].get<std::string>();
                ports.insert(made.port());
            }
        members.push_back({{"name", member.str()}, {"paths", std::move(paths)}});
    }
    answer(json{{"members", std::move(members)}, {"problems", std::move(problems)}}.dump());
}

Result<std::string> Introduction::accept(const NodeName& caller, std::string_view payload) {
    if (!database_.own().systems.contains(caller))
        return fail(Code::not_found, "{} is no system of {}", caller.str(), database_.self().str());
    try {
        const auto request = json::parse(payload);
        const NodeName newcomer(request.at("newcomer").get<std::string>());
        if (newcomer == database_.self())
            return fail(Code::bad_argument, "{} is introduced to itself", newcomer.str());
        const auto ports = request.at("ports").get<std::set<int>>();
        const bool known = database_.own().systems.contains(newcomer);
        UNDERSTUDY_TRY(const auto made, accept_paths(database_, options_.settings, newcomer,
                                                     paths_of(request.at("paths"), newcomer), ports));
        if (!known)
            database_.journal(
                0, "node", newcomer.str(),
                fmt::format("{} has joined the cluster through {}", newcomer.str(), caller.str()));
        return to_json(made).dump();
    } catch (const json::exception& error) {
        return fail(Code::internal, "an introduction cannot be read: {}", error.what());
    }
}

}  // namespace understudy::daemons
