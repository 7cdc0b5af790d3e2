#pragma once
// Both sides of remote calls to one peer, without I/O.
//
//   caller: OutgoingCalls   id 7 --on path 1--> (path 1 dies) --on path 2, attempt 2--> ... answer or
//   deadline callee: ServedCalls     id 7 runs once; attempt 2 waits for it or gets the remembered answer
//
// A call whose path died may or may not have run. It is sent again on the next path under the same id, and
// the callee runs an id at most once: it remembers answers until the caller says that it has them (`oldest`),
// within bounds. What it had to forget is refused, never run again. A callee that restarted has no memory:
// calls sent to its former incarnation fail, their outcome is unknown. Spec: CLU-068, CLU-091.

#include "base/result.h"
#include "comm/wire.h"
#include "runtime/tasks.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace understudy::comm {

class OutgoingCalls {
  public:
    using Done = std::function<void(Result<std::string>)>;
    using ConnectionId = std::uint64_t;
    struct Finished {
        Done done;
        std::string method;
        runtime::Duration limit{};
        std::optional<runtime::TimerId> timer;
    };

    explicit OutgoingCalls(std::size_t most) : most_(most) {}

    /// False when `most` calls are in flight already. `id` is larger than any this process used for the peer
    /// before, also before its paths were deleted and made again: the callee remembers ids.
    bool add(std::uint64_t id, std::string method, std::string payload, runtime::TimePoint expires,
             runtime::Duration limit, Done done);
    void set_timer(std::uint64_t id, runtime::TimerId timer);

    /// Calls that are on no connection, in order of their ids.
    [[nodiscard]] std::vector<std::uint64_t> unsent() const;
    /// The frame for an unsent call; it counts as sent on `connection` from now on.
    wire::Call send(std::uint64_t id, ConnectionId connection, std::uint64_t incarnation,
                    runtime::TimePoint now);
    /// send() could not be done after all.
    void unsend(std::uint64_t id);
    /// What was sent on it may be lost.
    void connection_lost(ConnectionId connection);

    /// Takes the calls that were sent to another incarnation of the peer than this one.
    std::vector<Finished> take_sent_to_others(std::uint64_t incarnation);
    /// Takes one call: answered or expired. Empty when it is settled already.
    std::optional<Finished> take(std::uint64_t id);
    std::vector<Finished> take_all();
    [[nodiscard]] std::size_t size() const { return calls_.size(); }

  private:
    struct Open {
        std::string method;
        std::string payload;
        runtime::TimePoint expires;
        runtime::Duration limit{};
        Done done;
        std::optional<runtime::TimerId> timer;
        std::optional<ConnectionId> connection;
        std::optional<std::uint64_t> incarnation;
        std::uint32_t attempts = 0;
    };
    static Finished finish(Open&& call);

    std::size_t most_;
    std::map<std::uint64_t, Open> calls_;
};

class ServedCalls {
  public:
    static constexpr std::size_t kMaxRunning = 512;
    static constexpr std::size_t kMaxAnswers = 1024;
    static constexpr std::size_t kMaxAnswerBytes = 32UL << 20;

    enum class Verdict : std::uint8_t {
        run,        // first time: run it
        running,    // it runs; its answer will come
        answered,   // send `answer` again
        forgotten,  // it ran or may have run, and its answer is gone
        busy,       // too many run
    };
    struct Decision {
        Verdict verdict;
        std::string answer;  // encoded frame
    };
    Decision on_call(std::uint64_t incarnation, const wire::Call& call, std::uint64_t connection);
    /// The method answered. Returns the connection of the latest attempt: the answer goes back there, because
    /// its loss is what makes the caller ask again. Empty: the caller has restarted since, nobody waits.
    std::optional<std::uint64_t> on_answer(std::uint64_t incarnation, std::uint64_t id, std::string encoded);
    [[nodiscard]] std::size_t remembered() const { return answers_; }

  private:
    struct Entry {
        std::uint64_t connection = 0;
        bool answered = false;
        std::string answer;
    };
    void forget(std::map<std::uint64_t, Entry>::iterator at);

    std::uint64_t incarnation_ = 0;
    std::map<std::uint64_t, Entry> entries_;
    std::size_t running_ = 0;
    std::size_t answers_ = 0;
    std::size_t bytes_ = 0;
    std::uint64_t settled_below_ = 0;
    std::uint64_t forgotten_up_to_ = 0;
};

}  // namespace understudy::comm
