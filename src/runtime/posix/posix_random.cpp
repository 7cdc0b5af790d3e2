#include "runtime/posix/posix_random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

namespace understudy::runtime {

std::uint64_t PosixRandom::next() {
    std::uint64_t out = 0;
    fill(std::as_writable_bytes(std::span(&out, 1)));
    return out;
}

void PosixRandom::fill(std::span<std::byte> out) {
    while (!out.empty()) {
        const ssize_t got = ::getrandom(out.data(), out.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            // A key made of anything else would be worse than no daemon.
            perror("understudy: getrandom");
            abort();
        }
        out = out.subspan(static_cast<std::size_t>(got));
    }
}

}  // namespace understudy::runtime
