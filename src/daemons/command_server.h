#pragma once
// The local socket: takes commands from this host's clients, checks who they are, runs them. Spec: CMD-002.

#include "config/layout.h"
#include "config/settings.h"
#include "daemons/node.h"

#include <functional>
#include <map>
#include <memory>

namespace understudy::daemons {

/// More clients than this at one time are told to come again.
inline constexpr std::size_t kMaxClients = 256;

class CommandServer {
  public:
    CommandServer(runtime::World world, Node& node, config::Layout layout, const config::Settings& settings);
    CommandServer(const CommandServer&) = delete;
    CommandServer& operator=(const CommandServer&) = delete;
    /// Error when another daemon serves this root.
    Result<> listen();
    /// Takes no more clients and calls `done` when the answers on their way have had time to leave.
    void drain(std::function<void()> done);

  private:
    void accept(std::unique_ptr<runtime::Channel> channel);
    void refuse(std::unique_ptr<runtime::Channel> channel);
    void handle(std::uint64_t client, std::string_view frame);
    void check_role(std::uint64_t client, config::Command command);
    void serve(std::uint64_t client, const config::Command& command);
    void answer(std::uint64_t client, const config::Reply& reply);
    void drop(std::uint64_t client);
    const std::string& user_name(std::uint32_t uid);

    runtime::World world_;
    Node& node_;
    config::Layout layout_;
    /// Members of a group may do what its role may, and what the roles below it may. Spec: CMD-002.
    std::map<Role, std::string> groups_;
    std::unique_ptr<runtime::Listener> listener_;
    std::map<std::uint64_t, std::unique_ptr<runtime::Channel>> clients_;
    std::uint64_t next_client_ = 1;
    std::map<std::uint32_t, std::string> names_;  // of uids seen: account databases are slow
    std::size_t refused_ = 0;                     // being told so
};

}  // namespace understudy::daemons
