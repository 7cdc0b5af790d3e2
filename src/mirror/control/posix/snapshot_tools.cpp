#include "mirror/control/posix/snapshot_tools.h"

#include "messages/messages.h"
#include "mirror/control/posix/quiesce_protocol.h"
#include "mirror/control/posix/socket_io.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace understudy::mirror::control {

namespace {

using runtime::OneShot;
using runtime::Task;

/// Less than this free, or than an eighth of a smaller volume, is not worth the attempt. Spec: MOP-211.
constexpr std::uint64_t kLeastFreeBytes = 64UL << 20;
constexpr std::uint64_t kFileUnit = 4096;  // the file is a whole number of these

// <linux/magic.h> does not have these.
constexpr long kCifsMagic = 0xff534d42;
constexpr long kSmb2Magic = 0xfe534d42;
constexpr long kFuseMagic = 0x65735546;

Result<> make_file(const std::string& file, std::uint64_t bytes) {
    if (unlink(file.c_str()) != 0 && errno != ENOENT)
        return fail(Code::failure, "cannot replace {}: {}", file, system_text(errno));
    const Socket made(open(file.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!made.valid()) return fail(Code::failure, "cannot make {}: {}", file, system_text(errno));
    struct statvfs space {};
    if (fstatvfs(made.fd(), &space) == 0) {
        const std::uint64_t free = std::uint64_t{space.f_bavail} * space.f_frsize;
        if (free < std::min(kLeastFreeBytes, bytes / 8)) {
            unlink(file.c_str());
            return fail(Code::failure, "only {} bytes are free for {}", free, file);
        }
    }
    const std::uint64_t whole = (bytes + kFileUnit - 1) / kFileUnit * kFileUnit;
    if (ftruncate(made.fd(), static_cast<off_t>(whole)) != 0) {
        const std::string why = system_text(errno);
        unlink(file.c_str());
        return fail(Code::failure, "cannot make {} of {} bytes: {}", file, whole, why);
    }
    return {};
}

/// One run of the helper. Its process ends by itself when this one does.
class HelperRun : public Quiet, public std::enable_shared_from_this<HelperRun> {
  public:
    explicit HelperRun(runtime::World world) : world_(world), frozen_(world.tasks), ended_(world.tasks) {}
    ~HelperRun() override { let_go(); }

    Task<Result<>> start(runtime::ProcessSpec spec) {
        std::weak_ptr<HelperRun> weak = weak_from_this();
        process_ = world_.processes.start(
            spec,
            [weak](std::string_view line) {
                const auto self = weak.lock();
                if (!self) return;
                if (line == kFrozenLine) return self->frozen_.set(true);
                self->said_ = line;
            },
            [weak](Result<runtime::ProcessResult> result) {
                const auto self = weak.lock();
                if (!self) return;
                self->exit_code_ = result ? result->exit_code : kQuiesceFailed;
                if (!result) self->said_ = result.error().text;
                self->gone_ = true;
                self->frozen_.set(false);
                self->ended_.set(true);
            });
        const bool frozen = co_await frozen_;
        if (frozen) co_return Result<>{};
        co_return fail(Code::failure, "{}",
                       said_.empty() ? fmt::format("{} ended with {}", spec.path, exit_code_) : said_);
    }

    Task<Result<>> end() override {
        let_go();
        co_await ended_;
        if (exit_code_ == 0) co_return Result<>{};
        co_return fail(Code::failure, "{}",
                       said_.empty() ? "the helper that froze them has ended early" : said_);
    }

  private:
    void let_go() {
        const int pid = gone_ ? 0 : world_.processes.pid(process_);
        if (pid > 0) ::kill(pid, SIGTERM);
    }

    runtime::World world_;
    runtime::ProcessHandle process_{};
    OneShot<bool> frozen_, ended_;
    std::string said_;
    int exit_code_ = 0;
    bool gone_ = false;
};

}  // namespace

LinuxSnapshotTools::LinuxSnapshotTools(runtime::World world, config::Layout layout, std::string helper)
    : world_(world), layout_(std::move(layout)), helper_(std::move(helper)) {}

Result<> LinuxSnapshotTools::check_location(const std::string& directory,
                                            const std::vector<std::string>& devices) const {
    if (!directory.starts_with('/')) return fail(Code::bad_argument, "\"{}\" is no absolute path", directory);
    struct stat status {};
    if (stat(directory.c_str(), &status) != 0)
        return fail(errno == ENOENT ? Code::not_found : Code::failure, "cannot use {}: {}", directory,
                    system_text(errno));
    if (!S_ISDIR(status.st_mode)) return fail(Code::bad_argument, "{} is no directory", directory);
    struct statfs about {};
    if (statfs(directory.c_str(), &about) != 0)
        return fail(Code::failure, "cannot use {}: {}", directory, system_text(errno));
    constexpr std::array<long, 5> kRemote = {NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, kCifsMagic, kSmb2Magic,
                                             kFuseMagic};
    if (std::find(kRemote.begin(), kRemote.end(), static_cast<long>(about.f_type)) != kRemote.end())
        return fail(Code::bad_argument, "{} is not on a local disk", directory);
    for (const std::string& device : devices) {
        struct stat volume {};
        if (stat(device.c_str(), &volume) == 0 && S_ISBLK(volume.st_mode) && volume.st_rdev == status.st_dev)
            return fail(Code::bad_argument, "{} is on the mirrored volume {}", directory, device);
    }
    if (access(directory.c_str(), W_OK | X_OK) != 0)
        return fail(Code::failure, "{} cannot be written to: {}", directory, system_text(errno));
    return {};
}

Task<Result<>> LinuxSnapshotTools::create(std::string file, std::uint64_t bytes) {
    OneShot<bool> done(world_.tasks);
    auto result = std::make_shared<Result<>>();
    if (!world_.tasks.run_blocking([file, bytes, result] { *result = make_file(file, bytes); },
                                   [done] { done.set(true); }))
        co_return fail(Code::failure, "too much is under way on this host");
    co_await done;
    co_return *result;
}

/// A large file takes its time to go.
Task<> LinuxSnapshotTools::remove(std::string file) {
    OneShot<bool> done(world_.tasks);
    auto error = std::make_shared<int>(0);
    const auto work = [file, error] {
        if (unlink(file.c_str()) != 0 && errno != ENOENT) *error = errno;
    };
    if (!world_.tasks.run_blocking(work, [done] { done.set(true); })) co_return;  // the next one replaces it
    co_await done;
    if (*error != 0) messages::warning("cannot remove {}: {}", file, system_text(*error));
}

Task<Result<std::shared_ptr<Quiet>>> LinuxSnapshotTools::quiesce(std::vector<QuietVolume> volumes) {
    runtime::ProcessSpec spec;
    spec.path = helper_;
    spec.arguments = {"--limit-ms", std::to_string(std::chrono::milliseconds(kFreezeLimit).count()),
                      "--hooks", layout_.etc() + "/snapshot.d"};
    std::string names;
    for (const QuietVolume& volume : volumes) {
        names += names.empty() ? volume.volume.str() : " " + volume.volume.str();
        if (!volume.device.empty()) spec.arguments.push_back(volume.device);
    }
    spec.environment = {{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"}, {"UNDERSTUDY_VOLUMES", names}};
    auto run = std::make_shared<HelperRun>(world_);
    Result<> started = co_await run->start(spec);
    if (!started) co_return fail(started.error());
    co_return std::shared_ptr<Quiet>(run);
}

}  // namespace understudy::mirror::control
