#pragma once
// One life of a node's program: the world it sees. When it is killed everything it does afterwards (in
// destructors, or until the callback that is running returns) is without effect, and none of its callbacks
// runs again.

#include "runtime/simulated/event_queue.h"
#include "runtime/world.h"

#include <map>
#include <memory>
#include <string>

namespace understudy::runtime::simulated {

class NetworkCore;
class ProcessTable;
class Disk;

/// What an incarnation needs from its host and run; kept by reference in each of the interfaces below.
struct HostContext {
    EventQueue& queue;
    NetworkCore& network;
    ProcessTable& processes;
    Disk& disk;
    Random& random;
    const std::string& name;
    std::function<TimePoint()> now;  // the node's monotonic clock
    std::function<WallTime()> wall;
    std::function<Duration(Duration)> truly;  // a duration of the node's clock in true time
    std::function<void()> power_off;          // a fault that strikes inside a call of the program
};

class Incarnation : public EventOwner,
                    public std::enable_shared_from_this<Incarnation>,
                    private Clock,
                    private Tasks,
                    private Network,
                    private Processes,
                    private Files {
  public:
    Incarnation(HostContext& host, int pid) : host_(host), pid_(pid) {}

    [[nodiscard]] World world() { return {*this, *this, *this, *this, *this, host_.random}; }
    [[nodiscard]] bool dead() const { return dead_; }
    void die() { dead_ = true; }
    [[nodiscard]] int pid() const { return pid_; }
    [[nodiscard]] HostContext& host() { return host_; }
    /// Runs `function` at `at` unless this incarnation has died by then.
    EventId schedule(TimePoint at, Tasks::Function function);

  private:
    // Clock
    [[nodiscard]] TimePoint now() const override { return host_.now(); }
    [[nodiscard]] WallTime wall() const override { return host_.wall(); }
    // Tasks
    void post(Function function) override;
    TimerId after(Duration delay, Function function) override;
    void cancel(TimerId timer) override;
    void post_from_thread(Function function) override { post(std::move(function)); }
    [[nodiscard]] bool run_blocking(Function work, Function done) override;
    // Network
    Result<std::unique_ptr<Listener>> listen(const Endpoint& at, Security security,
                                             AcceptHandler on_accept) override;
    void connect(const ConnectOptions& options, ConnectHandler on_done) override;
    Result<> reload_credentials() override;
    // Processes
    ProcessHandle start(const ProcessSpec& spec, LineHandler on_line, ExitHandler on_exit) override;
    void kill(ProcessHandle process) override;
    [[nodiscard]] int pid(ProcessHandle process) const override;
    [[nodiscard]] bool alive(int pid) const override;
    // Files
    [[nodiscard]] Result<std::string> read(const std::string& path) const override;
    Result<> write_atomic(const std::string& path, std::string_view content, int mode) override;
    Result<> append(const std::string& path, std::string_view text, std::size_t most) override;
    Result<> remove(const std::string& path) override;
    Result<> make_directories(const std::string& path, int mode) override;
    [[nodiscard]] bool exists(const std::string& path) const override;
    [[nodiscard]] bool executable(const std::string& path) const override;
    [[nodiscard]] std::vector<std::string> list(const std::string& directory) const override;

    HostContext& host_;
    int pid_;
    bool dead_ = false;
    std::size_t blocking_jobs_ = 0;  // that wait for their worker
};

}  // namespace understudy::runtime::simulated
