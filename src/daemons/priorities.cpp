#include "daemons/priorities.h"

#include "base/text.h"
#include "messages/messages.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::Command;
using config::PriorityChange;
using config::PriorityWrite;
using config::PriorityWrites;
using nlohmann::json;
using runtime::Task;

constexpr auto kCallLimit = std::chrono::seconds(10);
constexpr std::string_view kIdentifier = "Change_priority";
constexpr std::string_view kWrite = "priorities.write";

json to_json(const std::vector<PriorityWrite>& writes) {
    json list = json::array();
    for (const auto& write : writes) {
        json only_if = json::array();
        for (const auto& value : write.only_if)
            only_if.push_back(value.value);
        list.push_back({{"tag", write.tag.str()},
                        {"node", write.node.str()},
                        {"value", write.value.value},
                        {"only_if", std::move(only_if)}});
    }
    return list;
}

std::vector<PriorityWrite> writes_of(const json& list) {
    std::vector<PriorityWrite> writes;
    for (const auto& each : list) {
        PriorityWrite write{Tag(each.at("tag").get<std::string>()),
                            NodeName(each.at("node").get<std::string>()),
                            Priority{each.at("value").get<int>()},
                            {}};
        for (const auto& value : each.at("only_if"))
            write.only_if.push_back(Priority{value.get<int>()});
        writes.push_back(std::move(write));
    }
    return writes;
}

json to_json(const config::PriorityView& view) {
    json object = json::object();
    for (const auto& [tag, values] : view)
        for (const auto& [node, value] : values)
            object[tag.str()][node.str()] = value.value;
    return object;
}

config::PriorityView view_of(const json& object) {
    config::PriorityView view;
    for (const auto& [tag, values] : object.items())
        for (const auto& [node, value] : values.items())
            view[Tag(tag)][NodeName(node)] = Priority{value.get<int>()};
    return view;
}

/// Runs a reader of JSON; what is malformed is an error, not an exception.
template <class Reader>
auto read_json(std::string_view data, std::string_view what, Reader reader)
    -> Result<decltype(reader(json()))> {
    try {
        return reader(json::parse(data));
    } catch (const json::exception& malformed) {
        return fail(Code::internal, "{} is malformed: {}", what, malformed.what());
    }
}

std::vector<Tag> tags_on(const std::vector<config::EquivalentTags>& resources, const NodeName& node) {
    std::vector<Tag> tags;
    for (const auto& each : resources)
        if (const auto at = each.find(node); at != each.end()) tags.push_back(at->second);
    return tags;
}

/// The writes of one node's priority as steps, one for each node that writes.
void add_steps(Transaction& transaction, const PriorityWrites& writes, const PriorityWrites& back,
               const NodeName& whose, std::string_view as) {
    for (const auto& [writer, list] : writes) {
        TransactionStep step;
        step.node = writer;
        step.text =
            fmt::format("set the priority of {} to {}, {}", whose.str(), list.front().value.value, as);
        step.call = {std::string(kWrite), to_json(list).dump()};
        step.atomic = false;  // what could not be written to the disk is changed all the same
        std::vector<PriorityWrite> before;
        if (const auto at = back.find(writer); at != back.end())
            for (const auto& write : at->second)
                if (write.node == whose) before.push_back(write);
        if (!before.empty()) step.back = {std::string(kWrite), to_json(before).dump()};
        transaction.steps.push_back(std::move(step));
    }
}

}  // namespace

PriorityService::PriorityService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                                 TransactionService& transactions)
    : world_(world), database_(database), cluster_(cluster), transactions_(transactions) {}

PriorityService::~PriorityService() = default;

void PriorityService::start() {
    cluster_.serve("priorities.read", [this](const NodeName&, std::string_view payload,
                                             const comm::Cluster::Answer& answer) {
        const auto tags = read_json(payload, "a question for priorities",
                                    [](const json& list) { return list.get<std::vector<std::string>>(); });
        if (!tags) return answer(fail(tags.error()));
        std::vector<Tag> wanted(tags->begin(), tags->end());
        answer(to_json(config::view_priorities(database_.own(), database_.self(), wanted)).dump());
    });
    cluster_.serve(std::string(kWrite), [this](const NodeName& caller, std::string_view payload,
                                               const comm::Cluster::Answer& answer) {
        const auto writes =
            read_json(payload, "a change of priorities", [](const json& list) { return writes_of(list); });
        if (!writes) return answer(fail(writes.error()));
        auto edits = config::priority_edits(database_.own(), database_.self(), *writes);
        if (!edits) return answer(fail(edits.error()));
        {
            const auto attribution = database_.attribute({"", caller, "change of priorities"});
            database_.commit(std::move(*edits));
        }
        database_.sync([answer](const Result<>& synced) {
            if (!synced) return answer(fail(synced.error()));
            answer(std::string());
        });
    });
}

