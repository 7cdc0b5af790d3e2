#include "daemons/status.h"

#include "base/text.h"
#include "daemons/gathering.h"
#include "daemons/maintenance.h"
#include "daemons/quorum_service.h"
#include "daemons/volume_cells.h"
#include "recovery/global_status.h"

#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

namespace understudy::daemons {
namespace {

using config::Command;
using config::Reply;
using nlohmann::json;

constexpr auto kGatherLimit = std::chrono::seconds(3);
constexpr std::int64_t kDefaultEvents = 50;
constexpr std::int64_t kMaxEvents = 10000;
constexpr int kCellWidth = 22;  // "Resync Pending 43 % 10"

/// "time node subject: what happened"; the subject only where the sentence does not name it.
std::string event_line(const json& entry) {
    const auto text = entry["text"].get<std::string>();
    const auto subject = entry["subject"].get<std::string>();
    const bool named = subject.empty() || text.find(subject) != std::string::npos;
    return fmt::format("{}  {:<10} {}{}{}\n", local_time(entry["time_us"].get<std::int64_t>()),
                       entry["node"].get<std::string>(), named ? "" : subject, named ? "" : ": ", text);
}

}  // namespace

std::string local_time(std::int64_t wall_us) {
    const std::time_t seconds = wall_us / 1'000'000;
    std::tm parts{};
    localtime_r(&seconds, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
    return fmt::format("{}.{:03}", text, wall_us / 1000 % 1000);
}

std::string_view shown_state(std::optional<config::State> state) {
    if (!state) return "Unknown";
    switch (*state) {
        case config::State::isp:
            return "Active";
        case config::State::isu:
            return "Degraded";
        case config::State::osu:
            return "StandBy";
        case config::State::osf:
            return "Failed";
        case config::State::illstate:
            return "Unknown";
    }
    return "Unknown";
}

std::string path_summary(const std::vector<comm::PathStatus>& paths, const NodeName& peer) {
    int alive = 0;
    int dead = 0;
    for (const auto& path : paths) {
        if (path.path.remote != peer) continue;
        ++(path.state == comm::PathState::alive ? alive : dead);
    }
    if (alive + dead == 0) return "None defined";
    if (alive == 0) return "Failed";
    if (alive == 1) return "Warning";
    return dead > 0 ? "Degraded" : "Normal";
}

std::string path_warning(const std::vector<comm::PathStatus>& paths, const NodeName& peer,
                         comm::PeerState state, bool redundant) {
    if (state == comm::PeerState::dead) return {};
    int defined = 0;
    std::vector<std::string> dead;
    for (const auto& path : paths) {
        if (path.path.remote != peer) continue;
        ++defined;
        if (path.state == comm::PathState::dead) dead.push_back(path.path.device);
    }
    if (!dead.empty()) return fmt::format("{} DEAD", text::join(dead, ", "));
    if (!redundant || defined > 1) return {};
    return defined == 0 ? "no path is defined" : "not redundant: one path";
}

struct StatusService::Impl {
    runtime::World world;
    config::Database& database;
    comm::Cluster& cluster;
    const recovery::Engine& engine;
    QuorumService& quorum;
    const NodeOptions& options;
    config::SettingsFile& settings;
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);

    /// Asks every living node, ourselves included, for `method`.
    void ask_all(const std::string& method, const std::string& payload,
                 std::function<void(const Answers&)> finish) {
        const auto local = [this, method, payload](const std::function<void(Result<std::string>)>& answer) {
            answer_local(method, payload, answer);
        };
        gather(cluster, database.self(), method, payload, kGatherLimit, local, std::move(finish));
    }

    void answer_local(const std::string& method, std::string_view payload,
                      std::function<void(Result<std::string>)> answer) {
        if (method == "status.mirrors") return ask_mirrord(std::move(answer));
        const auto count = static_cast<std::size_t>(
            std::clamp<std::int64_t>(text::to_int(payload).value_or(kDefaultEvents), 1, kMaxEvents));
        read_events(count, 2 * count, std::move(answer));
    }

    /// The newest `count` entries that are events, looked for among the newest `among`, then among more.
    void read_events(std::size_t count, std::size_t among, std::function<void(Result<std::string>)> answer) {
        database.read_journal(among, [this, count, among, answer = std::move(answer)](
                                         std::vector<config::JournalEntry> entries) mutable {
            const bool all = entries.size() < among;
            std::erase_if(entries, [](const auto& entry) { return entry.text.empty(); });
            if (entries.size() < count && !all) return read_events(count, 4 * among, std::move(answer));
            if (entries.size() > count)
                entries.erase(entries.begin(), entries.end() - static_cast<std::ptrdiff_t>(count));
            json list = json::array();
            for (const auto& entry : entries)
                list.push_back({{"id", entry.id},
                                {"time_us", entry.wall_us},
                                {"node", entry.node.str()},
                                {"event", entry.event},
                                {"kind", entry.kind},
                                {"subject", entry.subject},
                                {"text", entry.text},
                                {"incident", entry.incident}});
            answer(list.dump(-1, ' ', false, json::error_handler_t::replace));
        });
    }

    /// The mirrors of this host, as mirrord tells them; an empty list when it does not run.
    void ask_mirrord(std::function<void(Result<std::string>)> answer) {
        struct Asking {
            std::unique_ptr<runtime::Channel> channel;
            std::function<void(Result<std::string>)> answer;
            std::optional<runtime::TimerId> timer;
            void finish(Result<std::string> result) {
                if (auto done = std::exchange(answer, {})) done(std::move(result));
            }
        };
        auto asking = std::make_shared<Asking>();
        asking->answer = std::move(answer);
        runtime::ConnectOptions to;
        to.remote = {options.layout.mirror_socket(), 0};
        to.security = runtime::Security::plain;
        to.timeout = kGatherLimit;
        // The world may close the channel only outside of its own callbacks.
        const auto end = [tasks = &world.tasks, asking](Result<std::string> result) {
            if (asking->timer) tasks->cancel(*std::exchange(asking->timer, std::nullopt));
            asking->finish(std::move(result));
            tasks->post([asking] { asking->channel.reset(); });
        };
        asking->timer = world.tasks.after(kGatherLimit, [asking, end] {
            asking->timer.reset();
            end(fail(Code::failure, "mirrord does not answer"));
        });
        world.network.connect(to, [asking, end](Result<std::unique_ptr<runtime::Channel>> channel) {
            if (!channel) return end(std::string("[]"));
            if (!asking->answer) return;
            asking->channel = std::move(*channel);
            asking->channel->start(
                [end](std::span<const std::byte> frame) {
                    auto reply =
                        config::decode_reply({reinterpret_cast<const char*>(frame.data()), frame.size()});
                    if (!reply) return end(fail(reply.error()));
                    if (reply->exit_code != 0) return end(fail(Code::failure, "{}", reply->err));
                    end(reply->out);
                },
                [end](const Error& why) { end(fail(why)); });
            Command command;
            command.name = "mirror";
            command.arguments = {"status"};
            command.options = {{"json", ""}};
            const auto data = config::encode(command);
            asking->channel->send(std::as_bytes(std::span(data)));
        });
    }

    void start() {
        for (const auto* method : {"status.mirrors", "journal.read"})
            cluster.serve(method, [this, name = std::string(method)](
                                      const NodeName&, std::string_view payload,
                                      comm::Cluster::Answer answer) { answer_local(name, payload, answer); });
    }

    json nodes(bool redundant) {
        const auto paths = cluster.paths();
        json list = json::array();
        for (const auto& system : database.own().systems) {
            json node{{"name", system.str()}};
            const bool self = system == database.self();
            node["state"] = self ? "ALIVE" : std::string(comm::to_string(cluster.peer_state(system)));
            node["this_node"] = self;
            node["paths"] = json::array();
            if (!self) {
                node["summary"] = path_summary(paths, system);
                node["warning"] = path_warning(paths, system, cluster.peer_state(system), redundant);
            }
            for (const auto& path : paths)
                if (path.path.remote == system)
                    node["paths"].push_back({{"device", path.path.device},
                                             {"state", comm::to_string(path.state)},
                                             {"priority", path.path.priority},
                                             {"local", path.path.local_address},
                                             {"remote", path.path.remote_address},
                                             {"times_down", path.times_down},
                                             {"problem", path.problem}});
            list.push_back(std::move(node));
        }
        return list;
    }

    /// One row a tag, parents before children; instances by node. A dead owner's states are UNKNOWN. Spec:
    /// CLU-095.
    json resources() {
        const auto view = engine.view();
        json list = json::array();
        std::set<Tag> seen;
        const auto add_from = [&](const NodeName& owner, const config::NodeConfig& config) {
            const std::function<void(const Tag&, int)> add = [&](const Tag& tag, int depth) {
                if (!seen.insert(tag).second) return;
                const auto* instance = config.find(tag);
                if (instance == nullptr) return;
                json row{{"tag", tag.str()},
                         {"app", instance->app.str()},
                         {"type", instance->type.str()},
                         {"id", instance->id.str()},
                         {"depth", depth},
                         {"global", recovery::to_string(recovery::global_status(view, owner, tag))},
                         {"protected", !config.equivalents(tag).empty()},
                         {"instances", json::object()}};
                row["instances"][owner.str()] = cell_of(owner, *instance, config.priority(tag));
                for (const auto& pair : config.equivalents(tag)) {
                    const auto* other = database.of(pair.other_node);
                    const auto* there = other == nullptr ? nullptr : other->find(pair.other_tag);
                    if (there != nullptr)
                        row["instances"][pair.other_node.str()] =
                            cell_of(pair.other_node, *there, pair.other_priority);
                    seen.insert(pair.other_tag);
                }
                list.push_back(std::move(row));
                for (const auto& child : config.children(tag))
                    add(child, depth + 1);
            };
            for (const auto& root : config.roots())
                add(root, 0);
        };
        add_from(database.self(), database.own());
        for (const auto& [node, config] : database.replicas())
            add_from(node, config);
        return list;
    }

    json cell_of(const NodeName& node, const config::Instance& instance,
                 const std::optional<Priority>& priority) {
        // A node that only a DISK path keeps ALIVE tells nothing of its resources. Spec: CLU-052.
        const bool known = cluster.carries_calls(node);
        json value{{"state", known ? std::string(config::to_string(instance.state)) : "UNKNOWN"},
                   {"reason", instance.reason}};
        value["shown"] = shown_state(known ? std::optional(instance.state) : std::nullopt);
        if (priority) value["priority"] = priority->value;
        return value;
    }

    static std::string render(const json& status) {
        std::string out = fmt::format("Cluster as {} sees it, {}\n\nNodes\n",
                                      status["node"].get<std::string>(), status["time"].get<std::string>());
        std::vector<std::string> names;
        for (const auto& node : status["nodes"]) {
            const auto name = node["name"].get<std::string>();
            names.push_back(name);
            out += fmt::format("  {:<16} {:<8}", name, node["state"].get<std::string>());
            if (node["this_node"].get<bool>()) {
                out += " this node\n";
                continue;
            }
            out += fmt::format(" paths {}:", node["summary"].get<std::string>());
            for (const auto& path : node["paths"]) {
                out += fmt::format(" {} {}", path["device"].get<std::string>(),
                                   path["state"].get<std::string>());
                if (const auto problem = path["problem"].get<std::string>(); !problem.empty())
                    out += fmt::format(" ({})", problem);
            }
            if (const auto warning = node["warning"].get<std::string>(); !warning.empty())
                out += fmt::format("; WARNING: {}", warning);
            out += "\n";
        }
        out += fmt::format("\nQuorum\n  {}\n", status["quorum"]["summary"].get<std::string>());
        out += fmt::format("\n{:<34} {:<12}", "Hierarchies", "Cluster");
        for (const auto& name : names)
            out += fmt::format(" {:<{}}", name, kCellWidth);
        out += "\n";
        if (status["resources"].empty()) out += "  none\n";
        for (const auto& row : status["resources"]) {
            const auto left = fmt::format(
                "{}{}", std::string(static_cast<std::size_t>(row["depth"].get<int>()) * 2 + 2, ' '),
                row["tag"].get<std::string>());
            // In service on its only node: nobody would take it over. Spec: CLU-114
            const auto global = row["global"].get<std::string>();
            const bool alone = !row["protected"].get<bool>() && global == "Normal";
            out += fmt::format("{:<24} {:<9} {:<12}", left, row["type"].get<std::string>(),
                               alone ? "Unprotected" : global);
            for (const auto& name : names) {
                std::string text = "-";
                if (const auto at = row["instances"].find(name); at != row["instances"].end()) {
                    text = (*at)["shown"].get<std::string>();
                    if (at->contains("mirror") && (*at)["mirror"].contains("percent"))
                        text += fmt::format(" {} %", (*at)["mirror"]["percent"].get<int>());
                    if (at->contains("priority")) text += fmt::format(" {}", (*at)["priority"].get<int>());
                }
                out += fmt::format(" {:<{}}", text, kCellWidth);
            }
            out += "\n";
        }
        out += "\nMirrors\n";
        bool any = false;
        for (const auto& [node, mirrors] : status["mirrors"].items())
            for (const auto& mirror : mirrors) {
                any = true;
                out += fmt::format("  {:<16} on {:<10} {:<8} {}", mirror.value("volume", "?"), node,
                                   mirror.value("role", "?"), mirror.value("state", "?"));
                if (const auto dirty = mirror.value("dirty_blocks", std::uint64_t{0});
                    dirty > 0 && mirror.value("role", "") == "source")
                    out += fmt::format(", {} to copy", text::human_bytes(dirty * 65536));
                out += "\n";
            }
        if (!any) out += "  none\n";
        for (const auto& [node, problems] : status["configuration_problems"].items())
            for (const auto& problem : problems)
                out += fmt::format("  {}: {}\n", node, problem.get<std::string>());
        if (!status["maintenance"].empty()) out += "\nMaintenance: no checks, nothing automatic\n";
        for (const auto& each : status["maintenance"])
            out += fmt::format("  {}\n", each["text"].get<std::string>());
        return out;
    }

    void status(const Command& command, const Done& done) {
        const bool redundant =
            !command.has("ignore-redundancy") && settings.now().boolean("WARN_NOT_REDUNDANT");
        ask_all("status.mirrors", {},
                [this, redundant, as_json = command.has("json"), done, life = alive](const Answers& answers) {
                    if (!*life) return;
                    json status{{"node", database.self().str()},
                                {"time", local_time(now_us())},
                                {"nodes", nodes(redundant)},
                                {"quorum", json::parse(quorum.json())},
                                {"resources", resources()},
                                {"mirrors", json::object()},
                                {"configuration_problems", json::object()},
                                {"maintenance", known_maintenance(database)}};
                    status["quorum"]["summary"] = quorum.summary();
                    for (const auto& [node, answer] : answers) {
                        auto mirrors = answer ? json::parse(*answer, nullptr, false) : json::array();
                        if (mirrors.is_discarded()) mirrors = json::array();
                        json problems = json::array();
                        if (mirrors.is_object() && mirrors.contains("configuration_problems"))
                            for (const auto& problem : mirrors["configuration_problems"])
                                if (problem.is_string()) problems.push_back(problem);
                        status["configuration_problems"][node.str()] = std::move(problems);
                        if (mirrors.is_object() && mirrors.contains("mirrors")) mirrors = mirrors["mirrors"];
                        status["mirrors"][node.str()] = std::move(mirrors);
                    }
                    show_mirrors(status["resources"], status["mirrors"]);
                    done(config::success(as_json ? status.dump(2) + "\n" : render(status)));
                });
    }

    [[nodiscard]] std::int64_t now_us() const { return world.clock.wall().time_since_epoch().count(); }

    void events(const Command& command, const Done& done) {
        const auto count = text::to_int(command.get("count", std::to_string(kDefaultEvents)));
        if (!count)
            return done(config::failure(
                {Code::bad_argument, fmt::format("--count takes a number, not \"{}\"", command.get("count")),
                 0}));
        if (*count < 1 || *count > kMaxEvents)
            return done(
                config::failure({Code::out_of_range, fmt::format("--count takes 1 to {}", kMaxEvents), 0}));
        ask_all("journal.read", std::to_string(*count),
                [this, count = static_cast<std::size_t>(*count), as_json = command.has("json"), done,
                 life = alive](const Answers& answers) {
                    if (!*life) return;
                    std::vector<json> all;
                    for (const auto& [node, answer] : answers) {
                        const auto list = answer ? json::parse(*answer, nullptr, false) : json();
                        if (list.is_array()) all.insert(all.end(), list.begin(), list.end());
                    }
                    std::stable_sort(all.begin(), all.end(), [](const json& a, const json& b) {
                        return std::tuple(a["time_us"].get<std::int64_t>(), a["node"].get<std::string>(),
                                          a["id"].get<std::uint64_t>()) <
                               std::tuple(b["time_us"].get<std::int64_t>(), b["node"].get<std::string>(),
                                          b["id"].get<std::uint64_t>());
                    });
                    if (all.size() > count)
                        all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(count));
                    Reply reply;
                    if (as_json) {
                        reply.out = json(all).dump(2) + "\n";
                    } else {
                        for (const auto& entry : all)
                            reply.out += event_line(entry);
                    }
                    if (const auto missing = missing_answers(answers, database.own().systems);
                        !missing.empty())
                        reply.err = fmt::format("*WARNING* events are incomplete: {}", missing);
                    done(reply);
                });
    }
};

StatusService::StatusService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                             const recovery::Engine& engine, QuorumService& quorum,
                             const NodeOptions& options, config::SettingsFile& settings)
    : impl_(new Impl{world, database, cluster, engine, quorum, options, settings}) {}
StatusService::~StatusService() {
    *impl_->alive = false;
}
void StatusService::start() {
    impl_->start();
}
void StatusService::ask_mirrors(std::function<void(Result<std::string>)> answer) {
    impl_->ask_mirrord(std::move(answer));
}

bool StatusService::run(const Command& command, const Done& done) {
    if (command.name == "understudy status")
        impl_->status(command, done);
    else if (command.name == "understudy events")
        impl_->events(command, done);
    else
        return false;
    return true;
}

}  // namespace understudy::daemons
