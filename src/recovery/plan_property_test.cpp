// What must hold for every plan, over random clusters: children before parents, nothing twice, the plan ends,
// needs point backwards, and nothing comes in service on two nodes.

#include "recovery/plan.h"
#include "recovery/view_part.h"

#include <gtest/gtest.h>

#include <random>

namespace understudy::recovery {
namespace {

using config::State;

constexpr int kRuns = 3000;
constexpr int kMaxResources = 9;

struct RandomCluster {
    std::mt19937_64 random;
    std::vector<NodeName> names{NodeName("a"), NodeName("b"), NodeName("c")};

    int below(int n) { return static_cast<int>(random() % static_cast<std::uint64_t>(n)); }

    ClusterView view() {
        ClusterView result;
        names.resize(static_cast<std::size_t>(2 + below(2)), NodeName("c"));
        result.self = names[static_cast<std::size_t>(below(static_cast<int>(names.size())))];
        const int resources = 1 + below(kMaxResources);
        std::vector<config::Dependency> dependencies;
        std::uint64_t order = 0;
        for (int parent = 0; parent < resources; ++parent)
            for (int child = parent + 1; child < resources; ++child)
                if (below(4) == 0) dependencies.push_back({tag(parent), tag(child), ++order});
        std::vector<int> home(static_cast<std::size_t>(resources));  // at most one node has a resource
        for (auto& where : home)
            where = below(static_cast<int>(names.size()) + 1);
        std::vector<bool> mirrored(static_cast<std::size_t>(resources));
        for (std::size_t r = 0; r < mirrored.size(); ++r)
            mirrored[r] = below(12) == 0;
        for (std::size_t n = 0; n < names.size(); ++n) {
            auto& node = result.nodes[names[n]];
            add_flags(node.config, names[n]);
            node.alive = names[n] == result.self || below(3) != 0;
            node.known_dead = !node.alive && below(5) != 0;
            node.config.generation = 1;
            for (int r = 0; r < resources; ++r) {
                config::Instance instance;
                instance.tag = tag(r);
                instance.order = static_cast<std::uint64_t>(r) + 1;
                instance.init = static_cast<config::Init>(below(3));
                static constexpr std::array kDown{State::osu, State::osf, State::illstate};
                instance.state = home[static_cast<std::size_t>(r)] == static_cast<int>(n)
                                     ? (below(8) == 0 ? State::isu : State::isp)
                                     : kDown[static_cast<std::size_t>(below(3))];
                if (instance.state == State::osf && below(3) == 0) instance.reason = kRemoveFailed;
                if (instance.state == State::osu && below(3) == 0)
                    instance.reason = std::string(kInterrupted) + names[n == 0 ? 1 : 0].str();
                if (below(2) == 0) instance.switchback = config::Switchback::automatic;
                if (mirrored[static_cast<std::size_t>(r)]) {
                    instance.app = AppName("filesys");
                    instance.type = TypeName("volume");
                }
                node.config.instances[instance.tag] = instance;
                for (std::size_t other = 0; other < names.size(); ++other)
                    if (other != n)
                        node.config.equivalencies.push_back({tag(r),
                                                             names[other],
                                                             tag(r),
                                                             {static_cast<int>(n) * 10 + 1},
                                                             {static_cast<int>(other) * 10 + 1},
                                                             ++order});
            }
            node.config.dependencies = dependencies;
        }
        return result;
    }

    void add_flags(config::NodeConfig& config, const NodeName& holder) {
        if (below(2) == 0) config.flags.insert(FlagName(kShutdownSwitchoverFlag));
        for (const auto& other : names) {
            if (other == holder) continue;
            if (below(8) == 0) config.flags.insert(no_system_failover_flag(holder, other));
            if (below(8) == 0) config.flags.insert(no_failover_flag(other));
        }
    }

    Request request(const ClusterView& view) {
        const auto resource = tag(below(static_cast<int>(view.nodes.at(view.self).config.instances.size())));
        const auto scope = static_cast<Scope>(below(4));
        switch (below(8)) {
            case 0:
                return RestoreRequest{resource, scope};
            case 1:
                return RemoveRequest{resource, scope};
            case 2:
                for (const auto& [name, node] : view.nodes)
                    if (name != view.self) return FailoverRequest{name, {}, {}};
                return StopRequest{{}};
            case 3:
                return InitialiseRequest{{}};
            case 4:
                return SwitchbackRequest{};
            case 5:
                return ShutdownRequest{};
            case 6:
                return InterruptedRequest{};
            default:
                return StopRequest{{}};
        }
    }

