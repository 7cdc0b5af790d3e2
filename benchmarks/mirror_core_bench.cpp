// What ./bench datapath needs of C++: both ends of a mirror with disks that do nothing and links in memory,
// on one thread. Prints 4 KiB writes per second, synchronous, 16 at a time; run by
// benchmarks/datapath_rows.py.

#include "mirror/core/limits.h"
#include "mirror/core/source.h"
#include "mirror/core/target.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

namespace understudy::mirror {
namespace {

constexpr std::uint64_t kVolumeBytes = 1ULL << 30;
constexpr std::uint32_t kWriteBytes = 4096;
constexpr std::size_t kDepth = 16;
constexpr auto kMeasure = std::chrono::seconds(2);
constexpr auto kWarm = std::chrono::milliseconds(500);

[[noreturn]] void give_up(const std::string& why) {
    std::fprintf(stderr, "understudy-mirror-core-bench: %s\n", why.c_str());
    std::exit(1);
}

/// Takes everything and does nothing with it, not inside submit().
class NullDisk final : public BlockBackend {
  public:
    [[nodiscard]] std::uint64_t size() const override { return kVolumeBytes; }
    [[nodiscard]] std::uint32_t sector_size() const override { return 512; }
    void submit(BlockRequest& request) override { waiting_.push(request); }
    bool complete() {
        if (waiting_.empty()) return false;
        for (IntrusiveQueue<BlockRequest> all = waiting_.take_all(); !all.empty();) {
            BlockRequest& request = all.pop();
            request.result = 0;
            request.done(request);
        }
        return true;
    }

  private:
    IntrusiveQueue<BlockRequest> waiting_;
};

/// One direction of a link: what was sent is copied, cut and checked as if it came from a socket.
class Pipe {
  public:
    void send(Outgoing& item) { queue_.push(item); }
    template <class OnFrame>
    bool deliver(OnFrame on_frame) {
        if (queue_.empty()) return false;
        for (IntrusiveQueue<Outgoing> all = queue_.take_all(); !all.empty();) {
            Outgoing& item = all.pop();
            put(item.header, on_frame);
            if (item.length > 0) put({item.payload, item.length}, on_frame);
            if (item.released != nullptr) item.released(item);
        }
        return true;
    }
    BufferPool& pool() { return pool_; }

  private:
    template <class OnFrame>
    void put(std::span<const std::byte> bytes, OnFrame on_frame) {
        while (!bytes.empty()) {
            const auto space = reader_.space();
            const std::size_t count = std::min(space.size(), bytes.size());
            std::memcpy(space.data(), bytes.data(), count);
            reader_.received(count);
            bytes = bytes.subspan(count);
            wire::Frame frame;
            auto step = reader_.next(frame);
            for (; step == wire::FrameReader::Step::frame; step = reader_.next(frame))
                on_frame(frame);
            if (step != wire::FrameReader::Step::need_more) give_up("the link broke: " + reader_.error());
        }
    }
    IntrusiveQueue<Outgoing> queue_;
    BufferPool pool_{kMaxReceiveBytes};
    wire::FrameReader reader_{pool_, 128 << 10};
};

class SourceEnd final : public SourceDriver {
  public:
    void send_data(Outgoing& item) override { data.send(item); }
    void send_resync(Outgoing& item) override { resync.send(item); }
    void commit_log() override { wants_commit = true; }
    void close_links(const std::string&) override {}
    void state_changed(MirrorState, MirrorState, PauseCause) override {}
    void link_lost(std::string why) override { give_up(why); }
    void link_interrupted(std::string why) override { give_up(why); }
    void degraded(DegradeAnswer release) override { release(true); }
    void in_sync() override {}
    void target_silent() override {}

    NullDisk disk;
    IntentLog log{kVolumeBytes, 65536};
    Pipe data, resync;
    bool wants_commit = false;
};

class TargetEnd final : public TargetDriver {
  public:
    explicit TargetEnd(SourceEnd& source) : source_(source) {}
    void send_data(Outgoing& item) override { data.send(item); }
    void send_resync(Outgoing& item) override { resync.send(item); }
    void close_links(const std::string&) override {}
    void mark_consistent(bool, std::uint64_t serial) override { marked = serial; }
    void release_data(std::byte* at, std::uint32_t length) override {
        source_.data.pool().give_back(at, length);
    }
    void release_resync(std::byte* at, std::uint32_t length) override {
        source_.resync.pool().give_back(at, length);
    }
    void state_changed(MirrorState, MirrorState, PauseCause) override {}
    void link_lost(std::string why) override { give_up(why); }
    void in_sync() override {}
    bool snapshot_begins(std::uint64_t) override { return false; }

