#include "mirror/export/export.h"

#include <sys/mman.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstring>

namespace understudy::mirror {

Result<> protect_from_memory_pressure() {
    constexpr int kSetIoFlusher =
        57;  // PR_SET_IO_FLUSHER, Linux 5.6: our allocations never wait for file systems
    // ONFAULT: what is touched stays, without making whole thread stacks and reserved arenas resident at
    // once. The buffers of requests are populated when they are made.
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        return fail(Code::failure, "cannot lock the process's memory: {}; it needs CAP_IPC_LOCK",
                    std::strerror(errno));
    if (prctl(kSetIoFlusher, 1, 0, 0, 0) != 0)
        return fail(Code::failure,
                    "cannot mark the process as one that storage waits for: {}; it needs "
                    "CAP_SYS_RESOURCE",
                    std::strerror(errno));
    return {};
}

}  // namespace understudy::mirror
