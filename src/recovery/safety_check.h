#pragma once
// The last check before a takeover: does the host still answer although every path to it is DEAD? Spec:
// CLU-071 to CLU-077.
//
//   COMM_DOWN --> probes every fixed address of the host and those of its name, all at once, every 5 s
//        one answers --> PAUSING COMM_DOWN: nothing is taken over
//        none within SAFETY_CHECK_TIMEOUT --> the host is down: go on
//        a path is ALIVE again --> ABORTING COMM_DOWN
//
// strict: a host that answered once is left alone until its paths were ALIVE and DEAD again, since only then
// there is another COMM_DOWN. recheck: it is probed on; silence for the whole time-out means that it is down
// now. The answer holds for the whole loss: a second question in it (the next candidate's turn) costs no
// time.
//
// Where a witness decides, the finding is only logged and holds nothing up (order of the checks: CLU-185).

#include "comm/cluster.h"
#include "config/database.h"
#include "recovery/gate.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace understudy::recovery {

/// Between the beginnings of two rounds of probes.
inline constexpr runtime::Duration kProbePeriod = std::chrono::seconds(5);

class SafetyCheck final : public TakeoverGate {
  public:
    /// Addresses that a node's name has, besides those of its paths.
    using Resolver = std::function<runtime::Task<std::vector<std::string>>(NodeName node)>;
    struct Options {
        runtime::Duration timeout = std::chrono::seconds(30);
        bool recheck = false;
        bool informs_only = false;
        Resolver resolve = {};
    };
    struct Target {
        std::string address;        // of the peer
        std::string local_address;  // to probe from; empty: whichever
        friend auto operator<=>(const Target&, const Target&) = default;
    };
    /// Whether something answers there; takes a few seconds at most.
    using Probe = std::function<runtime::Task<bool>(Target target)>;
    /// All outlive it; peers' events are listened to for the life of `cluster`.
    SafetyCheck(runtime::World world, const config::Database& database, comm::Cluster& cluster,
                Options options, Probe probe);
    SafetyCheck(const SafetyCheck&) = delete;
    SafetyCheck& operator=(const SafetyCheck&) = delete;
    ~SafetyCheck() override;

    [[nodiscard]] std::string name() const override { return "safety check"; }
    runtime::Task<Verdict> check(NodeName peer) override;

  private:
    enum class Finding { none, checking, present, down };
    runtime::Task<Verdict> find_out(NodeName peer);
    runtime::Task<> inform(NodeName peer);
    runtime::Task<bool> answers(std::vector<Target> targets);
    runtime::Task<> probe_one(Target target, std::shared_ptr<std::size_t> open, std::shared_ptr<bool> any,
                              runtime::OneShot<runtime::Done> all);
    [[nodiscard]] std::vector<Target> targets_of(const NodeName& peer,
                                                 const std::vector<std::string>& named) const;
    [[nodiscard]] bool alive(const NodeName& peer) const;
    void pause(const NodeName& peer);

    runtime::World world_;
    const config::Database& database_;
    comm::Cluster& cluster_;
    Options options_;
    Probe probe_;
    std::map<NodeName, Finding> findings_;  // of the loss that has not ended
    std::map<NodeName, std::uint64_t> returns_;
    std::shared_ptr<bool> life_ = std::make_shared<bool>(true);
    runtime::TaskScope scope_;
};

}  // namespace understudy::recovery
