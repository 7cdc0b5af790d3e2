#include "daemons/membership.h"

#include "base/text.h"
#include "config/interval.h"
#include "config/lcdi.h"
#include "messages/messages.h"

namespace understudy::daemons {
namespace {

using config::Command;
using config::Reply;

constexpr std::int64_t kDefaultLifetime_min = 60;
constexpr std::int64_t kMaxLifetime_min = 60 * 24 * 30;
constexpr int kFirstPort = 1500;  // then +10 for each further path. Spec: CLU-034
constexpr int kPortStep = 10;
constexpr std::size_t kMaxPathsAtJoin = 8;

Reply rejected(Code code, std::string text) {
    return config::failure({code, std::move(text), 0});
}

}  // namespace

Membership::Membership(runtime::World world, config::Database& database, const NodeOptions& options)
    : world_(world),
      database_(database),
      options_(options),
      enrolment_(world,
                 {.self = options.self, .software_version = "0.1.0", .pki_directory = options.layout.pki()},
                 {.known = [this](const NodeName& node) { return database_.own().systems.contains(node); },
                  .accept_paths =
                      [this](const NodeName& joiner, std::vector<config::Path> proposed) {
                          return accept_paths(joiner, std::move(proposed));
                      }}) {}

void Membership::start() {
    if (!world_.files.exists(options_.layout.pki() + "/node.pem")) return;
    if (auto listened = listen(); !listened)
        messages::warning("hosts cannot join through this node: {}", listened.error().text);
}

Result<> Membership::listen() {
    if (listening_) return {};
    UNDERSTUDY_CHECK(enrolment_.listen("0.0.0.0"));
    listening_ = true;
    return {};
}

bool Membership::run(const Command& command, const Done& done) {
    if (command.name == "understudy init")
        done(init(command));
    else if (command.name == "understudy invite")
        done(invite(command));
    else if (command.name == "understudy join")
        tasks_.spawn(join(command, done));
    else
        return false;
    return true;
}

Reply Membership::init(const Command& command) {
    const auto made = comm::make_cluster(world_, options_.layout.pki(), options_.self,
                                         command.get("cluster", "understudy"));
    if (!made) return config::failure(made.error());
    if (auto loaded = world_.network.reload_credentials(); !loaded) return config::failure(loaded.error());
    database_.journal(0, "engine", options_.self.str(),
                      fmt::format("{} is the first node of a new cluster", options_.self.str()));
    Reply reply = config::success(fmt::format(
        "{} is the first node of the cluster.\nLet another host in: run `understudy invite` here, "
        "then `understudy join <this host's address> --token ...` there.\n",
        options_.self.str()));
    if (auto listened = listen(); !listened)
        reply.err = fmt::format("*WARNING* hosts cannot join yet: {}", listened.error().text);
    return reply;
}

Reply Membership::invite(const Command& command) {
    const auto minutes = text::to_int(command.get("lifetime", std::to_string(kDefaultLifetime_min)));
    if (!minutes)
        return rejected(Code::bad_argument,
                        fmt::format("--lifetime takes minutes, not \"{}\"", command.get("lifetime")));
    if (*minutes < 1 || *minutes > kMaxLifetime_min)
        return rejected(Code::out_of_range,
                        fmt::format("--lifetime takes 1 to {} minutes", kMaxLifetime_min));
    if (auto listened = listen(); !listened) return config::failure(listened.error());
    const auto token = enrolment_.create_token(std::chrono::minutes(*minutes));
    if (!token) return config::failure(token.error());
    return config::success(*token + "\n");
}

/// The same rules as net_create's, by running it.
Result<> Membership::create_path(const config::Path& path) {
    Command command;
    command.name = "net_create";
    command.options = {{"s", path.remote.str()},
                       {"D", path.device},
                       {"n", path.transport},
                       {"r", path.remote_address},
                       {"l", path.local_address},
                       {"p", std::to_string(path.priority)},
                       {"h", fmt::format("{}ms", path.interval_ms)},
                       {"c", std::to_string(path.misses)}};
    config::LiveView live;
    live.allow_fast_heartbeats = options_.settings.boolean("ALLOW_FAST_HEARTBEATS");
    const auto reply = config::run_lcdi(database_, live, command);
    if (!reply || reply->exit_code != 0)
        return fail(Code::bad_argument, "{} refuses path {}: {}", options_.self.str(), path.device,
                    reply ? reply->err : "net_create is missing");
    return {};
}

/// Spec: DEP-216, CLU-100: a system entry comes with its first path.
Result<std::vector<config::Path>> Membership::accept_paths(const NodeName& joiner,
                                                           std::vector<config::Path> proposed) {
    if (proposed.size() > kMaxPathsAtJoin)
        return fail(Code::bad_argument, "at most {} paths can be made at once", kMaxPathsAtJoin);
    const bool known_before = database_.own().systems.contains(joiner);
    for (auto& path : proposed) {
        path.remote = joiner;
        // A port that is taken here is moved to the next free one; the joiner learns it from the answer.
        auto port = path.port();
        const auto taken = [&](int candidate) {
            const auto device = fmt::format("TCP:{}", candidate);
            return database_.own().find_path(device) != nullptr ||
                   std::any_of(proposed.begin(), proposed.end(), [&](const config::Path& other) {
                       return &other != &path && other.device == device;
                   });
        };
        while (taken(port))
            port += kPortStep;
        path.device = fmt::format("TCP:{}", port);
    }
    // All of them or none.
    for (std::size_t made = 0; made < proposed.size(); ++made) {
        auto created = create_path(proposed[made]);
        if (created) continue;
        std::vector<config::Edit> undo;
        for (std::size_t i = 0; i < made; ++i)
            undo.emplace_back(config::DropPath{proposed[i].device});
        if (made > 0 && !known_before) undo.emplace_back(config::DropSystem{joiner});
        database_.commit(std::move(undo));
        return fail(created.error());
    }
    database_.journal(0, "node", joiner.str(), fmt::format("{} has joined the cluster", joiner.str()));
    return proposed;
}

Result<std::vector<config::Path>> Membership::wanted_paths(const Command& command) const {
    config::Path model;
    model.transport = "TLI";
    if (command.has("interval")) {
        const auto interval = config::parse_interval_ms(command.get("interval"));
        if (!interval)
            return fail(Code::bad_argument, "--interval takes seconds, or milliseconds with ms, not \"{}\"",
                        command.get("interval"));
        model.interval_ms = *interval;
    }
    if (command.has("misses")) {
        const auto misses = text::to_int(command.get("misses"));
        if (!misses)
            return fail(Code::bad_argument, "--misses takes a number, not \"{}\"", command.get("misses"));
        model.misses = static_cast<int>(*misses);
    }
    std::vector<config::Path> paths;
    const auto pairs =
        command.has("path") ? text::split(command.get("path"), ',') : std::vector<std::string>{":"};
    for (const auto& pair : pairs) {
        const auto ends = text::split(pair, ':');
        if (ends.size() != 2)
            return fail(Code::bad_argument, "--path takes LOCAL:REMOTE addresses, not \"{}\"", pair);
        auto path = model;
        path.local_address = ends[0];
        path.remote_address = ends[1];
        path.priority = static_cast<int>(paths.size()) + 1;
        path.device = fmt::format("TCP:{}", kFirstPort + kPortStep * static_cast<int>(paths.size()));
        paths.push_back(std::move(path));
    }
    return paths;
}

runtime::Task<void> Membership::join(Command command, Done done) {
    if (auto free = comm::check_no_cluster(world_, options_.layout.pki()); !free) {
        done(config::failure(free.error()));
        co_return;
    }
    auto paths = wanted_paths(command);
    if (!paths) {
        done(config::failure(paths.error()));
        co_return;
    }
    comm::JoinOptions join_options;
    join_options.self = options_.self;
    join_options.software_version = "0.1.0";
    join_options.token = command.get("token");
    join_options.address = command.arguments.at(0);
    join_options.paths = *paths;
    Result<comm::Joined> joined = co_await comm::join(world_, join_options);
    if (!joined) {
        done(config::failure(joined.error()));
        co_return;
    }
    if (auto stored = comm::store_joined(world_, options_.layout.pki(), *joined); !stored) {
        done(config::failure(stored.error()));
        co_return;
    }
    if (auto loaded = world_.network.reload_credentials(); !loaded) {
        done(config::failure(loaded.error()));
        co_return;
    }
    std::vector<config::Edit> edits{config::PutSystem{joined->member}};
    for (const auto& path : joined->paths)
        edits.emplace_back(config::PutPath{path});
    database_.commit(std::move(edits));
    database_.journal(
        0, "node", options_.self.str(),
        fmt::format("{} has joined the cluster of {}", options_.self.str(), joined->member.str()));
    Reply reply =
        config::success(fmt::format("{} has joined the cluster of {} with {} path(s).\n", options_.self.str(),
                                    joined->member.str(), joined->paths.size()));
    if (auto listened = listen(); !listened)
        reply.err = fmt::format("*WARNING* hosts cannot join through this node: {}", listened.error().text);
    done(reply);
}

}  // namespace understudy::daemons
