#include "runtime/simulated/process_table.h"

#include "base/text.h"

namespace understudy::runtime::simulated {
namespace {

constexpr int kKilled = 128 + 9;

std::string describe(const ProcessSpec& spec) {
    auto text = spec.path;
    for (const auto& argument : spec.arguments)
        text += " " + argument;
    return text;
}

}  // namespace

ProcessHandle ProcessTable::start(const std::shared_ptr<Incarnation>& starter, const ProcessSpec& spec,
                                  Processes::LineHandler on_line, Processes::ExitHandler on_exit) {
    const auto pid = next_pid();
    if (!model_) {
        auto error = Error{Code::not_found, fmt::format("cannot start {}: no such program", spec.path), 0};
        trace_(error.text);
        starter->schedule(queue_.now(), [on_exit = std::move(on_exit), error = std::move(error)] {
            on_exit(tl::unexpected<Error>(error));
        });
        return static_cast<ProcessHandle>(pid);
    }
    auto outcome = model_(spec);
    const bool times_out = spec.limit && outcome.takes > *spec.limit;
    const auto takes = times_out ? *spec.limit : outcome.takes;
    auto& process = running_[pid];
    process.what = describe(spec);
    process.outcome = std::move(outcome);
    process.max_output = spec.max_output;
    process.starter = starter;
    process.on_line = std::move(on_line);
    process.on_exit = std::move(on_exit);
    process.end = queue_.schedule(queue_.now() + takes, &host_,
                                  [this, pid, times_out] { end(pid, times_out, times_out); });
    trace_(fmt::format("process {} starts: {}", pid, process.what));
    return static_cast<ProcessHandle>(pid);
}

int ProcessTable::start_foreign(Duration lives) {
    const auto pid = next_pid();
    auto& process = running_[pid];
    process.what = "another program";
    process.foreign = true;
    process.end = queue_.schedule(queue_.now() + lives, &host_, [this, pid] { end(pid, false, false); });
    trace_(fmt::format("process {} starts: {}", pid, process.what));
    return pid;
}

void ProcessTable::kill(ProcessHandle handle) {
    const auto pid = static_cast<int>(handle);
    const auto at = running_.find(pid);
    if (at == running_.end()) return;
    queue_.cancel(at->second.end);
    at->second.end = queue_.schedule(queue_.now(), &host_, [this, pid] { end(pid, true, false); });
}

void ProcessTable::end(int pid, bool killed, bool timed_out) {
    const auto at = running_.find(pid);
    if (at == running_.end()) return;
    auto process = std::move(at->second);
    running_.erase(at);
    ProcessResult result;
    result.timed_out = timed_out;
    if (killed) {
        result.exit_code = kKilled;
        if (process.outcome.on_kill) process.outcome.on_kill();
    } else {
        result.output = process.outcome.output.substr(0, process.max_output);
        result.exit_code = process.outcome.effect ? process.outcome.effect() : process.outcome.exit_code;
    }
    trace_(fmt::format("process {} exits {}{}: {}", pid, result.exit_code, timed_out ? " (time-out)" : "",
                       process.what));
    if (!process.starter) return;
    process.starter->schedule(queue_.now(),
                              [on_line = std::move(process.on_line), on_exit = std::move(process.on_exit),
                               result = std::move(result)] {
                                  auto lines = text::split(result.output, '\n');
                                  if (lines.back().empty()) lines.pop_back();
                                  if (on_line)
                                      for (const auto& line : lines)
                                          on_line(line);
                                  if (on_exit) on_exit(result);
                              });
}

int ProcessTable::pid(ProcessHandle process) const {
    const auto pid = static_cast<int>(process);
    return running_.contains(pid) ? pid : 0;
}

bool ProcessTable::alive(int pid) const {
    return running_.contains(pid);
}

void ProcessTable::forget_starter(const Incarnation& starter) {
    // The handlers may own what calls back here when destroyed: they go after the table is consistent.
    std::vector<std::pair<Processes::LineHandler, Processes::ExitHandler>> destroyed;
    for (auto& [pid, process] : running_) {
        if (process.starter.get() != &starter) continue;
        process.starter.reset();
        destroyed.emplace_back(std::exchange(process.on_line, nullptr),
                               std::exchange(process.on_exit, nullptr));
    }
}

void ProcessTable::end_unfinished() {
    std::vector<int> left;
    for (const auto& [pid, process] : running_)
        if (!process.starter && !process.foreign) left.push_back(pid);
    for (const auto pid : left) {
        queue_.cancel(running_.at(pid).end);
        end(pid, true, false);
    }
}

void ProcessTable::power_off() {
    const auto destroyed = std::exchange(running_, {});
    for (const auto& [pid, process] : destroyed)
        queue_.cancel(process.end);
}

}  // namespace understudy::runtime::simulated