    NullDisk disk;
    IntentLog log{kVolumeBytes, 65536};
    Pipe data, resync;
    std::uint64_t marked = 0;

  private:
    SourceEnd& source_;
};

class Bench {
  public:
    Bench() {
        const Instant now = std::chrono::steady_clock::now();
        source_ =
            std::make_unique<Source>(here_.disk, here_.log, here_, MirrorType::sync, MirrorParameters{}, now);
        target_ =
            std::make_unique<Target>(there_.disk, there_.log, there_, MirrorParameters{}, true, false, now);
        source_->begin(MirrorState::pending, PauseCause::none);
        target_->begin(MirrorState::pending);
        target_->attach({ResyncKind::none, 0}, now);
        source_->attach({ResyncKind::none, 0}, now);
        for (auto& buffer : buffers_)
            for (auto& byte : buffer)
                byte = static_cast<std::byte>(dice_());
    }
    double writes_per_second() {
        while (source_->state() != MirrorState::mirroring)
            if (!turn()) give_up("the mirror does not get in sync");
        for (std::size_t i = 0; i < kDepth; ++i) {
            requests_[i].owner = this;
            requests_[i].data = buffers_[i].data();
            requests_[i].done = [](BlockRequest& request) {
                auto& self = *static_cast<Bench*>(request.owner);
                if (request.result != 0) give_up("a write failed");
                ++self.done_;
                if (!self.ending_) self.again(request);
            };
            again(requests_[i]);
        }
        run(kWarm);
        const std::uint64_t before = done_;
        const auto begin = std::chrono::steady_clock::now();
        run(kMeasure);
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
        const double rate = static_cast<double>(done_ - before) / passed.count();
        if (target_->writes() + kDepth < done_) give_up("the target lacks writes that were answered");
        ending_ = true;
        while (turn()) {
        }
        return rate;
    }

  private:
    void again(BlockRequest& request) {
        request.op = BlockOp::write;
        request.offset = dice_() % (kVolumeBytes / kWriteBytes) * kWriteBytes;
        request.length = kWriteBytes;
        source_->submit(request);
    }
    void run(std::chrono::nanoseconds time) {
        const auto end = std::chrono::steady_clock::now() + time;
        for (auto now = std::chrono::steady_clock::now(); now < end; now = std::chrono::steady_clock::now()) {
            now_ = now;
            if (now - ticked_ >= kTick) {
                ticked_ = now;
                source_->tick(now);
                target_->tick(now);
            }
            if (!turn()) give_up("nothing moves any more");
        }
    }
    /// What two reactors do in one batch each; false when there was nothing to do.
    bool turn() {
        bool moved = here_.disk.complete();
        if (here_.wants_commit && here_.log.wants_commit()) {
            here_.log.start_commit();
            here_.log.finish_commit(true);
            here_.wants_commit = false;
            source_->log_committed();
            moved = true;
        }
        moved |= here_.data.deliver(
            [this](const wire::Frame& frame) { target_->on_data(frame.header, frame.payload, now_); });
        moved |= here_.resync.deliver(
            [this](const wire::Frame& frame) { target_->on_resync(frame.header, frame.payload, now_); });
        if (const auto serial = std::exchange(there_.marked, 0); serial != 0) {
            target_->marked(serial, true);
            moved = true;
        }
        moved |= there_.disk.complete();
        target_->flush_acknowledgements();
        const auto answer = [this](Pipe& pipe, const wire::Frame& frame, bool data) {
            data ? source_->on_data(frame.header, frame.payload, now_)
                 : source_->on_resync(frame.header, now_);
            if (frame.payload != nullptr) pipe.pool().give_back(frame.payload, frame.header.length);
        };
        moved |= there_.data.deliver([&](const wire::Frame& frame) { answer(there_.data, frame, true); });
        moved |=
            there_.resync.deliver([&](const wire::Frame& frame) { answer(there_.resync, frame, false); });
        return moved;
    }

    SourceEnd here_;
    TargetEnd there_{here_};
    std::unique_ptr<Source> source_;
    std::unique_ptr<Target> target_;
    Instant now_ = std::chrono::steady_clock::now(), ticked_ = now_;
    std::mt19937_64 dice_{1};
    std::array<BlockRequest, kDepth> requests_;
    struct alignas(4096) Buffer : std::array<std::byte, kWriteBytes> {};
    std::array<Buffer, kDepth> buffers_{};
    std::uint64_t done_ = 0;
    bool ending_ = false;
};

}  // namespace
}  // namespace understudy::mirror

int main() {
    const auto bench = std::make_unique<understudy::mirror::Bench>();
    std::printf("%.0f\n", bench->writes_per_second());
    return 0;
}
