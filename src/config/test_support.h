#pragma once
// What the tests of this folder share: a world without anything but a loop and a clock, a store in memory
// that can fail, and builders.

#include "config/lcdi.h"

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>

namespace understudy::config::testing {

/// A loop that the test turns; completions of other threads land in it.
class LoopTasks final : public runtime::Tasks {
  public:
    void post(Function function) override { post_from_thread(std::move(function)); }
    void post_from_thread(Function function) override {
        const std::lock_guard guard(mutex_);
        queue_.push_back(std::move(function));
        wake_.notify_one();
    }
    runtime::TimerId after(runtime::Duration, Function) override { std::abort(); }  // not used by config/
    void cancel(runtime::TimerId) override { std::abort(); }
    bool run_blocking(Function work, Function done) override {
        post_from_thread([work = std::move(work), done = std::move(done)] {
            work();
            done();
        });
        return true;
    }

    /// Runs what is queued now.
    void run_ready() {
        while (run_one(std::chrono::milliseconds(0))) {
        }
    }
    /// Runs until `condition` holds; false when it does not within the limit.
    template <class Condition>
    bool run_until(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(30)) {
        const auto deadline = std::chrono::steady_clock::now() + limit;
        while (!condition())
            if (!run_one(std::chrono::milliseconds(10)) && std::chrono::steady_clock::now() > deadline)
                return false;
        return true;
    }

