#pragma once
// The kernel's ublk protocol: what <linux/ublk_cmd.h> of Debian 12 (Linux 6.1) does not have yet. Structures
// are that header's; numbers are the kernel's, of Linux 6.5 and later.

#include <linux/ublk_cmd.h>

#include <cstdint>

namespace understudy::mirror::ublk {

inline constexpr char kControl[] = "/dev/ublk-control";

/// Commands as ioctl numbers, _IOR and _IOWR of type 'u' with the argument's size; the plain numbers of older
/// headers may be configured out of a kernel.
constexpr std::uint32_t command(std::uint32_t direction, std::uint32_t number, std::uint32_t size) {
    return direction << 30 | size << 16 | std::uint32_t{'u'} << 8 | number;
}
constexpr std::uint32_t read_command(std::uint32_t number) {
    return command(2, number, sizeof(ublksrv_ctrl_cmd));
}
constexpr std::uint32_t write_command(std::uint32_t number) {
    return command(3, number, sizeof(ublksrv_ctrl_cmd));
}
constexpr std::uint32_t io_command(std::uint32_t number) {
    return command(3, number, sizeof(ublksrv_io_cmd));
}

inline constexpr std::uint32_t kGetDeviceInfo = read_command(0x02);
inline constexpr std::uint32_t kAddDevice = write_command(0x04);
inline constexpr std::uint32_t kStartDevice = write_command(0x06);
inline constexpr std::uint32_t kStopDevice = write_command(0x07);
inline constexpr std::uint32_t kSetParameters = write_command(0x08);
inline constexpr std::uint32_t kStartRecovery = write_command(0x10);
inline constexpr std::uint32_t kEndRecovery = write_command(0x11);
inline constexpr std::uint32_t kGetFeatures = read_command(0x13);
inline constexpr std::uint32_t kDeleteDeviceLater = read_command(0x14);  // when its last user has closed it
inline constexpr std::uint32_t kUpdateSize = write_command(0x15);        // Linux 6.16

inline constexpr std::uint32_t kFetch = io_command(0x20);
inline constexpr std::uint32_t kCommitAndFetch = io_command(0x21);

inline constexpr std::uint64_t kUserRecovery = 1 << 3;
inline constexpr std::uint64_t kUserRecoveryReissue = 1 << 4;
inline constexpr std::uint64_t kIoctlCommands = 1 << 6;
inline constexpr std::uint64_t kCanUpdateSize = 1 << 10;  // of the driver's features
/// The device outlives its server, and gives what a dead server left unanswered to the next one.
inline constexpr std::uint64_t kFlags = kUserRecovery | kUserRecoveryReissue | kIoctlCommands;

inline constexpr std::uint32_t kMaxDepth = UBLK_MAX_QUEUE_DEPTH;
inline constexpr unsigned kSectorShift = 9;  // the kernel counts in these, whatever the device's sector

}  // namespace understudy::mirror::ublk
