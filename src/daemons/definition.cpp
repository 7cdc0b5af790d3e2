#include "daemons/definition.h"

#include "base/text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::Command;
using config::Definition;
using config::DefinitionChange;
using config::Reply;
using nlohmann::json;
using runtime::Task;

constexpr auto kAskLimit = std::chrono::seconds(5);
constexpr std::string_view kReadSettings = "definition.settings";

std::string lines_of(const std::vector<DefinitionChange>& changes) {
    std::string text;
    for (const auto& change : changes)
        text += change.text + "\n";
    return text;
}

std::map<NodeName, const config::NodeConfig*> pointers(const std::map<NodeName, config::NodeConfig>& nodes) {
    std::map<NodeName, const config::NodeConfig*> result;
    for (const auto& [node, config] : nodes)
        result[node] = &config;
    return result;
}

/// `text` with the value of `key` replaced where it stands, or put at the end.
std::string with_setting(const std::string& text, const std::string& key, const std::string& value) {
    auto lines = text::split(text, '\n');
    if (!lines.empty() && lines.back().empty()) lines.pop_back();
    const auto is_key = [&](const std::string& line) {
        const auto equals = line.find('=');
        return equals != std::string::npos && text::trim(std::string_view(line).substr(0, equals)) == key;
    };
    const auto at = std::find_if(lines.begin(), lines.end(), is_key);
    if (at == lines.end())
        lines.push_back(key + "=" + value);
    else
        *at = key + "=" + value;
    return text::join(lines, "\n") + "\n";
}

}  // namespace

Definition DefinitionService::Picture::define() const {
    return config::define(pointers(nodes), settings);
}

Result<config::Difference> DefinitionService::Picture::difference(
    const Definition& wanted, const config::DifferenceOptions& how) const {
    return config::difference(pointers(nodes), settings, wanted, how);
}

DefinitionService::DefinitionService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                                     const NodeOptions& options, Run run)
    : world_(world), database_(database), cluster_(cluster), options_(options), run_(std::move(run)) {}

DefinitionService::~DefinitionService() = default;

void DefinitionService::start() {
    cluster_.serve(std::string(kReadSettings),
                   [this](const NodeName&, std::string_view, const comm::Cluster::Answer& answer) {
                       answer(own_settings());
                   });
}

bool DefinitionService::run(const Command& command, const Progress& progress, const Done& done) {
    if (command.name == "understudy config export") {
        tasks_.spawn(export_all(done));
    } else if (command.name == "understudy config apply") {
        tasks_.spawn(apply(command, progress, done));
    } else if (command.name == config::kSetSettings) {
        const auto set = set_own_settings(command.arguments);
        done(set ? config::success() : config::failure(set.error()));
    } else {
        return false;
    }
    return true;
}

std::string DefinitionService::own_settings() const {
    json values = json::object();
    if (const auto text = world_.files.read(options_.layout.settings())) {
        std::vector<std::string> problems;
        const auto settings = config::Settings::parse_leniently(*text, problems);
        for (const auto& [key, value] : settings.all())
            values[key] = value;
    }
    return values.dump();
}

Result<> DefinitionService::set_own_settings(const std::vector<std::string>& pairs) {
    const auto file = options_.layout.settings();
    auto text = world_.files.exists(file) ? world_.files.read(file) : Result<std::string>(std::string());
    if (!text) return fail(text.error());
    for (const auto& pair : pairs) {
        const auto equals = pair.find('=');
        if (equals == 0 || equals == std::string::npos || pair.find('\n') != std::string::npos)
            return fail(Code::bad_argument, "a setting is KEY=value on one line, not \"{}\"", pair);
        text = with_setting(*text, pair.substr(0, equals), pair.substr(equals + 1));
    }
    if (const auto valid = config::Settings::parse(*text); !valid) return fail(valid.error());
    constexpr int kReadableByAll = 0644;
    UNDERSTUDY_CHECK(world_.files.make_directories(file.substr(0, file.rfind('/')), 0755));
    return world_.files.write_atomic(file, *text, kReadableByAll);
}

Task<DefinitionService::Picture> DefinitionService::look() {
    const runtime::OneShot<Answers> gathered(world_.tasks);
    const auto local = [this](const std::function<void(Result<std::string>)>& answer) {
        answer(own_settings());
    };
    gather(cluster_, database_.self(), std::string(kReadSettings), {}, kAskLimit, local,
           [gathered](const Answers& answers) { gathered.set(answers); });
    const Answers answers = co_await gathered;
    Picture picture;
    for (const auto& [node, answer] : answers) {
        const auto* config = database_.of(node);
        const auto values = answer ? json::parse(*answer, nullptr, false) : json();
        if (config == nullptr || !values.is_object()) continue;
        picture.nodes[node] = *config;
        for (const auto& [key, value] : values.items())
            if (value.is_string()) picture.settings[node][key] = value.get<std::string>();
    }
    picture.missing = missing_answers(answers, database_.own().systems);
    co_return picture;
}

Task<Result<>> DefinitionService::off_the_loop(std::function<void()> work) {
    const runtime::OneShot<runtime::Done> finished(world_.tasks);
    const bool taken = world_.tasks.run_blocking(work, [finished] { finished.set({}); });
    if (!taken) co_return fail(Code::failure, "too much is waiting on {}; try again", database_.self().str());
    co_await finished;
    co_return Result<>{};
}

