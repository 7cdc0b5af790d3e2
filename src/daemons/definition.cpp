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
        picture.nodes[node] = config;
        for (const auto& [key, value] : values.items())
            if (value.is_string()) picture.settings[node][key] = value.get<std::string>();
    }
    picture.missing = missing_answers(answers, database_.own().systems);
    co_return picture;
}

Task<void> DefinitionService::export_all(Done done) {
    const Picture picture = co_await look();
    Reply reply = config::success(config::to_yaml(config::define(picture.nodes, picture.settings)));
    if (!picture.missing.empty())
        reply.err = fmt::format("*WARNING* the file is incomplete: {}", picture.missing);
    done(reply);
}

Task<void> DefinitionService::apply(Command command, Progress progress, Done done) {
    const auto wanted = config::parse_definition(command.arguments.empty() ? "" : command.arguments.front());
    if (!wanted) {
        done(config::failure(wanted.error()));
        co_return;
    }
    if (applying_) {
        done(config::failure(
            {Code::failure, "another definition is being applied; try again when it is done", 0}));
        co_return;
    }
    applying_ = true;
    const Picture picture = co_await look();
    const config::DifferenceOptions how{database_.self(), command.has("prune")};
    const auto found = config::difference(picture.nodes, picture.settings, *wanted, how);
    Reply reply;
    if (!found) {
        reply = config::failure(found.error());
    } else if (command.has("dry-run") || found->changes.empty()) {
        reply = config::success(found->changes.empty() ? "nothing to change\n" : lines_of(found->changes));
    } else {
        const auto before = config::define(picture.nodes, picture.settings);
        const Result<> made = co_await run_all(found->changes, command, progress);
        if (made) {
            const bool settings =
                std::any_of(found->changes.begin(), found->changes.end(),
                            [](const auto& change) { return change.command.name == config::kSetSettings; });
            if (settings)
                reply.err = "settings that are read at start take effect when the engine is restarted";
        } else {
            const std::string undone = co_await undo(before, command, progress);
            reply = config::failure(made.error());
            reply.err += "; " + undone;
        }
    }
    if (found)
        for (const auto& kept : found->kept)
            reply.err += fmt::format("{}not in the file, kept: {} (--prune removes it)",
                                     reply.err.empty() ? "" : "\n", kept);
    applying_ = false;
    done(reply);
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
    const Picture picture = co_await look();
    const config::DifferenceOptions how{database_.self(), true};
    const auto back = config::difference(picture.nodes, picture.settings, before, how);
    if (!back) co_return fmt::format("what was done before it cannot be undone: {}", back.error().text);
    const auto changes = back->changes;
    const Result<> undone = co_await run_all(changes, as, progress);
    if (!undone) co_return fmt::format("undoing what was done before it failed: {}", undone.error().text);
    co_return changes.empty() ? std::string("nothing was changed")
                              : std::string("everything is as it was before");
}

}  // namespace understudy::daemons
