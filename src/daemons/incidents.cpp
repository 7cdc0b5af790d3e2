#include "daemons/incidents.h"

#include "base/text.h"
#include "daemons/gathering.h"
#include "daemons/incident_json.h"
#include "daemons/status.h"
#include "messages/messages.h"

#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::Command;
using config::JournalEntry;
using config::Reply;
using nlohmann::json;
namespace fact = recovery::fact;

constexpr auto kGatherLimit = std::chrono::seconds(10);
/// Facts of one node in an answer, the newest, and their bytes.
constexpr std::size_t kMaxFacts = 5000;
constexpr std::size_t kMaxAnswer = 4UL << 20;
constexpr std::size_t kWholeJournal = 1'000'000;  // the store keeps fewer
constexpr std::size_t kMaxListed = 100;
/// How often it is looked how far asynchronous targets are behind, and peers are told.
constexpr auto kLagPeriod = std::chrono::seconds(2);
/// A mirrord that starts with the daemon is asked again for this long.
constexpr auto kStartPeriod = std::chrono::seconds(1);
constexpr int kStartAttempts = 20;
constexpr std::size_t kMaxLags = 1024;

constexpr std::string_view kReadMethod = "incident.read";
constexpr std::string_view kLagMethod = "incident.lag";

/// Entries, each behind its length in decimal and a newline.
std::string frame(const std::vector<JournalEntry>& entries) {
    std::size_t room = kMaxAnswer;
    std::vector<std::string> encoded;
    for (auto entry = entries.rbegin(); entry != entries.rend() && encoded.size() < kMaxFacts; ++entry) {
        encoded.push_back(config::encode(*entry));
        const auto size = encoded.back().size() + 8;
        if (size > room) {
            encoded.pop_back();
            break;
        }
        room -= size;
    }
    std::string out;
    for (auto each = encoded.rbegin(); each != encoded.rend(); ++each)
        out += fmt::format("{}\n{}", each->size(), *each);
    return out;
}

/// What a malformed answer holds before the error.
std::vector<JournalEntry> unframe(std::string_view data) {
    std::vector<JournalEntry> entries;
    while (!data.empty() && entries.size() < kMaxFacts) {
        const auto end = data.find('\n');
        if (end == std::string_view::npos) break;
        const auto size = text::to_int(data.substr(0, end));
        data.remove_prefix(end + 1);
        if (!size || *size < 0 || static_cast<std::size_t>(*size) > data.size()) break;
        auto entry = config::decode_journal(data.substr(0, static_cast<std::size_t>(*size)));
        if (!entry) break;
        entries.push_back(std::move(*entry));
        data.remove_prefix(static_cast<std::size_t>(*size));
    }
    return entries;
}

/// Whether the fields that are read here have the types that they are read as, where they are there.
bool is_mirror(const json& mirror) {
    if (!mirror.is_object()) return false;
    const auto all = [&](const auto& names, auto right) {
        return std::all_of(std::begin(names), std::end(names), [&](const char* name) {
            const auto at = mirror.find(name);
            return at == mirror.end() || right(*at);
        });
    };
    constexpr const char* kTexts[] = {"volume", "role", "state", "type", "peer"};
    constexpr const char* kNumbers[] = {"queue_bytes", "dirty_bytes", "write_bytes"};
    constexpr const char* kSwitches[] = {"connected", "split_brain"};
    return all(kTexts, [](const json& value) { return value.is_string(); }) &&
           all(kNumbers, [](const json& value) { return value.is_number_unsigned(); }) &&
           all(kSwitches, [](const json& value) { return value.is_boolean(); });
}

json parse_mirrors(const Result<std::string>& answer) {
    auto mirrors = answer ? json::parse(*answer, nullptr, false) : json::array();
    if (mirrors.is_object() && mirrors.contains("mirrors")) mirrors = json(mirrors["mirrors"]);
    json sound = json::array();
    if (mirrors.is_array())
        for (auto& mirror : mirrors)
            if (is_mirror(mirror)) sound.push_back(std::move(mirror));
    return sound;
}

std::int64_t microseconds(runtime::Duration duration) {
    return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

}  // namespace

