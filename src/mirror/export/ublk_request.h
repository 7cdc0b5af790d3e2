#pragma once
// Between the kernel's ublk descriptions and ours. Pure; any thread.

#include "mirror/block.h"
#include "mirror/export/ublk_protocol.h"

#include <cstdint>
#include <string_view>

namespace understudy::mirror::ublk {

/// What the device looks like. Must not change while it lives.
struct Shape {
    std::uint64_t size = 0;           // bytes
    std::uint32_t sector_size = 512;  // bytes
    std::uint32_t max_request = 0;    // bytes of data in one request
    bool read_only = false;
    bool discards = false;  // gives space back
};

/// For SET_PARAMS. Written data may wait in a cache until a flush, and FUA is honoured.
ublk_params parameters(const Shape& shape);

/// Fills op, flags and range of `request` from what the kernel wants. 0, or the negative errno that answers
/// it.
int read_description(const ublksrv_io_desc& description, std::uint32_t max_request, BlockRequest& request);

/// What COMMIT says of a request that is done: bytes, 0 where the kernel counts none, or a negative errno.
std::int32_t answer_of(const BlockRequest& request);

/// A device's label, kept by the kernel in ublksrv_flags, by which the next process finds it again.
/// `directory` is the device and inode of the directory with the volume's node: a path may mean another
/// host's in a mount namespace.
std::uint64_t label(std::uint64_t directory_device, std::uint64_t directory_inode, std::string_view volume);

}  // namespace understudy::mirror::ublk
