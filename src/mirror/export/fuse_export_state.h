#pragma once
// What the keeper stores beside the descriptor of a FUSE export: everything the next process must know. Lines
// of "key=value", so that a person can read it; unknown keys are ignored, so that versions can follow each
// other. Pure; any thread.

#include "base/result.h"
#include "mirror/export/fuse_session.h"

#include <string>
#include <string_view>

namespace understudy::mirror {

struct FuseExportState {
    FuseNegotiated negotiated;
    FuseVolume volume;
    std::string mount_directory;
};

std::string write_state(const FuseExportState& state);
/// Error: internal, when something is missing or makes no sense.
Result<FuseExportState> read_state(std::string_view text);

}  // namespace understudy::mirror