struct IncidentService::Impl {
    runtime::World world;
    config::Database& database;
    comm::Cluster& cluster;
    AskMirrors ask_mirrors;
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);

    /// What a source told last of its asynchronous mirror.
    struct Lag {
        std::int64_t at_us = 0;  // by our clock
        std::uint64_t queue_bytes = 0;
        std::optional<std::uint64_t> write_rate;
    };
    std::map<std::pair<NodeName, std::string>, Lag> lags;
    struct Written {
        runtime::TimePoint at;
        std::uint64_t bytes = 0;
    };
    std::map<std::string, Written> written;  // by volume of this host

    [[nodiscard]] std::int64_t now_us() const { return world.clock.wall().time_since_epoch().count(); }

    void start() {
        cluster.serve(std::string(kReadMethod),
                      [this](const NodeName&, std::string_view, comm::Cluster::Answer answer) {
                          read_here(std::move(answer));
                      });
        cluster.serve(std::string(kLagMethod), [this](const NodeName& source, std::string_view payload,
                                                      const comm::Cluster::Answer& answer) {
            remember_lags(source, payload);
            answer(std::string());
        });
        database.subscribe_journal([this](const JournalEntry& entry) {
            if (entry.fact == fact::begin && entry.details.contains("kind") &&
                entry.details.at("kind") == to_string(recovery::IncidentKind::node_failure))
                note_mirrors(entry);
            if (entry.fact == fact::started) note_start(kStartAttempts);
        });
        look_for_lags();
    }

    // --- what is told to others, and noted down

    void look_for_lags() {
        world.tasks.after(kLagPeriod, [this, life = alive] {
            if (!*life) return;
            if (cluster.alive_peers().empty()) return look_for_lags();
            ask_mirrors([this, life](const Result<std::string>& answer) {
                if (!*life) return;
                tell_lags(parse_mirrors(answer));
                look_for_lags();
            });
        });
    }

    /// Of the asynchronous mirrors whose source is here.
    void tell_lags(const json& mirrors) {
        json list = json::array();
        for (const auto& mirror : mirrors) {
            if (mirror.value("role", "") != "source" || mirror.value("type", "") != "async") continue;
            const auto volume = mirror.value("volume", "");
            const auto bytes = mirror.value("write_bytes", std::uint64_t{0});
            json lag{{"volume", volume}, {"queue_bytes", mirror.value("queue_bytes", std::uint64_t{0})}};
            const auto before = written.find(volume);
            if (before != written.end() && bytes >= before->second.bytes) {
                const auto elapsed = microseconds(world.clock.now() - before->second.at);
                if (elapsed > 0)
                    lag["write_rate"] =
                        static_cast<std::uint64_t>(static_cast<double>(bytes - before->second.bytes) * 1e6 /
                                                   static_cast<double>(elapsed));
            }
            written[volume] = {world.clock.now(), bytes};
            list.push_back(std::move(lag));
        }
        if (list.empty()) return written.clear();
        for (const auto& peer : cluster.alive_peers())
            cluster.call(peer, kLagMethod, list.dump(), kGatherLimit, [](const Result<std::string>&) {});
    }

    void remember_lags(const NodeName& source, std::string_view payload) {
        const auto list = json::parse(payload, nullptr, false);
        if (!list.is_array()) return;
        for (const auto& each : list) {
            if (!each.is_object() || !each.contains("volume") || !each["volume"].is_string()) continue;
            const auto key = std::pair(source, each["volume"].get<std::string>());
            if (lags.size() >= kMaxLags && !lags.contains(key)) return;
            Lag lag{now_us(), 0, std::nullopt};
            if (each.contains("queue_bytes") && each["queue_bytes"].is_number_unsigned())
                lag.queue_bytes = each["queue_bytes"];
            if (each.contains("write_rate") && each["write_rate"].is_number_unsigned())
                lag.write_rate = each["write_rate"].get<std::uint64_t>();
            lags[key] = lag;
        }
    }

    void note(const std::string& incident, std::string_view fact, std::string subject,
              recovery::Details details) {
        JournalEntry entry;
        entry.kind = "mirror";
        entry.subject = std::move(subject);
        entry.incident = incident;
        entry.fact = fact;
        entry.details = std::move(details);
        database.journal(std::move(entry));
    }

    static recovery::Details details_of(const json& mirror, std::string moment) {
        return {{"moment", std::move(moment)},
                {"type", mirror.value("type", "")},
                {"role", mirror.value("role", "")},
                {"state", mirror.value("state", "")},
                {"peer", mirror.value("peer", "")},
                {"queue_bytes", std::to_string(mirror.value("queue_bytes", std::uint64_t{0}))},
                {"dirty_bytes", std::to_string(mirror.value("dirty_bytes", std::uint64_t{0}))}};
    }

    /// A node was lost: how the mirrors with it are, and what it told last.
    void note_mirrors(const JournalEntry& begin) {
        const NodeName lost(begin.subject);
        for (const auto& [key, lag] : lags) {
            if (key.first != lost) continue;
            recovery::Details details{{"source", lost.str()},
                                      {"at_us", std::to_string(lag.at_us)},
                                      {"queue_bytes", std::to_string(lag.queue_bytes)}};
            if (lag.write_rate) details["write_rate"] = std::to_string(*lag.write_rate);
            note(begin.incident, fact::lag, key.second, std::move(details));
        }
        std::erase_if(lags, [&](const auto& each) { return each.first.first == lost; });
        ask_mirrors([this, lost, incident = begin.incident, life = alive](const Result<std::string>& answer) {
            if (!*life) return;
            for (const auto& mirror : parse_mirrors(answer))
                if (mirror.value("peer", "") == lost.str())
                    note(incident, fact::mirror, mirror.value("volume", ""), details_of(mirror, "begin"));
        });
    }

    /// This node returns: what its volumes had written that may be nowhere else. Only while they still have
    /// their old role; afterwards their logs tell of the resync.
    void note_start(int attempts) {
        if (attempts == 0) return;
        ask_mirrors([this, attempts, life = alive](const Result<std::string>& answer) {
            if (!*life) return;
            const auto mirrors = parse_mirrors(answer);
            for (const auto& mirror : mirrors)
                if (mirror.value("role", "") == "source" && !mirror.value("connected", false))
                    note({}, fact::mirror, mirror.value("volume", ""), details_of(mirror, "start"));
            if (!mirrors.empty()) return;
            world.tasks.after(kStartPeriod, [this, attempts, life] {
                if (*life) note_start(attempts - 1);
            });
        });
    }

    // --- the command

    void read_here(std::function<void(Result<std::string>)> answer) {
        database.read_journal(kWholeJournal, [answer = std::move(answer)](std::vector<JournalEntry> entries) {
            std::erase_if(entries, [](const auto& each) { return each.fact.empty(); });
            answer(frame(entries));
        });
    }

    struct Material {
        std::vector<JournalEntry> entries;
        std::map<NodeName, recovery::ClockDifference> clocks;
        recovery::IncidentNow now;
    };

    void run(const Command& command, const Done& done) {
        const auto which = command.arguments.empty() ? std::string("last") : command.arguments.front();
        gather(
            cluster, database.self(), std::string(kReadMethod), {}, kGatherLimit,
            [this](std::function<void(Result<std::string>)> answer) { read_here(std::move(answer)); },
            [this, which, as_json = command.has("json"), done, life = alive](const Answers& answers) {
                if (!*life) return;
                auto material = std::make_shared<Material>();
                for (const auto& [node, answer] : answers) {
                    if (!answer) continue;
                    auto entries = unframe(*answer);
                    material->entries.insert(material->entries.end(), entries.begin(), entries.end());
                }
                look_around(*material, answers);
                ask_all_mirrors([this, material, which, as_json, done, life](const Answers& mirrors) {
                    if (!*life) return;
                    add_mirrors(*material, mirrors);
                    answer(material, which, as_json, done);
                });
            });
    }

    void ask_all_mirrors(std::function<void(const Answers&)> finish) {
        gather(
            cluster, database.self(), "status.mirrors", {}, kGatherLimit,
            [this](std::function<void(Result<std::string>)> answer) { ask_mirrors(std::move(answer)); },
            std::move(finish));
    }

    static void add_mirrors(Material& material, const Answers& answers) {
        for (const auto& [node, answer] : answers)
            for (const auto& mirror : parse_mirrors(answer))
                material.now.mirrors.push_back({node, mirror.value("volume", ""), mirror.value("role", ""),
                                                mirror.value("state", ""), mirror.value("peer", ""),
                                                mirror.value("dirty_bytes", std::uint64_t{0}),
                                                mirror.value("split_brain", false)});
    }

    void look_around(Material& material, const Answers& answers) {
        for (const auto& system : database.own().systems) {
            const bool self = system == database.self();
            const bool lives = self || cluster.peer_state(system) == comm::PeerState::alive;
            material.now.alive[system] = lives;
            const auto answer = answers.find(system);
            if (answer == answers.end() || !answer->second) material.now.silent.push_back(system);
            if (self) {
                material.clocks[system] = {0, 0};
            } else if (const auto clock = cluster.clock_of(system)) {
                material.clocks[system] = {microseconds(clock->offset), microseconds(clock->uncertainty)};
            }
        }
        add_resources(material.now, database.self(), database.own());
        for (const auto& [node, config] : database.replicas())
            add_resources(material.now, node, config);
    }

    void add_resources(recovery::IncidentNow& now, const NodeName& owner, const config::NodeConfig& config) {
        for (const auto& root : config.roots()) {
            const auto known = std::any_of(now.resources.begin(), now.resources.end(),
                                           [&](const auto& each) { return each.tag == root; });
            const auto* instance = config.find(root);
            if (known || instance == nullptr) continue;
            recovery::IncidentNow::Resource resource;
            resource.tag = root;
            resource.states[owner] = to_string(instance->state);
            resource.maintenance = config.flags.contains(FlagName("Maintenance_" + root.str()));
            for (const auto& pair : config.equivalents(root)) {
                const auto* there = database.of(pair.other_node);
                const auto* other = there == nullptr ? nullptr : there->find(pair.other_tag);
                if (other != nullptr) resource.states[pair.other_node] = to_string(other->state);
            }
            now.resources.push_back(std::move(resource));
        }
    }

    /// Joining many facts takes its time: on a worker.
    void answer(const std::shared_ptr<Material>& material, const std::string& which, bool as_json,
                const Done& done) {
        auto reply = std::make_shared<Reply>();
        const bool taken = world.tasks.run_blocking(
            [material, which, as_json, reply] { *reply = make_reply(*material, which, as_json); },
            [reply, done, life = alive] {
                if (*life) done(*reply);
            });
        if (!taken) done(config::failure({Code::failure, "too much work waits on this node; try again", 0}));
    }

    static Reply make_reply(const Material& material, const std::string& which, bool as_json) {
        const auto incidents = recovery::join_incidents(material.entries, material.clocks);
        Reply reply;
        if (which == "list") {
            json list = json::array();
            const auto first = incidents.size() - std::min(incidents.size(), kMaxListed);
            for (auto i = first; i < incidents.size(); ++i) {
                const auto page = recovery::report(incidents[i], material.now);
                if (as_json)
                    list.push_back(incident_json(page));
                else
                    reply.out += recovery::render_line(page, local_time);
            }
            if (as_json) reply.out = dump(list);
        } else {
            const recovery::Incident* found = nullptr;
            for (const auto& incident : incidents)
                if (which == "last" ||
                    std::find(incident.ids.begin(), incident.ids.end(), which) != incident.ids.end())
                    found = &incident;
            if (found == nullptr)
                return config::failure(
                    {Code::not_found,
                     which == "last" ? std::string("no incident is recorded")
                                     : fmt::format("no incident \"{}\"; understudy incident list names those "
                                                   "that are recorded",
                                                   which),
                     0});
            const auto page = recovery::report(*found, material.now);
            reply.out = as_json ? dump(incident_json(page)) : recovery::render(page, local_time);
        }
        if (!material.now.silent.empty()) {
            std::vector<std::string> silent;
            for (const auto& node : material.now.silent)
                silent.push_back(node.str());
            reply.err =
                fmt::format("*WARNING* what {} saw is missing: not reachable", text::join(silent, ", "));
        }
        return reply;
    }
};

IncidentService::IncidentService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                                 AskMirrors ask_mirrors)
    : impl_(new Impl{world, database, cluster, std::move(ask_mirrors)}) {}

IncidentService::~IncidentService() {
    *impl_->alive = false;
}

void IncidentService::start() {
    impl_->start();
}

bool IncidentService::run(const Command& command, const Done& done) {
    if (command.name != "understudy incident") return false;
    impl_->run(command, done);
    return true;
}

}  // namespace understudy::daemons
