#pragma once
// Stands between the export and the volume and decides whether requests may pass at all: a source that has
// not made sure of its role, or has not recorded that it goes on without its target, must not accept a write.
//
//   export -> Gate -> Volume
//
// Threading: the volume's reactor thread.

#include "mirror/block.h"

#include <cstdint>
#include <functional>

namespace understudy::mirror::control {

enum class GateMode : std::uint8_t {
    hold_all,       // the role is being checked: every request waits
    hold_writes,    // reads pass, writes wait
    first_write,    // like hold_writes, but the first write asks for the generation to be recorded
    refuse_writes,  // reads pass, writes fail with -EIO: what was held as well
    open,
};

class Gate : public BlockBackend {
  public:
    /// `size`: bytes of the replicated volume, at most below.size() (a target may be larger).
    /// `on_first_write` is called once for each stay in first_write.
    Gate(BlockBackend& below, std::uint64_t size, std::function<void()> on_first_write);
    /// What is held then is never answered: its makers are gone already.
    ~Gate() override = default;

    [[nodiscard]] std::uint64_t size() const override { return size_; }
    [[nodiscard]] std::uint32_t sector_size() const override { return below_.sector_size(); }
    [[nodiscard]] bool punches() const override { return below_.punches(); }
    /// As far as reads would pass.
    [[nodiscard]] BlockExtent extent_at(std::uint64_t offset, std::uint64_t length) const override {
        return mode_ == GateMode::hold_all ? BlockExtent{length, false} : below_.extent_at(offset, length);
    }
    void submit(BlockRequest& request) override;

    /// What is behind it is of another size now. Held requests behind its end fail when they are let go.
    void resize(std::uint64_t size);
    /// Requests that may pass now go on, in the order in which they came.
    void set(GateMode mode);
    [[nodiscard]] GateMode mode() const { return mode_; }
    [[nodiscard]] std::size_t held() const { return held_; }
    /// Gives up what waits, with a negative errno: the export is going away.
    void fail_held(int result);

  private:
    [[nodiscard]] bool passes(const BlockRequest& request) const;
    void keep(BlockRequest& request);

    BlockBackend& below_;
    std::uint64_t size_;
    std::function<void()> on_first_write_;
    GateMode mode_ = GateMode::hold_all;
    bool asked_ = false;
    BlockRequest* first_ = nullptr;
    BlockRequest* last_ = nullptr;
    std::size_t held_ = 0;
};

}  // namespace understudy::mirror::control
