#include "daemons/transaction.h"

#include "base/text.h"
#include "messages/messages.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using nlohmann::json;
using runtime::Task;

constexpr auto kCallLimit = std::chrono::seconds(10);
/// Of a script; whoever runs it answers or dies.
constexpr runtime::Duration kNoLimit = std::chrono::hours(24 * 365);
/// What could not be finished is tried again so often.
constexpr auto kRetryInterval = std::chrono::seconds(5);
constexpr std::string_view kFinishing = "Finish_change";

std::string to_hex(const std::string& data) {
    return text::hex(std::as_bytes(std::span(data)));
}

std::string from_hex(const json& value) {
    const auto bytes = text::from_hex(value.get<std::string>());
    if (!bytes) return {};
    return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
}

json to_json(const StepCall& call) {
    return {{"method", call.method}, {"payload", to_hex(call.payload)}};
}

StepCall call_of(const json& object) {
    return {object.at("method").get<std::string>(), from_hex(object.at("payload"))};
}

json to_json(const TransactionStep& step) {
    return {{"node", step.node.str()},    {"text", step.text},     {"call", to_json(step.call)},
            {"back", to_json(step.back)}, {"atomic", step.atomic}, {"runs_script", step.runs_script}};
}

TransactionStep step_of(const json& object) {
    return {NodeName(object.at("node").get<std::string>()),
            object.at("text").get<std::string>(),
            call_of(object.at("call")),
            call_of(object.at("back")),
            object.at("atomic").get<bool>(),
            object.at("runs_script").get<bool>()};
}

}  // namespace

std::string step_line(const TransactionStep& step) {
    return fmt::format("{}: {}", step.node.str(), step.text);
}

TransactionService::TransactionService(runtime::World world, config::Database& database,
                                       comm::Cluster& cluster, LockService& locks, std::string journal_file)
    : world_(world),
      database_(database),
      cluster_(cluster),
      locks_(locks),
      journal_file_(std::move(journal_file)) {}

TransactionService::~TransactionService() = default;

void TransactionService::start() {
    if (auto loaded = load_journal(); !loaded) messages::error("{}", loaded.error().text);
    tasks_.spawn(resume());
}

Result<> TransactionService::load_journal() {
    if (!world_.files.exists(journal_file_)) return {};
    UNDERSTUDY_TRY(const auto content, world_.files.read(journal_file_));
    try {
        const auto object = json::parse(content);
        Journal journal;
        journal.transaction.what = object.at("what").get<std::string>();
        journal.transaction.final_from = object.at("final_from").get<std::size_t>();
        journal.transaction.insists = object.at("insists").get<bool>();
        for (const auto& step : object.at("steps"))
            journal.transaction.steps.push_back(step_of(step));
        journal.back = object.at("back").get<bool>();
        journal.next = object.at("next").get<std::size_t>();
        journal.pending = object.at("pending").get<std::vector<std::size_t>>();
        const auto beyond = [&](std::size_t index) { return index >= journal.transaction.steps.size(); };
        if (journal.next > journal.transaction.steps.size() ||
            std::any_of(journal.pending.begin(), journal.pending.end(), beyond))
            return fail(Code::internal, "{} names a step that it does not have", journal_file_);
        if (!journal.back && journal.next == journal.transaction.steps.size())
            return world_.files.remove(journal_file_);
        journal_ = std::move(journal);
    } catch (const json::exception& malformed) {
        return fail(Code::internal,
                    "{} is malformed ({}): a change that was interrupted cannot be finished; compare "
                    "ins_list, dep_list and eqv_list on all systems and repair what differs",
                    journal_file_, malformed.what());
    }
    return {};
}

Result<> TransactionService::keep() {
    const auto& transaction = journal_->transaction;
    json steps = json::array();
    for (const auto& step : transaction.steps)
        steps.push_back(to_json(step));
    const json object{{"what", transaction.what},       {"final_from", transaction.final_from},
                      {"insists", transaction.insists}, {"steps", std::move(steps)},
                      {"back", journal_->back},         {"next", journal_->next},
                      {"pending", journal_->pending}};
    // Ids and texts of kits need not be UTF-8; they are for people here.
    const auto content = object.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
    constexpr int kOwnerOnly = 0600;
    if (auto written = world_.files.write_atomic(journal_file_, content, kOwnerOnly); !written)
        return with_context(written.error(), "cannot note what is being changed");
    return {};
}

/// The change has ended. A removed file alone may be back after a power cut, and the change with it.
Result<> TransactionService::forget() {
    journal_->back = false;
    journal_->next = journal_->transaction.steps.size();
    journal_->pending.clear();
    UNDERSTUDY_CHECK(keep());
    journal_.reset();
    return world_.files.remove(journal_file_);
}

Task<Result<config::LockId>> TransactionService::lock(std::string identifier) {
    const runtime::OneShot<Result<config::LockId>> granted(world_.tasks);
    locks_.acquire(identifier, kLockWait,
                   [granted](const Result<config::LockId>& lock) { granted.set(lock); });
    co_return co_await granted;
}

Task<Result<>> TransactionService::run(std::string identifier, Prepare prepare, Progress progress) {
    const auto locked = co_await lock(identifier);
    if (!locked) co_return fail(locked.error());
    running_ = true;
    Result<> result;
    // What an earlier change has left comes first: its values would pass for the state before this one.
    if (journal_) result = co_await finish();
    if (result) {
        auto prepared = co_await prepare();
        if (!prepared) {
            result = fail(prepared.error());
        } else if (!prepared->steps.empty()) {
            journal_ = Journal{std::move(*prepared), false, 0, {}};
            result = co_await carry_out(progress);
        }
    }
    running_ = false;
    locks_.release(*locked);
    co_return result;
}

