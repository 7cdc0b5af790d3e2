#pragma once
// A connected stream socket of a mirror's link, owned: the few calls that do not go through the reactor.
// Threading: the reactor's thread.

#include <cstddef>
#include <span>
#include <utility>

namespace understudy::mirror {

class LinkSocket {
  public:
    LinkSocket() = default;
    /// Takes the descriptor and turns the delay of small messages off, where the socket has one.
    explicit LinkSocket(int descriptor);
    LinkSocket(LinkSocket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    LinkSocket& operator=(LinkSocket&& other) noexcept;
    LinkSocket(const LinkSocket&) = delete;
    LinkSocket& operator=(const LinkSocket&) = delete;
    ~LinkSocket();

    /// For the reactor's operations; stays this object's.
    [[nodiscard]] int descriptor() const { return descriptor_; }
    /// What has arrived is still delivered, then the end of the stream.
    void end_reading();
    /// Both directions; wakes the operations that the kernel has.
    void end();
    /// As much as goes without waiting; the rest is dropped.
    void send_what_fits(std::span<const std::byte> data);

  private:
    void reset();
    int descriptor_ = -1;
};

}  // namespace understudy::mirror
