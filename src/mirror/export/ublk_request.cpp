#include "mirror/export/ublk_request.h"

#include "base/checksum.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <span>
#include <string>

namespace understudy::mirror::ublk {
namespace {

constexpr std::uint32_t kPage = 4096;
constexpr std::uint32_t kOperationMask = 0xff;
/// Largest piece of a discard or zeroing in one request; the kernel splits what is larger.
constexpr std::uint32_t kMaxRange = 1 << 30;

}  // namespace

ublk_params parameters(const Shape& shape) {
    ublk_params result{};
    result.len = sizeof result;
    result.types = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD;
    const auto shift = static_cast<std::uint8_t>(std::countr_zero(shape.sector_size));
    const auto page_shift = static_cast<std::uint8_t>(std::countr_zero(kPage));
    auto& basic = result.basic;
    basic.attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA | (shape.read_only ? UBLK_ATTR_READ_ONLY : 0);
    basic.logical_bs_shift = shift;
    basic.physical_bs_shift = std::max(shift, page_shift);
    basic.io_min_shift = basic.physical_bs_shift;
    basic.io_opt_shift = basic.physical_bs_shift;
    basic.max_sectors = shape.max_request >> kSectorShift;
    basic.dev_sectors = shape.size >> kSectorShift;
    auto& discard = result.discard;
    if (!shape.read_only) {
        discard.max_write_zeroes_sectors = kMaxRange >> kSectorShift;
        if (shape.discards) discard.max_discard_sectors = kMaxRange >> kSectorShift;
    }
    discard.discard_granularity = std::max(shape.sector_size, kPage);
    discard.max_discard_segments = 1;
    return result;
}

int read_description(const ublksrv_io_desc& description, std::uint32_t max_request, BlockRequest& request) {
    const std::uint64_t length = std::uint64_t{description.nr_sectors} << kSectorShift;
    request.offset = description.start_sector << kSectorShift;
    request.fua = (description.op_flags & UBLK_IO_F_FUA) != 0;
    request.punch = false;
    request.result = 0;
    std::uint64_t most = max_request;
    switch (description.op_flags & kOperationMask) {
        case UBLK_IO_OP_READ:
            request.op = BlockOp::read;
            break;
        case UBLK_IO_OP_WRITE:
            request.op = BlockOp::write;
            break;
        case UBLK_IO_OP_FLUSH:
            request.op = BlockOp::flush;
            request.offset = 0;
            request.length = 0;
            return 0;
        case UBLK_IO_OP_DISCARD:
            request.op = BlockOp::discard;
            most = kMaxRange;
            break;
        case UBLK_IO_OP_WRITE_ZEROES:
            request.op = BlockOp::write_zeroes;
            request.punch = (description.op_flags & UBLK_IO_F_NOUNMAP) == 0;
            most = kMaxRange;
            break;
        default:
            return -EOPNOTSUPP;
    }
    if (length > most) return -EINVAL;
    request.length = static_cast<std::uint32_t>(length);
    return 0;
}

std::int32_t answer_of(const BlockRequest& request) {
    if (request.result < 0) return request.result;
    const bool counts = request.op == BlockOp::read || request.op == BlockOp::write;
    return counts ? static_cast<std::int32_t>(request.length) : 0;
}

std::uint64_t label(std::uint64_t directory_device, std::uint64_t directory_inode, std::string_view volume) {
    const std::string text =
        fmt::format("understudy:{:x}.{:x}:{}", directory_device, directory_inode, volume);
    return xxh3(std::as_bytes(std::span(text)));
}

}  // namespace understudy::mirror::ublk