    static Tag tag(int r) { return Tag(fmt::format("r{}", r)); }
};

/// States after the steps so far.
using States = std::map<std::pair<NodeName, Tag>, State>;

States states_of(const ClusterView& view) {
    States result;
    for (const auto& [name, node] : view.nodes)
        for (const auto& [tag, instance] : node.config.instances)
            result[{name, tag}] = instance.state;
    return result;
}

bool up(State state) {
    return state == State::isp || state == State::isu;
}

void check(const ClusterView& view, const Request& request, const Plan& plan) {
    auto states = states_of(view);
    std::set<std::tuple<NodeName, Tag, Action>> seen;
    const bool single = std::holds_alternative<RestoreRequest>(request) &&
                        std::get<RestoreRequest>(request).scope == Scope::single;
    const bool single_remove = std::holds_alternative<RemoveRequest>(request) &&
                               std::get<RemoveRequest>(request).scope == Scope::single;
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
        const auto& step = plan.steps[i];
        const auto& config = view.nodes.at(step.node).config;
        EXPECT_FALSE(step.why.empty()) << "every step has a reason";
        for (const auto need : step.needs)
            EXPECT_LT(need, i) << "needs point backwards";
        if (step.action == Action::leave) continue;
        EXPECT_TRUE(view.nodes.at(step.node).alive) << "no step on a dead node";
        EXPECT_TRUE(seen.insert({step.node, step.tag, step.action}).second) << "nothing twice";
        for (const auto& d : config.dependencies) {
            if (step.action == Action::restore && d.parent == step.tag && !single && !step.force) {
                EXPECT_TRUE(up(states.at({step.node, d.child}))) << "children first";
            }
            if (step.action == Action::remove && d.child == step.tag && !single_remove) {
                EXPECT_FALSE(up(states.at({step.node, d.parent}))) << "parents first";
            }
        }
        const bool rises = step.action == Action::restore || step.action == Action::set_isp;
        states[{step.node, step.tag}] = rises ? State::isp : State::osu;
        if (!rises) continue;
        if (std::holds_alternative<ShutdownRequest>(request)) {
            EXPECT_NE(step.node, view.self) << "a node that shuts down starts nothing";
        } else {
            EXPECT_EQ(step.node, view.self) << "only this node gains anything";
        }
        for (const auto& [name, node] : view.nodes)
            if (name != step.node && node.alive) {
                EXPECT_FALSE(up(states.at({name, step.tag}))) << step.tag.str() << " twice in service";
            }
    }
}

// Spec: CLU-105, CLU-107, CLU-135, CLU-136
TEST(PlanProperties, HoldForRandomClusters) {
    for (int run = 0; run < kRuns; ++run) {
        RandomCluster cluster{std::mt19937_64(static_cast<std::uint64_t>(run))};
        const auto view = cluster.view();
        const auto request = cluster.request(view);
        const auto made = plan(view, request);
        if (!made) {
            EXPECT_EQ(made.error().code, Code::unreachable) << made.error().text;
            EXPECT_FALSE(made.error().text.empty());
            continue;
        }
        check(view, request, *made);
        const auto again = plan(view, request);
        EXPECT_TRUE(again && again->steps == made->steps) << "the same input gives the same plan";
        if (::testing::Test::HasFailure()) {
            FAIL() << "run " << run << ", on " << view.self.str() << "\n" << describe(*made);
        }
    }
}

bool touches_a_mirror(const ClusterView& view, const Step& step) {
    const auto& config = view.nodes.at(step.node).config;
    const auto members = hierarchy_of(config, step.tag);
    return std::any_of(members.begin(), members.end(),
                       [&](const Tag& tag) { return is_mirrored(config.instances.at(tag)); });
}

// Spec: CLU-198, CLU-199, CLU-204
TEST(PlanProperties, MirrorsAndBetterNodesAreLeftAlone) {
    int moved_back = 0;
    int moved_away = 0;
    for (int run = 0; run < kRuns; ++run) {
        RandomCluster cluster{std::mt19937_64(static_cast<std::uint64_t>(run) + 2000000)};
        const auto view = cluster.view();
        const auto back = plan(view, SwitchbackRequest{});
        ASSERT_TRUE(back) << "a switchback says why it does nothing: " << back.error().text;
        for (const auto& step : back->steps) {
            if (step.action == Action::leave) continue;
            ++moved_back;
            EXPECT_FALSE(touches_a_mirror(view, step)) << "run " << run;
            if (step.node != view.self && !step.force) {
                EXPECT_GT(step.node, view.self)
                    << "run " << run << ": here names are in the order of priority";
            }
        }
        const auto away = plan(view, ShutdownRequest{});
        ASSERT_TRUE(away) << away.error().text;
        for (const auto& step : away->steps)
            if (step.action == Action::restore) {
                ++moved_away;
                EXPECT_FALSE(touches_a_mirror(view, step)) << "run " << run;
                for (const auto* flags :
                     {&view.nodes.at(view.self).config.flags, &view.nodes.at(step.node).config.flags})
                    EXPECT_FALSE(flags->contains(no_system_failover_flag(view.self, step.node)))
                        << "run " << run;
            }
    }
    EXPECT_GT(moved_back, 100);
    EXPECT_GT(moved_away, 100);
}

// Spec: CLU-186, CLU-191
TEST(PlanProperties, AtMostOneSurvivorTakesAHierarchyOver) {
    for (int run = 0; run < kRuns; ++run) {
        RandomCluster cluster{std::mt19937_64(static_cast<std::uint64_t>(run) + 1000000)};
        auto view = cluster.view();
        const auto dead = view.nodes.begin()->first;
        view.nodes.at(dead).alive = false;
        view.nodes.at(dead).known_dead = true;
        std::map<Tag, NodeName> taken;
        for (const auto& [name, node] : view.nodes) {
            if (name == dead || !node.alive) continue;
            view.self = name;
            const auto made = plan(view, FailoverRequest{dead, {}, {}});
            ASSERT_TRUE(made) << made.error().text;
            for (const auto& step : made->steps)
                if (step.action == Action::restore) {
                    EXPECT_TRUE(taken.emplace(step.tag, name).second)
                        << "run " << run << ": " << step.tag.str() << " by " << taken[step.tag].str()
                        << " and " << name.str();
                }
        }
    }
}

// Spec: CLU-129
TEST(PlanProperties, AHierarchyIsInitialisedAlikeFromTheWholeViewAndFromItsPart) {
    int steps = 0;
    for (int run = 0; run < kRuns; ++run) {
        RandomCluster cluster{std::mt19937_64(static_cast<std::uint64_t>(run) + 3000000)};
        const auto view = cluster.view();
        for (const auto& [tag, instance] : view.nodes.at(view.self).config.instances) {
            auto part = view;
            for (auto& [name, node] : part.nodes)
                node.config = {};
            fill_part(part, tag, [&](const NodeName& name) { return &view.nodes.at(name).config; });
            const auto whole_plan = plan(view, InitialiseRequest{tag});
            const auto part_plan = plan(part, InitialiseRequest{tag});
            ASSERT_EQ(whole_plan.has_value(), part_plan.has_value()) << "run " << run;
            if (!whole_plan) continue;
            ASSERT_EQ(describe(*whole_plan), describe(*part_plan)) << "run " << run << ", " << tag.str();
            ASSERT_EQ(whole_plan->steps, part_plan->steps) << "run " << run << ", " << tag.str();
            steps += static_cast<int>(whole_plan->steps.size());
        }
    }
    EXPECT_GT(steps, 1000);
}

// Spec: CLU-191
TEST(ByHierarchy, PartsAreWholeHierarchiesWithTheirOwnNeeds) {
    ClusterView view;
    view.self = NodeName("a");
    auto& config = view.nodes[view.self].config;
    for (const auto* name : {"x", "x2", "y", "y2", "y3"}) {
        config::Instance instance;
        instance.tag = Tag(name);
        instance.order = config.instances.size() + 1;
        config.instances[instance.tag] = instance;
    }
    config.dependencies = {{Tag("x2"), Tag("x"), 1}, {Tag("y2"), Tag("y"), 2}, {Tag("y3"), Tag("y"), 3}};
    Plan whole;
    whole.steps = {{view.self, Tag("x"), Action::restore, "w", {}, false},
                   {view.self, Tag("y"), Action::set_osu, "w", {}, false},
                   {NodeName("b"), Tag("other"), Action::remove, "w", {}, false},
                   {view.self, Tag("x2"), Action::restore, "w", {0, 2}, false},
                   {view.self, Tag("y2"), Action::set_osu, "w", {}, false}};
    const auto parts = by_hierarchy(view, whole);
    ASSERT_EQ(parts.size(), 2U);
    ASSERT_EQ(parts[0].steps.size(), 3U);
    EXPECT_EQ(parts[0].steps[2].needs, (std::vector<std::size_t>{0, 1}));
    ASSERT_EQ(parts[1].steps.size(), 2U);
    EXPECT_EQ(parts[1].steps[1].tag, Tag("y2"));
}

TEST(PlanBounds, AChainOfTenThousandResourcesIsPlannedWithoutRecursion) {
    constexpr int kLength = 10000;
    ClusterView view;
    view.self = NodeName("a");
    auto& node = view.nodes[view.self];
    node.alive = true;
    node.config.generation = 1;
    for (int i = 0; i < kLength; ++i) {
        config::Instance instance;
        instance.tag = Tag(fmt::format("r{}", i));
        instance.order = static_cast<std::uint64_t>(i) + 1;
        node.config.instances[instance.tag] = instance;
        if (i > 0)
            node.config.dependencies.push_back(
                {Tag(fmt::format("r{}", i - 1)), instance.tag, static_cast<std::uint64_t>(i)});
    }
    const auto made = plan(view, RestoreRequest{Tag("r0"), Scope::related});
    ASSERT_TRUE(made);
    ASSERT_EQ(made->steps.size(), static_cast<std::size_t>(kLength));
    EXPECT_EQ(made->steps.front().tag, Tag("r9999"));
    EXPECT_EQ(made->steps.back().tag, Tag("r0"));
}

}  // namespace
}  // namespace understudy::recovery
