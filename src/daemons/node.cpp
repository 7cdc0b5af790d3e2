#include "daemons/node.h"

#include "base/text.h"
#include "config/lcdi.h"
#include "config/settings_file.h"
#include "daemons/authority.h"
#include "daemons/config_replication.h"
#include "daemons/credentials.h"
#include "daemons/definition.h"
#include "daemons/disk_paths.h"
#include "daemons/equivalency.h"
#include "daemons/hierarchy.h"
#include "daemons/history.h"
#include "daemons/incidents.h"
#include "daemons/introduction.h"
#include "daemons/locks.h"
#include "daemons/maintenance.h"
#include "daemons/membership.h"
#include "daemons/metrics.h"
#include "daemons/path_commands.h"
#include "daemons/plan_preview.h"
#include "daemons/policy.h"
#include "daemons/priorities.h"
#include "daemons/quorum_service.h"
#include "daemons/remote_commands.h"
#include "daemons/removal.h"
#include "daemons/status.h"
#include "messages/messages.h"
#include "messages/sink.h"
#include "recovery/host_probe.h"
#include "recovery/safety_check.h"
#include "recovery/scripts.h"

namespace understudy::daemons {
namespace {

using config::Command;
using config::Reply;

// A forwarded command that runs no script; scripts have no limit (Spec: CMD-112).
constexpr runtime::Duration kForwardLimit = std::chrono::seconds(60);
constexpr runtime::Duration kNoLimit = std::chrono::hours(24 * 365);

constexpr std::string_view kReadOnly[] = {"app_list",           "typ_list",
                                          "ins_list",           "ins_gettag",
                                          "dep_list",           "eqv_list",
                                          "sys_list",           "sys_getst",
                                          "sys_getds",          "net_list",
                                          "flg_list",           "flg_test",
                                          "lcduname",           "engine-ready",
                                          "lkquorum",           "understudy status",
                                          "understudy events",  "understudy incident",
                                          "understudy plan",    "understudy policy show",
                                          "understudy history", "understudy config export",
                                          "understudy metrics"};

std::int64_t milliseconds(runtime::Duration duration) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

}  // namespace

Role role_needed(const Command& command) {
    if (std::find(std::begin(kReadOnly), std::end(kReadOnly), command.name) != std::end(kReadOnly))
        return Role::guest;
    if (command.name == "understudy maintenance" && !command.arguments.empty() &&
        command.arguments.front() == "list")
        return Role::guest;
    if (command.name == "lcdrecover" && (command.has("p") || command.has("o"))) return Role::guest;
    const auto action = command.get("a");
    if (command.name == "perform_action" && (action == "restore" || action == "remove")) return Role::operate;
    if (command.name == "understudy switchover") return Role::operate;
    return Role::administer;
}

/// What a stopping node still does: a mirror's source must be able to record here that it goes on alone, or
/// its writes would wait until this node is DEAD. Spec: REP-079.
bool is_done_while_stopping(const Command& command) {
    return command.name == "flg_create" || command.name == "flg_remove" || command.name == "lcdsync";
}

struct Node::Impl {
    runtime::World world;
    NodeOptions options;
    std::unique_ptr<config::Database> database;
    config::SettingsFile settings;
    comm::Cluster cluster;
    recovery::SafetyCheck safety_check;
    recovery::Engine engine;
    QuorumService quorum;
    ConfigReplication replication;
    Authority authority;
    Credentials credentials;
    Introduction introduction;
    Membership membership;
    DiskPaths disk_paths;
    FirewallFollower firewall;
    PathCommands path_commands;
    StatusService status;
    IncidentService incidents;
    MaintenanceService maintenance;
    PlanService plans;
    PolicyService policy;
    EquivalencyService equivalencies;
    HistoryService history;
    LockService locks;
    TransactionService transactions;
    PriorityService priorities;
    DefinitionService definition;
    RemovalService removal;
    HierarchySteps hierarchy_steps;
    HierarchyService hierarchies;
    RemoteCommands remote;
    std::function<void()> stopped;
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);
    bool stopping = false;

