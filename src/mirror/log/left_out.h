#pragma once
// Blocks that a full copy of a volume leaves out, because its file system does not use them.
//
//   watch()      from here on every written block is noted
//   leave_out()  what the file system did not use at some moment since then, and nobody has written since
//                watch(), is left out: it need not be sent
//
// A block that is left out differs between both ends, and nobody can see it: a file system reads only what it
// has written, and what it writes is sent like everything else. Once a part of it has been written it differs
// in the rest alone, until it is copied as a whole. A comparison of both ends has to know both kinds.
//
// Pure; one volume's reactor thread. Spec: REP-029, REP-110.

#include "mirror/core/block_map.h"

#include <cstdint>

namespace understudy::mirror {

class LeftOut {
  public:
    /// `blocks` of the volume.
    explicit LeftOut(std::uint64_t blocks) : written_(blocks), left_(blocks) {}
    void watch();
    [[nodiscard]] bool watching() const { return watching_; }
    /// Nothing is left out, nothing is watched.
    void forget();
    enum class Written { is_sent, was_sent_in_part };
    /// `written`: what happens to blocks that were written since watch(): a copy that begins sends them, or
    /// they have gone the way of all writes, and their other parts were never sent.
    void leave_out(const BlockRanges& unused, Written written);

    /// A write begins. Cheap when nothing is watched.
    void wrote(std::uint64_t block) {
        if (watching_) written_.set(block);
    }
    /// The whole block goes to the target.
    void copied(std::uint64_t block) {
        if (left_.count() > 0) left_.clear(block);
    }

    /// Never sent, nor written since: of no interest to anybody.
    [[nodiscard]] bool unused(std::uint64_t block) const {
        return left_.test(block) && !written_.test(block);
    }
    /// Only what was written has been sent.
    [[nodiscard]] bool in_part(std::uint64_t block) const {
        return left_.test(block) && written_.test(block);
    }
    /// Blocks of both kinds.
    [[nodiscard]] std::uint64_t count() const { return left_.count(); }
    /// leave_out() was called, so that what is not left out is equal.
    [[nodiscard]] bool known() const { return known_; }

  private:
    BlockMap written_, left_;
    bool watching_ = false, known_ = false;
};

}  // namespace understudy::mirror
