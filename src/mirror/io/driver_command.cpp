#include "mirror/io/driver_command.h"

#include <liburing.h>

#include <cerrno>
#include <cstring>

namespace understudy::mirror {

int run_driver_command(int fd, std::uint32_t command, std::span<const std::byte, kDriverArgument> argument) {
    io_uring ring{};
    if (const int error = io_uring_queue_init(1, &ring, IORING_SETUP_SQE128); error != 0) return error;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    std::memset(sqe, 0, 2 * sizeof *sqe);
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = fd;
    sqe->cmd_op = command;
    std::memcpy(sqe->cmd, argument.data(), argument.size());
    int result = io_uring_submit(&ring);
    io_uring_cqe* cqe = nullptr;
    if (result >= 0) {
        do
            result = io_uring_wait_cqe(&ring, &cqe);
        while (result == -EINTR);
        if (result == 0) result = cqe->res;
    }
    io_uring_queue_exit(&ring);
    return result;
}

}  // namespace understudy::mirror
