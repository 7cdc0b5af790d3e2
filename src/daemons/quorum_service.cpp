#include "daemons/quorum_service.h"

#include "base/text.h"
#include "messages/messages.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::Command;
using config::Reply;

/// Exit codes of lkquorum. Spec: QUO-131.
int exit_code(quorum::Quorum quorum) {
    switch (quorum) {
        case quorum::Quorum::have:
            return 0;
        case quorum::Quorum::lost:
            return 1;
        case quorum::Quorum::frozen:
            return 2;
        case quorum::Quorum::config_error:
            return 3;
    }
    return 3;
}

double seconds(runtime::Duration duration) {
    return std::chrono::duration<double>(duration).count();
}

using CheckFunction = runtime::Task<quorum::Guard::Verdict> (quorum::Guard::*)(NodeName);

/// One of the guard's questions as a gate of the engine.
class Gate final : public recovery::TakeoverGate {
  public:
    Gate(quorum::Guard& guard, std::string name, CheckFunction question)
        : guard_(guard), name_(std::move(name)), question_(question) {}
    [[nodiscard]] std::string name() const override { return name_; }
    runtime::Task<Verdict> check(NodeName peer) override {
        return answer((guard_.*question_)(std::move(peer)));
    }

  private:
    /// Apart from check(): g++ 12 loses `this` of a coroutine that awaits a call through a pointer to member.
    static runtime::Task<Verdict> answer(runtime::Task<quorum::Guard::Verdict> asked) {
        auto verdict = co_await std::move(asked);
        Verdict result{verdict.proceed, std::move(verdict.why)};
        co_return result;
    }

    quorum::Guard& guard_;
    std::string name_;
    CheckFunction question_;
};

class Starts final : public recovery::StartGuard {
  public:
    explicit Starts(quorum::Guard& guard) : guard_(guard) {}
    runtime::Task<> judge(std::string event, std::set<NodeName> silent) override {
        return guard_.judge(std::move(event), std::move(silent));
    }
    std::string refusal() override { return guard_.refusal(); }
    [[nodiscard]] bool proven_dead(const NodeName& peer) const override { return guard_.proven_dead(peer); }
    bool starts_at_comm_up() override { return guard_.starts_at_comm_up(); }
    void forced(const std::string& who) override { guard_.forced(who); }

  private:
    quorum::Guard& guard_;
};

}  // namespace

std::string captured_path(const config::Layout& layout) {
    return layout.state() + "/qwk.conf";
}

std::string quarantine_path(const config::Layout& layout) {
    return layout.run() + "/quarantine";
}

struct QuorumService::Impl {
    runtime::World world;
    config::Database& database;
    recovery::Engine& engine;
    quorum::Watchdog* watchdog;
    quorum::Guard guard;
    Gate quorum_gate{guard, "quorum", &quorum::Guard::quorum_gate};
    Gate witness_gate{guard, "witness", &quorum::Guard::witness_gate};
    Starts starts{guard};
    Quarantine quarantine;
    std::optional<runtime::TimerId> deadline;
    bool quarantined = false;

    Impl(runtime::World w, config::Database& d, comm::Cluster& cluster, recovery::Engine& e,
         const config::Layout& layout, quorum::Storage* storage, quorum::Watchdog* dog,
         quorum::Counters* counters)
        : world(w),
          database(d),
          engine(e),
          watchdog(dog),
          guard(world, d, cluster, storage, dog,
                {.self = d.self(),
                 .settings_path = layout.settings(),
                 .captured_path = captured_path(layout),
                 .socket_path = layout.run() + "/qwk.sock",
                 .counters = counters},
                {.holds_resources = [this] { return engine.holds_resources(); },
                 .lose = [this](runtime::TimePoint until, const std::string& why) { lose(until, why); },
                 .lost_again = [this](const NodeName& peer) { engine.lost_again(peer); },
                 .quorum_returned = [this] { engine.quorum_returned(); },
                 .journal = [this](const std::string& text) { journal(text); }}) {}
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() {
        if (deadline) world.tasks.cancel(*deadline);
    }

