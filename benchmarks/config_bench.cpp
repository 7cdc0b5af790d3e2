// What ./bench config needs of C++: a large database, commits with and without our store, commands on a
// connection that stays. Prints numbers, one a line; run by benchmarks/config_rows.py.

#include "config/command.h"
#include "config/sqlite_store.h"
#include "config/test_support.h"
#include "messages/messages.h"
#include "runtime/posix/blocking_client.h"

#include <sqlite3.h>

#include <cstdio>
#include <cstdlib>

namespace understudy::config {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

[[noreturn]] void give_up(const std::string& what) {
    std::fprintf(stderr, "understudy-config-bench: %s\n", what.c_str());
    std::exit(1);
}

template <class T>
T value_of(Result<T> result) {
    if (!result) give_up(result.error().text);
    return std::move(*result);
}

double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Hierarchies of ten: a root over three services over two volumes each, extended to one other node.
std::vector<Edit> large_config(const NodeName& self, const NodeName& other, int count) {
    std::vector<Edit> edits{PutSystem{self}, PutSystem{other}, PutApp{AppName("gen")},
                            PutType{{AppName("gen"), TypeName("app")}}};
    std::uint64_t order = 0;
    const auto add = [&](const std::string& tag, const std::string& parent) {
        auto made = testing::instance(tag);
        made.info = "mount=/srv/" + tag + " options=rw,noatime device=/dev/understudy/" + tag;
        made.order = ++order;
        made.init = Init::init_osu;  // nothing is to be started when the daemon comes up
        edits.emplace_back(PutInstance{made});
        edits.emplace_back(PutEquivalency{{Tag(tag), other, Tag(tag), Priority{1}, Priority{10}, ++order}});
        if (!parent.empty()) edits.emplace_back(PutDependency{{Tag(parent), Tag(tag), ++order}});
    };
    for (int i = 0; i < count / 10; ++i) {
        const auto root = fmt::format("app.{}", i);
        add(root, "");
        for (int service = 0; service < 3; ++service) {
            const auto name = fmt::format("{}.service.{}", root, service);
            add(name, root);
            for (int volume = 0; volume < 2; ++volume)
                add(fmt::format("{}.volume.{}", name, volume), name);
        }
    }
    return edits;
}

/// fill PATH NODE INSTANCES PEERS EACH: a database with so many instances, and copies of the peers'
/// configurations.
void fill(const std::string& path, const NodeName& self, int instances, int peers, int each) {
    testing::TestWorld world;
    auto store = value_of(SqliteStore::open(world.world(), path));
    value_of(store->load(self));
    const NodeName first_peer("peer0");
    std::optional<Result<>> written;
    store->write({self, 1, large_config(self, first_peer, instances)},
                 [&](Result<> result) { written = result; });
    for (int i = 0; i < peers; ++i) {
        const NodeName peer(fmt::format("peer{}", i));
        NodeConfig config;
        config.generation = 1;
        for (const auto& edit : large_config(peer, self, each))
            apply(config, edit);
        store->write_replica(peer, config);
    }
    if (!world.tasks.run_until([&] { return written.has_value(); }))
        give_up("the database was not written in time");
    if (!*written) give_up(written->error().text);
}

std::vector<Edit> one_change(int n) {
    auto made = testing::instance("t");
    made.reason = fmt::format("change {}", n);
    return {PutInstance{made}};
}

/// Seconds for so many commits through Database and SqliteStore; each one durable before the next, or all at
/// once.
double our_commits(const std::string& path, int count, bool one_by_one) {
    testing::TestWorld world;
    auto store = value_of(SqliteStore::open(world.world(), path));
    auto database = value_of(Database::open(world.world(), *store, NodeName("node")));
    int durable = 0;
    const auto done = [&](const Result<>& result) {
        if (!result) give_up(result.error().text);
        ++durable;
    };
    const auto start = Clock::now();
    for (int n = 1; n <= count; ++n) {
        database->commit(one_change(n));
        if (!one_by_one && n % 500 != 0) continue;
        database->sync(done);
        const int wanted = durable + 1;
        if (!world.tasks.run_until([&] { return durable >= wanted; })) give_up("no answer from the store");
    }
    return ms_since(start) / 1000;
}

/// The same with nothing but SQLite: one record set in each transaction, the same journal mode and
/// durability.
double bare_commits(const std::string& path, int count) {
    sqlite3* database = nullptr;
    sqlite3_stmt* put = nullptr;
    const auto run = [&](const char* sql) {
        if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
            give_up(sqlite3_errmsg(database));
    };
    if (sqlite3_open(path.c_str(), &database) != SQLITE_OK) give_up(sqlite3_errmsg(database));
    run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE IF NOT EXISTS record (key BLOB PRIMARY KEY, data BLOB) WITHOUT ROWID;");
    if (sqlite3_prepare_v2(database, "INSERT OR REPLACE INTO record VALUES ('t', ?1)", -1, &put, nullptr) !=
        SQLITE_OK)
        give_up(sqlite3_errmsg(database));
    const std::string data(120, 'x');
    const auto start = Clock::now();
    for (int n = 0; n < count; ++n) {
        run("BEGIN IMMEDIATE");
        sqlite3_bind_blob(put, 1, data.data(), static_cast<int>(data.size()), SQLITE_STATIC);
        if (sqlite3_step(put) != SQLITE_DONE) give_up(sqlite3_errmsg(database));
        sqlite3_reset(put);
        run("COMMIT");
    }
    const auto seconds = ms_since(start) / 1000;
    sqlite3_finalize(put);
    sqlite3_close(database);
    return seconds;
}

/// commits DIRECTORY COUNT ROUNDS: per round "ours bare together", commits a second.
void commits(const std::string& directory, int count, int rounds) {
    for (int round = 0; round < rounds; ++round) {
        const auto ours = our_commits(fmt::format("{}/ours.{}/config.db", directory, round), count, true);
        const auto bare = bare_commits(fmt::format("{}/bare.{}.db", directory, round), count);
        const auto together =
            our_commits(fmt::format("{}/together.{}/config.db", directory, round), count * 10, false);
        std::printf("%.1f %.1f %.1f\n", count / ours, count / bare, count * 10 / together);
        std::fflush(stdout);
    }
}

class Connection {
  public:
    explicit Connection(const std::string& socket)
        : client_(value_of(runtime::BlockingClient::connect(socket, 5s))) {}
    void run(const Command& command) {
        const auto frame = value_of(client_.request(encode(command), 30s));
        const auto reply = value_of(decode_reply(frame));
        if (reply.exit_code != 0 || !reply.err.empty()) give_up(command.name + ": " + reply.err);
    }

