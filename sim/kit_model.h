#pragma once
// The recovery kits of a simulated cluster, and the truth about what they started: which host really runs
// which resource. That truth survives a crash of the daemon and dies with the host's power, whatever the
// configuration databases say.

#include "base/types.h"
#include "runtime/simulated/simulated_world.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace understudy::sim {

class KitModel {
  public:
    explicit KitModel(runtime::Simulation& simulation) : simulation_(simulation) {}
    KitModel(const KitModel&) = delete;
    KitModel& operator=(const KitModel&) = delete;

    /// Models every process of the host; installs the actions of the kit in `lkroot`.
    void attach(runtime::SimulatedNode& host, const std::string& lkroot);
    /// `parent` cannot be started where `child` does not run.
    void needs(const Tag& parent, const Tag& child) { needs_.emplace_back(parent, child); }

    [[nodiscard]] bool runs(const NodeName& host, const Tag& tag) const;
    /// Hosts with power on which it runs.
    [[nodiscard]] std::vector<NodeName> hosts_running(const Tag& tag) const;
    /// When the restore began that has brought it up there last.
    [[nodiscard]] runtime::TimePoint restore_began(const NodeName& host, const Tag& tag) const;
    /// The resource stops by itself. Until it is started again nothing that needs it can be blamed for that.
    void break_down(const NodeName& host, const Tag& tag);

    /// What goes wrong with actions from now on.
    struct Trouble {
        double fails = 0;        // exits 1 without effect
        double hangs = 0;        // takes kHang
        double lies = 0;         // exits 1 though it has done its work; a start may exit 0 without effect
        double check_lies = 0;   // a check says the opposite of what is true
        double check_hangs = 0;  // a check does not end by itself
        runtime::Duration least = std::chrono::milliseconds(20);
        runtime::Duration most = std::chrono::milliseconds(300);
    };
    static constexpr auto kHang = std::chrono::seconds(20);
    void set_trouble(Trouble trouble) { trouble_ = trouble; }
    /// The next `count` runs of this action for this resource on this host fail.
    void fail_next(const NodeName& host, const std::string& action, int count, const Tag& tag);
    /// The next run of this action for this resource on this host takes so long.
    void delay_next(const NodeName& host, const std::string& action, runtime::Duration takes, const Tag& tag);

    /// Asked when the next restores begin, with the host, until it answers true. One at a time; null: nobody.
    void on_next_restore(std::function<bool(const NodeName& host)> asked) {
        next_restore_ = std::move(asked);
    }

    /// Counts what was started, stopped or lost.
    [[nodiscard]] std::uint64_t changes() const { return changes_; }
    /// Called when a kit is asked for something that must not happen.
    void on_violation(std::function<void(std::string)> handler) { violation_ = std::move(handler); }

  private:
    struct Host {
        runtime::SimulatedNode* node = nullptr;
        std::uint64_t boot = 0;  // of which `running` is
        std::set<Tag> running;
        std::set<Tag> broken;  // stopped by themselves
        std::map<Tag, runtime::TimePoint> restore_began;
        std::map<std::pair<std::string, Tag>, int> fail_next;  // by action and tag
        std::map<std::pair<std::string, Tag>, runtime::Duration> delay_next;
    };
    runtime::SimulatedOutcome start(Host& host, const runtime::ProcessSpec& spec);
    int finish(Host& host, const std::string& action, const Tag& tag, runtime::TimePoint began);
    runtime::SimulatedOutcome lie(Host& host, const std::string& action, const Tag& tag,
                                  runtime::SimulatedOutcome outcome);
    static void forget_earlier_boots(Host& host);
    void set_running(Host& host, const Tag& tag, bool runs);
    static const std::set<Tag>& running_on(const Host& host);

    runtime::Simulation& simulation_;
    std::map<NodeName, Host> hosts_;
    std::vector<std::pair<Tag, Tag>> needs_;
    Trouble trouble_;
    std::uint64_t changes_ = 0;
    std::function<void(std::string)> violation_;
    std::function<bool(const NodeName&)> next_restore_;
};

}  // namespace understudy::sim
