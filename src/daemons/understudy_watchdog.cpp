// understudy-watchdog: resets this host when understudyd does not move its deadline on. Started by
// understudyd.

#include "runtime/posix/watchdog.h"

#include <cstdio>

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fputs("usage: understudy-watchdog SOCKET [DEVICE]\n", stderr);
        return 2;
    }
    const auto served = understudy::runtime::serve_watchdog(argv[1], argc > 2 ? argv[2] : "");
    if (served) return 0;
    std::fprintf(stderr, "understudy-watchdog: %s\n", served.error().text.c_str());
    return 1;
}
