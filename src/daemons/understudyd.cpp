// The cluster daemon: configuration, communication, recovery. Composition only.

#include "base/text.h"
#include "config/sqlite_store.h"
#include "config/tail_store.h"
#include "daemons/command_server.h"
#include "daemons/node.h"
#include "daemons/quorum_service.h"
#include "messages/messages.h"
#include "messages/sink.h"
#include "quorum/helper_storage.h"
#include "runtime/posix/daemon_protection.h"
#include "runtime/posix/journal.h"
#include "runtime/posix/posix_reserved_file.h"
#include "runtime/posix/posix_shared_disk.h"
#include "runtime/posix/posix_world.h"
#include "runtime/posix/watchdog.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace understudy::daemons {
namespace {

struct Arguments {
    config::Layout layout;
    std::string node;
};

constexpr std::string_view kUsage =
    "usage: understudyd [--root DIR] [--node NAME]\n\n"
    "  --root DIR    the host's files lie below DIR instead of /\n"
    "  --node NAME   this node's name (default: etc/understudy/node, then the host name)\n";

Result<Arguments> parse(int argc, char** argv) {
    Arguments result;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if ((word != "--root" && word != "--node") || i + 1 >= argc) return fail(Code::syntax, "{}", kUsage);
        std::string value = argv[++i];
        while (word == "--root" && value.ends_with('/'))
            value.pop_back();
        (word == "--root" ? result.layout.root : result.node) = value;
    }
    if (const char* programs = getenv("LKROOT")) result.layout.programs = programs;
    while (result.layout.programs.ends_with('/'))
        result.layout.programs.pop_back();
    return result;
}

/// The first name wins and is written down: a host name that changes later must not make another node of us.
Result<NodeName> node_name(runtime::Files& files, const Arguments& arguments) {
    const auto path = arguments.layout.etc() + "/node";
    auto name = arguments.node;
    if (const auto stored = files.read(path)) {
        const std::string known(text::trim(*stored));
        if (!name.empty() && name != known)
            return fail(Code::bad_argument, "this host is node \"{}\" ({}), not \"{}\"", known, path, name);
        return NodeName(known);
    }
    if (name.empty()) {
        char host[256] = {};
        if (gethostname(host, sizeof host - 1) != 0)
            return fail(Code::failure, "this host has no name; use --node");
        name = host;
    }
    UNDERSTUDY_CHECK(files.make_directories(arguments.layout.etc()));
    UNDERSTUDY_CHECK(files.write_atomic(path, name + "\n"));
    return NodeName(name);
}

/// A file in the run directory, which does not survive a boot, tells a restarted daemon from a rebooted host.
Result<bool> mark_boot(runtime::Files& files, const config::Layout& layout) {
    const auto mark = layout.run() + "/booted";
    const bool rebooted = !files.exists(mark);
    if (rebooted) UNDERSTUDY_CHECK(files.write_atomic(mark, "understudyd has run since this host's boot\n"));
    return rebooted;
}

int journal_priority(messages::Severity severity) {
    switch (severity) {
        case messages::Severity::debug:
            return runtime::kJournalDebug;
        case messages::Severity::info:
            return runtime::kJournalInfo;
        case messages::Severity::warning:
            return runtime::kJournalWarning;
        case messages::Severity::error:
            return runtime::kJournalError;
        case messages::Severity::critical:
            return runtime::kJournalCritical;
    }
    return runtime::kJournalInfo;
}

/// When the journal reads our standard error it gets whole records instead, with numbers as fields. Spec:
/// QUO-130.
void log_to_journal(const config::Layout& layout) {
    if (getenv("JOURNAL_STREAM") == nullptr) return;
    messages::log_to([socket = layout.root + std::string(runtime::kJournalSocket)](
                         messages::Severity severity, int number, std::string_view text) {
        return runtime::send_to_journal({.identifier = "understudyd",
                                         .priority = journal_priority(severity),
                                         .number = number,
                                         .text = text},
                                        socket);
    });
}

/// Looks whether an administrator has ended the quarantine.
constexpr auto kQuarantinePoll = std::chrono::milliseconds(200);

class ProcessWatchdog final : public quorum::Watchdog {
  public:
    ProcessWatchdog(const config::Layout& layout, const std::string& program, const std::string& setting)
        : client_(layout.run() + "/watchdog.sock", program, setting == "process" ? "" : setting) {}
    Result<> start() { return client_.start(); }
    void arm(runtime::Duration time) override { client_.arm(time); }
    void disarm() override { client_.disarm(); }
    void reset(const std::string&) override { runtime::reset_host(); }
    [[nodiscard]] bool present() const override { return client_.present(); }
    void end() const { client_.end(); }