Result<PriorityService::Request> PriorityService::parse(const Command& command) const {
    const auto priority = [](std::string_view text) -> Result<Priority> {
        const auto value = text::to_int(text);
        if (!value) return fail(Code::bad_argument, "\"{}\" is not a priority; use 1 to 999", text);
        return Priority{static_cast<int>(std::clamp<std::int64_t>(*value, -1, Priority::kMax + 1))};
    };
    Request request;
    if (command.name == "hry_setpri") {
        if (!command.has("t") || !command.has("p"))
            return fail(Code::syntax, "options -t (tag) and -p (priority) are needed");
        request.tag = Tag(command.get("t"));
        UNDERSTUDY_TRY(request.wanted[NodeName(command.get("s", database_.self().str()))],
                       priority(command.get("p")));
        return request;
    }
    if (command.arguments.size() < 2)
        return fail(Code::syntax, "name a resource and at least one SYSTEM=PRIORITY");
    request.tag = Tag(command.arguments.front());
    for (std::size_t i = 1; i < command.arguments.size(); ++i) {
        const auto& word = command.arguments[i];
        const auto at = word.find('=');
        if (at == std::string::npos) return fail(Code::syntax, "\"{}\" is not SYSTEM=PRIORITY", word);
        const NodeName node(word.substr(0, at));
        if (request.wanted.contains(node)) return fail(Code::syntax, "{} is named twice", node.str());
        UNDERSTUDY_TRY(request.wanted[node], priority(std::string_view(word).substr(at + 1)));
    }
    return request;
}

bool PriorityService::run(const Command& command, const Done& done) {
    if (command.name != "hry_setpri" && command.name != "understudy priorities") return false;
    auto request = parse(command);
    if (!request)
        done(config::failure(request.error()));
    else
        tasks_.spawn(answer(std::move(*request), done));
    return true;
}

Task<void> PriorityService::answer(Request request, Done done) {
    const TransactionService::Prepare prepared = [this, request] { return prepare(request); };
    const TransactionService::Progress silent;
    const auto changed = co_await transactions_.run(std::string(kIdentifier), prepared, silent);
    done(changed ? config::success() : config::failure(changed.error()));
}

/// Everything that can be refused is refused here, before anything changes. Spec: CLU-097.
Task<Result<Transaction>> PriorityService::prepare(Request request) {
    PriorityChange change;
    auto resources = config::equivalent_hierarchy(database_.own(), database_.self(), request.tag);
    if (!resources) co_return fail(resources.error());
    change.resources = std::move(*resources);
    change.wanted = std::move(request.wanted);
    if (auto checked = change.check(); !checked) co_return fail(checked.error());
    const auto members = change.members();
    for (const auto& node : members)
        if (node != database_.self() && cluster_.peer_state(node) != comm::PeerState::alive)
            co_return fail(Code::unreachable,
                           "{} has a part in the hierarchy of {} and is not reachable; nothing is changed",
                           node.str(), request.tag.str());
    for (const auto& node : members) {
        json tags = json::array();
        for (const auto& tag : tags_on(change.resources, node))
            tags.push_back(tag.str());
        const auto answer = co_await cluster_.call(node, "priorities.read", tags.dump(), kCallLimit);
        if (!answer) co_return with_context(answer.error(), "nothing is changed");
        auto view = read_json(*answer, "an answer about priorities",
                              [](const json& object) { return view_of(object); });
        if (!view) co_return fail(view.error());
        change.before[node] = std::move(*view);
    }
    if (auto checked = change.check(); !checked) co_return fail(checked.error());

    // One node's priority after the other, on every member. Spec: CLU-110.
    Transaction transaction;
    transaction.what = fmt::format("a change of the priorities of {}", request.tag.str());
    transaction.insists = false;
    const auto back = change.roll_back();
    for (const auto& [node, value] : change.wanted)
        add_steps(transaction, change.temporary(node), back, node, "for the time being");
    transaction.final_from = transaction.steps.size();
    for (const auto& [node, value] : change.wanted)
        add_steps(transaction, change.final(node), {}, node, "as wanted");
    co_return transaction;
}

}  // namespace understudy::daemons
