#pragma once
// One connected socket of a mirror: sends queued messages many at a time, cuts what arrives into frames.
// Lives on the reactor's thread; stays alive until idle().

#include "mirror/core/buffers.h"
#include "mirror/core/containers.h"
#include "mirror/core/source.h"  // Outgoing
#include "mirror/core/throttle.h"
#include "mirror/io/link_socket.h"
#include "mirror/io/reactor.h"
#include "mirror/wire/frame.h"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

struct iovec;

namespace understudy::mirror {

class Link;

class LinkHandler {
  public:
    virtual ~LinkHandler() = default;
    /// The payload, if any, came from the link's pool and is the handler's now.
    virtual void on_frame(Link& link, const wire::Frame& frame) = 0;
    /// The link is of no use any more; called once, never after close().
    virtual void on_link_end(Link& link, std::string why) = 0;
    /// False: leave further input where it is until resume_reading().
    [[nodiscard]] virtual bool may_read(const Link& link) const = 0;
};

class Link {
  public:
    /// Reads from the first resume_reading() on. `throttle` limits what is sent and outlives the link.
    Link(Reactor& reactor, LinkSocket socket, BufferPool& pool, std::size_t staging_bytes,
         LinkHandler& handler, Throttle& throttle);
    ~Link();
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    /// Queues; flush() gives it to the kernel.
    void send(Outgoing& item);
    void flush();
    /// Whether flush() would send now, and not wait for more.
    [[nodiscard]] bool due() const;
    void resume_reading();
    /// What has arrived is still read, then the link ends.
    void finish_reading();
    /// Gives the queue back, `said` goes out as a bye if that needs no waiting. No calls to the handler
    /// later.
    void close(const std::string& said);
    /// The throttle has changed: what it holds back is looked at anew.
    void throttle_changed();
    [[nodiscard]] bool idle() const {
        return !sending_ && !receiving_ && !pause_op_.in_flight && !hold_op_.in_flight;
    }

  private:
    struct Vectors;
    void sent(int result);
    void received(int result);
    void cut();
    void end(std::string why);
    void release_queue();

    Reactor& reactor_;
    LinkSocket socket_;
    LinkHandler& handler_;
    Throttle& throttle_;
    wire::FrameReader reader_;
    IoOperation send_op_, receive_op_;
    IoOperation pause_op_;        // in flight: the throttle lets nothing through for now
    IoOperation hold_op_;         // in flight: what may wait waits for company
    bool urgent_ = false;         // something queued may not wait
    std::size_t held_bytes_ = 0;  // of what may
    std::size_t asked_ = 0;       // bytes given to the kernel by the send under way
    bool sending_ = false, receiving_ = false;
    bool closed_ = false, ended_ = false, cutting_ = false;
    IntrusiveQueue<Outgoing> queue_;
    std::size_t head_sent_ = 0;  // bytes of the queue's head that the kernel has
    std::unique_ptr<Vectors> vectors_;
};

}  // namespace understudy::mirror
