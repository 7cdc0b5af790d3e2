#include "mirror/shared/posix/scsi_reservation.h"

#include <fcntl.h>
#include <linux/pr.h>
#include <scsi/sg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace understudy::mirror::shared {
namespace {

// Positive results of these calls are the disk's own status: SCSI's, or the kernel's PR_STS_*.
constexpr int kCheckCondition = 0x02;  // it did not do it, for whatever reason (and PR_STS_IOERR)
constexpr int kConflict = 0x18;

/// Of one call: a disk may have several things to report (reset, preempted, another size) before it does
/// anything.
constexpr int kMostAttempts = 8;

// Of SPC-4: PERSISTENT RESERVE IN with the service action READ KEYS.
constexpr unsigned char kReserveIn = 0x5e, kReadKeys = 0x00, kReadReservation = 0x01;
constexpr unsigned char kKeysLength = 8;  // the header alone
// The header, which has the length of what follows at 4, and one reservation, which begins with the key.
constexpr unsigned char kReservationLength = 24;
constexpr std::size_t kLengthAt = 4, kKeyAt = 8;
constexpr unsigned char kNotReady = 0x2, kIllegalRequest = 0x5;
constexpr unsigned kAskLimit = 30'000;  // ms

/// Why a disk may have answered with a check condition: the calls for reservations do not pass it on.
enum class Knowledge : std::uint8_t {
    none,     // no such commands
    some,     // it has them
    unknown,  // it cannot be asked in this way
};
struct Asked {
    bool answered = false;  // else it cannot be asked in this way
    int status = 0;
    unsigned char sense_key = 0;
};
template <std::size_t size>
Asked ask(int fd, unsigned char what, std::array<unsigned char, size>& out) {
    std::array<unsigned char, 10> command{kReserveIn, what, 0, 0, 0, 0, 0, 0, size, 0};
    std::array<unsigned char, 64> sense{};
    sg_io_hdr_t call{};
    call.interface_id = 'S';
    call.dxfer_direction = SG_DXFER_FROM_DEV;
    call.cmd_len = command.size();
    call.cmdp = command.data();
    call.dxfer_len = out.size();
    call.dxferp = out.data();
    call.mx_sb_len = sense.size();
    call.sbp = sense.data();
    call.timeout = kAskLimit;
    Asked asked;
    if (ioctl(fd, SG_IO, &call) != 0 || call.host_status != 0) return asked;
    asked.answered = true;
    asked.status = call.status;
    // Descriptor or fixed format.
    asked.sense_key = (sense[0] & 0x7fU) >= 0x72U ? sense[1] & 0xfU : sense[2] & 0xfU;
    return asked;
}

Knowledge ask_for_keys(int fd) {
    std::array<unsigned char, kKeysLength> keys{};
    const Asked asked = ask(fd, kReadKeys, keys);
    if (!asked.answered) return Knowledge::unknown;
    if (asked.status != kCheckCondition) return Knowledge::some;
    return asked.sense_key == kIllegalRequest ? Knowledge::none
           : asked.sense_key == kNotReady     ? Knowledge::unknown
                                              : Knowledge::some;
}

template <std::size_t size>
std::uint64_t big_endian(const std::array<unsigned char, size>& bytes, std::size_t at, std::size_t length) {
    std::uint64_t value = 0;
    for (std::size_t i = at; i < at + length; ++i)
        value = value << 8U | bytes[i];
    return value;
}

class ScsiDisk final : public ReservableDisk {
  public:
    ScsiDisk(int fd, std::string device) : fd_(fd), device_(std::move(device)) {}
    ScsiDisk(const ScsiDisk&) = delete;
    ScsiDisk& operator=(const ScsiDisk&) = delete;
    ~ScsiDisk() override { close(fd_); }

