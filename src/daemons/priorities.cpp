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
constexpr auto kWaitForOthers = std::chrono::seconds(60);
/// What could not be finished is tried again so often.
constexpr auto kRetryInterval = std::chrono::seconds(5);
constexpr std::string_view kIdentifier = "Change_priority";

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

json to_json(const PriorityChange& change) {
    json resources = json::array();
    for (const auto& tags : change.resources) {
        json object = json::object();
        for (const auto& [node, tag] : tags)
            object[node.str()] = tag.str();
        resources.push_back(std::move(object));
    }
    json wanted = json::object();
    for (const auto& [node, value] : change.wanted)
        wanted[node.str()] = value.value;
    json before = json::object();
    for (const auto& [node, view] : change.before)
        before[node.str()] = to_json(view);
    return {
        {"resources", std::move(resources)}, {"wanted", std::move(wanted)}, {"before", std::move(before)}};
}

PriorityChange change_of(const json& object) {
    PriorityChange change;
    for (const auto& each : object.at("resources")) {
        config::EquivalentTags tags;
        for (const auto& [node, tag] : each.items())
            tags.emplace(node, tag.get<std::string>());
        change.resources.push_back(std::move(tags));
    }
    for (const auto& [node, value] : object.at("wanted").items())
        change.wanted[NodeName(node)] = Priority{value.get<int>()};
    for (const auto& [node, view] : object.at("before").items())
        change.before[NodeName(node)] = view_of(view);
    return change;
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

}  // namespace

PriorityService::PriorityService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                                 LockService& locks, std::string journal_file)
    : world_(world),
      database_(database),
      cluster_(cluster),
      locks_(locks),
      journal_file_(std::move(journal_file)) {}

PriorityService::~PriorityService() = default;

void PriorityService::start() {
    serve();
    if (auto loaded = load_journal(); !loaded) messages::error("{}", loaded.error().text);
    tasks_.spawn(resume());
}

