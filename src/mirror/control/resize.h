#pragma once
// What a source does when its device has another size than it had: pure.
//
// A device that has grown or shrunk under a mirror that runs pauses it, until a person has made the other end
// fit and continues. At that moment the volume takes the device's size. Spec: REP-144, REP-178, REP-179,
// REP-304 to REP-308, MOP-136 to MOP-147.

#include "mirror/mirror_types.h"

#include <cstdint>
#include <optional>
#include <string>

namespace understudy::mirror::control {

struct Sizes {
    std::uint64_t replicated = 0;  // bytes that the mirrors have
    std::uint64_t settled =
        0;  // the device's when that was settled, or the least that it had since; 0: not known
    std::uint64_t found = 0;  // the device's now
};

enum class SizeChange : std::uint8_t {
    none,    // also: more of a device of which only the beginning is replicated came or went
    grown,   // there is more than when the replicated size was settled, or again as much
    shrunk,  // what is replicated is not all there any more
};
SizeChange size_change(const Sizes& sizes);

/// The replicated size that a continue settles.
std::uint64_t size_to_take(const Sizes& sizes);

/// What a source's mirror in `state` does about it.
struct SizeNotice {
    bool pause = false;  // leaves its state; in any case it waits for a person from here on
    int event = 0;       // 289 grown, 290 grown during a resync, 291 any other. Spec: REP-305
};
/// nullopt: nothing, because nothing has changed or a person has paused it already.
std::optional<SizeNotice> size_notice(SizeChange change, MirrorState state, bool user_requested);

/// "the device has grown from 1.0 GiB to 1.5 GiB ..." with what to do.
std::string size_problem(const Sizes& sizes, const std::string& volume, int event);

}  // namespace understudy::mirror::control