    Result<Holder> holder() override {
        for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
            std::array<unsigned char, kReservationLength> found{};
            const Asked asked = ask(fd_, kReadReservation, found);
            if (!asked.answered) break;
            if (asked.status == 0) {
                if (big_endian(found, kLengthAt, 4) < kReservationLength - kKeyAt)
                    return Holder{true, std::nullopt};
                return Holder{true, big_endian(found, kKeyAt, 8)};
            }
            // Whatever else it has to report comes first.
            if (asked.status != kCheckCondition || asked.sense_key == kIllegalRequest) break;
        }
        return Holder{};
    }
    Result<Outcome> register_key(std::uint64_t key) override {
        pr_registration argument{};
        argument.new_key = key;
        argument.flags = PR_FL_IGNORE_KEY;
        return outcome(IOC_PR_REGISTER, argument, "register for");
    }
    Result<Outcome> unregister(std::uint64_t key) override {
        pr_registration argument{};
        argument.old_key = key;
        return outcome(IOC_PR_REGISTER, argument, "end the registration for");
    }
    Result<Outcome> reserve(std::uint64_t key) override {
        pr_reservation argument{};
        argument.key = key;
        argument.type = PR_WRITE_EXCLUSIVE;
        return outcome(IOC_PR_RESERVE, argument, "take");
    }
    Result<Outcome> preempt(std::uint64_t key, std::uint64_t victim) override {
        pr_preempt argument{};
        // As the drivers send them to the disk: whose command it is, then whom it is against. Not what the
        // names say.
        argument.old_key = key;
        argument.new_key = victim;
        argument.type = PR_WRITE_EXCLUSIVE;
        return outcome(IOC_PR_PREEMPT_ABORT, argument, "preempt");
    }
    Result<Outcome> release(std::uint64_t key) override {
        pr_reservation argument{};
        argument.key = key;
        argument.type = PR_WRITE_EXCLUSIVE;
        return outcome(IOC_PR_RELEASE, argument, "release");
    }

  private:
    template <class Argument>
    [[nodiscard]] Result<Outcome> outcome(unsigned long call, Argument argument,
                                          std::string_view what) const {
        int result = 0;
        for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
            result = ioctl(fd_, call, &argument);
            if (result == 0) return Outcome::done;
            if (result == kConflict || (result < 0 && errno == EBADE)) return Outcome::conflict;
            if (result < 0 && (errno == ENOTTY || errno == EOPNOTSUPP || errno == EINVAL))
                return Outcome::unsupported;
            if (result < 0)
                return fail(Code::failure, "cannot {} the reservation of {}: {}", what, device_,
                            std::strerror(errno));
            if (result != kCheckCondition) break;
            // Taken for a disk without reservations, one that has them would be open to every host.
            if (ask_for_keys(fd_) == Knowledge::none) return Outcome::unsupported;
        }
        return fail(Code::failure,
                    "cannot {} the reservation of {}: the disk has reservations and refuses this one (status "
                    "{:#x}); see the storage system's log",
                    what, device_, result);
    }

    int fd_;
    std::string device_;
};

/// What is not a disk of its own: a file, a partition, a logical volume.
class PartOfADisk final : public ReservableDisk {
  public:
    Result<Holder> holder() override { return Holder{}; }
    Result<Outcome> register_key(std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> unregister(std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> reserve(std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> preempt(std::uint64_t, std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> release(std::uint64_t) override { return Outcome::unsupported; }
};

/// A reservation is of a whole disk. Of a part it would keep other hosts from what else is on the disk, such
/// as the lock area.
bool is_whole_disk(const struct stat& about) {
    if (!S_ISBLK(about.st_mode)) return false;
    const std::string facts = fmt::format("/sys/dev/block/{}:{}", major(about.st_rdev), minor(about.st_rdev));
    if (access((facts + "/partition").c_str(), F_OK) == 0) return false;
    std::ifstream mapped(facts + "/dm/uuid");
    if (!mapped) return true;
    // Of what the device mapper makes only the paths of one disk are one.
    std::string uuid;
    std::getline(mapped, uuid);
    return uuid.starts_with("mpath-");
}

}  // namespace

Result<std::unique_ptr<ReservableDisk>> open_reservable_disk(const std::string& device) {
    const int fd = open(device.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail(Code::failure, "cannot open {}: {}", device, std::strerror(errno));
    struct stat about {};
    if (fstat(fd, &about) == 0 && is_whole_disk(about)) return std::make_unique<ScsiDisk>(fd, device);
    close(fd);
    return std::make_unique<PartOfADisk>();
}

}  // namespace understudy::mirror::shared
