#include "mirror/shared/posix/scsi_reservation.h"

#include <fcntl.h>
#include <linux/pr.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace understudy::mirror::shared {
namespace {

// Positive results of these calls are the disk's own status: SCSI's, or the kernel's PR_STS_*.
constexpr int kCheckCondition = 0x02;  // the disk does not know the command (and PR_STS_IOERR)
constexpr int kConflict = 0x18;

class ScsiDisk final : public ReservableDisk {
  public:
    ScsiDisk(int fd, std::string device) : fd_(fd), device_(std::move(device)) {}
    ScsiDisk(const ScsiDisk&) = delete;
    ScsiDisk& operator=(const ScsiDisk&) = delete;
    ~ScsiDisk() override { close(fd_); }

    Result<Outcome> register_key(std::uint64_t key) override {
        pr_registration argument{};
        argument.new_key = key;
        argument.flags = PR_FL_IGNORE_KEY;
        return outcome(ioctl(fd_, IOC_PR_REGISTER, &argument), "register for");
    }
    Result<Outcome> reserve(std::uint64_t key) override {
        pr_reservation argument{};
        argument.key = key;
        argument.type = PR_WRITE_EXCLUSIVE;
        return outcome(ioctl(fd_, IOC_PR_RESERVE, &argument), "reserve");
    }
    Result<Outcome> preempt(std::uint64_t key, std::uint64_t victim) override {
        pr_preempt argument{};
        argument.old_key = victim;
        argument.new_key = key;
        argument.type = PR_WRITE_EXCLUSIVE;
        return outcome(ioctl(fd_, IOC_PR_PREEMPT_ABORT, &argument), "preempt");
    }
    Result<Outcome> release(std::uint64_t key) override {
        pr_reservation argument{};
        argument.key = key;
        argument.type = PR_WRITE_EXCLUSIVE;
        return outcome(ioctl(fd_, IOC_PR_RELEASE, &argument), "release");
    }

  private:
    [[nodiscard]] Result<Outcome> outcome(int result, std::string_view what) const {
        if (result == 0) return Outcome::done;
        if (result == kConflict || (result < 0 && errno == EBADE)) return Outcome::conflict;
        if (result == kCheckCondition) return Outcome::unsupported;
        if (result < 0 && (errno == ENOTTY || errno == EOPNOTSUPP || errno == EINVAL))
            return Outcome::unsupported;
        return fail(Code::failure, "cannot {} the reservation of {}: {}", what, device_,
                    result < 0 ? std::string(std::strerror(errno)) : fmt::format("status {}", result));
    }

    int fd_;
    std::string device_;
};

/// A file, which some use in the place of a disk.
class PlainFile final : public ReservableDisk {
  public:
    Result<Outcome> register_key(std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> reserve(std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> preempt(std::uint64_t, std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> release(std::uint64_t) override { return Outcome::unsupported; }
};

}  // namespace

Result<std::unique_ptr<ReservableDisk>> open_reservable_disk(const std::string& device) {
    struct stat about {};
    if (stat(device.c_str(), &about) == 0 && !S_ISBLK(about.st_mode)) return std::make_unique<PlainFile>();
    const int fd = open(device.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail(Code::failure, "cannot open {}: {}", device, std::strerror(errno));
    return std::make_unique<ScsiDisk>(fd, device);
}

}  // namespace understudy::mirror::shared
