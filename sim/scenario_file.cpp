#include "sim/scenario_file.h"

#include "cli/command_table.h"
#include "config/interval.h"
#include "config/yaml_reader.h"
#include "sim/invariants.h"

#include <algorithm>
#include <optional>

namespace understudy::sim {
namespace {

using config::YamlReader;
using Action = ScenarioStep::Action;

constexpr std::size_t kMostSteps = 10'000;
constexpr auto kExpectWithin = std::chrono::seconds(60);
constexpr std::size_t kMaxFileBytes = 1 << 20;
// "understudy dependency remove": a command has so many words at most.
constexpr std::size_t kMostNameWords = 3;

struct ActionName {
    std::string_view key;
    Action action;
    std::size_t least_nodes;  // of a step whose value is nodes
    std::size_t most_nodes;
};
constexpr std::size_t kNoNodes = 0;
constexpr std::size_t kAnyNodes = 100;
constexpr ActionName kActions[] = {
    {"expect", Action::expect, kNoNodes, kNoNodes},
    {"wait", Action::wait, kNoNodes, kNoNodes},
    {"power_off", Action::power_off, 1, kAnyNodes},
    {"power_on", Action::power_on, 1, kAnyNodes},
    {"kill_daemon", Action::kill_daemon, 1, kAnyNodes},
    {"freeze", Action::freeze, 1, kAnyNodes},
    {"stop", Action::stop, 1, kAnyNodes},
    {"resume", Action::resume, 1, kAnyNodes},
    {"cut", Action::cut, 2, 2},
    {"cut_one_way", Action::cut_one_way, 2, 2},
    {"heal", Action::heal, 2, 2},
    {"lose_storage", Action::lose_storage, 1, kAnyNodes},
    {"find_storage", Action::find_storage, 1, kAnyNodes},
    {"break", Action::break_down, kNoNodes, kNoNodes},
    {"fail", Action::fail, kNoNodes, kNoNodes},
    {"run", Action::run, kNoNodes, kNoNodes},
};

Result<runtime::Duration> interval(const YAML::Node& node) {
    const auto ms = node.IsScalar() ? config::parse_interval_ms(node.Scalar()) : std::nullopt;
    if (!ms)
        return fail(Code::bad_argument, "line {}: a time is seconds (10s) or milliseconds (200ms)",
                    YamlReader::line(node));
    return std::chrono::milliseconds(*ms);
}

class Parser {
  public:
    Result<ScenarioFile> read(const YAML::Node& root) {
        UNDERSTUDY_TRY(const auto file,
                       YamlReader::of(root, "the scenario",
                                      {"about", "seed", "nodes", "hierarchies", "quorum", "heartbeat",
                                       "misses", "checks", "local_recovery", "switchback",
                                       "shutdown_switches_over", "settings", "steps"}));
        UNDERSTUDY_CHECK(read_cluster(file));
        if (!file.has("steps") || !file.at("steps").IsSequence())
            return fail(Code::bad_argument, "the scenario needs \"steps\", a list (lines that begin with -)");
        for (const auto& node : file.at("steps")) {
            if (scenario_.steps.size() == kMostSteps)
                return fail(Code::bad_argument, "line {}: a scenario has at most {} steps",
                            YamlReader::line(node), kMostSteps);
            UNDERSTUDY_TRY(auto step, read_step(node));
            scenario_.steps.push_back(std::move(step));
        }
        return std::move(scenario_);
    }

