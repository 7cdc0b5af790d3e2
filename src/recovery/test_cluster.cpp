#include "recovery/test_cluster.h"

#include "base/text.h"

#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;

constexpr auto kConfigMethod = "test.config";
constexpr int kIntervalMs = 200;
constexpr int kMisses = 3;

Priority priority_of(std::size_t index) {
    return {index == 0 ? 1 : static_cast<int>(index) * 10};
}

}  // namespace

Result<config::Store::Loaded> MemoryStore::load(const NodeName&) {
    Loaded loaded;
    loaded.own = own;
    loaded.replicas = replicas;
    return loaded;
}

void MemoryStore::write(const config::Change& change, std::function<void(Result<>)> durable) {
    for (const auto& edit : change.edits)
        config::apply(own, edit);
    own.generation = change.generation;
    if (durable) durable({});
}

void MemoryStore::write_replica(const NodeName& owner, const config::NodeConfig& config) {
    replicas[owner] = config;
}

void MemoryStore::drop_replica(const NodeName& owner) {
    replicas.erase(owner);
}

void MemoryStore::append(const config::JournalEntry& entry) {
    journal.push_back(entry);
}

void MemoryStore::read_journal(std::size_t, std::function<void(std::vector<config::JournalEntry>)> done) {
    done(journal);
}

Daemon::Daemon(runtime::World world_of_host, MemoryStore& store, const NodeName& self, bool host_rebooted,
               std::map<std::string, std::string> settings, StartGuard* guard)
    : world(world_of_host), tasks(world.tasks) {
    auto opened = config::Database::open(world, store, self);
    if (!opened) throw std::runtime_error(opened.error().text);
    database = std::move(*opened);
    comm::Cluster::Options comm_options;
    comm_options.self = self;
    comm_options.software_version = "test";
    cluster = std::make_unique<comm::Cluster>(world, comm_options);
    Engine::Options options;
    options.lkroot = kRoot;
    options.settings = std::move(settings);
    options.environment = {{"UNDERSTUDY_ROOT", "/sim"}};
    options.host_rebooted = host_rebooted;
    engine = std::make_unique<Engine>(world, *database, *cluster, options);
    if (guard != nullptr) engine->set_start_guard(*guard);

    cluster->serve(kConfigMethod, [this](const NodeName& caller, std::string_view payload, auto answer) {
        auto config = config::decode_config(payload);
        if (config) database->replace_replica(caller, std::move(*config));
        answer(std::string());
    });
    const auto publish = [this] {
        for (const auto& peer : cluster->alive_peers())
            cluster->notify(peer, kConfigMethod, config::encode(database->own()));
    };
    database->subscribe([this, publish](const config::Change& change) {
        if (change.owner == database->self()) publish();
    });
    cluster->on_peer_event([publish](const comm::PeerEvent& event) {
        if (event.kind == comm::PeerEvent::Kind::comm_up) publish();
    });
    engine->start();
    cluster->set_paths(database->own().paths);
}

TestCluster::TestCluster(std::uint64_t seed, const std::vector<std::string>& names)
    : sim_(seed), names_(names) {
    sim_.set_trace_detail(runtime::TraceDetail::none);
    for (std::size_t i = 0; i < names.size(); ++i) {
        auto made = std::make_unique<Host>();
        made->name = NodeName(names[i]);
        made->address = fmt::format("10.0.0.{}", i + 1);
        made->node = &sim_.add_node(names[i], {made->address});
        auto* raw = made.get();
        made->node->set_process_model(
            [this, raw](const runtime::ProcessSpec& spec) { return script(*raw, spec); });
        for (const auto* action : {"restore", "remove", "reset-heads", "quickchk"})
            made->node->install_executable(
                fmt::format("{}/subsys/gen/resources/app/actions/{}", kRoot, action));
        static_cast<void>(made->node->files().make_directories("/var/log/understudy"));
        hosts_[names[i]] = std::move(made);
    }
    for (std::size_t a = 0; a < names.size(); ++a)
        for (std::size_t b = 0; b < names.size(); ++b) {
            auto& own = hosts_.at(names[a])->store.own;
            config::apply(own, config::PutSystem{NodeName(names[b])});
            if (a == b) continue;
            config::Path path;
            path.remote = NodeName(names[b]);
            path.device = fmt::format("TCP:{}", 1500 + 10 * (a + b));
            path.transport = "TLI";
            path.interval_ms = kIntervalMs;
            path.misses = kMisses;
            path.local_address = hosts_.at(names[a])->address;
            path.remote_address = hosts_.at(names[b])->address;
            config::apply(own, config::PutPath{path});
        }
    sim_.after_each_event([this] {
        const auto now = twice();
        ever_twice_.insert(now.begin(), now.end());
    });
}