    Impl(runtime::World w, NodeOptions o, std::unique_ptr<config::Database> d)
        : world(w),
          options(std::move(o)),
          database(std::move(d)),
          settings(world, options.layout.settings(), options.settings),
          cluster(world, {.self = options.self,
                          .software_version = "0.1.0",
                          .disks = options.shared_disks,
                          .protocol = options.protocol}),
          safety_check(
              world, *database, cluster, safety_options(world, options),
              recovery::host_probe(world, this->options.settings.boolean("SAFETY_CHECK_NEIGHBOURS"))),
          engine(world, *database, cluster, engine_options(options, *database, settings)),
          quorum(world, *database, cluster, engine, options.layout, options.quorum_storage, options.watchdog,
                 options.quorum_counters),
          replication(world, *database, cluster),
          authority(world, *database, cluster, options),
          credentials(world, *database, cluster, options, [this] { authority.ask_all(); }),
          introduction(world, *database, cluster, options),
          membership(world, *database, introduction, credentials, options),
          disk_paths(world, *database, options, [this] { return live_view(); }),
          firewall(world, *database, options, settings),
          path_commands(
              world, *database, cluster, [this] { return live_view(); }, firewall,
              [this](const Command& command, const PathCommands::Done& done) { execute(command, {}, done); }),
          status(world, *database, cluster, engine, quorum, options, settings),
          incidents(world, *database, cluster,
                    [this](std::function<void(Result<std::string>)> answer) {
                        status.ask_mirrors(std::move(answer));
                    }),
          maintenance(world, *database, cluster),
          plans(*database, cluster, engine),
          policy(world, *database, cluster),
          equivalencies(world, *database, cluster),
          history(world, *database, cluster),
          locks(world, *database, cluster, options.layout.run() + "/locks", options.pid),
          transactions(world, *database, cluster, locks, options.layout.state() + "/change.json"),
          priorities(world, *database, cluster, transactions),
          definition(world, *database, cluster, options,
                     [this](const Command& command, const DefinitionService::Done& done) {
                         run(command, options.self, {}, done);
                     }),
          removal(world, *database, engine, equivalencies),
          hierarchy_steps(world, *database, cluster, engine, scripts_of(options)),
          hierarchies(world, *database, cluster, transactions, hierarchy_steps),
          remote(world, *database, cluster, options, script_environment(options)) {}
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() { *alive = false; }

    static recovery::SafetyCheck::Options safety_options(runtime::World world, const NodeOptions& options) {
        recovery::SafetyCheck::Options result;
        result.timeout = std::chrono::seconds(options.settings.integer("SAFETY_CHECK_TIMEOUT"));
        result.recheck = options.settings.text("SAFETY_CHECK_MODE") == "recheck";
        result.informs_only =
            options.settings.text("WITNESS_MODE") != "off" && options.settings.text("WITNESS_MODE") != "none";
        result.resolve = recovery::name_resolver(world);
        return result;
    }

    static recovery::Engine::Options engine_options(const NodeOptions& options,
                                                    const config::Database& database,
                                                    config::SettingsFile& settings) {
        recovery::Engine::Options result;
        result.lkroot = options.layout.lkroot();
        result.settings = options.settings.all();
        result.environment = own_variables(options);
        result.settings_now = [&settings]() -> const config::Settings& { return settings.now(); };
        result.log_directory = options.layout.log();
        result.init_peer_wait = std::chrono::seconds(options.settings.integer("INIT_PEER_WAIT"));
        if (result.init_peer_wait <= runtime::Duration::zero())  // auto. Spec: CLU-127
            for (const auto& path : effective_paths(settings.now(), database))
                result.init_peer_wait = std::max<runtime::Duration>(
                    result.init_peer_wait, std::chrono::milliseconds(path.interval_ms) * path.misses);
        result.host_rebooted = options.host_rebooted;
        result.pid = options.pid;
        return result;
    }

    static std::map<std::string, std::string> own_variables(const NodeOptions& options) {
        return {{"UNDERSTUDY_ROOT", options.layout.root}, {"LKROOT", options.layout.lkroot()}};
    }

    /// What action scripts get, for commands of other nodes too.
    std::map<std::string, std::string> script_environment(const NodeOptions& of) const {
        return scripts_of(of).environment();
    }

    recovery::Scripts scripts_of(const NodeOptions& of) const {
        return {world, of.layout.lkroot(), of.settings.all(), own_variables(of)};
    }

