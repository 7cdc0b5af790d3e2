// A volume's sockets: when new ones may be taken, what goes out and what comes in.

#include "mirror/volume_impl.h"

#include <utility>

namespace understudy::mirror {
namespace {

constexpr std::size_t kDataStaging = 128 << 10;
constexpr std::size_t kResyncStaging = 32 << 10;

}  // namespace

/// A target sends acknowledgements only, which must not wait. Spec: REP-244
void VolumeDriver::set_throttle() {
    throttle_.set_rate(source_ ? options_.parameters.bandwidth_throttle_kbit : 0, reactor_.now());
}

void VolumeDriver::attach(int data_socket, int resync_socket, LinkTerms terms) {
    pending_attach_.reset();
    PendingAttach sockets{LinkSocket(data_socket), LinkSocket(resync_socket), terms};
    if (!source_ && !target_) return;
    if (!terms.resume) {
        if (source_) source_->detach();
        if (target_) target_->detach();
    }
    pending_attach_ = std::move(sockets);
    try_attach();
    reactor_.post([] {});  // what was queued just now leaves with the next batch
}

/// A target starts only when everything of the former link is on the device: a late write of it must not land
/// on newer data. A source that resumes waits until the former link has given back what is sent again.
bool VolumeDriver::may_attach() {
    std::erase_if(closing_links_, [](const auto& link) { return link->idle(); });
    if (pending_attach_->terms.resume) {
        // Given up meanwhile: the sockets close, and the controller hears of it otherwise.
        if (source_ ? !source_->suspended() : !target_->resumable()) {
            pending_attach_.reset();
            return false;
        }
        return !source_ || closing_links_.empty();
    }
    if (!target_) return true;
    std::erase_if(former_sources_, [](const auto& source) { return source->idle(); });
    std::erase_if(former_targets_, [](const auto& target) { return target->idle(); });
    return target_->applied() && former_sources_.empty() && former_targets_.empty();
}

void VolumeDriver::try_attach() {
    if (!may_attach()) return;
    PendingAttach sockets = *std::exchange(pending_attach_, std::nullopt);
    data_link_ = std::make_unique<Link>(reactor_, std::move(sockets.data_socket), data_pool_, kDataStaging,
                                        *this, throttle_);
    resync_link_ = std::make_unique<Link>(reactor_, std::move(sockets.resync_socket), resync_pool_,
                                          kResyncStaging, *this, throttle_);
    set_throttle();
    if (source_) limit_full_copy(sockets.terms);
    if (std::exchange(attached_before_, true)) ++reconnects_;
    if (source_) source_->attach(sockets.terms, reactor_.now());
    if (target_) target_->attach(sockets.terms, reactor_.now());
    if (data_link_) data_link_->resume_reading();
    if (resync_link_) resync_link_->resume_reading();
}

void VolumeDriver::detach() {
    pending_attach_.reset();
    if (source_) source_->detach();
    if (target_) target_->detach();
}

void VolumeDriver::give_up_links(std::string why) {
    if (source_ && source_->suspended()) source_->give_up_links(std::move(why));
}

void VolumeDriver::restart_links(std::string why) {
    if (source_ && data_link_) source_->link_broken(std::move(why));
}

void VolumeDriver::send_data(Outgoing& item) {
    fresh_frames_ = true;
    data_link_->send(item);
}
void VolumeDriver::send_resync(Outgoing& item) {
    resync_link_->send(item);
}

void VolumeDriver::close_links(const std::string& said) {
    for (auto* link : {&data_link_, &resync_link_}) {
        if (*link == nullptr) continue;
        closing_links_.push_back(std::move(*link));
        closing_links_.back()->close(link == &data_link_ ? said : std::string());
    }
}

void VolumeDriver::on_frame(Link& link, const wire::Frame& frame) {
    const bool data = &link == data_link_.get();
    const Instant now = reactor_.now();
    if (target_) {
        return data ? target_->on_data(frame.header, frame.payload, now)
                    : target_->on_resync(frame.header, frame.payload, now);
    }
    if (source_) {
        data ? source_->on_data(frame.header, frame.payload, now) : source_->on_resync(frame.header, now);
    }
    if (frame.payload != nullptr)
        (data ? data_pool_ : resync_pool_).give_back(frame.payload, frame.header.length);
}

void VolumeDriver::on_link_end(Link& link, std::string why) {
    const bool data = &link == data_link_.get();
    if (target_ && draining_) {
        // The end that drain() asked for. Live writes decide what the content is, so their link ends the
        // draining.
        if (data) target_->detach();
        return;
    }
    if (source_) source_->link_broken(std::move(why));
    if (target_) target_->link_broken(std::move(why));
}

bool VolumeDriver::may_read(const Link&) const {
    return !target_ || !target_->full();
}

void VolumeDriver::release_data(std::byte* data, std::uint32_t length) {
    data_pool_.give_back(data, length);
}
void VolumeDriver::release_resync(std::byte* data, std::uint32_t length) {
    resync_pool_.give_back(data, length);
}

}  // namespace understudy::mirror
