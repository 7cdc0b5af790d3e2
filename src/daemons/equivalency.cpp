#include "daemons/equivalency.h"

#include "base/text.h"
#include "config/lcdi.h"

namespace understudy::daemons {
namespace {

using config::Command;
using config::Equivalency;
using config::Reply;

constexpr auto kCallLimit = std::chrono::seconds(10);
constexpr std::string_view kPrivate = "eqv-half";  // the other node's half, as a command between daemons

/// The record as the owner holds it, sent to it for checking or committing.
Command half(const Equivalency& record, std::string_view what) {
    Command command;
    command.name = kPrivate;
    command.options = {{"what", std::string(what)},
                       {"tag", record.tag.str()},
                       {"other-node", record.other_node.str()},
                       {"other-tag", record.other_tag.str()},
                       {"priority", std::to_string(record.priority.value)},
                       {"other-priority", std::to_string(record.other_priority.value)}};
    return command;
}

Result<Equivalency> from_half(const Command& command) {
    Equivalency record;
    record.tag = Tag(command.get("tag"));
    record.other_node = NodeName(command.get("other-node"));
    record.other_tag = Tag(command.get("other-tag"));
    const auto priority = text::to_int(command.get("priority"));
    const auto other = text::to_int(command.get("other-priority"));
    if (!priority || !other) return fail(Code::internal, "an equivalency came without priorities");
    record.priority.value = static_cast<int>(*priority);
    record.other_priority.value = static_cast<int>(*other);
    return record;
}

}  // namespace

EquivalencyService::EquivalencyService(runtime::World world, config::Database& database,
                                       comm::Cluster& cluster)
    : world_(world), database_(database), cluster_(cluster) {}

void EquivalencyService::start() {
    cluster_.serve(std::string(kPrivate), [this](const NodeName& caller, std::string_view payload,
                                                 comm::Cluster::Answer answer) {
        auto command = config::decode_command(payload);
        if (!command) return answer(fail(command.error()));
        auto record = from_half(*command);
        if (!record) return answer(fail(record.error()));
        if (record->other_node != caller)
            return answer(
                fail(Code::bad_argument, "{} speaks for {}", caller.str(), record->other_node.str()));
        const auto what = command->get("what");
        if (what == "remove") {
            database_.commit({config::DropEquivalency{record->tag, record->other_node, record->other_tag}});
            return answer(std::string());
        }
        if (auto checked = config::check_equivalency(database_.own(), *record); !checked)
            return answer(fail(checked.error()));
        if (what == "commit") database_.commit({config::PutEquivalency{*record}});
        answer(std::string());
    });
}

bool EquivalencyService::run(const Command& command, const Done& done) {
    if (command.name == "eqv_create")
        create(command, done);
    else if (command.name == "eqv_remove")
        remove(command, done);
    else
        return false;
    return true;
}

/// The pair when this node is one of its ends and knows the other.
Result<config::EquivalencyPair> EquivalencyService::involving_us(Result<config::EquivalencyPair> pair) const {
    if (!pair) return pair;
    for (const auto& node : {pair->system, pair->other_system})
        if (!database_.own().systems.contains(node))
            return fail(Code::not_found, "no system \"{}\"; sys_list names those that exist", node.str());
    if (!pair->includes(database_.self()))
        return fail(Code::bad_argument, "run this on {} or {}, or name one of them with -d",
                    pair->system.str(), pair->other_system.str());
    return pair;
}

void EquivalencyService::create(const Command& command, const Done& done) {
    const auto& self = database_.self();
    const auto pair = involving_us(config::parse_eqv_create(command, self));
    if (!pair) return done(config::failure(pair.error()));
    const auto mine = pair->record_on(self);
    const auto peer = mine.other_node;
    const auto theirs = pair->record_on(peer);
    if (auto checked = config::check_equivalency(database_.own(), mine); !checked)
        return done(config::failure(checked.error()));

    // Both ends are checked before either changes; the other end commits first, so that a failure leaves
    // ours.
    const auto commit_mine = [this, mine, done](const Result<std::string>& committed) {
        if (!committed) return done(config::failure(committed.error()));
        if (auto again = config::check_equivalency(database_.own(), mine); !again)
            return done(config::failure(again.error()));
        database_.commit({config::PutEquivalency{mine}});
        done(config::success());
    };
    const auto commit_theirs = [this, theirs, peer, done, commit_mine](const Result<std::string>& checked) {
        if (!checked) return done(config::failure(checked.error()));
        cluster_.call(peer, kPrivate, config::encode(half(theirs, "commit")), kCallLimit, commit_mine);
    };
    cluster_.call(peer, kPrivate, config::encode(half(theirs, "check")), kCallLimit, commit_theirs);
}

runtime::Task<Result<>> EquivalencyService::drop_on_peer(config::Equivalency ours) {
    const Equivalency theirs{ours.other_tag, database_.self(), ours.tag, ours.other_priority, ours.priority};
    const auto payload = config::encode(half(theirs, "remove"));
    auto dropped = co_await cluster_.call(ours.other_node, std::string(kPrivate), payload, kCallLimit);
    if (!dropped) co_return fail(dropped.error());
    co_return Result<>{};
}

void EquivalencyService::remove(const Command& command, const Done& done) {
    const auto& self = database_.self();
    const auto pair = config::parse_eqv_remove(command, self);
    if (!pair) return done(config::failure(pair.error()));
    if (!pair->includes(self))
        return done(
            config::failure({Code::bad_argument, "one end must be this system; name the other with -S", 0}));
    const auto mine = pair->record_on(self);
    const auto peer = mine.other_node;
    const auto edit = config::equivalency_removal(database_.own(), mine);
    if (!edit) return done(config::failure(edit.error()));
    database_.commit({*edit});
    const auto theirs = pair->record_on(peer);
    cluster_.call(peer, kPrivate, config::encode(half(theirs, "remove")), kCallLimit,
                  [done](const Result<std::string>& removed) {
                      Reply reply = config::success();
                      // The other system may be gone for ever: that must not keep the record here. Spec:
                      // CMD-086.
                      if (!removed)
                          reply.err = fmt::format("*WARNING* removed here only: {}", removed.error().text);
                      done(reply);
                  });
}

}  // namespace understudy::daemons
