#include "daemons/command_server.h"

#include "messages/messages.h"
#include "runtime/posix/accounts.h"

namespace understudy::daemons {
namespace {

constexpr std::size_t kMaxClients = 256;
// What is queued on a closing channel is sent by the loop; this is its time to do so.
constexpr auto kDrainTime = std::chrono::milliseconds(100);

}  // namespace

CommandServer::CommandServer(runtime::World world, Node& node, config::Layout layout,
                             const config::Settings& settings)
    : world_(world), node_(node), layout_(std::move(layout)), admin_group_(settings.text("ADMIN_GROUP")) {}

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

void CommandServer::accept(std::unique_ptr<runtime::Channel> channel) {
    if (clients_.size() >= kMaxClients) {
        messages::warning("refused a command: {} clients are being served already", clients_.size());
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
    const auto& peer = clients_.at(client)->peer();
    command->uid = peer.uid;
    command->user = user_name(peer.uid);
    if (peer.uid != 0 && !is_read_only(*command) && !runtime::in_group(peer.uid, admin_group_))
        return answer(client, config::failure({Code::failure,
                                               fmt::format("{} needs root or membership in the group \"{}\"",
                                                           command->name, admin_group_),
                                               0}));
    node_.run(
        *command,
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