void TestCluster::resource(const std::string& parent, const std::vector<std::string>& children) {
    auto all = children;
    all.insert(all.begin(), parent);
    for (std::size_t n = 0; n < names_.size(); ++n) {
        auto& own = hosts_.at(names_[n])->store.own;
        std::uint64_t order = own.instances.size() + own.dependencies.size() + own.equivalencies.size();
        for (const auto& tag : all) {
            if (own.instances.contains(Tag(tag))) continue;
            config::Instance instance;
            instance.app = AppName("gen");
            instance.type = TypeName("app");
            instance.tag = Tag(tag);
            instance.id = ResourceId("id-" + tag);
            instance.order = ++order;
            instance.quick_interval_s = 0;
            instance.deep_interval_s = 0;
            config::apply(own, config::PutInstance{instance});
            for (std::size_t other = 0; other < names_.size(); ++other)
                if (other != n)
                    config::apply(own, config::PutEquivalency{{Tag(tag), NodeName(names_[other]), Tag(tag),
                                                               priority_of(n), priority_of(other), ++order}});
        }
        for (const auto& child : children)
            config::apply(own, config::PutDependency{{Tag(parent), Tag(child), ++order}});
        own.generation = 1;
    }
    for (const auto& tag : all)
        if (std::find(tags_.begin(), tags_.end(), tag) == tags_.end()) tags_.push_back(tag);
}

void TestCluster::init(const std::string& tag, config::Init method) {
    for (const auto& name : names_) {
        auto& own = hosts_.at(name)->store.own;
        auto instance = own.instances.at(Tag(tag));
        instance.init = method;
        config::apply(own, config::PutInstance{instance});
    }
}

void TestCluster::automatic(const std::string& on, const std::string& root) {
    auto& own = hosts_.at(on)->store.own;
    for (const auto& tag : own.subtree(Tag(root))) {
        auto instance = own.instances.at(tag);
        instance.switchback = config::Switchback::automatic;
        config::apply(own, config::PutInstance{instance});
    }
}

void TestCluster::change(const std::string& node, const std::string& tag,
                         const std::function<void(config::Instance&)>& edit) {
    auto& host = *hosts_.at(node);
    auto instance = host.store.own.instances.at(Tag(tag));
    edit(instance);
    if (host.daemon)
        host.daemon->database->commit({config::PutInstance{instance}});
    else
        config::apply(host.store.own, config::PutInstance{instance});
}

void TestCluster::check_every(const std::string& node, const std::string& tag, std::chrono::seconds quick,
                              std::chrono::seconds deep) {
    change(node, tag, [&](config::Instance& instance) {
        instance.quick_interval_s = static_cast<int>(quick.count());
        instance.deep_interval_s = static_cast<int>(deep.count());
    });
}

void TestCluster::unflag(const std::string& node, const std::string& name) {
    hosts_.at(node)->daemon->database->set_flag(FlagName(name), false);
}

bool TestCluster::has_flag(const std::string& node, const std::string& name) {
    return hosts_.at(node)->store.own.flags.contains(FlagName(name));
}

void TestCluster::install(const std::string& action) {
    for (const auto& name : names_)
        hosts_.at(name)->node->install_executable(
            fmt::format("{}/subsys/gen/resources/app/actions/{}", kRoot, action));
}

std::size_t TestCluster::count(const std::string& node, const std::string& what) {
    const auto& started = hosts_.at(node)->started;
    return static_cast<std::size_t>(std::count_if(started.begin(), started.end(), [&](const auto& spec) {
        return spec.arguments.size() > 1 &&
               spec.path.substr(spec.path.rfind('/') + 1) + " " + spec.arguments[1] == what;
    }));
}

config::Reply TestCluster::sendevent(const std::string& on, const std::string& line) {
    config::Command command;
    command.name = "sendevent";
    const auto words = text::words(line);
    for (std::size_t i = 0; i < words.size(); ++i) {
        const auto option = words[i].substr(1);
        const bool with_value = option != "A" && option != "w" && i + 1 < words.size();
        command.options[option] = with_value ? words[++i] : std::string();
    }
    const auto reply = std::make_shared<std::optional<config::Reply>>();
    host(on).daemon->engine->sendevent(command, [reply](config::Reply r) { *reply = std::move(r); });
    if (!wait([&] { return reply->has_value(); }, 7200s)) return {-1, {}, "no answer", 0};
    return **reply;
}

void TestCluster::flag(const std::string& name, const FlagName& flag) {
    host(name).daemon->database->set_flag(flag, true);
}

void TestCluster::boot(const std::string& name, bool host_rebooted) {
    auto& host = *hosts_.at(name);
    host.node->boot([&host, host_rebooted](runtime::World world) {
        host.daemon =
            std::make_shared<Daemon>(world, host.store, host.name, host_rebooted, host.settings, host.guard);
        return runtime::RunningProgram(std::shared_ptr<void>(host.daemon));
    });
}

void TestCluster::boot_all() {
    for (const auto& name : names_)
        boot(name);
    ASSERT_TRUE(wait([&] {
        return std::all_of(names_.begin(), names_.end(),
                           [&](const auto& n) { return host(n).daemon->engine->ready(); });
    }));
    take_trace();
}

void TestCluster::power_off(const std::string& name) {
    auto& host = *hosts_.at(name);
    host.daemon.reset();
    host.running.clear();
    host.node->power_off();
}

void TestCluster::kill_daemon(const std::string& name) {
    auto& host = *hosts_.at(name);
    host.daemon.reset();
    host.node->kill_program();
}