    void journal(const std::string& text) { database.journal(0, "engine", database.self().str(), text); }

    /// Spec: QUO-073: out of service within the grace, and so on the disk, or the host is reset.
    void lose(runtime::TimePoint until, const std::string& why) {
        deadline = world.tasks.after(std::max(until - world.clock.now(), runtime::Duration(0)), [this, why] {
            deadline.reset();
            const auto missing = engine.holds_resources()
                                     ? "take everything out of service"
                                     : "note on its disk that everything is out of service";
            const auto text =
                fmt::format("this node has no quorum ({}) and could not {} in time", why, missing);
            if (watchdog != nullptr && watchdog->present()) {
                messages::error("{}: it is reset", text);
                watchdog->reset(text);
            }
            messages::error("{}, and nothing can reset it{}", text,
                            engine.holds_resources() ? ": what still runs may run twice" : "");
            journal(text);
        });
        engine.quorum_lost(why, [this] {
            if (engine.holds_resources()) {
                messages::error("not everything could be taken out of service after the loss of quorum");
                // The reset is near; without one the node leaves the cluster all the same.
                if (watchdog != nullptr && watchdog->present()) return;
            }
            leave();
        });
    }

    void leave() {
        if (std::exchange(quarantined, true)) return;
        if (deadline) world.tasks.cancel(*std::exchange(deadline, std::nullopt));
        if (watchdog != nullptr) watchdog->disarm();
        const auto time = guard.configuration().quarantine;
        messages::warning("quarantine: this node is down for {:.0f} s", seconds(time));
        journal(fmt::format("quarantine of {:.0f} s begins", seconds(time)));
        const auto handler = quarantine;  // it ends this object
        if (handler) world.tasks.post([handler, time] { handler(time); });
    }

    /// Nodes that use the storage, this one among them when it does. For people only: quorum is each node's
    /// own access. Spec: QUO-031.
    static std::size_t storage_users(const quorum::Status& status) {
        const auto others = std::count_if(status.peers.begin(), status.peers.end(),
                                          [](const quorum::PeerStatus& peer) { return peer.writes; });
        return static_cast<std::size_t>(others) + (status.quorum == quorum::Quorum::have ? 1 : 0);
    }
    static bool uses_storage(const quorum::Status& status) {
        return status.configuration.mode == quorum::Mode::storage && status.storage_ready;
    }

    [[nodiscard]] nlohmann::json json() {
        const auto status = guard.status();
        nlohmann::json value{{"mode", quorum::to_string(status.configuration.mode)},
                             {"witness", quorum::to_string(status.configuration.witness)},
                             {"state", quorum::to_string(status.quorum)},
                             {"known", status.known},
                             {"reachable", status.reachable},
                             {"recommended", quorum::recommendation(status.known)},
                             {"error", status.configuration.error},
                             {"warnings", status.configuration.warnings},
                             {"initialised", status.storage_ready},
                             {"sequence", status.sequence},
                             {"losing", guard.losing()},
                             {"watchdog", status.watchdog},
                             {"peers", nlohmann::json::array()}};
        if (uses_storage(status)) {
            value["storage_users"] = storage_users(status);
            value["storage_consensus"] = 2 * storage_users(status) > status.known;
        }
        for (const auto& peer : status.peers) {
            nlohmann::json one{{"name", peer.name.str()},
                               {"state", comm::to_string(peer.state)},
                               {"proven_dead", peer.proven_dead}};
            if (peer.sequence) one["sequence"] = *peer.sequence;
            if (peer.quiet) one["quiet_s"] = seconds(*peer.quiet);
            value["peers"].push_back(std::move(one));
        }
        return value;
    }