    config::LiveView live_view() {
        config::LiveView live;
        live.node_state = [this](const NodeName& node) {
            return node == options.self ? std::string("ALIVE")
                                        : std::string(comm::to_string(cluster.peer_state(node)));
        };
        live.path_state = [this](const std::string& device) {
            for (const auto& path : cluster.paths())
                if (path.path.device == device)
                    return std::pair(std::string(comm::to_string(path.state)), path.times_down);
            return std::pair(std::string("DEAD"), 0);
        };
        live.in_service_elsewhere = [this](const Tag& tag, const NodeName& node) {
            const auto* config = database->of(node);
            const auto* instance = config == nullptr ? nullptr : config->find(tag);
            return instance != nullptr && cluster.peer_state(node) == comm::PeerState::alive &&
                   (instance->state == config::State::isp || instance->state == config::State::isu);
        };
        live.has_action = [this](const AppName& app, const TypeName& type, const std::string& action) {
            return !engine.action_path(app, type, action).empty();
        };
        live.node_reason = [this](const NodeName& node) {
            std::string reason;
            for (const auto& path : cluster.paths())
                if (path.path.remote == node && !path.problem.empty())
                    reason +=
                        fmt::format("{}{}: {}", reason.empty() ? "" : "; ", path.path.device, path.problem);
            if (database->has_flag(recovery::no_failover_flag(node)))
                reason +=
                    fmt::format("{}it stops, has stopped or has deleted its paths to this system on purpose",
                                reason.empty() ? "" : "; ");
            return reason;
        };
        live.make_directories = [this](const std::string& below_lkroot) {
            return world.files.make_directories(options.layout.lkroot() + "/" + below_lkroot);
        };
        live.now_s = std::chrono::floor<std::chrono::seconds>(world.clock.wall()).time_since_epoch().count();
        live.allow_fast_heartbeats = options.settings.boolean("ALLOW_FAST_HEARTBEATS");
        return live;
    }

    /// LCMHBEATTIME and LCMNUMHBEATS replace what a path left at its default. Spec: CLU-069.
    static std::vector<config::Path> effective_paths(const config::Settings& settings,
                                                     const config::Database& database) {
        auto paths = database.own().paths;
        const config::Path defaults;
        for (auto& path : paths) {
            if (settings.present("LCMHBEATTIME") && path.interval_ms == defaults.interval_ms)
                path.interval_ms = static_cast<int>(settings.integer("LCMHBEATTIME")) * 1000;
            if (settings.present("LCMNUMHBEATS") && path.misses == defaults.misses)
                path.misses = static_cast<int>(settings.integer("LCMNUMHBEATS"));
        }
        return paths;
    }

    void apply_paths() { cluster.set_paths(effective_paths(settings.now(), *database)); }

    /// Spec: CLU-069.
    void log_limits() {
        for (const auto& path : effective_paths(settings.now(), *database))
            messages::info("heartbeats of path {} to {}: every {} ms, DEAD after {} missed", path.device,
                           path.remote.str(), path.interval_ms, path.misses);
    }

    /// A kit that is installed is known: its application and type need no command. Spec: CMD-057, README
    /// ruling 9.
    void register_kits() {
        const auto subsys = options.layout.lkroot() + "/subsys";
        std::vector<config::Edit> edits;
        for (const auto& app : world.files.list(subsys)) {
            std::vector<std::string> types;
            for (const auto& entry : world.files.list(subsys + "/" + app))
                if (text::iequals(entry, "resources"))  // Spec: CLU-085
                    types = world.files.list(subsys + "/" + app + "/" + entry);
            if (types.empty()) continue;
            if (!database->own().apps.contains(AppName(app)))
                edits.emplace_back(config::PutApp{AppName(app)});
            for (const auto& type : types)
                if (const config::ResourceType installed{AppName(app), TypeName(type)};
                    !database->own().types.contains(installed))
                    edits.emplace_back(config::PutType{installed});
        }
        if (!edits.empty()) database->commit(std::move(edits));
        // Spec: CLU-130.
        for (const auto& kit : scripts_of(options).disabled_kits())
            messages::log_numbered(messages::Severity::error, messages::kit_disabled.number,
                                   messages::text(messages::kit_disabled, kit));
    }

    static bool touches_paths(const config::Change& change) {
        return std::any_of(change.edits.begin(), change.edits.end(), [](const config::Edit& edit) {
            return std::holds_alternative<config::PutPath>(edit) ||
                   std::holds_alternative<config::DropPath>(edit);
        });
    }

