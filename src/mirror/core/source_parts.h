#pragma once
// Private to source*.cpp: what the source keeps for each request on its way.

#include "mirror/core/limits.h"
#include "mirror/core/source.h"

#include <cstring>

namespace understudy::mirror {

/// `length` is at least 8.
inline bool all_zero(const std::byte* data, std::size_t length) {
    // Comparing the buffer with itself one word on is as fast as memory and stops at the first other byte.
    std::uint64_t first;
    std::memcpy(&first, data, sizeof first);
    return first == 0 && std::memcmp(data, data + sizeof first, length - sizeof first) == 0;
}

/// A write, zeroes or discard from submit() to the last of: completed to the caller, done here, acknowledged
/// there, released by the link.
struct Source::Write {
    Source* source = nullptr;
    BlockRequest* request = nullptr;  // until completed
    BlockRequest local;
    Outgoing out;
    std::byte* copy = nullptr;  // asynchronous: what is sent, until released
    std::uint64_t sequence = 0, generation = 0;
    std::uint64_t arrival = 0;
    IntentLog::Ticket ticket = 0;
    std::size_t range_index = 0;
    Instant sent_at;  // live: given to the link
    int result = 0;
    unsigned epoch = 0;
    bool live = false;          // sent
    bool waits_remote = false;  // synchronous
    bool here = false;          // in the local device
    bool there = false;         // not acknowledged
    bool sending = false;       // in the link's queue
    bool remark = false;        // its blocks become dirty when it ends here
    Write* next = nullptr;
};

struct Source::Flush {
    Source* source = nullptr;
    FlushKind kind = FlushKind::caller;
    BlockRequest* request = nullptr;
    BlockRequest local;
    Outgoing out;
    std::uint64_t sequence = 0, generation = 0, epoch_serial = 0;
    std::uint64_t snapshot = 0;  // its number
    int result = 0;
    bool here = false, there = false, sending = false, waits_remote = false, remote_ok = false;
    Flush* next = nullptr;
};

/// Adjacent dirty blocks on their way by resync.
struct Source::Block {
    Source* source = nullptr;
    BlockRequest local;
    Outgoing out;
    std::byte* data = nullptr;
    std::byte* packed = nullptr;  // the same compressed
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::uint64_t generation = 0, depends = 0, sequence = 0, arrival = 0;
    std::size_t range_index = 0;
    unsigned epoch = 0;
    bool begun = false;  // it does not wait for writes any more
    bool reading = false, sending = false, gone = false;
    std::uint64_t comparison = 0;  // not a copy but a comparison, of this serial
    Block* next = nullptr;
};

struct Source::Control {
    Source* source = nullptr;
    Outgoing out;
    Control* next = nullptr;
};

/// Callers' `done` may submit again; so they are called when the source's state is whole, by the outermost
/// function.
class Source::Scope {
  public:
    explicit Scope(Source& source) : source_(source) { ++source_.depth_; }
    ~Scope() {
        if (source_.depth_ == 1) {
            while (!source_.completions_.empty()) {
                BlockRequest& request = source_.completions_.pop();
                request.done(request);
            }
        }
        --source_.depth_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

  private:
    Source& source_;
};

}  // namespace understudy::mirror
