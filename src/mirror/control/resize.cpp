#include "mirror/control/resize.h"

#include <fmt/format.h>

namespace understudy::mirror::control {

SizeChange size_change(const Sizes& sizes) {
    if (sizes.found < sizes.replicated) return SizeChange::shrunk;
    const bool more = sizes.found > sizes.replicated || sizes.settled < sizes.replicated;
    if (sizes.settled != 0 && sizes.found > sizes.settled && more) return SizeChange::grown;
    return SizeChange::none;
}

std::uint64_t size_to_take(const Sizes& sizes) {
    return size_change(sizes) == SizeChange::none ? sizes.replicated : sizes.found;
}

std::optional<SizeNotice> size_notice(SizeChange change, MirrorState state, bool user_requested) {
    constexpr int kGrown = 289, kGrownInResync = 290, kOther = 291;
    if (change == SizeChange::none || user_requested) return std::nullopt;
    const auto event = [change](int of_growth) { return change == SizeChange::grown ? of_growth : kOther; };
    switch (state) {
        case MirrorState::mirroring:
        case MirrorState::pending:
            return SizeNotice{true, event(kGrown)};
        case MirrorState::resync:
            return SizeNotice{true, event(kGrownInResync)};
        case MirrorState::paused:
            return SizeNotice{false, event(kGrown)};
        case MirrorState::broken:
        case MirrorState::none:
        case MirrorState::invalid:
            return std::nullopt;
    }
    return std::nullopt;
}

std::string size_problem(const Sizes& sizes, const std::string& volume, int event) {
    const bool grown = size_change(sizes) == SizeChange::grown;
    return fmt::format(
        "the source's device has {} to {} bytes, {} of which are replicated (event {}): make every target at "
        "least "
        "as large, then run \"understudy mirror continue {}\"",
        grown ? "grown" : "shrunk", sizes.found, sizes.replicated, event, volume);
}

}  // namespace understudy::mirror::control