Task<Result<>> TransactionService::carry_out(Progress progress) {
    // Without the note nothing is begun.
    if (auto kept = keep(); !kept) {
        journal_.reset();
        co_return kept;
    }
    messages::info("{} begins", journal_->transaction.what);
    const auto done = co_await forward(progress);
    if (done) co_return forget();
    auto ended = co_await end_after(done.error());
    co_return ended;
}

/// From the journal's next step to the last one.
Task<Result<>> TransactionService::forward(Progress progress) {
    const auto steps = journal_->transaction.steps;
    for (auto i = journal_->next; i < steps.size(); ++i) {
        if (i != journal_->next) {
            journal_->next = i;
            if (auto kept = keep(); !kept) {
                refused_ = true;  // this step has not begun
                co_return kept;
            }
        }
        if (progress) progress(step_line(steps[i]) + "\n");
        messages::info("{}", step_line(steps[i]));
        const auto done = co_await call(steps[i], steps[i].call);
        if (!done) co_return with_context(done.error(), step_line(steps[i]));
    }
    co_return Result<>{};
}

/// After an error of the journal's next step: back, or on when it cannot be taken back any more.
Task<Result<>> TransactionService::end_after(Error error) {
    const auto& transaction = journal_->transaction;
    const auto at = journal_->next;
    const bool nothing_done = refused_ && transaction.steps[at].atomic;
    const bool undecided = at > transaction.final_from || (at == transaction.final_from && !nothing_done);
    if (transaction.insists && undecided)
        co_return fail(error.code,
                       "{}; it is completed by itself as soon as that is possible, or taken back when it is "
                       "refused then",
                       error.text);
    turn_back(nothing_done ? at : at + 1);
    const auto what = transaction.what;
    const auto back = co_await finish();
    if (!back)
        co_return fail(error.code,
                       "{}; it is being taken back, but not everywhere yet ({}): that goes on by itself",
                       error.text, back.error().text);
    co_return fail(Error{error.code, error.text + "; everything is as it was before", error.number});
}

/// The steps before `last` are to be taken back.
void TransactionService::turn_back(std::size_t last) {
    journal_->back = true;
    journal_->pending.clear();
    for (auto i = last; i > 0; --i)
        if (!journal_->transaction.steps[i - 1].back.method.empty()) journal_->pending.push_back(i - 1);
}

Task<Result<>> TransactionService::take_back() {
    Result<> result;
    const auto steps = journal_->transaction.steps;
    std::vector<std::size_t> left;
    std::set<NodeName> blocked;  // the order on one node is kept
    const auto pending = journal_->pending;
    for (const auto index : pending) {
        const auto& step = steps[index];
        if (blocked.contains(step.node)) {
            left.push_back(index);
            continue;
        }
        messages::info("{} is taken back on {}", step.text, step.node.str());
        const auto done = co_await call(step, step.back);
        if (done) continue;
        if (step.runs_script && refused_) {
            // A script that fails now fails again: what it left is named, and the records are put right.
            messages::warning("{}; look after what it may have left on {}", done.error().text,
                              step.node.str());
            database_.journal(0, "engine", step.node.str(), done.error().text);
            continue;
        }
        blocked.insert(step.node);
        left.push_back(index);
        if (result) result = with_context(done.error(), step.node.str());
    }
    journal_->pending = std::move(left);
    co_return result;
}

Task<Result<>> TransactionService::finish() {
    const auto what = journal_->transaction.what;
    if (!journal_->back && journal_->next < journal_->transaction.final_from) turn_back(journal_->next + 1);
    // First the note: after a restart nobody may complete what was being taken back.
    auto done = keep();
    if (!done) co_return done;
    const Progress silent;
    if (!journal_->back) {
        done = co_await forward(silent);
        // The first step that counts is refused: it was not done before either, or it would be done now.
        const bool first = journal_->next == journal_->transaction.final_from;
        if (!done && first && refused_ && journal_->transaction.steps[journal_->next].atomic) {
            messages::info("{} is taken back: {}", what, done.error().text);
            turn_back(journal_->next);
            done = keep();
            if (!done) co_return done;
        }
    }
    const bool back = journal_->back;
    if (back) done = co_await take_back();
    if (!done) {
        (void)keep();  // what is done need not be done again, but may
        co_return done;
    }
    messages::info("{} is {}", what, back ? "taken back" : "complete");
    co_return forget();
}

Task<Result<>> TransactionService::call(TransactionStep step, StepCall what) {
    refused_ = false;
    // A node that is no member any more has nothing to do or to take back.
    if (step.node != database_.self() && !database_.own().systems.contains(step.node)) co_return Result<>{};
    const runtime::Duration limit = step.runs_script ? kNoLimit : runtime::Duration(kCallLimit);
    const auto answer = co_await cluster_.call(step.node, what.method, what.payload, limit);
    if (answer) co_return Result<>{};
    refused_ = answer.error().code != Code::unreachable && answer.error().code != Code::internal;
    co_return fail(answer.error());
}

Task<void> TransactionService::resume() {
    while (true) {
        if (journal_ && !running_) {
            const auto locked = co_await lock(std::string(kFinishing));
            if (locked) {
                if (journal_ && !running_) {
                    running_ = true;
                    const auto finished = co_await finish();
                    if (!finished && finished.error().text != waits_for_) {
                        waits_for_ = finished.error().text;
                        messages::warning("an interrupted change waits: {}", waits_for_);
                    }
                    running_ = false;
                }
                locks_.release(*locked);
            }
        }
        co_await runtime::sleep_for(world_.tasks, kRetryInterval);
    }
}

}  // namespace understudy::daemons