Task<void> DefinitionService::export_all(Done done) {
    // The worker may outlive this sequence: what it works on is its own.
    Picture seen = co_await look();
    const auto picture = std::make_shared<const Picture>(std::move(seen));
    const auto yaml = std::make_shared<std::string>();
    const std::function<void()> write = [picture, yaml] { *yaml = config::to_yaml(picture->define()); };
    const Result<> written = co_await off_the_loop(write);
    if (!written) {
        done(config::failure(written.error()));
        co_return;
    }
    Reply reply = config::success(*yaml);
    if (!picture->missing.empty())
        reply.err = fmt::format("*WARNING* the file is incomplete: {}", picture->missing);
    done(reply);
}

Task<Result<DefinitionService::Plan>> DefinitionService::plan(Command command) {
    Picture seen = co_await look();
    const auto picture = std::make_shared<const Picture>(std::move(seen));
    const auto file = std::make_shared<const std::string>(
        command.arguments.empty() ? std::string() : command.arguments.front());
    const config::DifferenceOptions how{database_.self(), command.has("prune")};
    const auto result = std::make_shared<Result<Plan>>(fail(Code::internal, "nothing was compared"));
    const std::function<void()> compare = [picture, file, how, result] {
        const auto wanted = config::parse_definition(*file);
        if (!wanted) {
            *result = fail(wanted.error());
            return;
        }
        auto found = picture->difference(*wanted, how);
        if (found)
            *result = Plan{std::move(*found), picture->define()};
        else
            *result = fail(found.error());
    };
    const Result<> compared = co_await off_the_loop(compare);
    if (!compared) co_return fail(compared.error());
    co_return std::move(*result);
}

Task<void> DefinitionService::apply(Command command, Progress progress, Done done) {
    if (applying_) {
        done(config::failure(
            {Code::failure, "another definition is being applied; try again when it is done", 0}));
        co_return;
    }
    applying_ = true;
    const Result<Plan> planned = co_await plan(command);
    Reply reply;
    if (!planned)
        reply = config::failure(planned.error());
    else if (planned->difference.changes.empty())
        reply = config::success("nothing to change\n");
    else if (command.has("dry-run"))
        reply = config::success(lines_of(planned->difference.changes));
    else
        reply = co_await carry_out(*planned, command, progress);
    if (planned)
        for (const auto& kept : planned->difference.kept)
            reply.err += fmt::format("{}not in the file, kept: {} (--prune removes it)",
                                     reply.err.empty() ? "" : "\n", kept);
    applying_ = false;
    done(reply);
}

Task<Reply> DefinitionService::carry_out(Plan plan, Command as, Progress progress) {
    const auto& changes = plan.difference.changes;
    const Result<> made = co_await run_all(changes, as, progress);
    if (!made) {
        const std::string undone = co_await undo(plan.before, as, progress);
        Reply reply = config::failure(made.error());
        reply.err += "; " + undone;
        co_return reply;
    }
    Reply reply;
    if (std::any_of(changes.begin(), changes.end(),
                    [](const auto& change) { return change.command.name == config::kSetSettings; }))
        reply.err = "settings that are read at start take effect when the engine is restarted";
    co_return reply;
}

/// Runs the commands for the caller of `as`, telling each before it is run.
Task<Result<>> DefinitionService::run_all(std::vector<DefinitionChange> changes, Command as,
                                          Progress progress) {
    for (auto& change : changes) {
        if (progress) progress(change.text + "\n");
        auto command = change.command;
        command.uid = as.uid;
        command.pid = as.pid;
        const runtime::OneShot<Reply> answered(world_.tasks);
        run_(command, [answered](Reply reply) { answered.set(std::move(reply)); });
        const Reply reply = co_await answered;
        if (reply.exit_code != 0)
            co_return fail(static_cast<Code>(reply.exit_code), "{}: {}", change.text, reply.err);
    }
    co_return Result<>{};
}

/// What was undone, for the end of the error's text.
Task<std::string> DefinitionService::undo(Definition before, Command as, Progress progress) {
    // Whoever answers has sent its commits before: the copies here are up to date then.
    Picture seen = co_await look();
    const auto picture = std::make_shared<const Picture>(std::move(seen));
    const config::DifferenceOptions how{database_.self(), true};
    const auto back =
        std::make_shared<Result<config::Difference>>(fail(Code::internal, "nothing was compared"));
    const std::function<void()> compare = [picture, how, back, before] {
        *back = picture->difference(before, how);
    };
    const Result<> compared = co_await off_the_loop(compare);
    if (!compared || !*back)
        co_return fmt::format("what was done before it cannot be undone: {}",
                              (compared ? back->error() : compared.error()).text);
    const auto changes = (*back)->changes;
    const Result<> undone = co_await run_all(changes, as, progress);
    if (!undone) co_return fmt::format("undoing what was done before it failed: {}", undone.error().text);
    co_return changes.empty() ? std::string("nothing was changed")
                              : std::string("everything is as it was before");
}

}  // namespace understudy::daemons