    [[nodiscard]] std::string summary() {
        const auto status = guard.status();
        const auto& configuration = status.configuration;
        if (!configuration.error.empty()) return fmt::format("CONFIG ERROR: {}", configuration.error);
        auto line = fmt::format("{} (quorum {}, witness {}, {} of {} nodes reachable)",
                                quorum::to_string(status.quorum), quorum::to_string(configuration.mode),
                                quorum::to_string(configuration.witness), status.reachable, status.known);
        if (configuration.mode == quorum::Mode::storage && !status.storage_ready)
            line += ", qwk_storage_init has not been run";
        if (uses_storage(status)) {
            const auto users = storage_users(status);
            line += fmt::format(", {} of {} nodes use the storage{}", users, status.known,
                                2 * users > status.known ? "" : ": no majority of them");
        }
        if (configuration.fences() && !status.watchdog) line += ", no watchdog";
        if (guard.losing()) line += ", taking everything out of service";
        return line;
    }

    Reply lkquorum(const Command& command) {
        const auto what = command.arguments.empty() ? std::string("status") : command.arguments.front();
        const auto status = guard.status();
        Reply reply;
        reply.exit_code = exit_code(status.quorum);
        if (what == "status" && command.has("json")) {
            reply.out = json().dump(2) + "\n";
            return reply;
        }
        if (what == "status") {
            reply.out = fmt::format("quorum: {}\n", summary());
            for (const auto& peer : status.peers) {
                reply.out += fmt::format("  {:<16} {:<8}", peer.name.str(), comm::to_string(peer.state));
                if (peer.sequence) reply.out += fmt::format(" sequence {}", *peer.sequence);
                if (peer.quiet) reply.out += fmt::format(", quiet for {:.1f} s", seconds(*peer.quiet));
                reply.out += "\n";
            }
            return reply;
        }
        if (what == "check") {
            const auto& configuration = status.configuration;
            reply.exit_code = configuration.error.empty() ? 0 : 3;
            reply.out =
                fmt::format("QUORUM_MODE={} WITNESS_MODE={}, {} nodes: {}\n",
                            quorum::to_string(configuration.mode), quorum::to_string(configuration.witness),
                            status.known, configuration.error.empty() ? "supported" : configuration.error);
            for (const auto& warning : configuration.warnings)
                reply.out += "warning: " + warning + "\n";
            reply.out += fmt::format("recommended for {} nodes: {}\n", status.known,
                                     quorum::recommendation(status.known));
            return reply;
        }
        return config::failure(
            {Code::syntax, fmt::format("lkquorum knows status and check, not \"{}\"", what), 0});
    }
};

QuorumService::QuorumService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                             recovery::Engine& engine, const config::Layout& layout, quorum::Storage* storage,
                             quorum::Watchdog* watchdog, quorum::Counters* counters)
    : impl_(std::make_unique<Impl>(world, database, cluster, engine, layout, storage, watchdog, counters)) {}
QuorumService::~QuorumService() = default;

void QuorumService::start() {
    impl_->engine.add_gate(impl_->quorum_gate);
    impl_->engine.add_gate(impl_->witness_gate);
    impl_->engine.set_start_guard(impl_->starts);
    impl_->guard.start();
}

void QuorumService::on_quarantine(Quarantine handler) {
    impl_->quarantine = std::move(handler);
}

void QuorumService::stopped() {
    impl_->guard.leave();
}

bool QuorumService::run(const Command& command, const Progress& progress, const Done& done) {
    if (command.name == "lkquorum") {
        done(impl_->lkquorum(command));
        return true;
    }
    if (command.name == "qwk_storage_init") {
        impl_->guard.storage_init(
            command,
            [progress](const std::string& line) {
                if (progress) progress(line);
            },
            done);
        return true;
    }
    if (command.name != "qwk_storage_exit") return false;
    done(impl_->guard.storage_exit());
    return true;
}

std::string QuorumService::summary() {
    return impl_->summary();
}
std::string QuorumService::json() {
    return impl_->json().dump();
}
quorum::Guard& QuorumService::guard() {
    return impl_->guard;
}

}  // namespace understudy::daemons
