#include "mirror/mirror_types.h"

namespace understudy::mirror {

std::string_view to_string(Role role) {
    switch (role) {
        case Role::none:
            return "none";
        case Role::source:
            return "source";
        case Role::target:
            return "target";
    }
    return "unknown";
}

std::string_view to_string(MirrorState state) {
    switch (state) {
        case MirrorState::invalid:
            return "invalid";
        case MirrorState::none:
            return "none";
        case MirrorState::mirroring:
            return "mirroring";
        case MirrorState::resync:
            return "resync";
        case MirrorState::broken:
            return "broken";
        case MirrorState::paused:
            return "paused";
        case MirrorState::pending:
            return "resync pending";
    }
    return "unknown";
}

std::string_view to_string(MirrorType type) {
    switch (type) {
        case MirrorType::none:
            return "none";
        case MirrorType::sync:
            return "synchronous";
        case MirrorType::async:
            return "asynchronous";
    }
    return "unknown";
}

std::string_view to_string(SnapshotState state) {
    switch (state) {
        case SnapshotState::none:
            return "none";
        case SnapshotState::prepared:
            return "prepared";
        case SnapshotState::active:
            return "active";
        case SnapshotState::invalid:
            return "invalid";
    }
    return "?";
}

std::string_view to_string(PauseCause cause) {
    switch (cause) {
        case PauseCause::none:
            return "none";
        case PauseCause::user:
            return "paused by a user";
        case PauseCause::link_lost:
            return "connection lost";
        case PauseCause::queue_limit:
            return "write queue limit reached";
        case PauseCause::resource:
            return "out of memory";
        case PauseCause::resync_passes:
            return "too many resync passes";
        case PauseCause::write_block_timeout:
            return "resync could not finish while writes were held";
        case PauseCause::target_error:
            return "write error on the target";
        case PauseCause::source_read_error:
            return "read error on the source";
        case PauseCause::shutdown:
            return "shut down";
        case PauseCause::lag_limit:
            return "too far behind";
        case PauseCause::resized:
            return "volume resized";
    }
    return "unknown";
}

}  // namespace understudy::mirror
