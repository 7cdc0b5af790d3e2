#include "daemons/maintenance.h"

#include "base/text.h"
#include "daemons/history.h"
#include "daemons/status.h"
#include "messages/messages.h"
#include "recovery/plan.h"

#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::Command;
using config::Maintenance;
using config::Reply;
using nlohmann::json;

constexpr std::string_view kMethod = "maintenance.write";
constexpr auto kLimit = std::chrono::seconds(10);
/// The wall clock may be set meanwhile: what has an end is looked at this often.
constexpr auto kLookPeriod = std::chrono::seconds(5);
constexpr std::string_view kUnits = "smhd";

// Phases of a node's part.
constexpr std::string_view kReady = "ready";  // answers the flags that there are
constexpr std::string_view kWrite = "write";
constexpr std::string_view kPutBack = "put back";  // the flags as they were

json to_json(const Maintenance& maintenance) {
    return {{"subject", maintenance.subject}, {"node", maintenance.node}, {"since", maintenance.since_s},
            {"until", maintenance.until_s},   {"who", maintenance.who},   {"why", maintenance.why}};
}

std::string dumped(const json& value, int indent = -1) {
    return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

/// What the database has about the subject, whatever part of it.
std::vector<FlagName> flags_about(const config::NodeConfig& config, const Maintenance& maintenance,
                                  const std::vector<Tag>& tags) {
    std::vector<FlagName> flags;
    for (const auto& edit : config::end_maintenance(config, maintenance.node, maintenance.subject, tags))
        if (const auto* drop = std::get_if<config::DropFlag>(&edit)) flags.push_back(drop->flag);
    return flags;
}

Result<std::int64_t> length_s(const std::string& text) {
    if (text.empty() || kUnits.find(text.back()) == std::string_view::npos)
        return fail(Code::bad_argument, "--for takes a length such as 90s, 15m, 2h or 3d, not \"{}\"", text);
    UNDERSTUDY_TRY(const auto moment, parse_moment(text, 0));
    if (moment == 0) return fail(Code::bad_argument, "--for takes a length above zero");
    return -moment / 1'000'000;
}

}  // namespace

std::string describe(const Maintenance& maintenance) {
    std::string text = maintenance.node ? "node " + maintenance.subject : maintenance.subject;
    if (maintenance.who.empty()) return text + " by a flag made by hand";
    text += fmt::format(" since {} by {}", local_time(maintenance.since_s * 1'000'000).substr(0, 19),
                        maintenance.who);
    if (maintenance.until_s > 0)
        text += fmt::format(", until {}", local_time(maintenance.until_s * 1'000'000).substr(0, 19));
    if (!maintenance.why.empty()) text += ": " + maintenance.why;
    return text;
}

json known_maintenance(const config::Database& database) {
    struct Known {
        Maintenance maintenance;
        std::vector<std::string> nodes;
    };
    std::map<std::pair<bool, std::string>, Known> all;
    const auto add = [&](const NodeName& node, const config::NodeConfig& config) {
        for (auto& each : config::maintenances(config)) {
            auto& known = all[{each.node, each.subject}];
            known.nodes.push_back(node.str());
            if (known.maintenance.who.empty()) known.maintenance = std::move(each);
        }
    };
    add(database.self(), database.own());
    for (const auto& [node, config] : database.replicas())
        add(node, config);
    json list = json::array();
    for (auto& [key, known] : all) {
        auto entry = to_json(known.maintenance);
        std::sort(known.nodes.begin(), known.nodes.end());
        entry["on"] = known.nodes;
        entry["text"] = fmt::format("{} (on {})", describe(known.maintenance), text::join(known.nodes, ", "));
        list.push_back(std::move(entry));
    }
    return list;
}

Result<MaintenanceService::Request> MaintenanceService::parse_request(std::string_view payload) {
    // A field of another type is the same as a request of another version: refused, not guessed.
    try {
        const auto object = json::parse(payload);
        const auto& of = object.at("maintenance");
        Request request;
        object.at("phase").get_to(request.phase);
        object.at("on").get_to(request.on);
        auto& maintenance = request.maintenance;
        of.at("node").get_to(maintenance.node);
        of.at("subject").get_to(maintenance.subject);
        of.at("since").get_to(maintenance.since_s);
        of.at("until").get_to(maintenance.until_s);
        of.at("who").get_to(maintenance.who);
        of.at("why").get_to(maintenance.why);
        for (const auto& tag : object.at("tags").get<std::vector<std::string>>())
            request.tags.emplace_back(tag);
        for (const auto& flag : object.at("flags").get<std::vector<std::string>>())
            request.flags.emplace_back(flag);
        return request;
    } catch (const json::exception& error) {
        return fail(Code::internal, "a malformed request for maintenance: {}", error.what());
    }
}