void PriorityService::serve() {
    cluster_.serve("priorities.read", [this](const NodeName&, std::string_view payload,
                                             const comm::Cluster::Answer& answer) {
        const auto tags = read_json(payload, "a question for priorities",
                                    [](const json& list) { return list.get<std::vector<std::string>>(); });
        if (!tags) return answer(fail(tags.error()));
        std::vector<Tag> wanted(tags->begin(), tags->end());
        answer(to_json(config::view_priorities(database_.own(), database_.self(), wanted)).dump());
    });
    cluster_.serve("priorities.write", [this](const NodeName& caller, std::string_view payload,
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

Result<> PriorityService::load_journal() {
    if (!world_.files.exists(journal_file_)) return {};
    UNDERSTUDY_TRY(const auto content, world_.files.read(journal_file_));
    auto journal = read_json(content, journal_file_, [](const json& object) {
        return Journal{static_cast<Phase>(object.at("phase").get<int>()), change_of(object.at("change"))};
    });
    if (!journal)
        return with_context(journal.error(),
                            "an interrupted change of priorities cannot be put back; compare "
                            "eqv_list on all systems and repair with hry_setpri");
    journal_ = std::move(*journal);
    return {};
}

Result<> PriorityService::keep(Phase phase) {
    journal_->phase = phase;
    const json object{{"phase", static_cast<int>(phase)}, {"change", to_json(journal_->change)}};
    if (auto written = world_.files.write_atomic(journal_file_, object.dump(1) + "\n", 0600); !written)
        return with_context(written.error(), "cannot note the change of priorities");
    return {};
}

Result<> PriorityService::forget_journal() {
    journal_.reset();
    return world_.files.remove(journal_file_);
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
    const auto changed = co_await change(std::move(request));
    done(changed ? config::success() : config::failure(changed.error()));
}

Task<Result<config::LockId>> PriorityService::lock(runtime::Duration wait) {
    const runtime::OneShot<Result<config::LockId>> granted(world_.tasks);
    locks_.acquire(std::string(kIdentifier), wait,
                   [granted](const Result<config::LockId>& lock) { granted.set(lock); });
    co_return co_await granted;
}

Task<Result<>> PriorityService::change(Request request) {
    if (busy_)
        co_return fail(Code::failure,
                       "another change of priorities is under way on {}; try again when it is done",
                       database_.self().str());
    busy_ = true;
    const auto locked = co_await lock(kWaitForOthers);
    Result<> result;
    if (!locked) {
        result = fail(locked.error());
    } else {
        // What an earlier change has left comes first: its values would pass for the state before this one.
        if (journal_) result = co_await finish();
        if (result) result = co_await prepare(std::move(request));
        if (result && journal_) result = co_await carry_out();
        locks_.release(*locked);
    }
    busy_ = false;
    co_return result;
}

/// Everything that can be refused is refused here, before anything changes. Spec: CLU-097.
Task<Result<>> PriorityService::prepare(Request request) {
    PriorityChange change;
    auto resources = config::equivalent_hierarchy(database_.own(), database_.self(), request.tag);
    if (!resources) co_return fail(resources.error());
    change.resources = std::move(*resources);
    change.wanted = std::move(request.wanted);
    if (auto checked = change.check(); !checked) co_return checked;
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
    if (auto checked = change.check(); !checked) co_return checked;
    journal_ = Journal{Phase::temporary, std::move(change)};
    if (auto kept = keep(Phase::temporary); !kept) {
        journal_.reset();
        co_return kept;
    }
    co_return Result<>{};
}

Task<Result<>> PriorityService::carry_out() {
    auto written = co_await write_step(Phase::temporary);
    if (written) written = keep(Phase::final);
    if (written) written = co_await write_step(Phase::final);
    if (written) co_return forget_journal();
    journal_->phase = Phase::roll_back;
    const auto back = co_await finish();
    if (!back)
        co_return fail(
            written.error().code,
            "{}; the change is being put back, but not everywhere yet ({}): temporary values above 999 "
            "remain there until then, see eqv_list",
            written.error().text, back.error().text);
    co_return with_context(written.error(), "the change was put back everywhere");
}

Task<Result<>> PriorityService::finish() {
    const auto phase = journal_->phase;
    // First the note: after a restart nobody may complete what was being put back.
    auto written = keep(phase);
    if (!written) co_return written;
    if (phase == Phase::final) {
        written = co_await write_step(Phase::final);
    } else {
        auto writes = journal_->change.roll_back();
        written = co_await write_all(std::move(writes));
    }
    if (!written) co_return written;
    messages::info("a change of priorities is {}", phase == Phase::final ? "complete" : "put back");
    co_return forget_journal();
}

/// One node's priority after the other, on every member. Spec: CLU-110.
Task<Result<>> PriorityService::write_step(Phase phase) {
    std::vector<NodeName> nodes;
    for (const auto& [node, value] : journal_->change.wanted)
        nodes.push_back(node);
    for (const auto& node : nodes) {
        auto writes = phase == Phase::final ? journal_->change.final(node) : journal_->change.temporary(node);
        auto written = co_await write_all(std::move(writes));
        if (!written) co_return written;
    }
    co_return Result<>{};
}

/// All nodes are tried; the first error counts. A node that is no system any more has nothing to put back.
Task<Result<>> PriorityService::write_all(PriorityWrites writes) {
    Result<> result;
    for (const auto& [node, list] : writes) {
        if (!database_.own().systems.contains(node)) continue;
        const auto written =
            co_await cluster_.call(node, "priorities.write", to_json(list).dump(), kCallLimit);
        if (!written && result)
            result = with_context(written.error(), fmt::format("priorities on {}", node.str()));
    }
    co_return result;
}

Task<void> PriorityService::resume() {
    while (true) {
        if (journal_ && !busy_) {
            busy_ = true;
            const auto locked = co_await lock(kWaitForOthers);
            if (locked) {
                const auto finished = co_await finish();
                if (!finished)
                    messages::warning("an interrupted change of priorities waits: {}", finished.error().text);
                locks_.release(*locked);
            }
            busy_ = false;
        }
        co_await runtime::sleep_for(world_.tasks, kRetryInterval);
    }
}

}  // namespace understudy::daemons
