#pragma once
// What tests share that disturb an operation at each of its scripts: the clusters of test_hierarchies.h, two
// nodes A and B.

#include "recovery/gate.h"
#include "recovery/test_hierarchies.h"

namespace understudy::recovery::testing {

/// Scripts of one operation on the four resources, removes elsewhere included, are fewer.
inline constexpr int kMostSteps = 12;

/// Whole, on exactly one host, and the databases say so.
inline bool whole_somewhere(TestCluster& c) {
    const std::set<std::string> all{"web.0", "ip.0", "Vol.E", "db.0"};
    for (const auto* name : {"A", "B"}) {
        const auto* other = name == std::string("A") ? "B" : "A";
        if (c.host(name).running == all && c.host(other).running.empty() &&
            c.states(name) == "ISP ISP ISP ISP")
            return true;
    }
    return false;
}

inline std::string describe(TestCluster& c) {
    std::string text;
    for (const auto* name : {"A", "B"}) {
        text += std::string(name) + ": " + c.states(name) + "; runs";
        for (const auto& tag : c.host(name).running)
            text += " " + tag;
        text += ". ";
    }
    return text;
}

/// The switchover of web.0, and with it of everything.
inline void begin_switchover(TestCluster& c, const std::string& to = "B") {
    c.host(to).daemon->engine->switchover(Tag("web.0"), NodeName(to), [](const config::Reply&) {});
}

/// Begins `operation` and waits until script number `step` of it begins; false when it has fewer.
inline bool reach(TestCluster& c, int step, bool inside, const std::function<void()>& operation) {
    c.take_trace();
    operation();
    if (!c.wait([&] { return c.scripts_begun() > static_cast<std::size_t>(step); }, std::chrono::seconds(30)))
        return false;
    if (inside) c.run(std::chrono::milliseconds(10));  // a script takes 20 ms
    return true;
}

/// Whatever this node starts is refused as long as `why` says something.
class Refusing final : public StartGuard {
  public:
    runtime::Task<> judge(std::string, std::set<NodeName>) override { co_return; }
    std::string refusal() override { return why; }
    bool proven_dead(const NodeName&) const override { return true; }
    bool starts_at_comm_up() override { return true; }
    void forced(const std::string&) override {}
    std::string why;
};

}  // namespace understudy::recovery::testing
