// lk_chg_value: changes values in a stopped node's configuration. It works on copies, and swaps all files at
// the end or none. Exit codes are its own: docs/man/lk_chg_value.scd. Spec: CMD-103 to CMD-105.

#include "base/text.h"
#include "cli/client.h"
#include "cli/command_table.h"
#include "comm/pki.h"
#include "config/sqlite_store.h"
#include "config/tail_store.h"
#include "daemons/value_changes.h"
#include "messages/messages.h"
#include "runtime/posix/posix_world.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace understudy::daemons {
namespace {

namespace fs = std::filesystem;
using config::NodeConfig;

// Its own exit codes. Spec: CMD-104
enum Exit : int {
    kDone = 0,
    kNothingChanged = 1,
    kSyntax = 2,
    kRunning = 3,
    kNotRoot = 4,
    kWholeId = 5,
    kNoRoot = 6,
    kNoMatch = 7,
};

constexpr int kNumbersOfExits = 620;                 // of the messages, plus the exit code. Spec: CMD-006
constexpr std::uintmax_t kMaxTextFile = 16UL << 20;  // kits keep no larger ones
constexpr const char* kDatabaseParts[] = {"", "-wal", "-shm"};
constexpr const char* kDatabaseCopies[] = {".backup", ".backup.1"};

volatile sig_atomic_t g_interrupted = 0;
void interrupt(int /*signal*/) {
    g_interrupted = 1;
}

struct Failure {
    int exit_code;
    std::string text;
};

int tell(const Failure& failure) {
    const auto text = messages::layout(messages::Severity::error, kNumbersOfExits + failure.exit_code,
                                       failure.text, "lk_chg_value", getpid());
    std::fputs(text.c_str(), stderr);
    return failure.exit_code;
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

class ChangeRun {
  public:
    ChangeRun(config::Layout layout, Substitutions substitutions, bool verbose)
        : layout_(std::move(layout)),
          posix_({}),
          world_(posix_.world()),
          substitutions_(std::move(substitutions)),
          verbose_(verbose),
          work_(layout_.state() + "/lk_chg_value.work"),
          originals_(originals(layout_)) {}
    ChangeRun(const ChangeRun&) = delete;
    ChangeRun& operator=(const ChangeRun&) = delete;
    ~ChangeRun() {
        std::error_code error;
        fs::remove_all(work_, error);
    }

    static std::string originals(const config::Layout& layout) {
        return layout.state() + "/lk_chg_value.originals";
    }

    /// Undoes a run that was cut off.
    Result<> recover() {
        UNDERSTUDY_TRY(const bool cut_off, restore_files(world_.files, originals_));
        if (cut_off)
            std::fputs("lk_chg_value: an earlier run was cut off; its changes were undone first\n", stderr);
        return {};
    }

    Result<> prepare() {
        self_ = std::string(text::trim(read_file(layout_.etc() + "/node")));
        if (self_.empty()) return fail(Code::failure, "{}/node does not name this node", layout_.etc());
        UNDERSTUDY_CHECK(change_database());
        UNDERSTUDY_CHECK(change_name());
        change_texts(layout_.mirrors());
        change_texts(layout_.lkroot() + "/subsys");
        change_texts(layout_.lkroot() + "/admin/kit");
        return {};
    }

    [[nodiscard]] const std::vector<FoundValue>& found() const { return found_; }

    Result<> commit() {
        // A signal from now on waits until all is done.
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, nullptr);
        if (g_interrupted != 0) return fail(Code::failure, "interrupted; nothing has been changed");
        return replace_files(world_.files, changes_, originals_);
    }

  private:
    [[nodiscard]] std::string new_name() const {
        const auto at = substitutions_.values.find(self_);
        return at == substitutions_.values.end() ? self_ : at->second;
    }

    void note(const std::string& file, std::vector<FoundValue> values) {
        for (auto& each : values) {
            each.file = file;
            if (verbose_)
                std::fprintf(stderr, "%s: %s -> %s\n", file.c_str(), each.from.c_str(), each.to.c_str());
            found_.push_back(std::move(each));
        }
    }

    Result<> change_database() {
        std::error_code error;
        fs::remove_all(work_, error);
        fs::create_directories(work_, error);
        if (error) return fail(Code::failure, "cannot make {}: {}", work_, error.message());
        const auto copy = work_ + "/config.db";
        if (!fs::exists(layout_.database())) return {};  // never started
        for (const auto* part : kDatabaseParts)
            if (const auto from = layout_.database() + part; fs::exists(from))
                if (!fs::copy_file(from, copy + part, fs::copy_options::overwrite_existing, error))
                    return fail(Code::failure, "cannot copy {}: {}", from, error.message());
        std::vector<FoundValue> values;
        std::vector<FoundValue> of_copies;
        std::string made = copy;
        {
            UNDERSTUDY_TRY(auto store, config::SqliteStore::open(world_, copy));
            UNDERSTUDY_TRY(auto loaded, store->load(NodeName(self_)));
            if (!loaded.damage.empty())
                return fail(Code::failure, "{}: {}; start the engine first", layout_.database(),
                            loaded.damage);
            // What a daemon that was killed had not brought to the disk.
            if (fs::exists(layout_.database_tail())) {
                UNDERSTUDY_TRY(const auto bytes, world_.files.read(layout_.database_tail()));
                const auto tail = config::parse_tail(bytes, NodeName(self_), loaded.own.generation);
                config::apply(loaded.own, tail);
                for (const auto& entry : tail.entries)
                    store->write(entry.change, {});
            }
            UNDERSTUDY_TRY(const auto own, change_values(loaded.own, substitutions_, values));
            std::map<NodeName, NodeConfig> replicas;
            for (const auto& [owner, config] : loaded.replicas) {
                auto lenient = substitutions_;
                lenient.whole_ids = true;  // the owner's own run has decided
                UNDERSTUDY_TRY(auto changed, change_values(config, lenient, of_copies));
                const auto renamed = substitutions_.values.find(owner.str());
                replicas[renamed == substitutions_.values.end() ? owner : NodeName(renamed->second)] =
                    std::move(changed);
            }
            if (values.empty() && of_copies.empty() && new_name() == self_) return {};
            // Another owner needs another database; what happened so far stays in the old one's journal.
            std::unique_ptr<config::SqliteStore> renamed;
            auto* target = store.get();
            if (new_name() != self_) {
                made = work_ + "/renamed.db";
                UNDERSTUDY_TRY(renamed, config::SqliteStore::open(world_, made));
                UNDERSTUDY_CHECK(renamed->load(NodeName(new_name())));
                target = renamed.get();
            }
            for (const auto& [owner, config] : loaded.replicas)
                if (target == store.get() && !replicas.contains(owner)) target->drop_replica(owner);
            for (const auto& [owner, config] : replicas)
                target->write_replica(owner, config);
            UNDERSTUDY_CHECK(write(*target, target == store.get() ? loaded.own : NodeConfig{}, own));
        }
        for (const auto* part : kDatabaseParts)
            changes_[layout_.database() + part] = std::nullopt;
        if (fs::exists(layout_.database_tail())) changes_[layout_.database_tail()] = std::nullopt;
        changes_[layout_.database()] = read_file(made);
        if (fs::exists(made + "-wal") && fs::file_size(made + "-wal") > 0)
            return fail(Code::internal, "the new database could not be closed");
        // They hold the old values, and stand in for a damaged database.
        for (const auto* part : kDatabaseCopies)
            if (fs::exists(layout_.database() + part)) changes_[layout_.database() + part] = std::nullopt;
        note(layout_.database(), std::move(values));
        note(layout_.database(), std::move(of_copies));
        return {};
    }

    /// Replaces all records of one config by those of another, as one commit.
    Result<> write(config::SqliteStore& store, const NodeConfig& before, const NodeConfig& after) {
        using namespace config;
        std::vector<Edit> edits;
        for (const auto& each : before.equivalencies)
            edits.emplace_back(DropEquivalency{each.tag, each.other_node, each.other_tag});
        for (const auto& each : before.dependencies)
            edits.emplace_back(DropDependency{each.parent, each.child});
        for (const auto& [tag, instance] : before.instances)
            edits.emplace_back(DropInstance{tag});
        for (const auto& path : before.paths)
            edits.emplace_back(DropPath{path.device});
        for (const auto& system : before.systems)
            edits.emplace_back(DropSystem{system});
        for (const auto& app : after.apps)
            edits.emplace_back(PutApp{app});
        for (const auto& type : after.types)
            edits.emplace_back(PutType{type});
        for (const auto& system : after.systems)
            edits.emplace_back(PutSystem{system});
        for (const auto& path : after.paths)
            edits.emplace_back(PutPath{path});
        for (const auto& [tag, instance] : after.instances)
            edits.emplace_back(PutInstance{instance});
        for (const auto& each : after.dependencies)
            edits.emplace_back(PutDependency{each});
        for (const auto& each : after.equivalencies)
            edits.emplace_back(PutEquivalency{each});
        for (const auto& flag : after.flags)
            edits.emplace_back(PutFlag{flag});
        config::Change change;
        change.owner = NodeName(new_name());
        change.generation = after.generation + 1;
        change.edits = std::move(edits);
        Result<> written = fail(Code::internal, "the database did not answer");
        store.write(change, [&](Result<> result) {
            written = std::move(result);
            posix_.stop();
        });
        posix_.run();
        return written;
    }

    /// The node's name is in its certificate.
    Result<> change_name() {
        const auto renamed = new_name();
        if (renamed == self_) return {};
        changes_[layout_.etc() + "/node"] = renamed + "\n";
        note(layout_.etc() + "/node", {{{}, 1, self_, renamed}});
        const auto certificate = layout_.pki() + "/node.pem";
        if (!fs::exists(certificate)) return {};
        comm::KeyAndCertificate ca;
        ca.certificate = read_file(layout_.pki() + "/ca.pem");
        ca.private_key = read_file(layout_.pki() + "/ca.key");
        if (ca.private_key.empty())
            return fail(
                Code::failure,
                "{} cannot be renamed here: its name stands in its certificate, and this node does not hold "
                "the key of the cluster's certificate authority ({}/ca.key; see SHARE_CA_KEY); copy it here "
                "from a node that does, or remove {} from the cluster and let {} join",
                self_, layout_.pki(), self_, renamed);
        UNDERSTUDY_TRY(const auto request, comm::make_request(NodeName(renamed)));
        UNDERSTUDY_TRY(changes_[certificate], comm::sign_request(ca, NodeName(renamed), request.certificate));
        changes_[layout_.pki() + "/node.key"] = request.private_key;
        return {};
    }

    /// Records and kit files: text that is no program.
    void change_texts(const std::string& directory) {
        std::error_code error;
        for (fs::recursive_directory_iterator at(directory, error), end; !error && at != end;
             at.increment(error)) {
            if (!at->is_regular_file(error) || at->is_symlink(error) || at->file_size(error) > kMaxTextFile)
                continue;
            if ((at->status(error).permissions() & fs::perms::owner_exec) != fs::perms::none) continue;
            const auto path = at->path().string();
            const auto text = read_file(path);
            if (text.find('\0') != std::string::npos) continue;
            std::vector<FoundValue> values;
            auto changed = change_text(text, substitutions_, path, values);
            if (values.empty()) continue;
            changes_[path] = std::move(changed);
            note(path, std::move(values));
        }
    }

    config::Layout layout_;
    runtime::PosixWorld posix_;
    runtime::World world_;
    Substitutions substitutions_;
    bool verbose_;
    std::string work_;
    std::string originals_;
    std::string self_;
    std::vector<FoundValue> found_;
    FileChanges changes_;
};

Result<Substitutions> substitutions_of(const config::Command& command) {
    Substitutions result;
    result.tags = !command.has("T");
    result.ids = !command.has("I");
    result.whole_ids = command.has("F");
    if (command.has("f")) {
        std::error_code error;
        if (!fs::is_regular_file(command.get("f"), error))
            return fail(Code::syntax, "there is no file {}", command.get("f"));
        UNDERSTUDY_TRY(result.values, parse_substitutions(read_file(command.get("f"))));
    } else if (command.get("o").empty() || command.get("n").empty()) {
        return fail(Code::syntax, "give -o and -n, or -f");
    } else {
        result.values[command.get("o")] = command.get("n");
    }
    return result;
}

int run(int argc, char** argv) {
    const auto* spec = cli::find_command("lk_chg_value");
    std::vector<std::string> words(argv + 1, argv + argc);
    for (const auto& word : words)
        if (word == "--help" || word == "-?") {
            std::fputs(cli::help(*spec).c_str(), stdout);
            return kDone;
        }
    const auto command = cli::parse(*spec, words);
    if (!command) {
        std::fprintf(stderr, "lk_chg_value: %s\nusage: %s\n", command.error().text.c_str(),
                     cli::synopsis(*spec).c_str());
        return kSyntax;
    }
    const auto substitutions = substitutions_of(*command);
    if (!substitutions) return tell({kSyntax, substitutions.error().text});
    if (geteuid() != 0) return tell({kNotRoot, "only root can change the configuration"});
    if (getenv("LKROOT") == nullptr) return tell({kNoRoot, "LKROOT is not set"});
    const auto layout = cli::layout_from_environment();
    for (const auto server : {cli::Server::daemon, cli::Server::mirror})
        if (cli::server_pid(layout, server) != 0)
            return tell(
                {kRunning, "the engine runs; stop it with lkstop (lkstop -f leaves resources in service)"});
    struct sigaction action {};
    action.sa_handler = interrupt;
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        sigaction(signal, &action, nullptr);

    ChangeRun change(layout, *substitutions, command->has("v") || command->has("V"));
    if (const auto recovered = change.recover(); !recovered)
        return tell({kNothingChanged, recovered.error().text});
    if (const auto prepared = change.prepare(); !prepared)
        return tell({prepared.error().code == Code::bad_argument ? kWholeId : kNothingChanged,
                     prepared.error().text});
    if (change.found().empty()) return tell({kNoMatch, "nothing matches"});
    if (command->has("M")) {
        for (const auto& each : change.found())
            std::printf("%s:%zu:%s -> %s\n", each.file.c_str(), each.line, each.from.c_str(),
                        each.to.c_str());
        return kDone;
    }
    if (const auto committed = change.commit(); !committed)
        return tell({kNothingChanged, committed.error().text});
    return kDone;
}

}  // namespace
}  // namespace understudy::daemons

int main(int argc, char** argv) {
    return understudy::daemons::run(argc, argv);
}
