#include "daemons/removal.h"

#include "config/lcdi.h"

namespace understudy::daemons {
namespace {

using config::Command;
using config::Reply;

void add_line(std::string& text, const std::string& line) {
    if (line.empty()) return;
    text += (text.empty() ? "" : "\n") + line;
}

}  // namespace

RemovalService::RemovalService(runtime::World world, config::Database& database, recovery::Engine& engine,
                               EquivalencyService& equivalencies)
    : world_(world), database_(database), engine_(engine), equivalencies_(equivalencies) {}

bool RemovalService::run(const Command& command, const Done& done) {
    if (command.name == "ins_remove")
        tasks_.spawn(remove(command, done));
    else if (command.name == "app_remove" || command.name == "typ_remove")
        tasks_.spawn(remove_types(command, done));
    else
        return false;
    return true;
}

runtime::Task<> RemovalService::remove_types(Command command, Done done) {
    auto pairs = database_.own().equivalencies;
    const config::LiveView live;  // nothing of it matters here
    auto reply = config::run_lcdi(database_, live, command).value();
    std::erase_if(
        pairs, [this](const config::Equivalency& pair) { return database_.own().find(pair.tag) != nullptr; });
    const auto warnings = co_await drop_on_peers(std::move(pairs));
    add_line(reply.err, warnings);
    done(reply);
}

/// What stayed there, as warnings: the other node may be gone for ever, and that must not keep an instance
/// here. Spec: CMD-086.
runtime::Task<std::string> RemovalService::drop_on_peers(std::vector<config::Equivalency> pairs) {
    std::string warnings;
    for (const auto& pair : pairs) {
        const auto dropped = co_await equivalencies_.drop_on_peer(pair);
        if (!dropped)
            add_line(warnings, fmt::format("*WARNING* {} keeps its equivalency with {}: {}",
                                           pair.other_node.str(), pair.tag.str(), dropped.error().text));
    }
    co_return warnings;
}

runtime::Task<> RemovalService::remove(Command command, Done done) {
    const auto known = config::removal_set(database_.own(), command);
    if (!known) {
        done(config::failure(known.error()));
        co_return;
    }
    const bool global_scripts = !command.has("G");
    std::string warnings;
    if (global_scripts) {
        const auto ran = co_await global("g");
        add_line(warnings, ran.err);
    }
    // The scripts may have changed something.
    auto tags = config::removal_set(database_.own(), command);
    Reply reply;
    if (tags)
        reply = co_await remove_all(command, std::move(*tags));
    else
        reply = config::failure(tags.error());
    if (global_scripts) {
        const auto ran = co_await global("G");
        add_line(warnings, ran.err);
    }
    add_line(reply.err, warnings);
    done(reply);
}

runtime::Task<Reply> RemovalService::remove_all(Command command, std::vector<Tag> tags) {
    Reply reply;
    for (const auto& tag : tags) {
        if (database_.own().find(tag) == nullptr) continue;  // a delete script removed it
        if (being_removed_.contains(tag)) {
            if (command.has("N")) continue;
            const auto text = fmt::format("{} is being removed by another ins_remove", tag.str());
            reply.exit_code = static_cast<int>(Code::failure);
            add_line(reply.err, text);
            co_return reply;
        }
        being_removed_.insert(tag);
        const auto removed = co_await remove_one(tag);
        being_removed_.erase(tag);
        add_line(reply.err, removed.err);
        if (removed.exit_code != 0) {  // what was removed stays removed
            reply.exit_code = removed.exit_code;
            co_return reply;
        }
        if (command.has("v")) reply.out += tag.str() + "\n";
    }
    co_return reply;
}

runtime::Task<Reply> RemovalService::remove_one(Tag tag) {
    auto reply = co_await run_delete(tag);
    if (reply.exit_code != 0) co_return reply;
    reply = Reply{};
    if (database_.own().find(tag) == nullptr) co_return reply;
    auto pairs = database_.own().equivalents(tag);
    database_.commit(config::removal_edits(database_.own(), tag));
    reply.err = co_await drop_on_peers(std::move(pairs));
    co_return reply;
}

runtime::Task<Reply> RemovalService::global(std::string option) {
    Command command;
    command.name = "lcdrecover";
    command.options = {{option, "delete"}};
    const runtime::OneShot<Reply> ended(world_.tasks);
    engine_.lcdrecover(command, [ended](Reply reply) { ended.set(std::move(reply)); });
    auto reply = co_await ended;
    co_return reply;
}

runtime::Task<Reply> RemovalService::run_delete(Tag tag) {
    const auto* instance = database_.own().find(tag);
    if (instance == nullptr || engine_.action_path(instance->app, instance->type, "delete").empty())
        co_return Reply{};
    Command command;
    command.name = "perform_action";
    command.options = {{"t", tag.str()}, {"a", "delete"}, {"G", ""}};
    const runtime::OneShot<Reply> ended(world_.tasks);
    engine_.perform_action(command, [ended](Reply reply) { ended.set(std::move(reply)); });
    auto reply = co_await ended;
    co_return reply;
}

}  // namespace understudy::daemons