    void start() {
        database->subscribe([this](const config::Change& change) {
            if (change.owner == options.self && touches_paths(change)) apply_paths();
        });
        cluster.on_peer_event([this](const comm::PeerEvent& event) { journal_path(event); });
        // Spec: CLU-029.
        cluster.on_absence([this](runtime::Duration absent) {
            journal_heartbeat(
                fmt::format("understudyd did not run for {} ms: its peers may have declared {} dead",
                            milliseconds(absent), options.self.str()));
        });
        cluster.on_late_heartbeat([this](runtime::Duration late) {
            journal_heartbeat(
                fmt::format("a heartbeat was {} ms late: {} is short of processor time or memory",
                            milliseconds(late), options.self.str()));
        });
        cluster.serve("command", [this](const NodeName& caller, std::string_view payload,
                                        comm::Cluster::Answer answer) {
            auto command = config::decode_command(payload);
            if (!command) return answer(fail(command.error()));
            messages::info("{} asks for {}", caller.str(), command->name);
            run(*command, caller, {}, [answer](const Reply& reply) { answer(config::encode(reply)); });
        });
        if (!database->damage().empty()) {
            messages::error("{}", database->damage());
            database->journal(0, "engine", options.self.str(), database->damage());
        }
        history.start();
        locks.start();
        transactions.start();
        priorities.start();
        definition.start();
        engine.set_admin_lock([this](const std::function<void(Result<std::function<void()>>)>& granted) {
            locks.acquire("Restore_hierarchy", kLockWait, [this, granted](const Result<config::LockId>& id) {
                if (!id) return granted(fail(id.error()));
                granted(std::function<void()>([this, held = *id] { locks.release(held); }));
            });
        });
        quorum.start();  // its gates come first. Spec: QUO-059
        // The last of the gates. Spec: CLU-185.
        if (options.settings.text("SAFETY_CHECK_MODE") != "off") engine.add_gate(safety_check);
        register_kits();
        replication.start();
        credentials.start();
        authority.start();
        introduction.start();
        membership.start();
        status.start();
        firewall.start();
        incidents.start();
        maintenance.start();
        plans.start();
        policy.start();
        equivalencies.start();
        hierarchy_steps.start();
        remote.start();
        engine.start();
        log_limits();
        apply_paths();
    }

    void journal_heartbeat(const std::string& text) {
        database->journal(0, "heartbeat", options.self.str(), text);
    }

    /// Peers going and coming are told by the engine; paths by nobody else.
    void journal_path(const comm::PeerEvent& event) {
        const auto text = fmt::format("path {} to {} is", event.device, event.peer.str());
        if (event.kind == comm::PeerEvent::Kind::path_up)
            database->journal(0, "path", event.device, text + " ALIVE");
        if (event.kind != comm::PeerEvent::Kind::path_down) return;
        const auto silence =
            std::chrono::duration_cast<std::chrono::milliseconds>(world.clock.now() - event.last_heard);
        database->journal(0, "path", event.device,
                          fmt::format("{} DEAD, last heartbeat {} ms ago", text, silence.count()));
    }

    void forward(const Command& command, const NodeName& to, const Done& done) {
        if (!database->own().systems.contains(to))
            return done(config::failure(
                {Code::not_found, fmt::format("no system \"{}\"; sys_list names those that exist", to.str()),
                 0}));
        auto there = command;
        there.options.erase("d");
        // Delete scripts have no limit; the death of the other node ends the wait.
        const auto limit = command.name == "ins_remove" ? kNoLimit : kForwardLimit;
        cluster.call(to, "command", config::encode(there), limit,
                     [done, to](const Result<std::string>& answer) {
                         if (!answer) return done(config::failure(answer.error()));
                         auto reply = config::decode_reply(*answer);
                         done(reply ? *reply : config::failure(reply.error()));
                     });
    }

    void run(const Command& command, const NodeName& from, const Progress& progress, const Done& done) {
        if (role_needed(command) == Role::guest) return execute(command, progress, done);
        const auto watch = history.watch(command, from, done);
        execute(command, progress, watch.done);
    }