  private:
    runtime::WatchdogClient client_;
};

std::string beside(const std::string& program) {
    std::error_code error;
    return (std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / program).string();
}

config::Settings read_settings(runtime::Files& files, const config::Layout& layout) {
    const auto text = files.read(layout.settings());
    if (!text) return {};
    // A typing error must not keep the node from starting: its key has the default then.
    std::vector<std::string> problems;
    auto settings = config::Settings::parse_leniently(*text, problems);
    for (const auto& problem : problems)
        messages::warning("{}: {}", layout.settings(), problem);
    return settings;
}

/// For understudy-qwk: proxies and credentials of S3. Spec: QUO-014, QUO-096
std::map<std::string, std::string> storage_environment(const runtime::Files& files,
                                                       const config::Layout& layout) {
    std::map<std::string, std::string> result{{"HOME", "/root"}, {"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"}};
    std::vector<std::string> problems;
    const auto settings =
        config::Settings::parse_leniently(files.read(layout.settings()).value_or(""), problems);
    for (const auto& [key, value] : settings.all()) {
        const bool proxy = key == "HTTP_PROXY" || key == "HTTPS_PROXY" || key == "NO_PROXY";
        if (!proxy && !key.starts_with("AWS_")) continue;
        result[key] = value;
        // libcurl knows the proxy of plain HTTP by its small letters only.
        if (key == "HTTP_PROXY") result["http_proxy"] = value;
    }
    return result;
}

/// What one life of the node consists of; a quarantine ends one, and the next begins after it.
struct Life {
    std::unique_ptr<config::SqliteStore> disk;
    std::unique_ptr<config::TailStore> store;
    std::unique_ptr<Node> node;
    std::unique_ptr<CommandServer> server;
};

class Daemon {
  public:
    Daemon(runtime::PosixWorld& posix, config::Layout layout, NodeName self)
        : posix_(posix),
          world_(posix.world()),
          layout_(std::move(layout)),
          self_(std::move(self)),
          storage_(world_, beside("understudy-qwk"),
                   [this] { return storage_environment(world_.files, layout_); }),
          disks_(world_.tasks) {}
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    Result<> start(bool rebooted) {
        const auto settings = read_settings(world_.files, layout_);
        start_watchdog(settings);
        config::SqliteStoreOptions storage;
        storage.history_age = std::chrono::hours(24 * settings.integer("HISTORY_DAYS"));
        Life life;
        UNDERSTUDY_TRY(life.disk, config::SqliteStore::open(world_, layout_.database(), storage));
        life.store = std::make_unique<config::TailStore>(
            *life.disk, std::make_unique<runtime::PosixReservedFile>(layout_.database_tail()), !rebooted);
        UNDERSTUDY_TRY(life.node, Node::open(world_, *life.store,
                                             {.self = self_,
                                              .layout = layout_,
                                              .settings = settings,
                                              .host_rebooted = rebooted,
                                              .pid = static_cast<int>(getpid()),
                                              .quorum_storage = &storage_,
                                              .watchdog = watchdog_.get(),
                                              .quorum_counters = &counters_,
                                              .shared_disks = &disks_}));
        life.server = std::make_unique<CommandServer>(world_, *life.node, layout_, settings);
        UNDERSTUDY_CHECK(life.server->listen());
        life.node->on_stopped([this] {
            if (watchdog_) watchdog_->end();
            life_.server->drain([this] { posix_.stop(); });
        });
        life.node->on_quarantine([this](runtime::Duration time) { quarantine(time); });
        // The store's lock has made sure that no other understudyd runs.
        for (const auto& action : posix_.end_unfinished_processes())
            messages::warning("ended what the daemon before this one had left unfinished: {}", action);
        life_ = std::move(life);
        life_.node->start();
        messages::info("understudyd of node {} runs, root \"{}\"", self_.str(), layout_.root);
        return {};
    }

    /// systemctl stop is lkstop. Spec: CLU-019.
    void terminate() {
        if (!life_.node) return posix_.stop();  // nothing is in service during a quarantine
        config::Command stop;
        stop.name = "lkstop";
        life_.node->run(stop, [](const config::Reply&) {});
    }

