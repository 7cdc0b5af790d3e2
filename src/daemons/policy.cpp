#include "daemons/policy.h"

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/plan.h"

#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::Command;
using config::Reply;
using nlohmann::json;

constexpr auto kCallLimit = std::chrono::seconds(10);
constexpr const char* kSetMethod = "policy.set";
constexpr const char* kFlagsMethod = "policy.flags";
constexpr std::string_view kOn = "on";
constexpr std::string_view kOff = "off";

FlagName switches_over() {
    return FlagName(recovery::kShutdownSwitchoverFlag);
}

/// `wanted` of an option that takes on or off; nullopt when it is not given.
Result<std::optional<bool>> on_or_off(const Command& command, std::string_view option) {
    if (!command.has(option)) return std::optional<bool>();
    const auto value = command.get(option);
    if (value == kOn) return std::optional(true);
    if (value == kOff) return std::optional(false);
    return fail(Code::bad_argument, "--{} takes on or off, not \"{}\"", option, value);
}

std::string mirrored_volumes(const config::NodeConfig& config) {
    std::vector<std::string> tags;
    for (const auto* instance : config.in_creation_order())
        if (recovery::is_mirrored(*instance)) tags.push_back(instance->tag.str());
    return text::join(tags, ", ");
}

}  // namespace

PolicyService::PolicyService(runtime::World world, config::Database& database, comm::Cluster& cluster)
    : world_(world), database_(database), cluster_(cluster) {}

PolicyService::~PolicyService() = default;

void PolicyService::start() {
    cluster_.serve(
        kSetMethod, [this](const NodeName&, std::string_view payload, comm::Cluster::Answer answer) {
            auto command = config::decode_command(payload);
            if (!command) return answer(fail(command.error()));
            scope_.spawn(set_here(std::move(*command),
                                  [answer](const Reply& reply) { answer(config::encode(reply)); }));
        });
    cluster_.serve(kFlagsMethod,
                   [this](const NodeName& caller, std::string_view payload, comm::Cluster::Answer answer) {
                       auto command = config::decode_command(payload);
                       if (!command) return answer(fail(command.error()));
                       scope_.spawn(serve_flags(caller, std::move(*command), std::move(answer)));
                   });
}

bool PolicyService::run(const Command& command, const Done& done) {
    if (command.name == "understudy policy show")
        done(show(command.has("json")));
    else if (command.name == "understudy policy set")
        set(command, done);
    else
        return false;
    return true;
}

/// One row a node; within it one a peer. What a node cannot be asked is told from its copy here.
Reply PolicyService::show(bool as_json) const {
    json nodes = json::array();
    std::string out = fmt::format("{:<16} {:<12} {:<16} {:<16} {}\n", "Node", "On shutdown", "Failover to",
                                  "System failover", "Resource failover");
    for (const auto& node : database_.own().systems) {
        const auto* config = database_.of(node);
        if (config == nullptr) continue;
        const bool moves = config->flags.contains(switches_over());
        json row{
            {"node", node.str()}, {"shutdown", moves ? "switchover" : "stay"}, {"failover", json::array()}};
        std::string name = node.str();
        std::string strategy = moves ? "switchover" : "stay";
        for (const auto& peer : database_.own().systems) {
            if (peer == node) continue;
            const bool system = config->flags.contains(recovery::no_system_failover_flag(node, peer));
            const bool resource = config->flags.contains(recovery::no_resource_failover_flag(node, peer));
            row["failover"].push_back({{"to", peer.str()}, {"system", !system}, {"resource", !resource}});
            out += fmt::format("{:<16} {:<12} {:<16} {:<16} {}\n", std::exchange(name, {}),
                               std::exchange(strategy, {}), peer.str(), system ? kOff : kOn,
                               resource ? kOff : kOn);
        }
        if (!name.empty()) out += fmt::format("{:<16} {}\n", name, strategy);
        nodes.push_back(std::move(row));
    }
    return config::success(as_json ? nodes.dump(2) + "\n" : out);
}

void PolicyService::set(const Command& command, const Done& done) {
    const NodeName node(command.arguments.at(0));
    if (!database_.own().systems.contains(node))
        return done(config::failure(
            {Code::not_found, fmt::format("no system \"{}\"; sys_list names those that exist", node.str()),
             0}));
    if (node == database_.self()) return scope_.spawn(set_here(command, done));
    cluster_.call(node, kSetMethod, config::encode(command), 2 * kCallLimit,
                  [done](const Result<std::string>& answer) {
                      if (!answer) return done(config::failure(answer.error()));
                      auto reply = config::decode_reply(*answer);
                      done(reply ? *reply : config::failure(reply.error()));
                  });
}

