#pragma once
// The administrator's side: "understudy mirror ..." as it arrives on mirrord's unix socket.
// Frames are config::Command and config::Reply; the command is named "mirror", its first argument is the
// verb. Threading: the control loop's thread.

#include "config/command.h"
#include "mirror/control/manager.h"

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace understudy::mirror::control {

class CommandService {
  public:
    CommandService(runtime::World world, Manager& manager);
    CommandService(const CommandService&) = delete;
    CommandService& operator=(const CommandService&) = delete;
    ~CommandService();

    /// Error when another mirrord serves this root.
    Result<> listen(const std::string& socket_path);
    /// Commands of this name ("mirror VERB" for a verb of "mirror") are answered by `handler` instead of
    /// being unknown.
    using Handler = std::function<runtime::Task<config::Reply>(config::Command command)>;
    void add(const std::string& name, Handler handler) { more_[name] = std::move(handler); }
    /// What is wrong with this host's settings; shown with the status.
    using Problems = std::function<std::vector<std::string>()>;
    void set_problems(Problems problems) { problems_ = std::move(problems); }
    /// Runs one command; uid 0 may change things, everybody may ask.
    runtime::Task<config::Reply> run(config::Command command);
    /// "mirror create" by itself, whoever else answers that name.
    runtime::Task<config::Reply> create(config::Command command);
    /// Likewise "mirror VERB VOL ...", of a verb that needs a volume.
    runtime::Task<config::Reply> on_volume(std::string verb, config::Command command);

  private:
    void accept(std::unique_ptr<runtime::Channel> channel);
    runtime::Task<> answer(std::uint64_t client, config::Command command);
    runtime::Task<config::Reply> status(config::Command command);
    runtime::Task<config::Reply> verify(std::shared_ptr<Mirror> mirror, config::Command command);
    runtime::Task<config::Reply> snapshot(config::Command command);
    runtime::Task<config::Reply> snapshot_status(config::Command command);

    runtime::World world_;
    Manager& manager_;
    std::unique_ptr<runtime::Listener> listener_;
    std::map<std::string, Handler> more_;
    Problems problems_;
    std::map<std::uint64_t, std::unique_ptr<runtime::Channel>> clients_;
    std::uint64_t next_client_ = 1;
    runtime::TaskScope tasks_;
};

/// One mirror as lines of a table.
std::string view_line(const MirrorView& view);

}  // namespace understudy::mirror::control