MaintenanceService::MaintenanceService(runtime::World world, config::Database& database,
                                       comm::Cluster& cluster)
    : world_(world), database_(database), cluster_(cluster) {}

MaintenanceService::~MaintenanceService() {
    *alive_ = false;
}

void MaintenanceService::start() {
    cluster_.serve(std::string(kMethod),
                   [this](const NodeName&, std::string_view payload, const comm::Cluster::Answer& answer) {
                       const auto request = parse_request(payload);
                       if (!request) return answer(fail(request.error()));
                       auto served = serve_here(*request);
                       if (!served) return answer(fail(served.error()));
                       if (request->phase == kReady) return answer(*served);
                       database_.sync([answer](const Result<>& synced) {
                           if (synced)
                               answer(std::string());
                           else
                               answer(fail(synced.error()));
                       });
                   });
    end_what_is_over();
}

void MaintenanceService::end_what_is_over() {
    const auto now_s =
        std::chrono::floor<std::chrono::seconds>(world_.clock.wall()).time_since_epoch().count();
    for (const auto& each : config::maintenances(database_.own())) {
        if (each.until_s == 0 || each.until_s > now_s) continue;
        database_.commit(config::end_maintenance(database_.own(), each.node, each.subject, {}));
        messages::info("maintenance of {} ends: its time is over", each.subject);
        database_.journal(0, each.node ? "node" : "resource", each.subject,
                          "maintenance ends: its time is over");
    }
    world_.tasks.after(kLookPeriod, [this, life = alive_] {
        if (*life) end_what_is_over();
    });
}

Result<std::string> MaintenanceService::serve_here(const Request& request) {
    const auto& maintenance = request.maintenance;
    const auto& own = database_.own();
    if (request.phase == kReady) {
        for (const auto& tag : request.tags)
            if (own.find(tag) == nullptr)
                return fail(Code::not_found, "there is no resource \"{}\" on {}", tag.str(),
                            database_.self().str());
        json flags = json::array();
        for (const auto& flag : flags_about(own, maintenance, request.tags))
            flags.push_back(flag.str());
        return dumped(flags);
    }
    const bool back = request.phase == kPutBack;
    if (!back && request.phase != kWrite) return fail(Code::internal, "a malformed request for maintenance");
    auto edits = request.on && !back
                     ? config::begin_maintenance(own, maintenance, request.tags)
                     : config::end_maintenance(own, maintenance.node, maintenance.subject, request.tags);
    if (back)
        for (const auto& flag : request.flags)
            edits.emplace_back(config::PutFlag{flag});
    if (edits.empty()) return std::string();
    database_.commit(std::move(edits));
    const auto text = back         ? std::string("maintenance is as it was: not every node could be told")
                      : request.on ? "in maintenance: " + describe(maintenance)
                                   : fmt::format("maintenance ended by {}", maintenance.who);
    messages::info("{}: {}", maintenance.subject, text);
    database_.journal(0, maintenance.node ? "node" : "resource", maintenance.subject, text);
    return std::string();
}

Result<MaintenanceService::Wanted> MaintenanceService::parse(const Command& command) const {
    const auto& action = command.arguments.at(0);
    if (action != "on" && action != "off")
        return fail(Code::syntax, "understudy maintenance takes on, off or list, not \"{}\"", action);
    if (command.arguments.size() != 2)
        return fail(Code::syntax, "understudy maintenance {} takes one tag or node", action);
    const auto& subject = command.arguments[1];
    const auto& own = database_.own();
    const bool node = own.systems.contains(NodeName(subject));
    const bool tag = own.find(Tag(subject)) != nullptr;
    if (node && tag && !command.has("node") && !command.has("tag"))
        return fail(Code::bad_argument, "\"{}\" is a node and a resource; say --node or --tag", subject);
    Wanted wanted;
    wanted.on = action == "on";
    auto& maintenance = wanted.maintenance;
    maintenance.node = node && (!tag || command.has("node"));
    if (!maintenance.node && !tag)
        return fail(Code::not_found, "there is no resource and no node \"{}\" on {}", subject,
                    database_.self().str());
    maintenance.subject = subject;
    maintenance.since_s =
        std::chrono::floor<std::chrono::seconds>(world_.clock.wall()).time_since_epoch().count();
    if (command.has("for")) {
        UNDERSTUDY_TRY(const auto length, length_s(command.get("for")));
        maintenance.until_s = maintenance.since_s + length;
    }
    maintenance.who =
        fmt::format("{}@{}", command.user.empty() ? "understudyd" : command.user, database_.self().str());
    maintenance.why = command.get("why");
    if (maintenance.node) {
        for (const auto& system : own.systems)
            wanted.tags[system] = {};
        return wanted;
    }
    // A root stands for its whole hierarchy.
    std::vector<Tag> members{Tag(subject)};
    if (own.parents(members.front()).empty()) members = recovery::hierarchy_of(own, members.front());
    wanted.tags[database_.self()] = members;
    for (const auto& member : members)
        for (const auto& pair : own.equivalents(member))
            wanted.tags[pair.other_node].push_back(pair.other_tag);
    return wanted;
}