runtime::Task<> PolicyService::set_here(Command command, Done done) {
    auto warning = co_await change(std::move(command));
    Reply reply = warning ? config::success() : config::failure(warning.error());
    if (warning && !warning->empty()) {
        messages::warning("{}", *warning);
        reply.err = "*WARNING* " + *warning;
    }
    done(reply);
}

/// The result is a warning, or nothing.
runtime::Task<Result<std::string>> PolicyService::change(Command command) {
    const auto& self = database_.self();
    const auto& own = database_.own();
    const auto strategy = command.get("shutdown");
    const bool about_failover = command.has("system-failover") || command.has("resource-failover");
    if (strategy.empty() && !about_failover)
        co_return fail(Code::syntax,
                       "nothing to set: use --shutdown, or --to with --system-failover or "
                       "--resource-failover");
    if (!strategy.empty() && strategy != "stay" && strategy != "switchover")
        co_return fail(Code::bad_argument, "--shutdown takes stay or switchover, not \"{}\"", strategy);
    if (about_failover != command.has("to"))
        co_return fail(Code::syntax,
                       "--to names the node that --system-failover and --resource-failover are about");
    std::vector<std::pair<FlagName, bool>> flags;
    const NodeName to(command.get("to"));
    if (about_failover) {
        const auto system = on_or_off(command, "system-failover");
        if (!system) co_return fail(system.error());
        const auto resource = on_or_off(command, "resource-failover");
        if (!resource) co_return fail(resource.error());
        if (to == self || !own.systems.contains(to))
            co_return fail(Code::not_found, "no other system \"{}\"; sys_list names those that exist",
                           to.str());
        const auto system_flag = recovery::no_system_failover_flag(self, to);
        const auto resource_flag = recovery::no_resource_failover_flag(self, to);
        const bool no_system = *system ? !**system : own.flags.contains(system_flag);
        const bool no_resource = *resource ? !**resource : own.flags.contains(resource_flag);
        if (no_resource && !no_system)  // Spec: CLU-211
            co_return fail(Code::bad_argument,
                           "resource failover from {} to {} can be off only while system failover is off too",
                           self.str(), to.str());
        // Only a living node can be told, and it is the one that must know. Spec: CLU-208, CLU-210
        if (cluster_.peer_state(to) != comm::PeerState::alive)
            co_return fail(Code::unreachable, "{} is {} and cannot be told; set it when {} is ALIVE",
                           to.str(), comm::to_string(cluster_.peer_state(to)), to.str());
        flags = {{system_flag, no_system}, {resource_flag, no_resource}};
        Command there;
        there.name = kFlagsMethod;
        there.options = {{"system", std::string(no_system ? kOff : kOn)},
                         {"resource", std::string(no_resource ? kOff : kOn)}};
        const auto payload = config::encode(there);
        const auto told = co_await cluster_.call(to, kFlagsMethod, payload, kCallLimit);
        if (!told)
            co_return with_context(
                told.error(), fmt::format("{} has not confirmed the setting, and nothing was changed on {}; "
                                          "repeat the command",
                                          to.str(), self.str()));
    }
    std::string warning;
    if (!strategy.empty()) {
        flags.emplace_back(switches_over(), strategy == "switchover");
        if (const auto volumes = mirrored_volumes(own); strategy == "switchover" && !volumes.empty())
            warning = fmt::format(
                "hierarchies with mirrored volumes ({}) are taken out of service at a shutdown "
                "of {} and are not switched over",
                volumes, self.str());  // Spec: CLU-204
    }
    const auto put = co_await put_flags(std::move(flags));
    if (!put) co_return fail(put.error());
    co_return warning;
}

runtime::Task<Result<>> PolicyService::put_flags(std::vector<std::pair<FlagName, bool>> flags) {
    for (const auto& [flag, present] : flags)
        database_.set_flag(flag, present);
    const runtime::OneShot<Result<>> synced(world_.tasks);
    database_.sync([synced](Result<> result) { synced.set(std::move(result)); });
    auto durable = co_await synced;
    co_return durable;
}

runtime::Task<> PolicyService::serve_flags(NodeName caller, Command command, comm::Cluster::Answer answer) {
    const auto& self = database_.self();
    std::vector<std::pair<FlagName, bool>> flags{
        {recovery::no_system_failover_flag(caller, self), command.get("system") == kOff},
        {recovery::no_resource_failover_flag(caller, self), command.get("resource") == kOff}};
    const auto put = co_await put_flags(std::move(flags));
    answer(put ? Result<std::string>(std::string()) : Result<std::string>(fail(put.error())));
}

}  // namespace understudy::daemons
