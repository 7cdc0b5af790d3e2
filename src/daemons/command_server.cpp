#include "daemons/command_server.h"

#include "base/text.h"
#include "messages/messages.h"
#include "runtime/posix/accounts.h"

namespace understudy::daemons {
namespace {

// Refused clients that are being told so, besides those served.
constexpr std::size_t kMaxRefused = 64;
// What is queued on a closing channel is sent by the loop; this is its time to do so.
constexpr auto kDrainTime = std::chrono::milliseconds(100);

}  // namespace

CommandServer::CommandServer(runtime::World world, Node& node, config::Layout layout,
                             const config::Settings& settings)
    : world_(world),
      node_(node),
      layout_(std::move(layout)),
      groups_{{Role::administer, settings.text("ADMIN_GROUP")},
              {Role::operate, settings.text("OPERATOR_GROUP")},
              {Role::guest, settings.text("GUEST_GROUP")}} {}

Result<> CommandServer::listen() {
    auto listener = world_.network.listen(
        {layout_.daemon_socket(), 0}, runtime::Security::plain,
        [this](std::unique_ptr<runtime::Channel> channel) { accept(std::move(channel)); });
    if (!listener) return with_context(listener.error(), "cannot serve commands");
    listener_ = std::move(*listener);
    return {};
}

void CommandServer::drain(std::function<void()> done) {
    listener_.reset();
    world_.tasks.after(kDrainTime, std::move(done));
}

void CommandServer::refuse(std::unique_ptr<runtime::Channel> channel) {
    messages::warning("a command was refused: {} clients are being served already", clients_.size());
    const auto data = config::encode(config::failure(
        {Code::failure,
         fmt::format("understudyd is serving {} commands already, which is its limit; try again",
                     kMaxClients),
         0}));
    channel->send(std::as_bytes(std::span(data)));
    // Closing before the client has read could cost it the answer.
    auto held = std::make_shared<std::unique_ptr<runtime::Channel>>(std::move(channel));
    (*held)->start([](std::span<const std::byte>) {}, [](const Error&) {});
    world_.tasks.after(kDrainTime, [held, this] { refused_ -= 1; });
    ++refused_;
}

void CommandServer::accept(std::unique_ptr<runtime::Channel> channel) {
    if (clients_.size() >= kMaxClients) {
        if (refused_ < kMaxRefused) refuse(std::move(channel));
        return;
    }
    const auto client = next_client_++;
    auto& kept = clients_[client] = std::move(channel);
    kept->start(
        [this, client](std::span<const std::byte> frame) {
            handle(client, {reinterpret_cast<const char*>(frame.data()), frame.size()});
        },
        [this, client](const Error&) { drop(client); });
}

void CommandServer::drop(std::uint64_t client) {
    // A channel must not be destroyed inside its own callback.
    world_.tasks.post([this, client] { clients_.erase(client); });
}

void CommandServer::handle(std::uint64_t client, std::string_view frame) {
    auto command = config::decode_command(frame);
    if (!command) return answer(client, config::failure(command.error()));
    command->uid = clients_.at(client)->peer().uid;
    command->user = user_name(command->uid);
    if (command->uid == 0 || command->name == "engine-ready") return serve(client, *command);
    check_role(client, std::move(*command));
}

/// Groups may come from a directory service that is slow: heartbeats must not wait for it.
void CommandServer::check_role(std::uint64_t client, config::Command command) {
    const auto needed = role_needed(command);
    std::vector<std::string> permitted;
    for (auto at = groups_.rbegin(); at != groups_.rend(); ++at)
        if (at->first >= needed && !at->second.empty()) permitted.push_back(at->second);
    const auto may = std::make_shared<bool>(false);
    const auto uid = command.uid;
    const auto refusal = config::failure({Code::failure,
                                          fmt::format("{} needs root or membership in the group {}",
                                                      command.name, text::join(permitted, " or ")),
                                          0});
    const bool taken = world_.tasks.run_blocking(
        [may, uid, permitted] {
            for (const auto& group : permitted)
                *may = *may || runtime::in_group(uid, group);
        },
        [this, client, may, refusal, command = std::move(command)] {
            if (*may)
                serve(client, command);
            else
                answer(client, refusal);
        });
    if (!taken)
        answer(client,
               config::failure({Code::failure, "too many callers wait to be looked up; try again", 0}));
}

void CommandServer::serve(std::uint64_t client, const config::Command& command) {
    node_.run(
        command,
        [this, client](const std::string& text) {
            config::Reply progress;
            progress.exit_code = config::kMoreFollows;
            progress.out = text;
            answer(client, progress);
        },
        [this, client](const config::Reply& reply) { answer(client, reply); });
}

const std::string& CommandServer::user_name(std::uint32_t uid) {
    if (names_.size() >= kMaxClients) names_.clear();
    const auto [at, added] = names_.try_emplace(uid);
    if (added) at->second = runtime::user_name(uid);
    return at->second;
}

void CommandServer::answer(std::uint64_t client, const config::Reply& reply) {
    const auto at = clients_.find(client);
    if (at == clients_.end()) return;  // the client has gone; what it asked for was done all the same
    const auto data = config::encode(reply);
    if (!at->second->send(std::as_bytes(std::span(data)))) drop(client);
}

}  // namespace understudy::daemons