runtime::Task<Result<std::string>> MaintenanceService::ask(NodeName node, std::string phase, Wanted wanted,
                                                           std::vector<std::string> flags) {
    json request{
        {"phase", phase}, {"on", wanted.on}, {"maintenance", to_json(wanted.maintenance)}, {"flags", flags}};
    request["tags"] = json::array();
    for (const auto& tag : wanted.tags.at(node))
        request["tags"].push_back(tag.str());
    auto answer = co_await cluster_.call(node, std::string(kMethod), dumped(request), kLimit);
    if (!answer) co_return with_context(answer.error(), node.str());
    co_return std::move(*answer);
}

runtime::Task<Result<>> MaintenanceService::everywhere(std::vector<NodeName> nodes, Wanted wanted) {
    std::map<NodeName, std::vector<std::string>> before;
    for (const auto& node : nodes) {
        const auto ready = co_await ask(node, std::string(kReady), wanted, {});
        if (!ready) co_return fail(ready.error());
        const auto flags = json::parse(*ready, nullptr, false);
        auto& there = before[node];
        if (flags.is_array())
            for (const auto& flag : flags)
                if (flag.is_string()) there.push_back(flag);
    }
    std::vector<NodeName> written;
    for (const auto& node : nodes) {
        written.push_back(node);  // also when it is lost before it answers
        const auto wrote = co_await ask(node, std::string(kWrite), wanted, {});
        if (wrote) continue;
        auto error = wrote.error();
        for (const auto& each : written) {
            const auto back = co_await ask(each, std::string(kPutBack), wanted, before.at(each));
            if (!back) error.text += fmt::format("; {} may have it: {}", each.str(), back.error().text);
        }
        co_return fail(std::move(error));
    }
    co_return Result<>{};
}

runtime::Task<> MaintenanceService::answer(Wanted wanted, bool force, Done done) {
    std::vector<NodeName> nodes;
    std::vector<std::string> missing;
    for (const auto& [node, tags] : wanted.tags) {
        if (node == database_.self() || cluster_.peer_state(node) == comm::PeerState::alive)
            nodes.push_back(node);
        else
            missing.push_back(node.str());
    }
    if (!missing.empty() && !force) {
        done(config::failure(
            {Code::unreachable,
             fmt::format(
                 "{} cannot be told; nothing is changed. --force tells only those that can be reached",
                 text::join(missing, ", ")),
             0}));
        co_return;
    }
    const auto changed = co_await everywhere(nodes, wanted);
    if (!changed) {
        done(config::failure(changed.error()));
        co_return;
    }
    auto reply =
        config::success(wanted.on ? "in maintenance: " + describe(wanted.maintenance) + "\n"
                                  : wanted.maintenance.subject + " is not in maintenance any more\n");
    if (!missing.empty()) reply.err = fmt::format("*WARNING* {} was not told", text::join(missing, ", "));
    done(reply);
}

bool MaintenanceService::run(const Command& command, const Done& done) {
    if (command.name != "understudy maintenance") return false;
    if (command.arguments.at(0) == "list") {
        const auto list = known_maintenance(database_);
        Reply reply;
        if (command.has("json"))
            reply.out = dumped(list, 2) + "\n";
        else
            for (const auto& each : list)
                reply.out += each["text"].get<std::string>() + "\n";
        done(reply);
        return true;
    }
    auto wanted = parse(command);
    if (!wanted) {
        done(config::failure(wanted.error()));
        return true;
    }
    scope_.spawn(answer(std::move(*wanted), command.has("force"), done));
    return true;
}

}  // namespace understudy::daemons
