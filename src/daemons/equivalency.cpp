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

Result<Priority> parse_priority(const std::string& text) {
    const auto value = text::to_int(text);
    if (!value)
        return fail(Code::bad_argument, "a priority is a number from {} to {}, not \"{}\"", Priority::kMin,
                    Priority::kMax, text);
    if (*value < Priority::kMin || *value > Priority::kMax)
        return fail(Code::out_of_range, "priority {} is outside {} to {}", *value, Priority::kMin,
                    Priority::kMax);
    return Priority{static_cast<int>(*value)};
}

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
    UNDERSTUDY_TRY(record.priority, parse_priority(command.get("priority")));
    UNDERSTUDY_TRY(record.other_priority, parse_priority(command.get("other-priority")));
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

void EquivalencyService::create(const Command& command, const Done& done) {
    const auto reject = [&](Code code, std::string text) {
        done(config::failure({code, std::move(text), 0}));
    };
    const auto& self = database_.self();
    if (command.get("e") != "SHARED")
        return reject(Code::bad_argument, fmt::format("-e takes SHARED, not \"{}\"", command.get("e")));
    const NodeName first(command.get("s", self.str()));
    const NodeName second(command.get("S", self.str()));
    const auto first_priority = parse_priority(command.get("p", "1"));
    if (!first_priority) return done(config::failure(first_priority.error()));
    const auto second_priority = parse_priority(command.get("r", "10"));
    if (!second_priority) return done(config::failure(second_priority.error()));
    if (first == second)
        return reject(Code::bad_argument,
                      fmt::format("both ends are on {}; name the other system with -S", first.str()));
    for (const auto& node : {first, second})
        if (!database_.own().systems.contains(node))
            return reject(Code::not_found, fmt::format("no system \"{}\"", node.str()));
    if (first != self && second != self)
        return reject(Code::bad_argument, fmt::format("run this on {} or {}, or name one of them with -d",
                                                      first.str(), second.str()));

    const Tag first_tag(command.get("t"));
    const Tag second_tag(command.get("o"));
    Equivalency mine;
    Equivalency theirs;
    mine.tag = first == self ? first_tag : second_tag;
    mine.other_tag = first == self ? second_tag : first_tag;
    mine.other_node = first == self ? second : first;
    mine.priority = first == self ? *first_priority : *second_priority;
    mine.other_priority = first == self ? *second_priority : *first_priority;
    theirs = {mine.other_tag, self, mine.tag, mine.other_priority, mine.priority, 0};
    if (auto checked = config::check_equivalency(database_.own(), mine); !checked)
        return done(config::failure(checked.error()));

    // Both ends are checked before either changes; the other end first, so that a failure leaves ours as it
    // was.
    const auto peer = mine.other_node;
    cluster_.call(peer, kPrivate, config::encode(half(theirs, "check")), kCallLimit,
                  [this, mine, theirs, peer, done](const Result<std::string>& checked) {
                      if (!checked) return done(config::failure(checked.error()));
                      cluster_.call(peer, kPrivate, config::encode(half(theirs, "commit")), kCallLimit,
                                    [this, mine, done](const Result<std::string>& committed) {
                                        if (!committed) return done(config::failure(committed.error()));
                                        if (auto again = config::check_equivalency(database_.own(), mine);
                                            !again)
                                            return done(config::failure(again.error()));
                                        database_.commit({config::PutEquivalency{mine}});
                                        done(config::success());
                                    });
                  });
}

void EquivalencyService::remove(const Command& command, const Done& done) {
    const auto& self = database_.self();
    const NodeName first(command.get("s", self.str()));
    const NodeName second(command.get("S", self.str()));
    if (command.get("e", "SHARED") != "SHARED")
        return done(config::failure(
            {Code::bad_argument, fmt::format("-e takes SHARED, not \"{}\"", command.get("e")), 0}));
    if (first == second || (first != self && second != self))
        return done(config::failure(
            {Code::bad_argument, "one end must be this system and the other not; name it with -S", 0}));
    const Tag first_tag(command.get("t"));
    const Tag second_tag(command.get("o", first_tag.str()));
    const Tag mine = first == self ? first_tag : second_tag;
    const Tag theirs = first == self ? second_tag : first_tag;
    const NodeName peer = first == self ? second : first;
    const auto pairs = database_.own().equivalents(mine);
    const bool known = std::any_of(pairs.begin(), pairs.end(), [&](const Equivalency& e) {
        return e.other_node == peer && e.other_tag == theirs;
    });
    if (!known)
        return done(config::failure({Code::not_found,
                                     fmt::format("no equivalency between {} on {} and {} on {}", mine.str(),
                                                 self.str(), theirs.str(), peer.str()),
                                     0}));
    database_.commit({config::DropEquivalency{mine, peer, theirs}});
    const Equivalency record{theirs, self, mine, {}, {}, 0};
    cluster_.call(peer, kPrivate, config::encode(half(record, "remove")), kCallLimit,
                  [peer, done](const Result<std::string>& removed) {
                      Reply reply = config::success();
                      // The other system may be gone for ever: that must not keep the record here. Spec:
                      // CMD-086.
                      if (!removed)
                          reply.err = fmt::format("*WARNING* removed here only: {}", removed.error().text);
                      done(reply);
                  });
}

}  // namespace understudy::daemons
