#pragma once
// A small world for the data path's cores: two nodes, each with a disk and an intent log whose unsynced
// sectors may vanish at a crash, and links that deliver late and can be cut. One seed gives one run.

#include "mirror/core/source.h"
#include "mirror/core/target.h"

#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace understudy::mirror::model {

inline constexpr std::uint32_t kCell = 512;                        // sector, and unit of the content checks
inline constexpr std::uint64_t kVolume = 20 * kBlockBytes - 4096;  // the last block is a short one
inline constexpr std::uint64_t kCells = kVolume / kCell;

class Dice {
  public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }
    bool chance(unsigned percent) { return below(100) < percent; }

  private:
    std::mt19937_64 engine_;
};

/// Completes operations in any order. A crash keeps what was flushed and any part of the rest.
class Disk : public BlockBackend {
  public:
    explicit Disk(Dice& dice) : dice_(dice), content_(kVolume), durable_(kVolume) {}
    [[nodiscard]] std::uint64_t size() const override { return kVolume; }
    [[nodiscard]] std::uint32_t sector_size() const override { return kCell; }
    void submit(BlockRequest& request) override;

    [[nodiscard]] bool busy() const { return !pending_.empty(); }
    void complete_one();
    /// Power is lost: the content becomes one that a real disk might have. Operations under way end with
    /// errors when abort_all() is called.
    void crash();
    void abort_all();

    [[nodiscard]] std::uint64_t cell(std::uint64_t index) const {
        std::uint64_t value;
        std::memcpy(&value, content_.data() + index * kCell, sizeof value);
        return value;
    }
    [[nodiscard]] const std::vector<std::byte>& content() const { return content_; }
    std::vector<std::byte>& content_for_setup() { return content_; }
    void make_durable() { durable_ = content_; }
    [[nodiscard]] std::uint64_t failed_flushes() const override { return failed_flushes_; }
    unsigned fail_writes = 0, fail_reads = 0, fail_flushes = 0;  // percent
    unsigned stalled = 0;                                        // steps in which nothing is completed

  private:
    struct Pending {
        BlockRequest* request;
        std::size_t volatile_before;      // flush: how many volatile writes it covers
        std::vector<std::byte> snapshot;  // read: content at submission
    };
    struct Volatile {
        std::uint64_t offset;
        std::vector<std::byte> data;
        bool fua;
    };
    static std::vector<std::byte> data_of(const BlockRequest& request);
    void lose_cache(std::size_t before);

    Dice& dice_;
    std::vector<std::byte> content_, durable_;
    std::deque<Volatile> volatile_;
    std::size_t volatile_base_ = 0;  // number of the first one in the deque
    std::uint64_t failed_flushes_ = 0;
    std::vector<Pending> pending_;
};

struct Message {
    wire::HeaderBytes header;
    std::vector<std::byte> payload;
};

/// One direction of one link: what waits at the sender, and what is on its way.
struct Pipe {
    IntrusiveQueue<Outgoing> queued;
    std::deque<Message> travelling;

    void transmit() {
        Outgoing& item = queued.pop();
        Message message{item.header, {item.payload, item.payload + item.length}};
        travelling.push_back(std::move(message));
        if (item.released != nullptr) item.released(item);
    }
    void drop_queue() {
        while (!queued.empty()) {
            Outgoing& item = queued.pop();
            if (item.released != nullptr) item.released(item);
        }
    }
};

class World;

class Node : public SourceDriver, public TargetDriver {
  public:
    Node(World& world, Dice& dice, int number);

    void start_log();  // memory image from the file; after a crash all bits of the file are dirty
    void become_source(MirrorState state);
    void become_target();
    void crash();
    /// crash() in two steps, for a device that several worlds share: all lose power, then all are gone.
    void lose_power();
    void restart_after_power_loss();

    // drivers
    void send_data(Outgoing& item) override { data.queued.push(item); }
    void send_resync(Outgoing& item) override { resync.queued.push(item); }
    void commit_log() override { commit_wanted = true; }
    void close_links(const std::string& said) override;
    void state_changed(MirrorState from, MirrorState to, PauseCause cause) override;
    void link_lost(std::string why) override { lost_reason = std::move(why); }
    void link_interrupted(std::string why) override { interrupted_reason = std::move(why); }
    void degraded(DegradeAnswer release) override;
    void in_sync() override;
    bool snapshot_begins(std::uint64_t snapshot) override { return on_snapshot && on_snapshot(snapshot); }
    void target_silent() override { ++silences; }
    void mark_consistent(bool consistent, std::uint64_t serial) override;
    void release_data(std::byte* buffer, std::uint32_t length) override { pool.give_back(buffer, length); }
    void release_resync(std::byte* buffer, std::uint32_t length) override { pool.give_back(buffer, length); }

