#pragma once
// What programs hold of the simulated network: channels and listeners.

#include "runtime/simulated/network_core.h"

namespace understudy::runtime::simulated {

class SimulatedChannel : public Channel {
  public:
    SimulatedChannel(NetworkCore& core, std::shared_ptr<Connection> connection, int side)
        : core_(core), connection_(std::move(connection)), side_(side) {}
    ~SimulatedChannel() override { SimulatedChannel::close(); }

    void start(FrameHandler on_frame, CloseHandler on_close) override {
        auto& end = connection_->ends[static_cast<std::size_t>(side_)];
        if (!end.open) return;
        end.handlers = std::make_shared<ChannelHandlers>(std::move(on_frame), std::move(on_close));
        core_.schedule_pump(*connection_, side_);
    }
    bool send(std::span<const std::byte> frame) override { return core_.send(*connection_, side_, frame); }
    void close() override { core_.close_end(*connection_, side_, "closed by the peer"); }
    [[nodiscard]] const PeerIdentity& peer() const override { return end().peer; }
    [[nodiscard]] Endpoint local_endpoint() const override { return end().local; }
    [[nodiscard]] Endpoint remote_endpoint() const override { return end().remote; }

  private:
    [[nodiscard]] const End& end() const { return connection_->ends[static_cast<std::size_t>(side_)]; }
    NetworkCore& core_;
    std::shared_ptr<Connection> connection_;
    int side_;
};

class SimulatedListener : public Listener {
  public:
    SimulatedListener(NetworkCore& core, NetworkCore::ListenKey key, std::uint64_t id)
        : core_(core), key_(std::move(key)), id_(id) {}
    ~SimulatedListener() override {
        // After a crash the same place may belong to the next incarnation's listener.
        const auto at = core_.listeners_.find(key_);
        if (at != core_.listeners_.end() && at->second.id == id_) core_.listeners_.erase(at);
    }

    [[nodiscard]] Endpoint endpoint() const override { return key_.second; }

  private:
    NetworkCore& core_;
    NetworkCore::ListenKey key_;
    std::uint64_t id_;
};

}  // namespace understudy::runtime::simulated