    void execute(const Command& command, const Progress& progress, const Done& done) {
        if (stopping && role_needed(command) != Role::guest && !is_done_while_stopping(command))
            return done(config::failure({Code::failure, "the engine is stopping", 0}));
        if (remote.run(command, done)) return;
        if (const NodeName destination(command.get("d")); command.has("d") && destination != options.self)
            return forward(command, destination, done);
        if (command.name == "lcdrecover" && (command.has("g") || command.has("G")))
            return engine.lcdrecover(command, done);
        if (removal.run(command, done) || path_commands.run(command, done) || disk_paths.run(command, done))
            return;
        if (auto reply = config::run_lcdi(*database, live_view(), command)) {
            if (command.name != "delallsys" || reply->exit_code != 0) return done(*reply);
            return database->sync([done, result = *reply](const Result<>& synced) {
                done(synced ? result : config::failure(synced.error()));
            });
        }
        if (plans.run(command, done) || policy.run(command, done) || quorum.run(command, progress, done))
            return;
        if (equivalencies.run(command, done) || membership.run(command, done) ||
            credentials.run(command, done) || introduction.run(command, done) || status.run(command, done) ||
            incidents.run(command, done) || maintenance.run(command, done) || history.run(command, done) ||
            locks.run(command, done) || priorities.run(command, done) ||
            definition.run(command, progress, done) || hierarchies.run(command, progress, done))
            return;
        if (command.name == "lcdsync")
            return replication.sync([done](const Result<>& synced, const std::vector<NodeName>& unconfirmed) {
                auto reply = synced ? config::success() : config::failure(synced.error());
                for (const auto& peer : unconfirmed)
                    if (synced)
                        reply.err += fmt::format("{}{} has not confirmed its copy yet",
                                                 reply.err.empty() ? "*WARNING* " : "; ", peer.str());
                done(reply);
            });
        if (command.name == "understudy metrics")  // Spec: QUO-132
            return done(config::success(metrics_text({.self = options.self,
                                                      .own = database->own(),
                                                      .paths = cluster.paths(),
                                                      .quorum = quorum.guard().status(),
                                                      .counters = quorum.guard().counters(),
                                                      .ready = engine.ready()})));
        if (command.name == "engine-ready")
            return done(engine.ready() ? config::success()
                                       : config::failure({Code::failure, "the engine is starting", 0}));
        if (command.name == "perform_action") return engine.perform_action(command, done);
        if (command.name == "sendevent") return engine.sendevent(command, done);
        if (command.name == "understudy switchover")
            return engine.switchover(Tag(command.arguments.at(0)), NodeName(command.get("to")), done);
        if (command.name == "lkstop") return stop(command, progress, done);
        done(config::failure(
            {Code::syntax, fmt::format("this daemon does not know the command {}", command.name), 0}));
    }

    void stop(const Command& command, const Progress& progress, const Done& done) {
        stopping = true;
        const auto mode = command.has("f") || command.has("r") ? recovery::StopMode::leave_running
                          : command.has("shutdown")            ? recovery::StopMode::shutdown
                                                               : recovery::StopMode::take_down;
        engine.stop(
            mode,
            [progress](const std::string& line) {
                if (progress) progress(line + "\n");
            },
            [this, done](const Result<>& stopped_engine) {
                quorum.stopped();
                database->sync([this, done, stopped_engine](const Result<>& synced) {
                    // A stop of which the disk knows nothing has not succeeded, though the engine is down.
                    // Spec: CMD-050.
                    const auto& ended = stopped_engine ? synced : stopped_engine;
                    done(ended ? config::success() : config::failure(ended.error()));
                    if (stopped) stopped();
                });
            });
    }
};

Result<std::unique_ptr<Node>> Node::open(runtime::World world, config::Store& store, NodeOptions options) {
    UNDERSTUDY_TRY(auto database, config::Database::open(world, store, options.self));
    return std::unique_ptr<Node>(
        new Node(std::make_unique<Impl>(world, std::move(options), std::move(database))));
}

Node::Node(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Node::~Node() = default;
void Node::start() {
    impl_->start();
}
void Node::run(const Command& command, Progress progress, Done done) {
    impl_->run(command, impl_->options.self, progress, done);
}
void Node::on_stopped(std::function<void()> handler) {
    impl_->stopped = std::move(handler);
}
void Node::on_quarantine(std::function<void(runtime::Duration)> handler) {
    impl_->quorum.on_quarantine(std::move(handler));
}
config::Database& Node::database() {
    return *impl_->database;
}
comm::Cluster& Node::cluster() {
    return impl_->cluster;
}
recovery::Engine& Node::engine() {
    return impl_->engine;
}

}  // namespace understudy::daemons
