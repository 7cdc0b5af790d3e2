#pragma once
// What a command ends with.

#include "mirror/emcmd/status.h"
#include "mirror/mirror_types.h"

#include <optional>
#include <string>

namespace understudy::mirror::emcmd {

struct Bitmap {
    BlockRanges dirty;
    std::uint64_t blocks = 0;  // of the whole volume
};

/// One bit a block, least significant first. Spec: EMC-198.
std::string to_bytes(const Bitmap& bitmap);

struct Answer {
    Status status = Status::success;
    std::string out;
    std::string err;
    bool no_status_line = false;   // a query that answers "no" has not failed
    std::optional<Bitmap> bitmap;  // for the file that GETREMOTEBITMAP names, where it was typed
};

inline Answer refused(Status status, std::string why) {
    return {status, "", std::move(why), false};
}

inline Answer printed(std::string text) {
    return {Status::success, std::move(text), "", false};
}

inline Answer answer_of(const Result<>& result) {
    if (result) return {};
    return refused(status_of(result.error()), result.error().text);
}

}  // namespace understudy::mirror::emcmd
