#include "mirror/control/events.h"

namespace understudy::mirror::control {

messages::Severity severity_of(Event event) {
    using messages::Severity;
    switch (event) {
        case Event::started:
        case Event::source_state:
        case Event::target_state:
        case Event::reconnected:
        case Event::resync_started:
        case Event::in_sync:
        case Event::continued_at_start:
        case Event::continued:
        case Event::created:
        case Event::log_created:
        case Event::switched_over_all:
        case Event::partial_resync:
        case Event::log_directory_given_up:
        case Event::log_directory_there:
        case Event::switchover_started:
            return Severity::info;
        case Event::name_lost:
        case Event::name_gone:
        case Event::no_targets:
        case Event::became_target:
        case Event::unreachable:
        case Event::became_source:
        case Event::broken:
        case Event::deleted:
        case Event::deleted_in_resync:
        case Event::told_to_take_over:
        case Event::reconnecting:
        case Event::unclean_end:
        case Event::other_source:
        case Event::log_not_deleted:
        case Event::full_resync:
        case Event::resync_failed:
            return Severity::warning;
        case Event::unsupported_system:
        case Event::medium_changed:
        case Event::switchover_failed:
        case Event::reconnection_failed:
        case Event::target_half_failed:
        case Event::both_source:
        case Event::address_changed:
        case Event::no_unlock_without_log:
        case Event::log_failed:
        case Event::target_too_small:
        case Event::cluster_not_told:
        case Event::goes_on_untold:
        case Event::device_missing:
        case Event::device_gone:
        case Event::source_grown:
        case Event::source_grown_in_resync:
        case Event::source_resized:
        case Event::log_directory_missing:
            return Severity::error;
    }
    return Severity::error;
}

std::string numbered(Event event, std::string_view text) {
    return fmt::format("{} (event {})", text, static_cast<int>(event));
}

}  // namespace understudy::mirror::control
