#include "runtime/simulated/incarnation.h"

#include "runtime/simulated/disk.h"
#include "runtime/simulated/network_core.h"
#include "runtime/simulated/process_table.h"

namespace understudy::runtime::simulated {
namespace {

// run_blocking: a worker takes the work up soon and the work takes a little.
constexpr std::uint64_t kMostWorkMicroseconds = 2000;

Error gone() {
    return {Code::failure, "the program has been stopped", 0};
}

}  // namespace

EventId Incarnation::schedule(TimePoint at, Tasks::Function function) {
    if (dead_) return 0;
    return host_.queue.schedule(at, this, std::move(function));
}

void Incarnation::post(Function function) {
    schedule(host_.queue.now(), std::move(function));
}

TimerId Incarnation::after(Duration delay, Function function) {
    const auto wait = host_.truly(std::max(delay, Duration::zero()));
    return static_cast<TimerId>(schedule(host_.queue.now() + wait, std::move(function)));
}

void Incarnation::cancel(TimerId timer) {
    host_.queue.cancel(static_cast<EventId>(timer));
}

bool Incarnation::run_blocking(Function work, Function done) {
    if (blocking_jobs_ >= kMaxBlockingJobs) return false;
    ++blocking_jobs_;
    const auto some_time = [this] {
        return std::chrono::microseconds(1 + host_.random.next() % kMostWorkMicroseconds);
    };
    schedule(host_.queue.now() + some_time(),
             [this, some_time, work = std::move(work), done = std::move(done)] {
                 work();
                 --blocking_jobs_;
                 schedule(host_.queue.now() + some_time(), done);
             });
    return true;
}

Result<std::unique_ptr<Listener>> Incarnation::listen(const Endpoint& at, Security security,
                                                      AcceptHandler on_accept) {
    if (dead_) return fail(gone());
    return host_.network.listen(shared_from_this(), at, security, std::move(on_accept));
}

void Incarnation::connect(const ConnectOptions& options, ConnectHandler on_done) {
    if (!dead_) host_.network.connect(shared_from_this(), options, std::move(on_done));
}

Result<> Incarnation::reload_credentials() {
    if (dead_) return fail(gone());
    return {};  // the host's fingerprint is always the present one
}

ProcessHandle Incarnation::start(const ProcessSpec& spec, LineHandler on_line, ExitHandler on_exit) {
    if (dead_) return {};
    return host_.processes.start(shared_from_this(), spec, std::move(on_line), std::move(on_exit));
}

void Incarnation::kill(ProcessHandle process) {
    if (!dead_) host_.processes.kill(process);
}

int Incarnation::pid(ProcessHandle process) const {
    return host_.processes.pid(process);
}

bool Incarnation::alive(int pid) const {
    return pid == pid_ || host_.processes.alive(pid);
}

Result<std::string> Incarnation::read(const std::string& path) const {
    return host_.disk.read(path);
}

Result<> Incarnation::write_atomic(const std::string& path, std::string_view content, int mode) {
    if (dead_) return fail(gone());
    return host_.disk.write_as_program(path, content, mode, host_.power_off);
}

Result<> Incarnation::append(const std::string& path, std::string_view text, std::size_t most) {
    if (dead_) return fail(gone());
    // A log on the disk is written by write_atomic(), as the interface has it.
    if (!Disk::is_memory(path)) return Files::append(path, text, most);
    return host_.disk.append_in_memory(path, text);
}

Result<> Incarnation::remove(const std::string& path) {
    if (dead_) return fail(gone());
    return host_.disk.remove(path);
}

Result<> Incarnation::make_directories(const std::string& path, int mode) {
    if (dead_) return fail(gone());
    return host_.disk.make_directories(path, mode);
}

bool Incarnation::exists(const std::string& path) const {
    return host_.disk.exists(path);
}

bool Incarnation::executable(const std::string& path) const {
    return host_.disk.executable(path);
}

std::vector<std::string> Incarnation::list(const std::string& directory) const {
    return host_.disk.list(directory);
}

}  // namespace understudy::runtime::simulated