  private:
    bool run_one(std::chrono::milliseconds wait) {
        Function next;
        {
            std::unique_lock guard(mutex_);
            if (!wake_.wait_for(guard, wait, [this] { return !queue_.empty(); })) return false;
            next = std::move(queue_.front());
            queue_.pop_front();
        }
        next();
        return true;
    }
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Function> queue_;
};

class FixedClock final : public runtime::Clock {
  public:
    [[nodiscard]] runtime::TimePoint now() const override { return {}; }
    [[nodiscard]] runtime::WallTime wall() const override {
        return runtime::WallTime(std::chrono::microseconds(1'700'000'000'000'000));
    }
};

class NoNetwork final : public runtime::Network {
  public:
    Result<std::unique_ptr<runtime::Listener>> listen(const runtime::Endpoint&, runtime::Security,
                                                      AcceptHandler) override {
        std::abort();
    }
    void connect(const runtime::ConnectOptions&, ConnectHandler) override { std::abort(); }
    Result<> reload_credentials() override { std::abort(); }
};

class NoProcesses final : public runtime::Processes {
  public:
    runtime::ProcessHandle start(const runtime::ProcessSpec&, LineHandler, ExitHandler) override {
        std::abort();
    }
    void kill(runtime::ProcessHandle) override { std::abort(); }
    [[nodiscard]] int pid(runtime::ProcessHandle) const override { std::abort(); }
    [[nodiscard]] bool alive(int) const override { std::abort(); }
};

class NoFiles final : public runtime::Files {
  public:
    [[nodiscard]] Result<std::string> read(const std::string&) const override { std::abort(); }
    Result<> write_atomic(const std::string&, std::string_view, int) override { std::abort(); }
    Result<> remove(const std::string&) override { std::abort(); }
    Result<> make_directories(const std::string&, int) override { std::abort(); }
    [[nodiscard]] bool exists(const std::string&) const override { std::abort(); }
    [[nodiscard]] bool executable(const std::string&) const override { std::abort(); }
    [[nodiscard]] std::vector<std::string> list(const std::string&) const override { std::abort(); }
};

class NoRandom final : public runtime::Random {
  public:
    std::uint64_t next() override { std::abort(); }
    void fill(std::span<std::byte>) override { std::abort(); }
};

struct TestWorld {
    FixedClock clock;
    LoopTasks tasks;
    NoNetwork network;
    NoProcesses processes;
    NoFiles files;
    NoRandom random;
    runtime::World world() { return {clock, tasks, network, processes, files, random}; }
};

/// Keeps what was written; confirms when told to, or fails.
class MemoryStore final : public Store {
  public:
    Loaded loaded;                 // what load() gives
    std::vector<Change> written;   // in order
    std::vector<std::string> log;  // replica traffic
    std::vector<JournalEntry> journal;
    std::vector<HistoryEntry> history;
    bool automatic = true;  // confirm at once, on the caller's stack
    std::deque<std::function<void(Result<>)>> unconfirmed;

    Result<Loaded> load(const NodeName&) override { return loaded; }
    void write(const Change& change, std::function<void(Result<>)> durable) override {
        written.push_back(change);
        if (!durable) return;
        if (automatic)
            durable({});
        else
            unconfirmed.push_back(std::move(durable));
    }
    void confirm(const Result<>& result) {
        auto next = std::move(unconfirmed.front());
        unconfirmed.pop_front();
        next(result);
    }
    void write_replica(const NodeName& owner, const NodeConfig& config) override {
        log.push_back(fmt::format("write {} {}", owner.str(), config.generation));
    }
    void drop_replica(const NodeName& owner) override { log.push_back("drop " + owner.str()); }
    void advance_replica(const Change& change) override {
        log.push_back(fmt::format("advance {} {}", change.owner.str(), change.generation));
    }
    void append(const JournalEntry& entry) override { journal.push_back(entry); }
    void append_history(const HistoryEntry& entry) override { history.push_back(entry); }
    void read_history(const HistoryQuery& query,
                      std::function<void(Result<std::vector<HistoryEntry>>)> done) override {
        std::vector<HistoryEntry> found;
        std::copy_if(history.begin(), history.end(), std::back_inserter(found),
                     [&](const HistoryEntry& entry) { return matches(entry, query); });
        done(std::move(found));
    }
    void read_journal(std::size_t limit, std::function<void(std::vector<JournalEntry>)> done) override {
        const auto first = journal.size() > limit ? journal.size() - limit : 0;
        done({journal.begin() + static_cast<std::ptrdiff_t>(first), journal.end()});
    }
};

inline Instance instance(const std::string& tag, const std::string& app = "gen",
                         const std::string& type = "app") {
    Instance made;
    made.app = AppName(app);
    made.type = TypeName(type);
    made.tag = Tag(tag);
    made.id = ResourceId("id-" + tag);
    return made;
}

inline Equivalency equivalency(const std::string& tag, const std::string& node, int own, int other) {
    return {Tag(tag), NodeName(node), Tag(tag), Priority{own}, Priority{other}};
}

/// A database of nodeA in memory and commands on it.
class Shell {
  public:
    explicit Shell(const std::string& node = "nodeA") {
        auto opened = Database::open(world.world(), store, NodeName(node));
        database = std::move(*opened);
        live.now_s = 1'700'000'000;
    }
    /// "ins_list -f| -t t1" as the client would parse it: options with one letter take the rest of the word
    /// or the next word; --words and the letters of `switches` take nothing.
    Reply run(const std::vector<std::string>& words, const std::string& switches = "A") {
        Command command;
        command.name = words.front();
        for (std::size_t i = 1; i < words.size(); ++i) {
            const auto& word = words[i];
            if (word.starts_with("--"))
                command.options[word.substr(2)] = "";
            else if (switches.find(word[1]) != std::string::npos)
                command.options[word.substr(1)] = "";
            else if (word.size() > 2)
                command.options[word.substr(1, 1)] = word.substr(2);
            else
                command.options[word.substr(1, 1)] = i + 1 < words.size() ? words[++i] : "";
        }
        return run_lcdi(*database, live, command).value_or(Reply{-1, "", "not a command of this group", 0});
    }
    /// Splits at blanks.
    Reply operator()(const std::string& line) {
        std::vector<std::string> words;
        std::string word;
        for (const char c : line + ' ') {
            if (c != ' ')
                word += c;
            else if (!word.empty())
                words.push_back(std::exchange(word, {}));
        }
        return run(words);
    }
    /// The hierarchy of the acceptance scenarios: web.0 needs ip.0 and Vol.E, db.0 needs Vol.E.
    void add_hierarchy() {
        database->commit(
            {PutApp{AppName("gen")}, PutType{{AppName("gen"), TypeName("app")}},
             PutInstance{instance("Vol.E")}, PutInstance{instance("ip.0")}, PutInstance{instance("web.0")},
             PutInstance{instance("db.0")}, PutDependency{{Tag("web.0"), Tag("ip.0")}},
             PutDependency{{Tag("web.0"), Tag("Vol.E")}}, PutDependency{{Tag("db.0"), Tag("Vol.E")}}});
    }

    TestWorld world;
    MemoryStore store;
    LiveView live;
    std::unique_ptr<Database> database;
};

}  // namespace understudy::config::testing
