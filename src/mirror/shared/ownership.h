#pragma once
// Who owns a shared volume: one host's part, as a state machine without I/O. Spec: CLU-217, CLU-229, KIT-060,
// MOP-066, EMC-220, EMC-262.
//
//   next() --> read everything     --> on_read()      every access takes as long as it takes, one at a time;
//          --> write my own slot   --> on_written()   an access that failed may still reach the disk
//          --> wait, nothing
//
// Ownership has generations. One is decided by a vote (Disk Paxos on one disk): a host writes its ballot into
// its own slot and reads all slots; sees no higher ballot; writes what it accepts with this ballot (what the
// highest ballot before has accepted, else itself) and reads again. Whoever comes later sees the acceptance
// in a slot, or was seen by its voter, who then gives up. So a generation has one owner, however long any
// write or read takes.
//
// The owner may use the volume until its lease ends: `lease` after the *start* of its newest write that had
// ended before the former lease did. It writes again and again, by its own clock, and stops when it cannot.
//
// Generation n + 1 is voted about when the owner of n has given it up, was an earlier life on this host, or
// has been silent: its slot did not change between the end of one read and the start of another that lie its
// lease and our margin apart, by our clock. Then every write of it that was not there at the second read
// ended after its lease, and does not extend it; what was there at the first started before that read ended.
// A slot that does change stops the vote, and an owner that sees a higher generation stops. Neither write
// order nor clocks that agree are needed, only that clocks run at about the same speed: the margin covers
// what they may differ in one lease, and how long a write of data that the owner gave to the kernel may be on
// its way.
//
// Threading: none of its own.

#include "mirror/shared/owner_format.h"
#include "runtime/tasks.h"

#include <string>
#include <vector>

namespace understudy::mirror::shared {

using runtime::Duration;
using runtime::TimePoint;

struct OwnershipOptions {
    std::uint32_t slot = 0;
    std::uint64_t incarnation = 0;  // random
    std::uint64_t host = 0;         // the same for all lives of this host
    Duration lease = std::chrono::seconds(6);
    Duration margin = std::chrono::seconds(3);  // on top of another's lease
    std::uint64_t jitter = 1;                   // random: hosts that vote at the same time separate by it
};

class Ownership {
  public:
    explicit Ownership(OwnershipOptions options);

    enum class State : std::uint8_t {
        idle,       // wants nothing
        claiming,   // wants to be the owner
        owner,      // may use the volume until lease_end()
        lost,       // was the owner; nothing may be written any more
        releasing,  // gives it up: the volume is not used any more
    };
    struct Step {
        enum class Kind : std::uint8_t { nothing, wait, read, write } kind = Kind::nothing;
        TimePoint until{};   // wait; something may be called before
        OwnerRecord record;  // write
        unsigned copy = 0;   // write: into which copy of this host's slot
    };

    void claim();
    /// After the last write of data has ended; gives up a claim, too.
    void release();
    /// Lost is noticed: wants nothing any more.
    void forget();

    /// What to do now. After read and write comes on_read() or on_written(), or failed().
    [[nodiscard]] Step next(TimePoint now);
    void on_read(TimePoint started, TimePoint ended, const std::vector<Slot>& slots);
    void on_written(TimePoint started, TimePoint ended);
    void failed(TimePoint ended);

    [[nodiscard]] State state() const { return state_; }
    /// Whether data may be written at this moment.
    [[nodiscard]] bool owns(TimePoint now) const { return state_ == State::owner && now < lease_end_; }
    [[nodiscard]] TimePoint lease_end() const { return lease_end_; }
    /// While claiming: the slot of an owner that has been seen at work since the claim began.
    [[nodiscard]] std::optional<std::uint32_t> living_owner() const { return living_owner_; }
    /// The owner as it was read last, dead or alive.
    [[nodiscard]] std::optional<std::uint32_t> known_owner() const { return known_owner_; }
    /// Why nothing goes on, for a person; empty when nothing is wrong.
    [[nodiscard]] const std::string& problem() const { return problem_; }
    [[nodiscard]] std::uint64_t generation() const { return generation_; }

  private:
    // What the next answer is of.
    enum class Doing : std::uint8_t {
        looking,     // reads, to see whether there is an owner
        preparing,   // has written a ballot, reads
        accepting,   // has written what it accepts, reads
        announcing,  // writes down what was decided
        renewing,    // an owner's write
        watching,    // an owner's read
        resting,     // an owner until the next write
        ending,      // a release's write
    };
    struct Seen {
        std::optional<OwnerRecord> record;
        TimePoint since{};  // the end of the first read that showed it
        bool known = false;
    };

    void look(TimePoint ended);
    [[nodiscard]] TimePoint stop_at() const;
    void observe(TimePoint ended, const std::vector<Slot>& slots);
    [[nodiscard]] bool silent(std::uint32_t slot, TimePoint started) const;
    void on_look(TimePoint started, TimePoint ended, const std::vector<Slot>& slots);
    [[nodiscard]] bool vote_goes_on(TimePoint ended, const std::vector<Slot>& slots);
    void on_prepared(TimePoint ended, const std::vector<Slot>& slots);
    void on_accepted(TimePoint ended, const std::vector<Slot>& slots);
    void on_watched(const std::vector<Slot>& slots);
    void lose(std::string why);
    [[nodiscard]] Duration lease_of(std::uint32_t slot) const;

    OwnershipOptions options_;
    State state_ = State::idle;
    Doing doing_ = Doing::looking;
    bool writes_next_ = false;  // the record is ready to be written
    // The access under way: what for, and what it writes.
    bool asked_ = false;
    Doing asked_for_ = Doing::looking;
    OwnerRecord asked_record_;
    TimePoint wait_until_{};
    OwnerRecord mine_;                    // as it is, or will be next
    std::optional<OwnerRecord> on_disk_;  // our newest record that is certainly there
    unsigned good_copy_ = 1;              // where it stands
    bool read_own_ = false;
    std::vector<Seen> seen_;
    std::uint64_t generation_ = 0;
    std::uint32_t freed_owner_ = 0;                // of the generation before the one voted about
    std::optional<OwnerRecord> freed_by_silence_;  // its record then: it must stay so
    TimePoint vote_started_{};
    TimePoint lease_end_{};
    TimePoint next_renewal_{};
    std::optional<std::uint32_t> living_owner_;
    std::optional<std::uint32_t> known_owner_;
    std::uint64_t looks_ = 0;  // of this claim
    std::uint64_t collisions_ = 0;
    std::string problem_;
};

}  // namespace understudy::mirror::shared