  private:
    Result<> read_cluster(const YamlReader& file) {
        auto& cluster = scenario_.cluster;
        if (file.has("about")) {
            UNDERSTUDY_TRY(scenario_.about, file.word("about"));
        }
        UNDERSTUDY_TRY(const auto seed, file.number("seed", 1, 0, 1'000'000'000));
        scenario_.seed = static_cast<std::uint64_t>(seed);
        UNDERSTUDY_TRY(cluster.nodes, file.number("nodes", 2, 2, 8));
        UNDERSTUDY_TRY(cluster.hierarchies, file.number("hierarchies", 1, 1, 100));
        UNDERSTUDY_TRY(cluster.misses, file.number("misses", cluster.misses, 2, 100));
        UNDERSTUDY_TRY(cluster.local_recovery, file.flag("local_recovery", true));
        UNDERSTUDY_TRY(cluster.shutdown_switchover, file.flag("shutdown_switches_over", false));
        if (file.has("heartbeat")) {
            UNDERSTUDY_TRY(const auto every, interval(file.at("heartbeat")));
            cluster.interval = std::chrono::duration_cast<std::chrono::milliseconds>(every);
        }
        if (file.has("checks")) {
            UNDERSTUDY_TRY(const auto every, interval(file.at("checks")));
            cluster.check_interval = std::chrono::duration_cast<std::chrono::seconds>(every);
        }
        if (file.has("switchback")) {
            UNDERSTUDY_TRY(const auto word, file.word("switchback"));
            if (!text::iequals(word, "automatic") && !text::iequals(word, "intelligent"))
                return fail(Code::bad_argument, "line {}: switchback is automatic or intelligent",
                            YamlReader::line(file.at("switchback")));
            if (text::iequals(word, "automatic")) cluster.switchback = config::Switchback::automatic;
        }
        return read_quorum(file);
    }

    Result<> read_quorum(const YamlReader& file) {
        auto& cluster = scenario_.cluster;
        std::string lines;
        if (file.has("settings")) {
            const auto settings = file.at("settings");
            if (!settings.IsMap())
                return fail(Code::bad_argument, "line {}: settings must be a mapping (NAME: value)",
                            YamlReader::line(settings));
            for (const auto& setting : settings)
                lines += fmt::format("{}={}\n", setting.first.Scalar(), setting.second.Scalar());
        }
        const auto kind = file.has("quorum") ? file.word("quorum") : Result<std::string>("none");
        if (!kind) return fail(kind.error());
        constexpr quorum::Mode kModes[] = {quorum::Mode::none, quorum::Mode::majority, quorum::Mode::storage};
        const auto mode = std::find_if(std::begin(kModes), std::end(kModes), [&](const quorum::Mode each) {
            return quorum::to_string(each) == *kind;
        });
        if (mode == std::end(kModes))
            return fail(Code::bad_argument, "line {}: quorum is none, majority or storage",
                        YamlReader::line(file.at("quorum")));
        cluster.quorum = *mode;
        cluster.settings = quorum_settings(*mode, lines);
        return {};
    }

    Result<NodeName> node(const YAML::Node& value) const {
        const auto names = node_names(scenario_.cluster.nodes);
        const NodeName name(value.IsScalar() ? value.Scalar() : "");
        if (std::find(names.begin(), names.end(), name) == names.end())
            return fail(Code::not_found, "line {}: there is no node \"{}\"; nodes are {}",
                        YamlReader::line(value), name.str(), text_of(names));
        return name;
    }

    Result<Tag> tag(const YAML::Node& value) const {
        const auto word = value.IsScalar() ? value.Scalar() : std::string();
        for (int i = 0; i < scenario_.cluster.hierarchies; ++i)
            if (word == fmt::format("app{}", i) || word == fmt::format("ip{}", i)) return Tag(word);
        return fail(Code::not_found,
                    "line {}: there is no resource \"{}\"; there are app0, ip0, ... to app{}",
                    YamlReader::line(value), word, scenario_.cluster.hierarchies - 1);
    }

    static std::string text_of(const std::vector<NodeName>& names) {
        std::string text;
        for (const auto& name : names)
            text += (text.empty() ? "" : ", ") + name.str();
        return text;
    }

    Result<ScenarioStep> read_step(const YAML::Node& node) const {
        if (!node.IsMap() || node.size() == 0)
            return fail(Code::bad_argument, "line {}: a step is an action and its value, as in \"wait: 10s\"",
                        YamlReader::line(node));
        const ActionName* found = nullptr;
        for (const auto& name : kActions) {
            if (!node[std::string(name.key)].IsDefined()) continue;
            if (found != nullptr)
                return fail(Code::bad_argument, "line {}: \"{}\" and \"{}\" are two steps",
                            YamlReader::line(node), found->key, name.key);
            found = &name;
        }
        if (found == nullptr) {
            std::string known;
            for (const auto& name : kActions)
                known += fmt::format("{}{}", known.empty() ? "" : ", ", name.key);
            return fail(Code::bad_argument, "line {}: this step has no action; actions are {}",
                        YamlReader::line(node), known);
        }
        return read_action(node, *found);
    }

    Result<ScenarioStep> read_action(const YAML::Node& node, const ActionName& name) const {
        ScenarioStep step;
        step.action = name.action;
        step.line = YamlReader::line(node);
        const auto value = node[std::string(name.key)];
        UNDERSTUDY_TRY(const auto reader, step_reader(node, name.action));
        if (name.most_nodes != kNoNodes) {
            UNDERSTUDY_CHECK(read_nodes(value, name, step));
            return step;
        }
        switch (name.action) {
            case Action::expect:
                step.time = kExpectWithin;
                UNDERSTUDY_CHECK(read_places(value, step));
                if (reader.has("within")) {
                    UNDERSTUDY_TRY(step.time, interval(reader.at("within")));
                }
                return step;
            case Action::wait: {
                UNDERSTUDY_TRY(step.time, interval(value));
                return step;
            }
            case Action::break_down: {
                UNDERSTUDY_TRY(step.tag, tag(value));
                return step;
            }
            case Action::fail:
            case Action::run: {
                if (!reader.has("on"))
                    return fail(Code::bad_argument, "line {}: \"{}\" needs \"on\", a node", step.line,
                                name.key);
                UNDERSTUDY_TRY(auto on, this->node(reader.at("on")));
                step.nodes = {std::move(on)};
                if (name.action == Action::run) {
                    UNDERSTUDY_TRY(step.exit_code, reader.number("exit", 0, 0, 255));
                    UNDERSTUDY_TRY(const auto line, reader.word("run"));
                    return with_command(std::move(step), line);
                }
                UNDERSTUDY_TRY(step.times, reader.number("times", 1, 1, 1000));
                UNDERSTUDY_TRY(step.kit_action, reader.word("fail"));
                if (!reader.has("of"))
                    return fail(Code::bad_argument, "line {}: \"fail\" needs \"of\", a resource", step.line);
                UNDERSTUDY_TRY(step.tag, tag(reader.at("of")));
                return step;
            }
            case Action::power_off:
            case Action::power_on:
            case Action::kill_daemon:
            case Action::freeze:
            case Action::stop:
            case Action::resume:
            case Action::cut:
            case Action::cut_one_way:
            case Action::heal:
            case Action::lose_storage:
            case Action::find_storage:
                break;  // nodes, read above
        }
        return step;
    }

    static Result<YamlReader> step_reader(const YAML::Node& node, Action action) {
        const char* what = "the step";
        if (action == Action::expect) return YamlReader::of(node, what, {"expect", "within"});
        if (action == Action::run) return YamlReader::of(node, what, {"run", "on", "exit"});
        if (action == Action::fail) return YamlReader::of(node, what, {"fail", "of", "on", "times"});
        return YamlReader::of(node, what,
                              {"wait", "power_off", "power_on", "kill_daemon", "freeze", "stop", "resume",
                               "cut", "cut_one_way", "heal", "lose_storage", "find_storage", "break"});
    }

    Result<> read_nodes(const YAML::Node& value, const ActionName& name, ScenarioStep& step) const {
        if (name.action == Action::heal && value.IsScalar() && value.Scalar() == "all") return {};
        if (value.IsSequence()) {
            for (const auto& each : value) {
                UNDERSTUDY_TRY(auto one, node(each));
                step.nodes.push_back(std::move(one));
            }
        } else {
            UNDERSTUDY_TRY(auto one, node(value));
            step.nodes.push_back(std::move(one));
        }
        if (step.nodes.size() < name.least_nodes || step.nodes.size() > name.most_nodes)
            return fail(Code::bad_argument, "line {}: \"{}\" is about two nodes: [alpha, beta]", step.line,
                        name.key);
        return {};
    }

    Result<> read_places(const YAML::Node& value, ScenarioStep& step) const {
        if (!value.IsMap() || value.size() == 0)
            return fail(Code::bad_argument, "line {}: expect says where, as in \"{{app0: alpha}}\"",
                        step.line);
        for (const auto& entry : value) {
            UNDERSTUDY_TRY(const auto what, tag(entry.first));
            auto& places = step.where[what];
            if (entry.second.IsScalar() && entry.second.Scalar() == "nowhere") continue;
            UNDERSTUDY_TRY(auto where, node(entry.second));
            places.push_back(std::move(where));
        }
        return {};
    }

    static Result<ScenarioStep> with_command(ScenarioStep step, const std::string& line) {
        std::vector<std::string> words;
        for (const auto& word : text::split(line, ' '))
            if (!word.empty()) words.push_back(word);
        for (auto length = std::min(kMostNameWords, words.size()); length > 0; --length) {
            const auto rest = words.begin() + static_cast<std::ptrdiff_t>(length);
            const auto* spec = cli::find_command(fmt::format("{}", fmt::join(words.begin(), rest, " ")));
            if (spec == nullptr) continue;
            if (spec->server != cli::Server::daemon)
                return fail(Code::bad_argument, "line {}: {} is no command of the cluster's daemon",
                            step.line, spec->name);
            auto command = cli::parse(*spec, std::vector<std::string>(rest, words.end()));
            if (!command) return with_context(command.error(), fmt::format("line {}", step.line));
            step.command = std::move(*command);
            return step;
        }
        return fail(Code::not_found, "line {}: there is no command \"{}\"", step.line, line);
    }

    ScenarioFile scenario_;
};

class Player {
  public:
    Player(const ScenarioFile& scenario, const PlayOptions& options)
        : scenario_(scenario), sim_(scenario.seed), cluster_(sim_, options_of(scenario, options)) {
        sim_.set_trace_detail(options.trace ? runtime::TraceDetail::full : runtime::TraceDetail::notes);
    }

    PlayResult play() {
        cluster_.power_on_all();
        for (const auto& step : scenario_.steps)
            take(step);
        PlayResult result;
        result.problems = std::move(problems_);
        result.problems.insert(result.problems.end(), invariants_.violations().begin(),
                               invariants_.violations().end());
        result.trace = sim_.trace();
        for (const auto& name : cluster_.nodes())
            result.nodes.push_back(name.str());
        return result;
    }

  private:
    static ClusterOptions options_of(const ScenarioFile& scenario, const PlayOptions& options) {
        auto result = scenario.cluster;
        result.log = options.log;
        return result;
    }

    void problem(const ScenarioStep& step, std::string_view what) {
        problems_.push_back(fmt::format("line {}: {}", step.line, what));
        sim_.note("scenario", problems_.back());
    }

    void take(const ScenarioStep& step) {
        switch (step.action) {
            case Action::expect:
                return expect(step);
            case Action::wait:
                return sim_.run_for(step.time);
            case Action::power_off:
                return for_each(step, [this](const NodeName& node) { cluster_.host(node).power_off(); });
            case Action::power_on:
                return for_each(step, [this](const NodeName& node) { cluster_.power_on(node); });
            case Action::kill_daemon:
                return for_each(step, [this](const NodeName& node) {
                    invariants_.disturbed(node);
                    cluster_.host(node).kill_program();
                });
            case Action::freeze:
                return for_each(
                    step, [this](const NodeName& node) { cluster_.host(node).pause(runtime::Pause::host); });
            case Action::stop:
                return for_each(step, [this](const NodeName& node) {
                    cluster_.host(node).pause(runtime::Pause::program);
                });
            case Action::resume:
                return for_each(step, [this](const NodeName& node) {
                    invariants_.disturbed(node);
                    cluster_.host(node).resume();
                });
            case Action::cut:
                return sim_.partition(step.nodes[0].str(), step.nodes[1].str());
            case Action::cut_one_way:
                return cut_one_way(step.nodes[0], step.nodes[1]);
            case Action::heal:
                return heal(step);
            case Action::lose_storage:
            case Action::find_storage:
                return for_each(step, [this, &step](const NodeName& node) {
                    cluster_.storage().reachable(node, step.action == Action::find_storage);
                });
            case Action::break_down:
                for (const auto& host : cluster_.kits().hosts_running(step.tag))
                    cluster_.kits().break_down(host, step.tag);
                return;
            case Action::fail:
                return cluster_.kits().fail_next(step.nodes[0], step.kit_action, step.times, step.tag);
            case Action::run:
                return run(step);
        }
    }

    static void for_each(const ScenarioStep& step, const std::function<void(const NodeName&)>& act) {
        std::for_each(step.nodes.begin(), step.nodes.end(), act);
    }

    void cut_one_way(const NodeName& from, const NodeName& to) {
        const auto& sources = cluster_.host(from).addresses();
        const auto& targets = cluster_.host(to).addresses();
        for (std::size_t i = 0; i < sources.size(); ++i)
            sim_.cut_one_way(sources[i], targets[i]);
    }

    void heal(const ScenarioStep& step) {
        if (step.nodes.empty()) {
            for (const auto& node : cluster_.nodes())
                invariants_.disturbed(node);
            return sim_.heal_all();
        }
        invariants_.disturbed(step.nodes[0], step.nodes[1]);
        sim_.heal(step.nodes[0].str(), step.nodes[1].str());
    }

    void expect(const ScenarioStep& step) {
        for (const auto& [tag, places] : step.where) {
            const auto there = [this, &tag = tag, &places = places] {
                return cluster_.kits().hosts_running(tag) == places;
            };
            if (sim_.run_until(there, step.time)) continue;
            const auto hosts = cluster_.kits().hosts_running(tag);
            problem(step,
                    fmt::format("{} should run {}, but runs {}", tag.str(), place(places), place(hosts)));
        }
    }

    static std::string place(const std::vector<NodeName>& hosts) {
        if (hosts.empty()) return "nowhere";
        std::string text = "on ";
        for (const auto& host : hosts)
            text += (text.size() > 3 ? " and " : "") + host.str();
        return text;
    }

    void run(const ScenarioStep& step) {
        const auto reply = cluster_.run(step.nodes[0], step.command);
        if (!reply)
            return problem(step,
                           fmt::format("{} on {} is not answered", step.command.name, step.nodes[0].str()));
        sim_.note(step.nodes[0].str(), fmt::format("{} ends with {}", step.command.name, reply->exit_code));
        if (reply->exit_code != step.exit_code)
            problem(step, fmt::format("{} ends with {}, not {}: {}{}", step.command.name, reply->exit_code,
                                      step.exit_code, reply->out, reply->err));
    }

    const ScenarioFile& scenario_;
    runtime::Simulation sim_;
    SimulatedCluster cluster_;
    Invariants invariants_{cluster_};
    std::vector<std::string> problems_;
};

}  // namespace

Result<ScenarioFile> parse_scenario(std::string_view yaml) {
    if (yaml.size() > kMaxFileBytes)
        return fail(Code::bad_argument, "a scenario has at most {} KiB", kMaxFileBytes >> 10);
    return config::read_yaml<ScenarioFile>(yaml, [](const YAML::Node& root) { return Parser().read(root); });
}

PlayResult play(const ScenarioFile& scenario, const PlayOptions& options) {
    return Player(scenario, options).play();
}

}  // namespace understudy::sim
