#include "mirror/export/ublk_request.h"

#include <gtest/gtest.h>
#include <linux/ioctl.h>

#include <array>
#include <cerrno>

namespace understudy::mirror::ublk {
namespace {

constexpr std::uint32_t kMaxRequest = 1 << 17;

struct Read {
    int error = 0;
    BlockRequest request;
};
Read read(std::uint32_t op_flags, std::uint32_t sectors, std::uint64_t start) {
    ublksrv_io_desc description{};
    description.op_flags = op_flags;
    description.nr_sectors = sectors;
    description.start_sector = start;
    Read result;
    result.error = read_description(description, kMaxRequest, result.request);
    return result;
}

TEST(UblkProtocol, CommandsHaveTheKernelsNumbers) {
    EXPECT_EQ(kGetDeviceInfo, _IOR('u', UBLK_CMD_GET_DEV_INFO, ublksrv_ctrl_cmd));
    EXPECT_EQ(kAddDevice, _IOWR('u', UBLK_CMD_ADD_DEV, ublksrv_ctrl_cmd));
    EXPECT_EQ(kStartDevice, _IOWR('u', UBLK_CMD_START_DEV, ublksrv_ctrl_cmd));
    EXPECT_EQ(kStopDevice, _IOWR('u', UBLK_CMD_STOP_DEV, ublksrv_ctrl_cmd));
    EXPECT_EQ(kSetParameters, _IOWR('u', UBLK_CMD_SET_PARAMS, ublksrv_ctrl_cmd));
    EXPECT_EQ(kStartRecovery, _IOWR('u', UBLK_CMD_START_USER_RECOVERY, ublksrv_ctrl_cmd));
    EXPECT_EQ(kEndRecovery, _IOWR('u', UBLK_CMD_END_USER_RECOVERY, ublksrv_ctrl_cmd));
    EXPECT_EQ(kGetFeatures, _IOR('u', 0x13, ublksrv_ctrl_cmd));
    EXPECT_EQ(kDeleteDeviceLater, _IOR('u', 0x14, ublksrv_ctrl_cmd));
    EXPECT_EQ(kFetch, _IOWR('u', UBLK_IO_FETCH_REQ, ublksrv_io_cmd));
    EXPECT_EQ(kCommitAndFetch, _IOWR('u', UBLK_IO_COMMIT_AND_FETCH_REQ, ublksrv_io_cmd));
}

TEST(UblkRequest, AWriteHasItsRangeAndFua) {
    const auto plain = read(UBLK_IO_OP_WRITE, 8, 16);
    EXPECT_EQ(plain.error, 0);
    EXPECT_EQ(plain.request.op, BlockOp::write);
    EXPECT_EQ(plain.request.offset, 8192U);
    EXPECT_EQ(plain.request.length, 4096U);
    EXPECT_FALSE(plain.request.fua);
    EXPECT_TRUE(read(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 8, 16).request.fua);
}

TEST(UblkRequest, AReadBeyondFourGigabytesKeepsItsOffset) {
    const auto far = read(UBLK_IO_OP_READ, 1, 1ULL << 40);
    EXPECT_EQ(far.request.op, BlockOp::read);
    EXPECT_EQ(far.request.offset, 1ULL << 49);
    EXPECT_EQ(far.request.length, 512U);
}

TEST(UblkRequest, AFlushHasNoRange) {
    const auto flush = read(UBLK_IO_OP_FLUSH, 8, 16);
    EXPECT_EQ(flush.error, 0);
    EXPECT_EQ(flush.request.op, BlockOp::flush);
    EXPECT_EQ(flush.request.length, 0U);
}

TEST(UblkRequest, ZeroesMayBecomeAHoleUnlessTheKernelForbidsIt) {
    EXPECT_TRUE(read(UBLK_IO_OP_WRITE_ZEROES, 8, 0).request.punch);
    EXPECT_FALSE(read(UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP, 8, 0).request.punch);
    EXPECT_EQ(read(UBLK_IO_OP_DISCARD, 8, 0).request.op, BlockOp::discard);
}

TEST(UblkRequest, DataThatDoesNotFitIntoABufferIsRefused) {
    EXPECT_EQ(read(UBLK_IO_OP_WRITE, kMaxRequest / 512, 0).error, 0);
    EXPECT_EQ(read(UBLK_IO_OP_WRITE, kMaxRequest / 512 + 1, 0).error, -EINVAL);
    EXPECT_EQ(read(UBLK_IO_OP_READ, kMaxRequest / 512 + 1, 0).error, -EINVAL);
    EXPECT_EQ(read(UBLK_IO_OP_DISCARD, kMaxRequest / 512 + 1, 0).error, 0);
}

TEST(UblkRequest, AnUnknownOperationIsAnsweredWithAnError) {
    EXPECT_EQ(read(UBLK_IO_OP_WRITE_SAME, 8, 0).error, -EOPNOTSUPP);
    EXPECT_EQ(read(0x7f, 8, 0).error, -EOPNOTSUPP);
}

TEST(UblkRequest, OnlyReadsAndWritesAreAnsweredWithBytes) {
    auto write = read(UBLK_IO_OP_WRITE, 8, 0).request;
    EXPECT_EQ(answer_of(write), 4096);
    write.result = -EIO;
    EXPECT_EQ(answer_of(write), -EIO);
    EXPECT_EQ(answer_of(read(UBLK_IO_OP_READ, 1, 0).request), 512);
    EXPECT_EQ(answer_of(read(UBLK_IO_OP_DISCARD, 8, 0).request), 0);
    EXPECT_EQ(answer_of(read(UBLK_IO_OP_FLUSH, 0, 0).request), 0);
}

TEST(UblkParameters, DescribeTheVolume) {
    const auto made = parameters({1 << 30, 512, kMaxRequest, false, true});
    EXPECT_EQ(made.len, sizeof made);
    EXPECT_EQ(made.basic.logical_bs_shift, 9);
    EXPECT_EQ(made.basic.physical_bs_shift, 12);
    EXPECT_EQ(made.basic.dev_sectors, (1U << 30) / 512);
    EXPECT_EQ(made.basic.max_sectors, kMaxRequest / 512);
    EXPECT_EQ(made.basic.attrs, unsigned{UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA});
    EXPECT_GT(made.discard.max_discard_sectors, 0U);
    EXPECT_GT(made.discard.max_write_zeroes_sectors, 0U);
}

TEST(UblkParameters, SectorsOf4096BytesAreLogicalBlocks) {
    const auto made = parameters({1 << 30, 4096, kMaxRequest, false, false});
    EXPECT_EQ(made.basic.logical_bs_shift, 12);
    EXPECT_EQ(made.discard.max_discard_sectors, 0U) << "nothing to give back";
    EXPECT_GT(made.discard.max_write_zeroes_sectors, 0U);
}

TEST(UblkParameters, AReadOnlyDeviceTakesNoZeroes) {
    const auto made = parameters({1 << 30, 512, kMaxRequest, true, true});
    EXPECT_NE(made.basic.attrs & UBLK_ATTR_READ_ONLY, 0U);
    EXPECT_EQ(made.discard.max_discard_sectors, 0U);
    EXPECT_EQ(made.discard.max_write_zeroes_sectors, 0U);
}

TEST(UblkLabel, TellsVolumesAndHostsApart) {
    EXPECT_EQ(label(1, 2, "data"), label(1, 2, "data"));
    EXPECT_NE(label(1, 2, "data"), label(1, 2, "log"));
    EXPECT_NE(label(1, 2, "data"), label(1, 3, "data"));
    EXPECT_NE(label(1, 2, "data"), label(2, 2, "data"));
}

}  // namespace
}  // namespace understudy::mirror::ublk
