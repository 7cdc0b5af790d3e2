#pragma once
// Processes that a daemon was running when it died (kill -9, a crash). They go on without it: a remove script
// could stop what the next daemon has just affirmed. So each running process is recorded in a file, and the
// next daemon ends what it finds before it does anything else. Files are used again: to make and delete one
// for each of a hundred checks a second would cost a file system more than the rest of the start.
//
// Only a process that still runs is ended, with its process group: an action that has finished may have left
// an application in its group. Private to runtime/posix.

#include "runtime/posix/descriptor.h"
#include "runtime/processes.h"

#include <map>
#include <string>
#include <vector>

namespace understudy::runtime {

class UnfinishedProcesses {
  public:
    /// Records lie in `directory`, which must not outlive a boot and belong to one daemon; empty: no records.
    explicit UnfinishedProcesses(std::string directory) : directory_(std::move(directory)) {}

    /// A record that cannot be written (a full /run) is no reason not to act: then only a crash of the daemon
    /// would leave the process running.
    void began(int pid, const ProcessSpec& spec);
    void ended(int pid);
    /// Kills what an earlier life left running and waits until it is dead, at most `grace` for each. Blocks.
    /// The command lines of what was killed.
    [[nodiscard]] std::vector<std::string> end_all(Duration grace) const;

  private:
    [[nodiscard]] Descriptor free_record();

    std::string directory_;
    std::map<int, Descriptor> running_;  // by pid
    std::vector<Descriptor> free_;       // empty files
    int made_ = 0;
};

}  // namespace understudy::runtime
