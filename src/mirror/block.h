#pragma once
// Block requests inside mirrord. An export (FUSE, NBD) makes them, a volume serves them.
// Threading: a volume, its exports and all its requests live on the volume's reactor thread.

#include <cstddef>
#include <cstdint>

namespace understudy::mirror {

enum class BlockOp : std::uint8_t { read, write, flush, discard, write_zeroes };

/// Owned by the maker, borrowed by the volume from submit() until `done` is called. `data` belongs to
/// mirrord, never to a page that an application can still change (design 6.1).
struct BlockRequest {
    BlockOp op = BlockOp::read;
    bool fua = false;                               // write: durable before it completes
    bool punch = false;                             // write_zeroes: a hole will do where there can be one
    std::uint64_t offset = 0;                       // bytes
    std::uint32_t length = 0;                       // bytes
    std::byte* data = nullptr;                      // read: filled; write: taken from. Aligned to 4096.
    int result = 0;                                 // 0 or a negative errno
    void (*done)(BlockRequest& request) = nullptr;  // called on the reactor thread, possibly inside submit()
    void* owner = nullptr;                          // the maker's context
    void* part = nullptr;                           // of a request to several targets (core/fan_out.h)
    BlockRequest* next = nullptr;                   // for the holder's queues
};

/// What there is at one place of a backend.
struct BlockExtent {
    std::uint64_t length = 0;  // bytes from there on that are alike, as far as was asked
    bool hole = false;         // nothing is stored, and it reads as zeroes; false: data, or not known
};

/// Something that serves block requests: a raw file or device, or a mirrored volume.
class BlockBackend {
  public:
    virtual ~BlockBackend() = default;
    [[nodiscard]] virtual std::uint64_t size() const = 0;         // bytes
    [[nodiscard]] virtual std::uint32_t sector_size() const = 0;  // logical block, bytes
    /// Whether discards give space back. What was discarded then reads as zeroes.
    [[nodiscard]] virtual bool punches() const { return false; }
    /// At `offset`, of at most `length` bytes, both within the size; at least one byte. What was written and
    /// has completed counts. Quick: it may be asked on the reactor's thread.
    [[nodiscard]] virtual BlockExtent extent_at(std::uint64_t offset, std::uint64_t length) const {
        (void)offset;
        return {length, false};
    }
    /// How many flushes have failed so far, whoever asked for them: after one, what was written before may be
    /// lost although the next one succeeds.
    [[nodiscard]] virtual std::uint64_t failed_flushes() const { return 0; }
    /// Takes the request; completion through request.done. Out-of-range requests complete with -EINVAL.
    virtual void submit(BlockRequest& request) = 0;
};

}  // namespace understudy::mirror
