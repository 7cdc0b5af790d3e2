#pragma once
// Stands between an export and its backend: lets requests through, holds them, or refuses them.
// An export calls submit() for each request and completed() for each request whose `done` came.
// Threading: the reactor's thread.

#include "mirror/block.h"
#include "mirror/io/reactor.h"

#include <chrono>
#include <cstdint>
#include <functional>

namespace understudy::mirror {

class RequestGate {
  public:
    explicit RequestGate(Reactor& reactor);

    void serve(BlockBackend& backend);
    void suspend(std::chrono::milliseconds limit);
    void resume();
    void refuse(int error);
    void when_quiet(std::function<void()> done);
    /// Drops requests that wait, unanswered (another process answers them); ends the timer; then `done`.
    void close(std::function<void()> done);

    void submit(BlockRequest& request);
    void completed();

    [[nodiscard]] const BlockBackend* backend() const { return backend_; }
    /// As BlockBackend has it; while requests do not pass, nothing is known.
    [[nodiscard]] BlockExtent extent_at(std::uint64_t offset, std::uint64_t length) const {
        const bool known = mode_ == Mode::open && backend_ != nullptr && offset < backend_->size() &&
                           length <= backend_->size() - offset;
        return known ? backend_->extent_at(offset, length) : BlockExtent{length, false};
    }
    [[nodiscard]] std::uint32_t waiting() const { return waiting_; }
    [[nodiscard]] std::uint32_t in_backend() const { return in_backend_; }

  private:
    enum class Mode : std::uint8_t { open, holding, refusing };

    void let_through();
    void answer_waiting(int error);
    void tell_when_quiet();
    void stop_timer();

    Reactor& reactor_;
    BlockBackend* backend_ = nullptr;
    Mode mode_ = Mode::holding;
    int error_ = 0;
    bool closed_ = false;
    BlockRequest* first_ = nullptr;
    BlockRequest* last_ = nullptr;
    std::uint32_t waiting_ = 0;
    std::uint32_t in_backend_ = 0;
    std::chrono::steady_clock::time_point deadline_;
    IoOperation timer_;
    std::function<void()> when_quiet_;
    std::function<void()> when_closed_;
};

}  // namespace understudy::mirror
