#pragma once
// The processes of one host. They belong to the host, not to the program that started them: they outlive a
// kill of the program until the next one starts, and stand still only when the whole host is paused.

#include "runtime/processes.h"
#include "runtime/simulated/incarnation.h"
#include "runtime/simulated/simulated_world.h"

#include <map>
#include <set>

namespace understudy::runtime::simulated {

class ProcessTable {
  public:
    using Trace = std::function<void(const std::string&)>;
    ProcessTable(EventQueue& queue, EventOwner& host, Trace trace)
        : queue_(queue), host_(host), trace_(std::move(trace)) {}

    void set_model(SimulatedNode::ProcessModel model) { model_ = std::move(model); }
    [[nodiscard]] int next_pid() { return next_pid_++; }

    ProcessHandle start(const std::shared_ptr<Incarnation>& starter, const ProcessSpec& spec,
                        Processes::LineHandler on_line, Processes::ExitHandler on_exit);
    /// A process that is none of the program's, such as an administrator's shell; its pid.
    int start_foreign(Duration lives);
    void kill(ProcessHandle process);
    [[nodiscard]] int pid(ProcessHandle process) const;
    [[nodiscard]] bool alive(int pid) const;
    [[nodiscard]] std::size_t count() const { return running_.size(); }

    /// Nobody is told of the exits of what this incarnation started.
    void forget_starter(const Incarnation& starter);
    /// Kills what a program that died has left running, as the daemon does before it starts.
    void end_unfinished();
    void power_off();

  private:
    struct Process {
        std::string what;
        SimulatedOutcome outcome;
        std::size_t max_output = 0;
        bool foreign = false;
        std::shared_ptr<Incarnation> starter;  // null when it has died, and for foreign ones
        Processes::LineHandler on_line;
        Processes::ExitHandler on_exit;
        EventId end = 0;
    };
    void end(int pid, bool killed, bool timed_out);

    EventQueue& queue_;
    EventOwner& host_;
    Trace trace_;
    SimulatedNode::ProcessModel model_;
    std::map<int, Process> running_;  // the handle is the pid
    int next_pid_ = 100;
};

}  // namespace understudy::runtime::simulated