  private:
    void start_watchdog(const config::Settings& settings) {
        const auto kind = settings.text("QUORUM_WATCHDOG");
        if (text::iequals(settings.text("QUORUM_MODE"), "none") ||
            text::iequals(settings.text("QUORUM_MODE"), "off") || text::iequals(kind, "none"))
            return;
        if (!watchdog_)
            watchdog_ = std::make_unique<ProcessWatchdog>(layout_, beside("understudy-watchdog"), kind);
        if (const auto started = watchdog_->start(); !started)
            messages::error(
                "no watchdog: {}; a node that lost quorum and cannot stop its resources is not reset",
                started.error().text);
    }

    /// Spec: QUO-073 to QUO-077: the node is gone, this process waits and starts it again. The file says so
    /// to lkstart; removing it ends the quarantine. /run does not survive a boot. The file comes first: a
    /// daemon that does not answer any more is in quarantine already, and lkstart starts no second one.
    void quarantine(runtime::Duration time) {
        const auto path = quarantine_path(layout_);
        const auto until = std::chrono::floor<std::chrono::seconds>(world_.clock.wall() + time);
        const auto noted =
            world_.files.write_atomic(path, fmt::format("{}\n", until.time_since_epoch().count()));
        if (!noted)
            messages::error("{}: the quarantine lasts, but lkstart does not know of it", noted.error().text);
        // Each refers to the one before it.
        life_.server.reset();
        life_.node.reset();
        life_.store.reset();
        life_.disk.reset();
        wait_for_the_end_of(world_.clock.now() + time, path, noted.has_value());
    }

    void wait_for_the_end_of(runtime::TimePoint end, const std::string& path, bool noted) {
        const bool over = world_.clock.now() >= end || (noted && !world_.files.exists(path));
        if (!over) {
            world_.tasks.after(kQuarantinePoll,
                               [this, end, path, noted] { wait_for_the_end_of(end, path, noted); });
            return;
        }
        (void)world_.files.remove(path);
        messages::info("the quarantine is over");
        if (const auto started = start(false); !started) {
            messages::error("understudyd cannot run after the quarantine: {}", started.error().text);
            posix_.stop();
        }
    }

    runtime::PosixWorld& posix_;
    runtime::World world_;
    config::Layout layout_;
    NodeName self_;
    quorum::HelperStorage storage_;
    runtime::PosixSharedDisks disks_;
    std::unique_ptr<ProcessWatchdog> watchdog_;
    quorum::Counters counters_;
    Life life_;
};

Result<> serve(const Arguments& arguments) {
    const auto& layout = arguments.layout;
    runtime::PosixWorld posix(
        {layout.pki() + "/ca.pem", layout.pki() + "/node.pem", layout.pki() + "/node.key"},
        layout.run() + "/actions");
    auto world = posix.world();
    for (const auto& directory : {layout.state(), layout.run(), layout.log()})
        UNDERSTUDY_CHECK(world.files.make_directories(directory));
    UNDERSTUDY_TRY(const auto self, node_name(world.files, arguments));
    messages::configure({.process = "understudyd", .file = layout.log() + "/understudyd.log"});
    log_to_journal(layout);
    if (const auto locked = runtime::lock_memory_and_raise_priority(); !locked)
        messages::warning("{}; heartbeats may be late when memory is short", locked.error().text);
    if (const auto raised = runtime::raise_to_real_time(); !raised)
        messages::warning("{}; heartbeats may be late when the processors are busy", raised.error().text);

    UNDERSTUDY_TRY(const bool rebooted, mark_boot(world.files, layout));
    // What an earlier process left of a quarantine that it did not wait for.
    UNDERSTUDY_CHECK(world.files.remove(quarantine_path(layout)));
    Daemon daemon(posix, layout, self);
    UNDERSTUDY_CHECK(daemon.start(rebooted));
    posix.on_terminate([&] { daemon.terminate(); });
    posix.run();
    messages::info("understudyd of node {} has stopped", self.str());
    return {};
}

}  // namespace
}  // namespace understudy::daemons

int main(int argc, char** argv) {
    using namespace understudy;
    umask(0022);
    auto arguments = daemons::parse(argc, argv);
    if (!arguments) {
        std::fputs(arguments.error().text.c_str(), stderr);
        return static_cast<int>(arguments.error().code);
    }
    const auto served = daemons::serve(*arguments);
    if (served) return 0;
    messages::error("understudyd cannot run: {}", served.error().text);
    return static_cast<int>(served.error().code);
}
