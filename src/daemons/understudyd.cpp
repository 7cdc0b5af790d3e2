// The cluster daemon: configuration, communication, recovery. Composition only.

#include "base/text.h"
#include "config/sqlite_store.h"
#include "daemons/command_server.h"
#include "daemons/node.h"
#include "messages/messages.h"
#include "runtime/posix/daemon_protection.h"
#include "runtime/posix/posix_world.h"

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
    if (const auto locked = runtime::lock_memory_and_raise_priority(); !locked)
        messages::warning("{}; heartbeats may be late when memory is short", locked.error().text);

    config::Settings settings;
    if (const auto text = world.files.read(layout.settings())) {
        // A typing error must not keep the node from starting: its key has the default then.
        std::vector<std::string> problems;
        settings = config::Settings::parse_leniently(*text, problems);
        for (const auto& problem : problems)
            messages::warning("{}: {}", layout.settings(), problem);
    }
    UNDERSTUDY_TRY(const bool rebooted, mark_boot(world.files, layout));
    config::SqliteStoreOptions storage;
    storage.history_age = std::chrono::hours(24 * settings.integer("HISTORY_DAYS"));
    UNDERSTUDY_TRY(auto store, config::SqliteStore::open(world, layout.database(), storage));
    UNDERSTUDY_TRY(auto node, Node::open(world, *store,
                                         {.self = self,
                                          .layout = layout,
                                          .settings = settings,
                                          .host_rebooted = rebooted,
                                          .pid = static_cast<int>(getpid())}));
    CommandServer server(world, *node, layout, settings);
    UNDERSTUDY_CHECK(server.listen());
    node->on_stopped([&] { server.drain([&] { posix.stop(); }); });
    // systemctl stop is lkstop. Spec: CLU-019.
    posix.on_terminate([&] {
        config::Command stop;
        stop.name = "lkstop";
        node->run(stop, [](const config::Reply&) {});
    });
    // The store's lock has made sure that no other understudyd runs.
    for (const auto& action : posix.end_unfinished_processes())
        messages::warning("ended what the daemon before this one had left unfinished: {}", action);
    node->start();
    messages::info("understudyd of node {} runs, root \"{}\"", self.str(), layout.root);
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
