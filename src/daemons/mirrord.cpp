// The replication daemon: every mirrored volume of this host. Composition only.

#include "base/text.h"
#include "config/settings.h"
#include "messages/messages.h"
#include "mirror/control/commands.h"
#include "mirror/control/log_place.h"
#include "mirror/control/nbd_authority.h"
#include "mirror/control/posix/data_sockets.h"
#include "mirror/control/posix/devices.h"
#include "mirror/control/posix/file_systems.h"
#include "mirror/control/posix/keeper_start.h"
#include "mirror/control/posix/nbd_clients.h"
#include "mirror/control/posix/reactor_host.h"
#include "mirror/control/posix/snapshot_tools.h"
#include "mirror/control/posix/thread_place.h"
#include "mirror/emcmd/posix/linux_facts.h"
#include "mirror/emcmd/service.h"
#include "mirror/export/export.h"
#include "mirror/io/reactor.h"
#include "mirror/shared/posix/device_access.h"
#include "mirror/shared/posix/kernel_fence.h"
#include "mirror/shared/posix/scsi_reservation.h"
#include "mirror/shared/shared_volumes.h"
#include "runtime/posix/posix_shared_disk.h"
#include "runtime/posix/posix_world.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <set>

namespace understudy::daemons {
namespace {

using namespace mirror;
using namespace mirror::control;

// Credentials come with init or join, which may be after the start of this daemon.
constexpr auto kCredentialsRetry = std::chrono::milliseconds(250);
/// How soon new keys and removed nodes are noticed.
constexpr auto kCredentialsPoll = std::chrono::milliseconds(200);

struct Arguments {
    config::Layout layout;
    std::string listen;
    std::uint16_t port = 0;
};

constexpr std::string_view kUsage =
    "usage: mirrord [--root DIR] [--listen ADDRESS] [--port PORT] [--foreground]\n\n"
    "  --root DIR         the host's files lie below DIR instead of /\n"
    "  --listen ADDRESS   serve peers at this address only (default: every address; MirrorListenAddress)\n"
    "  --port PORT        dispatch port (default 9999; TargetDispatchPort)\n"
    "  --foreground       accepted for service managers; mirrord never detaches\n";

Result<std::uint16_t> port_number(std::string_view text) {
    const auto value = text::to_int(text);
    if (!value || *value < 1 || *value > 65535) return fail(Code::out_of_range, "\"{}\" is no port\n", text);
    return static_cast<std::uint16_t>(*value);
}

Result<Arguments> parse(int argc, char** argv) {
    Arguments result;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--foreground") continue;
        if ((word != "--root" && word != "--listen" && word != "--port") || i + 1 >= argc)
            return fail(Code::syntax, "{}", kUsage);
        std::string value = argv[++i];
        if (word == "--root") {
            while (value.ends_with('/'))
                value.pop_back();
            result.layout.root = value;
        } else if (word == "--listen") {
            result.listen = value;
        } else {
            UNDERSTUDY_TRY(result.port, port_number(value));
        }
    }
    return result;
}

Result<std::string> node_name(const runtime::Files& files, const config::Layout& layout) {
    if (const auto stored = files.read(layout.etc() + "/node")) return std::string(text::trim(*stored));
    char host[256] = {};
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        return fail(Code::failure, "this host has no name; write one to {}/node", layout.etc());
    return std::string(host);
}

std::string credential_files(const runtime::Files& files, const std::string& pki) {
    std::string text;
    for (const auto* name : {"/ca.pem", "/node.pem", "/removed"})
        text += files.read(pki + name).value_or("") + '\0';
    return text;
}

void reload_for_clients(NbdClients& clients, const runtime::Files& files) {
    if (auto loaded = clients.reload(files); !loaded)
        messages::warning("NBD clients by TCP are not served with TLS: {}", loaded.error().text);
}

/// Which authorities NBD clients are checked by: the file that the settings name, and what it holds.
struct NbdAuthorities {
    std::string file, content;
    friend bool operator==(const NbdAuthorities&, const NbdAuthorities&) = default;
};
NbdAuthorities nbd_authorities(const runtime::Files& files, const config::Layout& layout) {
    std::vector<std::string> told_at_start;
    const auto text = files.read(layout.settings()).value_or("");
    NbdAuthorities now{config::Settings::parse_leniently(text, told_at_start).text("NbdClientCa"), {}};
    if (!now.file.empty()) now.content = files.read(now.file).value_or("");
    return now;
}

/// Serves peers as soon as there is a certificate, and goes on trying until then.
runtime::Task<> serve_peers(runtime::World world, Manager& manager, NbdClients& clients,
                            config::Layout layout, std::string address) {
    const std::string pki = layout.pki();
    std::string told;
    for (;;) {
        auto loaded = world.network.reload_credentials();
        Result<> listening = loaded;
        if (loaded) {
            listening = manager.listen(address.empty() ? "0.0.0.0" : address);
            // IPv6 besides, where the host has it and does not answer for both.
            if (listening && address.empty()) (void)manager.listen("::");
        }
        if (listening) break;
        if (listening.error().text != told) {
            told = listening.error().text;
            messages::warning("peers are not served yet: {}", told);
        }
        co_await runtime::sleep_for(world.tasks, kCredentialsRetry);
    }
    messages::info("peers are served on port {}", manager.options().dispatch_port);
    auto authorities = nbd_authorities(world.files, layout);
    clients.set_authorities(authorities.file);
    reload_for_clients(clients, world.files);
    // understudyd replaces keys and takes out nodes while this process runs.
    for (auto before = credential_files(world.files, pki);;) {
        co_await runtime::sleep_for(world.tasks, kCredentialsPoll);
        if (clients.any()) {
            auto named = nbd_authorities(world.files, layout);
            if (named != authorities) {
                authorities = std::move(named);
                clients.set_authorities(authorities.file);
                reload_for_clients(clients, world.files);
                messages::info("NBD clients that connect from now on are checked by {}",
                               authorities.file.empty() ? "the cluster's authority" : authorities.file);
            }
        }
        auto now = credential_files(world.files, pki);
        if (now == before) continue;
        auto loaded = world.network.reload_credentials();
        // A moment between two of the files: they fit together the next time.
        if (!loaded) continue;
        before = std::move(now);
        reload_for_clients(clients, world.files);
        messages::info("the cluster's keys have changed: new connections use them");
    }
}

runtime::Task<config::Reply> nbd_certificate(runtime::Files& files, const config::Layout& layout,
                                             config::Command command) {
    config::Reply reply = run_nbd_certificate(files, layout, command);
    co_return reply;
}

runtime::Task<> stop(runtime::PosixWorld& posix, Manager& manager, shared::SharedVolumes& shared_volumes) {
    co_await shared_volumes.shut_down();
    co_await manager.shut_down();
    posix.stop();
}

Result<> serve(const Arguments& arguments) {
    const auto& layout = arguments.layout;
    if (const auto guarded = protect_from_memory_pressure(); !guarded)
        messages::warning("{}", guarded.error().text);

    runtime::PosixWorld posix({layout.pki() + "/ca.pem", layout.pki() + "/node.pem",
                               layout.pki() + "/node.key", layout.pki() + "/removed"});
    auto world = posix.world();
    for (const auto& directory : {layout.state(), layout.run(), layout.log()})
        UNDERSTUDY_CHECK(world.files.make_directories(directory));
    for (const auto& directory : {layout.run() + "/volumes", layout.run() + "/nbd"})
        UNDERSTUDY_CHECK(world.files.make_directories(directory, 0700));
    UNDERSTUDY_TRY(const auto node, node_name(world.files, layout));
    messages::configure({.process = "mirrord", .file = layout.log() + "/mirrord.log"});

    // Spec: REP-361. Without it no volume can be served at all.
    if (const auto able = Reactor::create(); !able)
        return fail(able.error().code, "{}",
                    numbered(Event::unsupported_system,
                             fmt::format("this host cannot serve volumes, its kernel or container refuses "
                                         "io_uring: {}",
                                         able.error().text)));

    config::Settings settings;
    if (const auto text = world.files.read(layout.settings())) {
        std::vector<std::string> problems;
        settings = config::Settings::parse_leniently(*text, problems);
        for (const auto& problem : problems)
            messages::warning("{}: {}", layout.settings(), problem);
    }
    ManagerOptions options{layout, node, arguments.port, {}, settings, wire::offer_of_this_build()};
    options.degrade.limit = std::chrono::milliseconds(settings.integer("NDLGTimeoutMs"));
    options.degrade.refuse_writes = settings.boolean("BlockWritesOnNDLGTimeoutReached");
    const auto port = [&](std::string_view key) { return static_cast<std::uint16_t>(settings.integer(key)); };
    if (options.dispatch_port == 0) options.dispatch_port = port("TargetDispatchPort");

    std::set<VolumeId> kept;
    std::string keeper = layout.keeper_socket();
    if (const auto kept_by = ensure_keeper(keeper, beside_this_program("understudy-keeper")); !kept_by) {
        messages::error("{}; devices will not survive the death of this process", kept_by.error().text);
        keeper.clear();
    } else if (const auto held = kept_exports(keeper)) {
        kept.insert(held->begin(), held->end());
    }
    // The kernel keeps ublk devices by itself.
    if (const auto held = kept_ublk_exports(layout.root + "/dev/understudy"))
        kept.insert(held->begin(), held->end());
    std::vector<unsigned> processors;
    if (auto list = parse_processors(settings.text("MirrorProcessors")))
        processors = std::move(*list);
    else
        messages::warning("{}: MirrorProcessors: {}; all are used", layout.settings(), list.error().text);
    const auto device = parse_export(settings.text("MirrorDevice")).value_or(ExportKind::automatic);

    // Nobody holds what an earlier boot or a killed keeper left: such devices only give errors.
    if (kept.empty()) {
        const auto directory = layout.root + "/dev/understudy";
        if (const auto cleaned = clean_up_exports(directory); !cleaned)
            messages::warning("{}", cleaned.error().text);
        for (const auto& name : world.files.list(directory))
            if (const auto gone = world.files.remove(directory + "/" + name); !gone)
                messages::warning("{}", gone.error().text);
    }

    NbdClients::Options nbd;
    if (auto places = parse_nbd_places(settings.text("NbdListen")))
        nbd.places = std::move(*places);
    else
        messages::warning("{}: NbdListen: {}; no volume is offered by TCP", layout.settings(),
                          places.error().text);
    nbd.plain = settings.boolean("NbdPlainTcp");
    nbd.credentials = {layout.pki() + "/ca.pem", layout.pki() + "/node.pem", layout.pki() + "/node.key",
                       layout.pki() + "/removed", settings.text("NbdClientCa")};
    NbdClients nbd_clients(std::move(nbd));

    TcpDataLinks links(world, port("TargetPortBase"), port("TargetPortIncr"));
    LinuxDevices devices(log_place(settings, layout.bitmaps()).directory);
    EngineNotes notes(world, layout, node);
    LinuxSnapshotTools snapshots(world, layout, beside_this_program("understudy-quiesce"));
    LinuxFileSystems file_systems(world, beside_this_program("understudy-fsmap"),
                                  layout.root + "/dev/understudy");
    std::string no_reactor;
    const auto make_host = [&](const VolumeId& volume, HostEvents& events) -> std::unique_ptr<VolumeHost> {
        auto host = make_reactor_host(world, {layout, keeper, device, processors, &nbd_clients}, volume,
                                      events, kept.erase(volume) > 0);
        if (host) return std::move(*host);
        // Without io_uring nothing can work; the service manager tries again.
        messages::log(messages::Severity::critical, "{}", host.error().text);
        std::abort();
    };
    Manager manager(world, options, links, devices, make_host, &notes, &snapshots, &file_systems);
    runtime::PosixSharedDisks disks(world.tasks);
    shared::LinuxDeviceAccess shared_devices;
    shared::SharedVolumes shared_volumes(
        world,
        {layout, NodeName(node), std::chrono::milliseconds(settings.integer("VolumeLockLeaseMs")),
         std::chrono::milliseconds(settings.integer("VolumeLockMarginMs"))},
        disks, make_host, [&world] { return shared::make_kernel_fence(world.clock); },
        shared::open_reservable_disk);
    shared_volumes.set_mirrors(manager, shared_devices);
    emcmd::LinuxFacts facts;
    emcmd::Service service(world, manager, facts,
                           {.layout = layout, .node = node, .dispatch_port = options.dispatch_port});
    service.set_shared(shared_volumes);
    CommandService commands(world, manager);
    service.add_to(commands);
    commands.add("understudy nbd certificate", [&world, &layout](config::Command command) {
        return nbd_certificate(world.files, layout, std::move(command));
    });
    // The socket tells a second mirrord of this root that it is one too many, before it touches a volume.
    UNDERSTUDY_CHECK(commands.listen(layout.mirror_socket()));
    runtime::TaskScope tasks;
    if (auto loaded = world.network.reload_credentials(); !loaded)
        messages::info("no credentials yet: {}", loaded.error().text);
    manager.start();
    service.start();
    tasks.spawn(
        serve_peers(world, manager, nbd_clients, layout,
                    arguments.listen.empty() ? settings.text("MirrorListenAddress") : arguments.listen));
    bool stopping = false;
    posix.on_terminate([&] {
        if (!std::exchange(stopping, true)) tasks.spawn(stop(posix, manager, shared_volumes));
    });
    messages::info("{}", numbered(Event::started,
                                  fmt::format("mirrord of node {} runs, root \"{}\"", node, layout.root)));
    posix.run();
    messages::info("mirrord of node {} has stopped", node);
    return {};
}

}  // namespace
}  // namespace understudy::daemons

int main(int argc, char** argv) {
    using namespace understudy;
    umask(0022);
    for (int i = 1; i < argc; ++i)
        if (std::string_view(argv[i]) == "--help") {
            std::fputs(std::string(daemons::kUsage).c_str(), stdout);
            return 0;
        }
    auto arguments = daemons::parse(argc, argv);
    if (!arguments) {
        std::fputs(arguments.error().text.c_str(), stderr);
        return static_cast<int>(arguments.error().code);
    }
    if (auto served = daemons::serve(*arguments); !served) {
        std::fprintf(stderr, "mirrord: %s\n", served.error().text.c_str());
        messages::error("{}", served.error().text);
        return static_cast<int>(served.error().code);
    }
    return 0;
}