  private:
    runtime::BlockingClient client_;
};

/// setst SOCKET TAG COUNT: milliseconds of each "ins_setst, then lcdsync", which answers when it is on the
/// disk and on every living peer.
void set_states(const std::string& socket, const std::string& tag, int count) {
    Connection connection(socket);
    for (int n = 0; n < count; ++n) {
        Command set;
        set.name = "ins_setst";
        set.options = {{"t", tag}, {"S", "OSU"}, {"R", fmt::format("change {}", n)}};
        Command sync;
        sync.name = "lcdsync";
        const auto start = Clock::now();
        connection.run(set);
        connection.run(sync);
        std::printf("%.3f\n", ms_since(start));
    }
}

/// answers SOCKET TAG SECONDS: milliseconds until the daemon answers a question about this resource.
void wait_for_answer(const std::string& socket, const std::string& tag, int seconds) {
    const auto start = Clock::now();
    while (true) {
        if (auto client = runtime::BlockingClient::connect(socket, 5s)) {
            Command list;
            list.name = "ins_list";
            list.options = {{"t", tag}};
            if (const auto frame = client->request(encode(list), 30s)) {
                if (value_of(decode_reply(*frame)).exit_code != 0) give_up("the resource is not there");
                break;
            }
        }
        if (ms_since(start) > seconds * 1000.0) give_up("no daemon answers");
        struct timespec pause {
            0, 1'000'000
        };
        nanosleep(&pause, nullptr);
    }
    std::printf("%.3f\n", ms_since(start));
}

int main_of(const std::vector<std::string>& words) {
    messages::configure(
        {.process = "understudy-config-bench", .file = "", .least = messages::Severity::error});
    const auto number = [&](std::size_t at) { return std::atoi(words.at(at).c_str()); };
    const auto is = [&](std::string_view name, std::size_t count) {
        return words.size() == count + 1 && words[0] == name;
    };
    if (is("fill", 5))
        fill(words[1], NodeName(words[2]), number(3), number(4), number(5));
    else if (is("commits", 3))
        commits(words[1], number(2), number(3));
    else if (is("setst", 3))
        set_states(words[1], words[2], number(3));
    else if (is("answers", 3))
        wait_for_answer(words[1], words[2], number(3));
    else
        give_up(
            "fill PATH NODE INSTANCES PEERS EACH | commits DIRECTORY COUNT ROUNDS | setst SOCKET TAG COUNT | "
            "answers SOCKET TAG SECONDS");
    return 0;
}

}  // namespace
}  // namespace understudy::config

int main(int argc, char** argv) {
    return understudy::config::main_of({argv + 1, argv + argc});
}
