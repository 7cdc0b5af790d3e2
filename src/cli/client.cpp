#include "cli/client.h"

#include "messages/messages.h"
#include "runtime/posix/blocking_client.h"

#include <sys/socket.h>

#include <chrono>
#include <cstdlib>

namespace understudy::cli {
namespace {

constexpr auto kConnectLimit = std::chrono::seconds(5);
constexpr auto kNoLimit = std::chrono::hours(24 * 365);

std::string socket_of(const config::Layout& layout, Server server) {
    return server == Server::mirror ? layout.mirror_socket() : layout.daemon_socket();
}

}  // namespace

config::Layout layout_from_environment() {
    const auto directory = [](const char* variable) {
        const auto* set = std::getenv(variable);
        std::string value = set == nullptr ? "" : set;
        while (value.ends_with('/'))
            value.pop_back();
        return value;
    };
    return {directory("UNDERSTUDY_ROOT"), directory("LKROOT")};
}

Result<config::Reply> send(const config::Layout& layout, const CommandSpec& spec,
                           const config::Command& command,
                           const std::function<void(const std::string&)>& progress) {
    auto client = runtime::BlockingClient::connect(socket_of(layout, spec.server), kConnectLimit);
    if (!client) {
        if (!runtime::BlockingClient::daemon_missing(client.error())) return fail(client.error());
        if (spec.server == Server::mirror)
            return fail(Code::failure,
                        "the replication daemon (mirrord) does not run on this host; start it with lkstart");
        return messages::fail(Code::failure, messages::daemon_not_running);  // Spec: CMD-003
    }
    const std::chrono::milliseconds limit =
        spec.limit_s == 0 ? std::chrono::milliseconds(kNoLimit) : std::chrono::seconds(spec.limit_s);
    auto frame = client->request(config::encode(command), limit);
    while (true) {
        if (!frame)
            return with_context(frame.error(),
                                fmt::format("{} was sent, but its outcome is not known", spec.name));
        UNDERSTUDY_TRY(auto reply, config::decode_reply(*frame));
        if (reply.exit_code != config::kMoreFollows) return reply;
        if (progress) progress(reply.out);
        frame = client->next_frame(limit);
    }
}

int server_pid(const config::Layout& layout, Server server) {
    const auto client = runtime::BlockingClient::connect(socket_of(layout, server), kConnectLimit);
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (!client || getsockopt(client->descriptor(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
        return 0;
    return credentials.pid;
}

Result<config::Reply> run(const config::Layout& layout, const std::string& name,
                          const std::vector<std::string>& words) {
    const auto* spec = find_command(name);
    if (spec == nullptr) return fail(Code::internal, "there is no command {}", name);
    UNDERSTUDY_TRY(const auto command, parse(*spec, words));
    return send(layout, *spec, command);
}

}  // namespace understudy::cli
