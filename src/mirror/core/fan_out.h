#pragma once
// Several targets behind one volume: gives each request to one Source per target, and carries out the local
// write once.
//
//   submit -> [overlap] -> Source B -> its intent log -> Member B --+
//                      \-> Source C -> its intent log -> Member C --+-> local device -> both Sources go on
//                                                                         both complete -> the request
//                                                                         completes
//
// What makes it right:
// - The device is written when every Source has asked for it, so the bits of every target's log are durable.
// - A request completes when every Source has completed its part: a synchronous mirroring target delays it, a
//   paused one does not (REP-080), and the degrade barrier of one Source holds the whole volume (REP-079).
// - Overlapping writes wait here until the earlier one is on the device, so no Source ever has two of them
// and
//   all of them see the same order: without this, two Sources that wait for their logs differently could each
//   wait for the other's write.
// - Reads (those of a resync too) go straight to the device.
//
// What all targets have. After the loss of the source, one target has to bring the others to its own state,
// and needs to know what they may lack. So each target remembers the numbers and blocks of the writes it
// received (core/recent_writes.h) and is told from time to time which of its numbers have been applied by
// every target that mirrors: a number n of one target is told when the writes that were under way here at
// some moment t0 are all on the device (so every Source has sent its part), and every target has then
// acknowledged what had been sent to it; n is what had been sent to the one target at t0. Spec: REP-238. A
// target that begins or ends to mirror starts the count anew.

#include "mirror/block.h"
#include "mirror/core/containers.h"

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace understudy::mirror {

/// Targets of one volume; a job has at most eight hosts.
inline constexpr std::size_t kMaxTargets = 7;

/// One target's Source as the front sees it.
class FanOutLeg {
  public:
    virtual ~FanOutLeg() = default;
    /// As Source::submit.
    virtual void submit_part(BlockRequest& request) = 0;
    struct Progress {
        std::uint64_t session = 0;       // another one: numbers start anew
        std::uint64_t sent = 0;          // highest number given to the link
        std::uint64_t acknowledged = 0;  // everything up to it is applied there
        bool repairs = false;            // blocks are to be copied again, after an error or a comparison
    };
    /// While every write is sent to the target; nullopt otherwise.
    [[nodiscard]] virtual std::optional<Progress> progress() const = 0;
    /// Every mirroring target has the writes that this leg's numbers up to `through` stand for.
    virtual void everywhere(std::uint64_t through) = 0;
};

class FanOut {
  public:
    /// The device that a leg's Source gets instead of the real one.
    class Member final : public BlockBackend {
      public:
        explicit Member(FanOut& front) : front_(front) {}
        [[nodiscard]] std::uint64_t size() const override { return front_.device_.size(); }
        [[nodiscard]] std::uint32_t sector_size() const override { return front_.device_.sector_size(); }
        [[nodiscard]] bool punches() const override { return front_.device_.punches(); }
        [[nodiscard]] std::uint64_t failed_flushes() const override {
            return front_.device_.failed_flushes();
        }
        void submit(BlockRequest& request) override;

      private:
        friend class FanOut;
        FanOut& front_;
        FanOutLeg* leg_ = nullptr;
        std::size_t index_ = 0;  // in legs_ while it takes part
    };

    explicit FanOut(BlockBackend& device) : device_(device) {}
    FanOut(const FanOut&) = delete;
    FanOut& operator=(const FanOut&) = delete;

    /// From here on requests go to this leg too. Error by false: kMaxTargets take part already.
    bool join(Member& member, FanOutLeg& leg);
    /// No new requests; those under way are still its own.
    void leave(Member& member);
    [[nodiscard]] std::size_t legs() const { return count_; }

    /// Writes, zeroes, discards and flushes. With one leg they are handed through.
    void submit(BlockRequest& request);
    /// Looks how far the targets are; call at every tick.
    void tick();
    [[nodiscard]] bool idle() const { return operations_.out() == 0; }
    /// Of what came while there were several legs, every write has come to its end in the device.
    [[nodiscard]] bool all_written() const { return not_written_ == 0; }

  private:
    struct Operation;
    struct Part {
        BlockRequest request;            // what the leg's Source gets
        BlockRequest* local = nullptr;   // what it asked of the device
        const Member* member = nullptr;  // null: takes no part
        Operation* operation = nullptr;
        bool asked = false;  // or will not ask
    };
    struct Operation {
        FanOut* front = nullptr;
        BlockRequest* request = nullptr;
        BlockRequest local;
        std::array<Part, kMaxTargets> parts;
        std::size_t to_ask = 0, open = 0;
        int result = 0, refused = 0;
        bool ranged = false;  // in ranges_
        std::uint64_t serial = 0;
        Operation* next = nullptr;
        std::size_t range_index = 0;
    };
    /// What had been sent at some moment, and is waited for.
    struct Count {
        enum class Step { none, local, remote } step = Step::none;
        std::uint64_t serial = 0;     // writes up to it were under way
        std::uint64_t under_way = 0;  // of them
        std::array<FanOutLeg::Progress, kMaxTargets> at_first{}, then{};
        std::array<bool, kMaxTargets> mirrors{};
    };

    void start(Operation& operation);
    void give_out(Operation& operation);
    void part_done(Operation& operation, Part& part);
    void write_here(Operation& operation);
    void written(Operation& operation, int result);
    void start_waiting();
    void maybe_free(Operation& operation);
    bool take_progress(std::array<FanOutLeg::Progress, kMaxTargets>& into) const;
    [[nodiscard]] bool still_the_same() const;

    BlockBackend& device_;
    std::array<Member*, kMaxTargets> legs_{};
    std::size_t count_ = 0;
    ObjectPool<Operation> operations_;
    RangeSet<Operation> ranges_;         // writes given out and not yet on the device
    IntrusiveQueue<Operation> waiting_;  // overlap one of those, or an earlier one of these
    std::uint64_t next_serial_ = 1;
    std::uint64_t not_written_ = 0;  // writes that have come and are not on the device
    Count counting_;
};

}  // namespace understudy::mirror