bool TestCluster::wait(const std::function<bool()>& condition, runtime::Duration limit) {
    return sim_.run_until(condition, limit);
}

config::Reply TestCluster::lcdrecover(const std::string& on, const std::string& option,
                                      const std::string& action) {
    config::Command command;
    command.name = "lcdrecover";
    command.options = {{option, action}};
    const auto reply = std::make_shared<std::optional<config::Reply>>();
    host(on).daemon->engine->lcdrecover(command, [reply](config::Reply r) { *reply = std::move(r); });
    if (!wait([&] { return reply->has_value(); }, 600s)) return {-1, {}, "no answer", 0};
    return **reply;
}
std::shared_ptr<std::optional<config::Reply>> TestCluster::begin(const std::string& on,
                                                                 const std::string& line, int pid) {
    config::Command command;
    command.name = "perform_action";
    command.pid = pid;
    const auto words = text::words(line);
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i] == "--") {
            command.arguments.assign(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
            break;
        }
        const auto option = words[i].substr(1);
        const bool with_value = option == "t" || option == "a";
        command.options[option] = with_value && i + 1 < words.size() ? words[++i] : std::string();
    }
    auto reply = std::make_shared<std::optional<config::Reply>>();
    host(on).daemon->engine->perform_action(command, [reply](config::Reply r) { *reply = std::move(r); });
    return reply;
}

config::Reply TestCluster::perform(const std::string& on, const std::string& line) {
    const auto reply = begin(on, line);
    if (!wait([&] { return reply->has_value(); }, 600s)) return {-1, {}, "no answer", 0};
    return **reply;
}

config::Reply TestCluster::switchover(const std::string& on, const std::string& tag, const std::string& to) {
    auto reply = std::make_shared<std::optional<config::Reply>>();
    host(on).daemon->engine->switchover(Tag(tag), NodeName(to),
                                        [reply](config::Reply r) { *reply = std::move(r); });
    if (!wait([&] { return reply->has_value(); }, 600s)) return {-1, {}, "no answer", 0};
    return **reply;
}

std::vector<std::string> TestCluster::stop(const std::string& name, bool leave_running) {
    return stop(name, leave_running ? StopMode::leave_running : StopMode::take_down);
}

std::vector<std::string> TestCluster::stop(const std::string& name, StopMode mode) {
    auto lines = std::make_shared<std::vector<std::string>>();
    auto done = std::make_shared<bool>(false);
    host(name).daemon->engine->stop(
        mode, [lines](std::string line) { lines->push_back(std::move(line)); },
        [done](Result<>) { *done = true; });
    EXPECT_TRUE(wait([&] { return *done; }, 600s));
    kill_daemon(name);
    return *lines;
}

std::string TestCluster::state(const std::string& node, const std::string& tag) {
    return std::string(config::to_string(host(node).store.own.instances.at(Tag(tag)).state));
}

std::string TestCluster::reason(const std::string& node, const std::string& tag) {
    return host(node).store.own.instances.at(Tag(tag)).reason;
}

std::string TestCluster::states(const std::string& node) {
    std::string result;
    for (const auto& tag : tags_)
        result += (result.empty() ? "" : " ") + state(node, tag);
    return result;
}

std::string TestCluster::take_trace() {
    const auto lines = std::exchange(trace_, {});
    return text::join(lines, ", ");
}

std::vector<int> TestCluster::events(const std::string& node) {
    std::vector<int> result;
    for (const auto& entry : host(node).store.journal)
        if (entry.event != 0) result.push_back(entry.event);
    return result;
}

std::set<std::string> TestCluster::twice() const {
    std::map<std::string, int> count;
    for (const auto& [name, host] : hosts_)
        for (const auto& tag : host->running)
            ++count[tag];
    std::set<std::string> result;
    for (const auto& [tag, n] : count)
        if (n > 1) result.insert(tag);
    return result;
}

runtime::SimulatedOutcome TestCluster::script(Host& host, const runtime::ProcessSpec& spec) {
    host.started.push_back(spec);
    const auto action = spec.path.substr(spec.path.rfind('/') + 1);
    const auto tag = spec.arguments.size() > 1 ? spec.arguments[1] : std::string();
    const bool global = action.starts_with("pre") || action.starts_with("post");
    const auto what = global ? action : action + " " + tag;
    trace_.push_back(host.name.str() + ": " + what);
    runtime::SimulatedOutcome outcome;
    outcome.takes = host.slow.contains(what) ? host.slow.at(what) : runtime::Duration(20ms);
    outcome.output = what + " speaks\n";
    const bool fails = host.failing.contains(what) || host.broken.contains(what);
    outcome.effect = [&host, action, tag, fails] {
        if (fails) return 1;
        if (action == "restore" || action == "recover")
            std::erase_if(host.broken,
                          [&tag](const std::string& check) { return check.ends_with(" " + tag); });
        if (action == "restore") host.running.insert(tag);
        if (action == "remove") host.running.erase(tag);
        return 0;
    };
    return outcome;
}

}  // namespace understudy::recovery::testing
