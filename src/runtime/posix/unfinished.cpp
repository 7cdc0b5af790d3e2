#include "runtime/posix/unfinished.h"

#include "base/text.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace understudy::runtime {
namespace {

constexpr std::size_t kStartTimeField = 22;  // of /proc/PID/stat, counted from 1; "state" is the third

/// When the process started, in ticks of this boot: with the pid it names one process only. Empty: none runs.
std::string start_time(int pid) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string line;
    if (!std::getline(file, line)) return {};
    const auto name_end = line.rfind(')');  // the name itself may hold anything
    if (name_end == std::string::npos) return {};
    const auto fields = text::words(line.substr(name_end + 1));
    constexpr std::size_t kFirst = 3;
    if (fields.size() <= kStartTimeField - kFirst || fields[0] == "Z" || fields[0] == "X") return {};
    return fields[kStartTimeField - kFirst];
}

/// False when it does not run any more.
bool kill_and_wait(int pid, const std::string& started, Duration grace) {
    // The descriptor comes first: it tells this process's end even if its number is used again.
    const Descriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process || start_time(pid) != started) return false;
    ::kill(-pid, SIGKILL);
    pollfd end{process.get(), POLLIN, 0};
    (void)::poll(&end, 1,
                 static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(grace).count()));
    return true;
}

}  // namespace

Descriptor UnfinishedProcesses::free_record() {
    if (!free_.empty()) {
        auto record = std::move(free_.back());
        free_.pop_back();
        return record;
    }
    std::error_code made;
    std::filesystem::create_directories(directory_, made);
    return Descriptor(::open(fmt::format("{}/{}", directory_, ++made_).c_str(),
                             O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
}

void UnfinishedProcesses::began(int pid, const ProcessSpec& spec) {
    if (directory_.empty()) return;
    auto record = free_record();
    if (!record) return;
    auto text = fmt::format("{}\n{}\n{}", pid, start_time(pid), spec.path);
    for (const auto& argument : spec.arguments)
        text += ' ' + argument;
    text += '\n';
    (void)!::pwrite(record.get(), text.data(), text.size(), 0);
    running_.insert_or_assign(pid, std::move(record));
}

void UnfinishedProcesses::ended(int pid) {
    const auto at = running_.find(pid);
    if (at == running_.end()) return;
    if (::ftruncate(at->second.get(), 0) == 0) free_.push_back(std::move(at->second));
    running_.erase(at);
}

std::vector<std::string> UnfinishedProcesses::end_all(Duration grace) const {
    std::vector<std::string> killed;
    std::error_code listed;
    for (std::filesystem::directory_iterator at(directory_, listed), end; !listed && at != end;
         at.increment(listed)) {
        std::ifstream record(at->path());
        std::string number;
        std::string started;
        std::string command;
        std::getline(record, number);
        std::getline(record, started);
        std::getline(record, command);
        const auto pid = text::to_int(number);
        if (pid && *pid > 1 && !started.empty() && kill_and_wait(static_cast<int>(*pid), started, grace))
            killed.push_back(command);
        ::unlink(at->path().c_str());
    }
    return killed;
}

}  // namespace understudy::runtime
