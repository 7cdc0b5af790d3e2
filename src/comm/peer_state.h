#pragma once
// Membership of one peer, from the states of its paths. Pure. Spec: CLU-078, CLU-079, CLU-061.

#include "comm/states.h"

#include <algorithm>
#include <cstdint>
#include <map>

namespace understudy::comm {

class PeerMembership {
  public:
    enum class Change : std::uint8_t { none, comm_up, comm_down };

    /// A path was added or changed its state. COMM_DOWN comes once per total loss: it needs a COMM_UP before
    /// the next.
    Change on_path(std::uint64_t path, PathState state) {
        paths_[path] = state;
        if (any_alive()) {
            if (state_ == PeerState::alive) return Change::none;
            state_ = PeerState::alive;
            return Change::comm_up;
        }
        if (state_ != PeerState::alive) return Change::none;
        state_ = PeerState::dead;
        return Change::comm_down;
    }

    /// A path was deleted by an administrator. That is no failure: the peer becomes unknown, not dead, when
    /// it was the last one that worked.
    void remove_path(std::uint64_t path) {
        paths_.erase(path);
        if (state_ == PeerState::alive && !any_alive()) state_ = PeerState::unknown;
    }

    [[nodiscard]] PeerState state() const { return state_; }

  private:
    [[nodiscard]] bool any_alive() const {
        return std::any_of(paths_.begin(), paths_.end(),
                           [](const auto& entry) { return entry.second == PathState::alive; });
    }

    std::map<std::uint64_t, PathState> paths_;
    PeerState state_ = PeerState::unknown;
};

}  // namespace understudy::comm
