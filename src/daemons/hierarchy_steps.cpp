#include "daemons/hierarchy_steps.h"

#include "base/text.h"
#include "messages/messages.h"

#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::Command;
using config::HierarchyStep;
using config::Reply;
using nlohmann::json;

constexpr auto kPollRunning = std::chrono::milliseconds(100);
// The caller holds the cluster's lock meanwhile, and asks again later.
constexpr auto kWaitForEarlier = std::chrono::seconds(60);
constexpr std::string_view kActions[] = {"restore",  "remove",      "quickchk", "deepchk",   "recover",
                                         "create",   "canextend",   "extend",   "candelete", "delete",
                                         "takeback", "canunextend", "unextend"};
constexpr std::string_view kGlobals[] = {"predelete", "postdelete"};

constexpr std::string_view kKit = "kit";
constexpr std::string_view kEngine = "engine";
constexpr std::string_view kGlobal = "global";

std::string records_payload(const config::RecordChange& change, const AskedBy& asked) {
    // User names and commands need not be UTF-8.
    return json{{"user", asked.user}, {"command", asked.command}, {"change", config::encode(change)}}.dump(
        -1, ' ', false, json::error_handler_t::replace);
}

/// The arguments are the step's own: what takes it back gets the tag and the id only.
std::string script_payload(const HierarchyStep& step, std::string_view kind, const std::string& action) {
    const auto hex = [](const std::string& value) { return text::hex(std::as_bytes(std::span(value))); };
    Command command;
    command.name = "hierarchy-script";
    command.options = {{"kind", std::string(kind)}, {"app", step.app.str()}, {"type", step.type.str()},
                       {"tag", step.tag.str()},     {"action", action},      {"id", hex(step.id.str())}};
    if (action == step.action)
        for (const auto& argument : step.arguments)
            command.arguments.push_back(hex(argument));
    return config::encode(command);
}

std::string from_hex(const std::string& value) {
    const auto bytes = text::from_hex(value);
    return bytes ? std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()) : std::string();
}

std::set<NodeName> names_of(const json& list) {
    std::set<NodeName> names;
    for (const auto& name : list)
        names.emplace(name.get<std::string>());
    return names;
}

}  // namespace

Result<config::NodeFacts> decode_facts(std::string_view data) {
    try {
        const auto object = json::parse(data);
        config::NodeFacts facts;
        facts.alive = names_of(object.at("alive"));
        for (const auto& kit : object.at("kits")) {
            const config::ResourceType type{AppName(kit.at("app").get<std::string>()),
                                            TypeName(kit.at("type").get<std::string>())};
            for (const auto& action : kit.at("actions"))
                facts.actions[type].insert(action.get<std::string>());
            if (!kit.at("enabled").get<bool>()) facts.disabled.insert(type);
        }
        for (const auto& name : object.at("globals"))
            facts.global_scripts.insert(name.get<std::string>());
        return facts;
    } catch (const json::exception& malformed) {
        return fail(Code::internal, "an answer about a node's kits is malformed: {}", malformed.what());
    }
}

TransactionStep to_transaction(const HierarchyStep& step, const AskedBy& asked) {
    TransactionStep result;
    result.node = step.node;
    result.text = step.text;
    const std::string method(kHierarchyScript);
    switch (step.kind) {
        case HierarchyStep::Kind::records:
            result.call = {std::string(kHierarchyRecords), records_payload(step.change, asked)};
            if (!step.back.empty())
                result.back = {std::string(kHierarchyRecords), records_payload(step.back, asked)};
            return result;
        case HierarchyStep::Kind::kit_action:
            result.call = {method, script_payload(step, kKit, step.action)};
            if (!step.back_action.empty())
                result.back = {method, script_payload(step, kKit, step.back_action)};
            break;
        case HierarchyStep::Kind::engine_action:
            result.call = {method, script_payload(step, kEngine, step.action)};
            if (!step.back_action.empty())
                result.back = {method, script_payload(step, kEngine, step.back_action)};
            break;
        case HierarchyStep::Kind::global_scripts:
            result.call = {method, script_payload(step, kGlobal, step.action)};
            break;
    }
    result.atomic = false;
    result.runs_script = true;
    return result;
}

HierarchySteps::HierarchySteps(runtime::World world, config::Database& database, comm::Cluster& cluster,
                               recovery::Engine& engine, recovery::Scripts scripts)
    : world_(world), database_(database), cluster_(cluster), engine_(engine), scripts_(std::move(scripts)) {}

void HierarchySteps::start() {
    cluster_.serve(std::string(kHierarchyFacts),
                   [this](const NodeName&, std::string_view, const Answer& answer) { answer(facts()); });
    cluster_.serve(std::string(kHierarchyRecords),
                   [this](const NodeName& caller, std::string_view payload, const Answer& answer) {
                       change_records(caller, payload, answer);
                   });
    cluster_.serve(std::string(kHierarchyScript),
                   [this](const NodeName&, std::string_view payload, const Answer& answer) {
                       auto command = config::decode_command(payload);
                       if (!command) return answer(fail(command.error()));
                       tasks_.spawn(run_script(std::move(*command), answer));
                   });
}