    void start_commit();
    void finish_commit();
    void finish_mark();

    World& world;
    Dice& dice;
    int number;
    Disk disk;
    BlockBackend* device = &disk;  // of a source: one target's end of a front, when there are several
    BufferPool pool{std::size_t{256} << 20};
    std::vector<std::uint64_t> file;  // the log's bitmap, durable
    bool file_consistent = true;
    std::unique_ptr<IntentLog> log;
    std::unique_ptr<Source> source;
    std::unique_ptr<Target> target;
    Pipe data, resync;  // towards the other node
    bool commit_wanted = false;
    bool link_open = false;
    bool dead = false;
    struct Mark {
        bool consistent;
        std::uint64_t serial;
    };
    std::optional<Mark> mark;
    DegradeAnswer release;
    bool barrier_released = false;
    std::string lost_reason, interrupted_reason;
    unsigned synced = 0;
    unsigned silences = 0;
    std::function<bool(std::uint64_t)> on_snapshot;
};

struct AppRequest {
    BlockRequest block;
    std::vector<std::byte> buffer;
    std::uint64_t id = 0;
    std::uint64_t submitted = 0, completed = 0;  // world steps; completed 0: not yet
    bool failed = false;
    bool mirrored = false;  // flush: submitted and completed in the mirroring state
    World* world = nullptr;
};

/// Two nodes, one application and a scheduler that does one random thing at a time.
class World {
  public:
    explicit World(std::uint64_t seed);
    ~World();

    void submit_random();
    void submit(BlockOp op, std::uint64_t cell, std::uint64_t cells, bool fua);
    /// One random completion, delivery, commit or tick; false when only time could pass.
    bool step();
    void tick(std::chrono::milliseconds by);
    void connect(ResyncKind kind);
    void cut();
    /// New links for an interrupted session, where both ends can; else the source gives it up.
    void reconnect();
    void settle(unsigned limit = 200000);  // until nothing is under way
    [[nodiscard]] bool run_until(const std::function<bool()>& condition, unsigned limit = 400000);

    Node& source() { return *nodes[source_index]; }
    Node& target() { return *nodes[1 - source_index]; }
    void start(ResyncKind kind);
    void crash_source_and_promote();
    void restart_source();
    void restart_target();
    void restart_both();
    void drain_target();

    /// --- invariants; empty when they hold
    [[nodiscard]] std::string check_promoted() const;
    /// The same of a target in another world, which has the same source.
    [[nodiscard]] std::string check_promoted(const Node& promoted) const;
    [[nodiscard]] std::string check_bits() const;
    [[nodiscard]] std::string check_equal() const;

    Dice dice;
    MirrorParameters parameters;
    MirrorType type = MirrorType::sync;
    std::size_t copy_bytes = std::size_t{512} << 20;  // a source's memory for asynchronous writes
    unsigned flips = 0;   // of a thousand messages, how many arrive with a wrong bit
    unsigned stalls = 0;  // of a thousand steps, how many make a disk slow for a while
    unsigned flipped = 0;
    std::chrono::milliseconds usual_tick{100};
    std::string undetected;                        // a message with a wrong bit that looked right
    wire::Features features = wire::kAllFeatures;  // agreed by both ends
    std::array<std::unique_ptr<Node>, 2> nodes;
    int source_index = 0;
    bool out_of_date = true;                           // the cluster's record about the target; REP-079
    std::vector<std::unique_ptr<AppRequest>> history;  // writes since the last change of history
    std::vector<std::unique_ptr<AppRequest>> flushes;
    std::vector<std::unique_ptr<AppRequest>> old;  // kept until the end: cores may hold pointers
    std::uint64_t now_step = 1;
    std::uint64_t next_id = 1;
    std::uint64_t pending_requests = 0;
    Instant now{std::chrono::hours(1)};
    std::function<void(BlockRequest&)> entry;  // instead of the source: a front of several
    std::function<bool()> all_mirror;          // with it: whether every target mirrors

    /// Hands the next message of a pipe to the other node; false when there is none.
    bool deliver(Node& from, bool resync);

    [[nodiscard]] bool mirrors() const;
    void forget_history();

  private:
    [[nodiscard]] bool arrived_whole(Message& message);
    [[nodiscard]] std::string missing(const Node& node, const AppRequest& write) const;
};

}  // namespace understudy::mirror::model
