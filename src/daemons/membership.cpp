#include "daemons/membership.h"

#include "base/text.h"
#include "config/interval.h"
#include "config/ports.h"
#include "messages/messages.h"

namespace understudy::daemons {
namespace {

using config::Command;
using config::Reply;

constexpr std::chrono::seconds kDefaultLifetime = std::chrono::hours(1);
constexpr std::chrono::seconds kMaxLifetime = comm::TokenStore::kMostLifetime;

/// The seconds or minutes that an option gives, within the limits of a token.
Result<std::chrono::seconds> lifetime_of(const Command& command) {
    const bool minutes = command.has("lifetime");
    const std::string option = minutes ? "lifetime" : "ttl";
    const auto value = text::to_int(command.get(option, std::to_string(kDefaultLifetime.count())));
    const std::int64_t most = kMaxLifetime.count() / (minutes ? 60 : 1);
    if (!value)
        return fail(Code::bad_argument, "--{} takes {}, not \"{}\"", option, minutes ? "minutes" : "seconds",
                    command.get(option));
    if (*value < 1 || *value > most)
        return fail(Code::out_of_range, "--{} takes 1 to {} {}", option, most,
                    minutes ? "minutes" : "seconds");
    return std::chrono::seconds(*value * (minutes ? 60 : 1));
}

}  // namespace

Membership::Membership(runtime::World world, config::Database& database, Introduction& introduction,
                       const Credentials& credentials, const NodeOptions& options)
    : world_(world),
      database_(database),
      introduction_(introduction),
      options_(options),
      enrolment_(
          world, {.self = options.self, .software_version = "0.1.0", .pki_directory = options.layout.pki()},
          {.known = [this](const NodeName& node) { return database_.own().systems.contains(node); },
           .accept_paths =
               [this](const NodeName& joiner, std::vector<config::Path> proposed) {
                   auto made = accept_paths(database_, options_.settings, joiner, std::move(proposed), {});
                   if (made)
                       database_.journal(0, "node", joiner.str(),
                                         fmt::format("{} has joined the cluster", joiner.str()));
                   return made;
               },
           .next_issue = [&credentials](const NodeName& node) { return credentials.next_issue(node); }}) {}

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
    else if (command.name == "understudy token" || command.name == "understudy invite")
        done(token(command));
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
    Reply reply = config::success(
        fmt::format("{} is the first node of the cluster.\nLet another host in: run `understudy token` here, "
                    "then `understudy join <this host's address> --token ...` there.\n",
                    options_.self.str()));
    if (auto listened = listen(); !listened)
        reply.err = fmt::format("*WARNING* hosts cannot join yet: {}", listened.error().text);
    return reply;
}

Reply Membership::token(const Command& command) {
    const auto lifetime = lifetime_of(command);
    if (!lifetime) return config::failure(lifetime.error());
    if (auto listened = listen(); !listened) return config::failure(listened.error());
    const auto token = enrolment_.create_token(*lifetime);
    if (!token) return config::failure(token.error());
    return config::success(*token + "\n");
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
        path.device = fmt::format(
            "TCP:{}", config::kFirstPathPort + config::kPathPortStep * static_cast<int>(paths.size()));
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
    const auto others = co_await introduction_.introduce();
    for (const auto& node : others.connected)
        reply.out += fmt::format("{} is connected with {} too.\n", options_.self.str(), node.str());
    for (const auto& problem : others.problems)
        reply.err += fmt::format("{}*WARNING* no path to {}", reply.err.empty() ? "" : "\n", problem);
    if (auto listened = listen(); !listened)
        reply.err += fmt::format("{}*WARNING* hosts cannot join through this node: {}",
                                 reply.err.empty() ? "" : "\n", listened.error().text);
    done(reply);
}

}  // namespace understudy::daemons