std::string HierarchySteps::facts() const {
    json alive = json::array();
    for (const auto& peer : cluster_.alive_peers())
        alive.push_back(peer.str());
    json kits = json::array();
    for (const auto& type : database_.own().types) {
        json actions = json::array();
        for (const auto action : kActions)
            if (!scripts_.find(type.app, type.type, std::string(action)).empty()) actions.push_back(action);
        kits.push_back({{"app", type.app.str()},
                        {"type", type.type.str()},
                        {"enabled", scripts_.enabled(type.app, type.type)},
                        {"actions", std::move(actions)}});
    }
    json globals = json::array();
    for (const auto name : kGlobals)
        if (!scripts_.global(std::string(name)).empty()) globals.push_back(name);
    return json{{"alive", std::move(alive)}, {"kits", std::move(kits)}, {"globals", std::move(globals)}}
        .dump();
}

void HierarchySteps::change_records(const NodeName& caller, std::string_view payload, const Answer& answer) {
    config::Origin origin{"", caller, ""};
    std::string encoded;
    try {
        const auto object = json::parse(payload);
        origin.user = object.at("user").get<std::string>();
        origin.command = object.at("command").get<std::string>();
        encoded = object.at("change").get<std::string>();
    } catch (const json::exception& malformed) {
        return answer(fail(Code::internal, "a change of records is malformed: {}", malformed.what()));
    }
    const auto change = config::decode_record_change(encoded);
    if (!change) return answer(fail(change.error()));
    auto edits = config::edits_for(database_.own(), *change);
    if (!edits) return answer(fail(edits.error()));
    {
        const auto attribution = database_.attribute(origin);
        database_.commit(std::move(*edits));
    }
    // What is answered is on disk: the next step builds on it.
    database_.sync([answer](const Result<>& synced) {
        // It is done, but may not outlive a power cut: neither refused nor complete.
        if (!synced) return answer(fail(Code::internal, "{}", synced.error().text));
        answer(std::string());
    });
}

runtime::Task<> HierarchySteps::run_script(Command command, Answer answer) {
    const Tag tag(command.get("tag"));
    const auto action = command.get("action");
    // The caller may have died and what it began may still run: without a limit of its own. Spec: CLU-142.
    const auto until = world_.clock.now() + kWaitForEarlier;
    while (running_.contains(tag)) {
        if (world_.clock.now() >= until) {
            // It has not begun, but what is there may be half of something: neither refused nor complete.
            answer(
                fail(Code::internal,
                     "{} of {} waits on {}: {} of an interrupted change has not ended there after {} s; end "
                     "its process when it hangs",
                     action, tag.str(), database_.self().str(), running_.at(tag), kWaitForEarlier.count()));
            co_return;
        }
        co_await runtime::sleep_for(world_.tasks, kPollRunning);
    }
    running_.emplace(tag, action);
    Result<> done;
    if (command.get("kind") == kEngine)
        done = co_await engine_action(command);
    else
        done = co_await kit_action(command);
    running_.erase(tag);
    if (done)
        answer(std::string());
    else
        answer(fail(done.error()));
}

runtime::Task<Result<>> HierarchySteps::kit_action(Command command) {
    const auto action = command.get("action");
    if (command.get("kind") == kGlobal) {
        Command scripts;
        scripts.name = "lcdrecover";
        scripts.options = {{action == "predelete" ? "g" : "G", "delete"}};
        const runtime::OneShot<Reply> ended(world_.tasks);
        engine_.lcdrecover(scripts, [ended](Reply reply) { ended.set(std::move(reply)); });
        const Reply reply = co_await ended;
        if (reply.exit_code != 0) messages::warning("global {} scripts: {}", action, reply.err);
        co_return Result<>{};
    }
    const Tag tag(command.get("tag"));
    const auto path = scripts_.find(AppName(command.get("app")), TypeName(command.get("type")), action);
    if (path.empty())
        co_return fail(Code::not_found, "the kit {}/{} has no executable {} any more", command.get("app"),
                       command.get("type"), action);
    std::vector<std::string> arguments{"-t", tag.str(), "-i", from_hex(command.get("id"))};
    for (const auto& argument : command.arguments)
        arguments.push_back(from_hex(argument));
    const auto ran = co_await scripts_.run(tag, action, path, std::move(arguments));
    if (!ran) co_return fail(ran.error());
    if (ran->exit_code == 0) co_return Result<>{};
    co_return fail(Code::failure, "{} of {} failed with exit code {}{}{}", action, tag.str(), ran->exit_code,
                   ran->last_lines.empty() ? "" : ": ", ran->last_lines);
}

runtime::Task<Result<>> HierarchySteps::engine_action(Command command) {
    // The caller holds the admin lock. Spec: CLU-139
    Command perform;
    perform.name = "perform_action";
    perform.options = {{"t", command.get("tag")}, {"a", command.get("action")}, {"G", ""}};
    if (command.get("action") == "remove") {
        const auto* instance = database_.own().find(Tag(command.get("tag")));
        if (instance == nullptr) co_return Result<>{};
        // What an interrupted restore has left behind is no business of the engine's.
        if (instance->state != config::State::isp && instance->state != config::State::isu) {
            auto removed = co_await kit_action(command);
            co_return removed;
        }
        perform.options["s"] = "";
    }
    const runtime::OneShot<Reply> ended(world_.tasks);
    engine_.perform_action(perform, [ended](Reply reply) { ended.set(std::move(reply)); });
    const Reply reply = co_await ended;
    if (reply.exit_code == 0) co_return Result<>{};
    co_return fail(static_cast<Code>(reply.exit_code), "{}", reply.err);
}

}  // namespace understudy::daemons
