// The end of a volume: everything is answered, the target has it, bits and log are in order.

#include "mirror/volume_impl.h"

#include <utility>

namespace understudy::mirror {

bool VolumeDriver::roles_idle() const {
    for (const auto& source : former_sources_)
        if (!source->idle()) return false;
    for (const auto& target : former_targets_)
        if (!target->idle()) return false;
    for (const auto& link : closing_links_)
        if (!link->idle()) return false;
    for (const auto& snapshot : dropped_snapshots_)
        if (!snapshot.idle()) return false;
    return (!source_ || source_->idle()) && (!target_ || target_->idle()) && flushes_ == 0 && device_idle() &&
           (!log_file_ || (log_file_->idle() && !log_->committing()));
}

void VolumeDriver::shutdown(std::function<void()> done) {
    closed_ = std::move(done);
    if (closing_ != Closing::no) return;
    closing_ = Closing::quiescing;
    retire_snapshot();  // Spec: REP-330
    pending_attach_.reset();
    const auto next = [this](const Result<>&) {
        if (closing_ == Closing::quiescing) closing_ = Closing::flushing;
    };
    // Spec: REP-184. A source gives the target everything first; a target applies what it has.
    if (source_) {
        source_->quiesce(next);
    } else if (target_) {
        target_->detach();
        target_->drain(next);
    } else {
        refuses_ = true;
        closing_ = Closing::flushing;
    }
    reactor_.post([] {});
}

/// One step after another, each when the one before has ended; looked at after every batch.
void VolumeDriver::advance_closing() {
    switch (closing_) {
        case Closing::no:
        case Closing::quiescing:
        case Closing::timer:
        case Closing::done:
            return;
        case Closing::flushing:
            if (flushes_ > 0) return;
            closing_ = Closing::clearing;
            flush_device([this](int error) {
                if (log_ && error == 0) {
                    if (source_) source_->detach(PauseCause::shutdown);
                    log_->collect(0);
                    commit_wanted_ = true;
                    after_commit_.push_back([this] {
                        closing_ = Closing::links;
                        if (log_->failed()) return;
                        closing_ = Closing::marking;
                        log_file_->update_header([](LogHeader& header) { header.clean = true; },
                                                 [this](int) { closing_ = Closing::links; });
                    });
                } else {
                    closing_ = Closing::links;
                }
                reactor_.post([] {});
            });
            return;
        case Closing::clearing:
        case Closing::marking:
            return;
        case Closing::links:
            if (data_link_ || resync_link_) {
                if (source_) source_->detach();
                if (target_) target_->detach();
                close_links("the volume is shut down");
            }
            if (!roles_idle()) return;
            closing_links_.clear();
            dropped_snapshots_.clear();
            closing_ = Closing::timer;
            reactor_.cancel(timer_);
            return;
    }
}

}  // namespace understudy::mirror
