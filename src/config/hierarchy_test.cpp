#include "config/hierarchy.h"

#include "config/record_change.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const NodeName left{"left"};
const NodeName right{"right"};
const NodeName third{"third"};
const AppName gen{"gen"};
const TypeName app{"app"};
const AppName filesys{"filesys"};
const TypeName volume{"volume"};
const Tag web{"web"};
const Tag ip{"ip"};
const Tag vol{"vol"};

/// Three nodes with kits that hear each other.
struct World {
    std::map<NodeName, NodeConfig> configs;
    std::map<NodeName, NodeFacts> facts;
    std::set<NodeName> silent;

    World() {
        for (const auto& node : {left, right, third}) {
            configs[node].systems = {left, right, third};
            auto& fact = facts[node];
            for (const auto& type : {ResourceType{gen, app}, ResourceType{filesys, volume}})
                fact.actions[type] = {"restore", "remove", "canextend", "extend", "create", "delete"};
            for (const auto& peer : {left, right, third})
                if (peer != node) fact.alive.insert(peer);
        }
    }
    [[nodiscard]] ClusterFacts cluster(const NodeName& self = left) {
        ClusterFacts result;
        result.self = self;
        result.now_s = 1000;
        for (auto& [node, config] : configs) {
            if (silent.contains(node)) continue;
            config.reindex();
            result.nodes[node] = &config;
            result.facts[node] = facts[node];
        }
        return result;
    }
    Instance& define(const NodeName& node, const Tag& tag, State state = State::osu) {
        Instance instance;
        instance.app = tag == vol ? filesys : gen;
        instance.type = tag == vol ? volume : app;
        instance.tag = tag;
        instance.id = ResourceId("id-" + tag.str());
        instance.info = "port=80";
        instance.state = state;
        instance.created_at = 7;
        instance.order = configs[node].instances.size() + 1;
        return configs[node].instances[tag] = instance;
    }
    void depend(const Tag& parent, const Tag& child, const NodeName& node) {
        configs[node].dependencies.push_back({parent, child, 1});
    }
    void pair(const Tag& tag, const NodeName& one, int first, const NodeName& other, int second) {
        configs[one].equivalencies.push_back({tag, other, tag, Priority{first}, Priority{second}, 1});
        configs[other].equivalencies.push_back({tag, one, tag, Priority{second}, Priority{first}, 1});
    }
    /// web needs ip and vol, in service on left.
    void hierarchy_on_left() {
        for (const auto& tag : {web, ip, vol})
            define(left, tag, State::isp);
        depend(web, ip, left);
        depend(web, vol, left);
    }
    void extend_to_right() {
        for (const auto& tag : {web, ip, vol}) {
            define(right, tag);
            pair(tag, left, 1, right, 10);
        }
        depend(web, ip, right);
        depend(web, vol, right);
    }
    /// What the steps make of the configurations; scripts do nothing.
    void carry_out(const HierarchyPlan& plan) {
        for (const auto& step : plan.steps) {
            if (step.kind != HierarchyStep::Kind::records) continue;
            const auto edits = edits_for(configs[step.node], step.change);
            ASSERT_TRUE(edits) << edits.error().text;
            for (const auto& edit : *edits)
                config::apply(configs[step.node], edit);
        }
    }
    void take_back(const HierarchyPlan& plan) {
        for (auto step = plan.steps.rbegin(); step != plan.steps.rend(); ++step) {
            const auto edits = edits_for(configs[step->node], step->back);
            ASSERT_TRUE(edits) << edits.error().text;
            for (const auto& edit : *edits)
                config::apply(configs[step->node], edit);
        }
    }
};

template <class Plan>
std::string refusal(const Plan& plan, Code code) {
    EXPECT_FALSE(plan);
    if (plan) return {};
    EXPECT_EQ(plan.error().code, code) << plan.error().text;
    return plan.error().text;
}

std::vector<std::string> scripts(const HierarchyPlan& plan) {
    std::vector<std::string> found;
    for (const auto& step : plan.steps)
        if (step.kind != HierarchyStep::Kind::records)
            found.push_back(step.node.str() + " " + step.action + " " + step.tag.str());
    return found;
}

class Hierarchy : public ::testing::Test {
  protected:
    World w;
};

// Spec: CLU-104
TEST_F(Hierarchy, ACreatedResourceHasTheDefaultsAndStartsByItselfOnlyWhenItIsComplete) {
    w.define(left, ip, State::isp);
    w.facts[left].actions[{gen, app}].insert("quickchk");
    const auto plan = plan_create(w.cluster(), {left, gen, app, web, {}, "port=80", {ip}, {}});
    ASSERT_TRUE(plan) << plan.error().text;
    EXPECT_THAT(scripts(*plan), ElementsAre("left create web", "left restore web"));
    const auto& first = std::get<PutInstance>(plan->steps.front().change.edits.front()).instance;
    EXPECT_EQ(first.init, Init::init_osu);
    EXPECT_EQ(plan->final_from, plan->steps.size() - 1);
    w.carry_out(*plan);
    const auto& made = w.configs[left].instances.at(web);
    EXPECT_EQ(made.init, Init::autores_isp);
    EXPECT_EQ(made.switchback, Switchback::intelligent);
    EXPECT_EQ(made.quick_interval_s, 180);
    EXPECT_EQ(made.deep_interval_s, 0) << "the kit has no deepchk";
    EXPECT_EQ(made.id, ResourceId("web"));
    EXPECT_THAT(w.configs[left].children(web), ElementsAre(ip));
    w.take_back(*plan);
    EXPECT_EQ(w.configs[left].find(web), nullptr);
    EXPECT_THAT(w.configs[left].dependencies, IsEmpty());
}

// Spec: CLU-102, CLU-103, CLU-159, CLU-199
TEST_F(Hierarchy, WhatCannotBeCreatedIsRefused) {
    w.define(left, ip);
    w.define(left, vol);
    const CreateRequest good{left, gen, app, web, {}, "", {}, {}};
    auto request = good;
    request.tag = ip;
    EXPECT_THAT(refusal(plan_create(w.cluster(), request), Code::exists), HasSubstr("ip"));
    request = good;
    request.id = ResourceId("id-ip");
    EXPECT_THAT(refusal(plan_create(w.cluster(), request), Code::exists), HasSubstr("id-ip"));
    request = good;
    request.tag = Tag("a b");
    refusal(plan_create(w.cluster(), request), Code::bad_argument);
    request = good;
    request.type = TypeName("other");
    EXPECT_THAT(refusal(plan_create(w.cluster(), request), Code::not_found),
                HasSubstr("not installed on left"));
    request = good;
    request.needs = {Tag("nothing")};
    refusal(plan_create(w.cluster(), request), Code::not_found);
    request = good;
    request.needs = {vol};
    request.properties = {{"switchback", "AUTOMATIC"}};
    EXPECT_THAT(refusal(plan_create(w.cluster(), request), Code::bad_argument), HasSubstr("AUTOMATIC"));
    w.silent.insert(right);
    request = good;
    request.node = right;
    refusal(plan_create(w.cluster(), request), Code::unreachable);
}

// Spec: CLU-101, CLU-105, CLU-107, CLU-109
TEST_F(Hierarchy, AnExtensionCopiesAllRootsChildrenFirstAndPairsThemOnBothNodes) {
    w.hierarchy_on_left();
    w.define(left, Tag("db"), State::isp);
    w.depend(Tag("db"), vol, left);
    const auto plan = plan_extend(w.cluster(), {.tag = ip, .to = right});
    ASSERT_TRUE(plan) << plan.error().text;
    ASSERT_EQ(plan->checks.size(), 4U);
    EXPECT_THAT(plan->checks.front().arguments,
                ElementsAre("left", plan->checks.front().tag.str(), "port=80"));
    w.carry_out(*plan);
    const auto& there = w.configs[right];
    ASSERT_EQ(there.instances.size(), 4U) << "db too: a hierarchy is extended as a whole";
    for (const auto& [tag, copy] : there.instances) {
        const auto& original = w.configs[left].instances.at(tag);
        EXPECT_EQ(copy.state, State::osu);
        EXPECT_EQ(copy.id, original.id);
        EXPECT_EQ(copy.info, original.info);
        EXPECT_EQ(copy.init, Init::autores_isp);
        EXPECT_EQ(there.priority(tag), Priority{10});
        EXPECT_EQ(w.configs[left].priority(tag), Priority{1});
        EXPECT_EQ(there.equivalents(tag).front().other_node, left);
    }
    EXPECT_THAT(there.children(web), ::testing::UnorderedElementsAre(ip, vol));
    EXPECT_THAT(there.children(Tag("db")), ElementsAre(vol));
    // Children are prepared before what needs them.
    const auto order = scripts(*plan);
    const auto at = [&](const char* what) { return std::find(order.begin(), order.end(), what); };
    EXPECT_LT(at("right extend vol"), at("right extend web"));
    EXPECT_LT(at("right extend ip"), at("right extend web"));
    w.take_back(*plan);
    EXPECT_THAT(w.configs[right].instances, IsEmpty());
    EXPECT_THAT(w.configs[right].dependencies, IsEmpty());
    EXPECT_THAT(w.configs[left].equivalencies, IsEmpty());
}

// Spec: CLU-104, CLU-108
TEST_F(Hierarchy, TheSecondBackupGetsPriorityTwentyAndIsPairedWithEveryMember) {
    w.hierarchy_on_left();
    w.extend_to_right();
    auto plan = plan_extend(w.cluster(), {.tag = web, .to = third});
    ASSERT_TRUE(plan) << plan.error().text;
    w.carry_out(*plan);
    EXPECT_EQ(w.configs[third].priority(web), Priority{20});
    for (const auto& node : {left, right})
        EXPECT_THAT(w.configs[node].equivalents(web).back().other_node, third);
    EXPECT_EQ(w.configs[third].equivalencies.size(), 6U);
    EXPECT_EQ(w.configs[right].priority(web), Priority{10});

    refusal(plan_extend(w.cluster(), {.tag = web, .to = third}), Code::exists);
}

TEST_F(Hierarchy, WordsOfTheInformationAndTheTagMayDifferOnTheNewNode) {
    w.hierarchy_on_left();
    const auto plan = plan_extend(w.cluster(third), {.tag = web,
                                                     .to = right,
                                                     .priority = Priority{5},
                                                     .template_priority = Priority{3},
                                                     .new_tag = Tag("web.r"),
                                                     .info = {{ip, {{"port", "81"}, {"mode", "a b"}}}}});
    ASSERT_TRUE(plan) << plan.error().text;
    w.carry_out(*plan);
    EXPECT_EQ(w.configs[right].instances.at(ip).info, "port=81 mode=\"a b\"");
    EXPECT_EQ(w.configs[left].equivalents(web).front().other_tag, Tag("web.r"));
    EXPECT_THAT(w.configs[right].children(Tag("web.r")), ::testing::UnorderedElementsAre(ip, vol));
    EXPECT_EQ(w.configs[left].priority(ip), Priority{3});
}

TEST_F(Hierarchy, WhatTheNewNodeHasAlreadyIsKept) {
    w.hierarchy_on_left();
    w.define(right, vol);
    w.pair(vol, left, 1, right, 10);
    const auto plan = plan_extend(w.cluster(), {.tag = web, .to = right});
    ASSERT_TRUE(plan) << plan.error().text;
    w.carry_out(*plan);
    EXPECT_THAT(w.configs[right].children(web), ::testing::UnorderedElementsAre(ip, vol));
    EXPECT_EQ(w.configs[right].priority(web), Priority{10});
    EXPECT_THAT(refusal(plan_extend(w.cluster(), {.tag = web, .to = right}), Code::exists),
                HasSubstr("right"));
}

// Spec: CLU-097, CLU-108, CLU-159
TEST_F(Hierarchy, WhatCannotBeExtendedIsRefused) {
    w.hierarchy_on_left();
    const ExtendRequest good{.tag = web, .to = right};
    auto request = good;
    request.tag = Tag("nothing");
    refusal(plan_extend(w.cluster(), request), Code::not_found);
    request = good;
    request.priority = Priority{1};
    EXPECT_THAT(refusal(plan_extend(w.cluster(), request), Code::bad_argument), HasSubstr("both"));
    request.priority = Priority{1000};
    refusal(plan_extend(w.cluster(), request), Code::out_of_range);

    w.define(right, ip).id = ResourceId("something else");
    EXPECT_THAT(refusal(plan_extend(w.cluster(), good), Code::exists), HasSubstr("\"ip\""));
    w.configs[right].instances.clear();
    w.define(right, Tag("other")).id = ResourceId("id-ip");
    EXPECT_THAT(refusal(plan_extend(w.cluster(), good), Code::exists), HasSubstr("id-ip"));
    w.configs[right].instances.clear();

    w.facts[right].actions.erase({filesys, volume});
    EXPECT_THAT(refusal(plan_extend(w.cluster(), good), Code::not_found),
                HasSubstr("filesys/volume is not installed on right"));
    w.facts[right].actions[{filesys, volume}] = {"restore", "remove"};
    EXPECT_THAT(refusal(plan_extend(w.cluster(), good), Code::not_found), HasSubstr("extend script"));
    w.facts[right].actions[{filesys, volume}].insert("extend");
    EXPECT_TRUE(plan_extend(w.cluster(), good));
    w.facts[right].disabled.insert({gen, app});
    EXPECT_THAT(refusal(plan_extend(w.cluster(), good), Code::bad_argument),
                HasSubstr("gen/app is not enabled on right"));
    w.facts[right].disabled.clear();

    w.silent.insert(right);
    refusal(plan_extend(w.cluster(), good), Code::unreachable);
}

// Spec: CLU-045, CLU-097
TEST_F(Hierarchy, EveryMemberMustBeReachableAndHearEveryOther) {
    w.hierarchy_on_left();
    w.extend_to_right();
    w.facts[third].alive.erase(right);
    EXPECT_THAT(refusal(plan_extend(w.cluster(), {.tag = web, .to = third}), Code::unreachable),
                HasSubstr("third does not hear right"));
    w.silent.insert(right);
    for (const auto& text :
         {refusal(plan_extend(w.cluster(), {.tag = web, .to = third}), Code::unreachable),
          refusal(plan_delete(w.cluster(), {.tag = web}), Code::unreachable),
          refusal(plan_add_dependency(w.cluster(), {ip, vol}), Code::unreachable),
          refusal(plan_remove_dependency(w.cluster(), {web, vol}), Code::unreachable),
          refusal(plan_set(w.cluster(), {web, {{"quick_check", "5"}}}), Code::unreachable)})
        EXPECT_THAT(text, HasSubstr("right"));
}

// Spec: CLU-269
TEST_F(Hierarchy, ANodeThatWasSetUpAnewMustBeCleanedFirst) {
    w.hierarchy_on_left();
    w.extend_to_right();
    w.configs[right] = NodeConfig{};
    w.configs[right].systems = {left, right};
    EXPECT_THAT(refusal(plan_extend(w.cluster(), {.tag = web, .to = right}), Code::bad_argument),
                HasSubstr("delallsys -f right"));
    EXPECT_THAT(refusal(plan_unextend(w.cluster(), {web, right}), Code::bad_argument),
                HasSubstr("delallsys -f right"));
}

TEST_F(Hierarchy, UnextendingClearsOneNodeAndLeavesTheOthers) {
    w.hierarchy_on_left();
    w.extend_to_right();
    EXPECT_THAT(refusal(plan_unextend(w.cluster(), {web, left}), Code::failure),
                HasSubstr("in service on left"));
    refusal(plan_unextend(w.cluster(), {web, third}), Code::not_found);
    w.facts[right].actions[{filesys, volume}].insert("unextend");
    const auto plan = plan_unextend(w.cluster(third), {web, right});
    ASSERT_TRUE(plan) << plan.error().text;
    const auto order = scripts(*plan);
    ASSERT_EQ(order.size(), 3U);
    EXPECT_EQ(order.front(), "right delete web");
    EXPECT_THAT(order, ::testing::Contains("right unextend vol"));
    w.carry_out(*plan);
    EXPECT_THAT(w.configs[right].instances, IsEmpty());
    EXPECT_THAT(w.configs[right].dependencies, IsEmpty());
    EXPECT_THAT(w.configs[right].equivalencies, IsEmpty());
    EXPECT_THAT(w.configs[left].equivalencies, IsEmpty());
    EXPECT_EQ(w.configs[left].instances.size(), 3U);
    refusal(plan_unextend(w.cluster(), {web, left}), Code::bad_argument);
}

TEST_F(Hierarchy, WhatComesInServiceMeanwhileIsNotUnextended) {
    w.hierarchy_on_left();
    w.extend_to_right();
    const auto plan = plan_unextend(w.cluster(), {web, right});
    ASSERT_TRUE(plan);
    w.configs[right].instances.at(ip).state = State::isp;
    const auto edits = edits_for(w.configs[right], plan->steps.at(plan->final_from).change);
    ASSERT_FALSE(edits);
    EXPECT_THAT(edits.error().text, HasSubstr("ip is in service"));
}

TEST_F(Hierarchy, DeletingRemovesTheHierarchyEverywhereButWhatOthersNeed) {
    w.hierarchy_on_left();
    w.extend_to_right();
    for (const auto& node : {left, right}) {
        w.define(node, Tag("db"));
        w.depend(Tag("db"), vol, node);
    }
    w.pair(Tag("db"), left, 1, right, 10);
    w.facts[right].global_scripts = {"predelete", "postdelete"};
    const auto plan = plan_delete(w.cluster(), {.tag = web});
    ASSERT_TRUE(plan) << plan.error().text;
    EXPECT_THAT(scripts(*plan), ElementsAre("left delete web", "left delete ip", "right predelete ",
                                            "right delete web", "right delete ip", "right postdelete "));
    w.carry_out(*plan);
    for (const auto& node : {left, right}) {
        EXPECT_EQ(w.configs[node].find(web), nullptr);
        EXPECT_EQ(w.configs[node].find(ip), nullptr);
        EXPECT_NE(w.configs[node].find(vol), nullptr);
        EXPECT_EQ(w.configs[node].equivalencies.size(), 2U);
    }
}

TEST_F(Hierarchy, ADeadNodeCanBeLeftOutOfADeletion) {
    w.hierarchy_on_left();
    w.extend_to_right();
    EXPECT_THAT(refusal(plan_delete(w.cluster(), {web, {right}}), Code::bad_argument),
                HasSubstr("reachable"));
    w.silent.insert(right);
    const auto plan = plan_delete(w.cluster(), {web, {right}});
    ASSERT_TRUE(plan) << plan.error().text;
    for (const auto& step : plan->steps)
        EXPECT_EQ(step.node, left);
}

TEST_F(Hierarchy, KitsAreAskedBeforeAnyOfThemCleansUp) {
    w.hierarchy_on_left();
    w.extend_to_right();
    const auto asked = [](const HierarchyPlan& plan) {
        std::vector<std::string> out;
        for (const auto& step : plan.checks)
            out.push_back(step.node.str() + " " + step.action + " " + step.tag.str());
        return out;
    };
    EXPECT_THAT(asked(*plan_delete(w.cluster(), {.tag = web})), IsEmpty());
    for (const auto& node : {left, right})
        w.facts[node].actions[{filesys, volume}].insert({"candelete", "canunextend"});
    EXPECT_THAT(asked(*plan_delete(w.cluster(), {.tag = web})),
                ElementsAre("left candelete vol", "right candelete vol"));
    EXPECT_THAT(asked(*plan_unextend(w.cluster(), {web, right})), ElementsAre("right canunextend vol"));
}

// Spec: KIT-021
TEST_F(Hierarchy, WhatCreateAndExtendDidIsTakenBackByTheKitsOwnActionForThat) {
    w.hierarchy_on_left();
    const auto back = [](const HierarchyPlan& plan, std::string_view action) {
        for (const auto& step : plan.steps)
            if (step.action == action && step.app == filesys) return step.back_action;
        return std::string("no step");
    };
    const CreateRequest create{.node = right, .app = filesys, .type = volume, .tag = Tag("Vol.x")};
    EXPECT_EQ(back(*plan_create(w.cluster(), create), "create"), "delete");
    w.facts[right].actions[{filesys, volume}].insert({"unextend"});
    EXPECT_EQ(back(*plan_extend(w.cluster(), {.tag = web, .to = right}), "extend"), "unextend");
    w.facts[right].actions[{filesys, volume}].insert({"takeback"});
    EXPECT_EQ(back(*plan_create(w.cluster(), create), "create"), "takeback");
    EXPECT_EQ(back(*plan_extend(w.cluster(), {.tag = web, .to = right}), "extend"), "takeback");
}

// Spec: CLU-106
TEST_F(Hierarchy, ADependencyIsMadeOnAllNodesAndUnfitChildrenAreRefused) {
    w.hierarchy_on_left();
    w.extend_to_right();
    const auto plan = plan_add_dependency(w.cluster(third), {ip, vol});
    ASSERT_TRUE(plan) << plan.error().text;
    w.carry_out(*plan);
    for (const auto& node : {left, right})
        EXPECT_THAT(w.configs[node].children(ip), ElementsAre(vol));
    refusal(plan_add_dependency(w.cluster(), {ip, vol}), Code::exists);
    EXPECT_THAT(refusal(plan_add_dependency(w.cluster(), {ip, web}), Code::bad_argument), HasSubstr("cycle"));
    EXPECT_THAT(refusal(plan_add_dependency(w.cluster(), {ip, ip}), Code::bad_argument), HasSubstr("itself"));

    const Tag lone{"lone"};
    w.define(left, lone, State::isp);
    EXPECT_THAT(refusal(plan_add_dependency(w.cluster(), {web, lone}), Code::bad_argument),
                HasSubstr("same nodes"));
    w.define(right, lone);
    w.pair(lone, left, 10, right, 1);
    EXPECT_THAT(refusal(plan_add_dependency(w.cluster(), {web, lone}), Code::bad_argument),
                HasSubstr("different orders"));
    for (const auto& node : {left, right})
        std::erase_if(w.configs[node].equivalencies, [&](const auto& each) { return each.tag == lone; });
    w.pair(lone, left, 2, right, 7);  // other values in the same order
    EXPECT_TRUE(plan_add_dependency(w.cluster(), {web, lone}));
    w.configs[left].instances.at(lone).state = State::osu;
    EXPECT_THAT(refusal(plan_add_dependency(w.cluster(), {web, lone}), Code::bad_argument),
                HasSubstr("in service on left"));
}

TEST_F(Hierarchy, ADependencyIsRemovedOnAllNodesAndComesBackAsItWas) {
    w.hierarchy_on_left();
    w.extend_to_right();
    const auto before = w.configs;
    const auto plan = plan_remove_dependency(w.cluster(), {web, vol});
    ASSERT_TRUE(plan) << plan.error().text;
    w.carry_out(*plan);
    for (const auto& node : {left, right})
        EXPECT_THAT(w.configs[node].children(web), ElementsAre(ip));
    refusal(plan_remove_dependency(w.cluster(), {web, vol}), Code::not_found);
    w.take_back(*plan);
    for (const auto& node : {left, right})
        EXPECT_THAT(w.configs[node].children(web), ::testing::UnorderedElementsAre(ip, vol));
}

// Spec: CLU-196, CLU-199
TEST_F(Hierarchy, TheSwitchbackOfARootIsThatOfAllItNeedsAndNeverAutomaticOverAReplicatedVolume) {
    w.hierarchy_on_left();
    w.extend_to_right();
    EXPECT_THAT(refusal(plan_set(w.cluster(), {ip, {{"switchback", "AUTOMATIC"}}}), Code::bad_argument),
                HasSubstr("not a root"));
    EXPECT_THAT(refusal(plan_set(w.cluster(), {web, {{"switchback", "AUTOMATIC"}}}), Code::bad_argument),
                HasSubstr("replicated volume"));
    for (const auto& node : {left, right})
        std::erase_if(w.configs[node].dependencies, [](const auto& each) { return each.child == vol; });
    const auto plan = plan_set(w.cluster(), {web, {{"switchback", "AUTOMATIC"}}});
    ASSERT_TRUE(plan) << plan.error().text;
    w.carry_out(*plan);
    for (const auto& node : {left, right}) {
        EXPECT_EQ(w.configs[node].instances.at(web).switchback, Switchback::automatic);
        EXPECT_EQ(w.configs[node].instances.at(ip).switchback, Switchback::automatic);
        EXPECT_EQ(w.configs[node].instances.at(vol).switchback, Switchback::intelligent);
    }
    // CLU-199 from the other side.
    EXPECT_THAT(refusal(plan_add_dependency(w.cluster(), {web, vol}), Code::bad_argument),
                HasSubstr("AUTOMATIC"));
}

TEST_F(Hierarchy, PropertiesAreSetOnAllNodesOrOnOneAndStatesStayAsTheyAre) {
    w.hierarchy_on_left();
    w.extend_to_right();
    const SetRequest request{web, {{"quick_check", "30"}, {"info.port", "81"}, {"local_recovery", "no"}}};
    const auto plan = plan_set(w.cluster(), request);
    ASSERT_TRUE(plan) << plan.error().text;
    w.configs[left].instances.at(web).state = State::osf;  // meanwhile
    w.carry_out(*plan);
    for (const auto& node : {left, right}) {
        const auto& instance = w.configs[node].instances.at(web);
        EXPECT_EQ(instance.quick_interval_s, 30);
        EXPECT_EQ(instance.info, "port=81");
        EXPECT_FALSE(instance.local_recovery);
    }
    EXPECT_EQ(w.configs[left].instances.at(web).state, State::osf);
    w.take_back(*plan);
    EXPECT_EQ(w.configs[left].instances.at(web).quick_interval_s, 180);
    EXPECT_EQ(w.configs[left].instances.at(web).state, State::osf);

    const auto one = plan_set(w.cluster(), {web, {{"quick_check", "40"}}, right});
    ASSERT_TRUE(one);
    ASSERT_EQ(one->steps.size(), 1U);
    EXPECT_EQ(one->steps.front().node, right);
    refusal(plan_set(w.cluster(), {web, {{"quick_check", "604801"}}}), Code::out_of_range);
    refusal(plan_set(w.cluster(), {web, {{"colour", "red"}}}), Code::bad_argument);
    const auto nothing = plan_set(w.cluster(), {web, {{"quick_check", "180"}}});
    ASSERT_TRUE(nothing);
    EXPECT_THAT(nothing->steps, IsEmpty());
}

TEST_F(Hierarchy, ATagThatMeansDifferentThingsOnTwoNodesMustBeAskedForThere) {
    w.define(right, web);
    w.define(third, web);
    EXPECT_THAT(refusal(plan_delete(w.cluster(left), {web}), Code::bad_argument),
                HasSubstr("different resources"));
    const auto plan = plan_delete(w.cluster(right), {web});
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->steps.back().node, right);
}

TEST(RecordChange, IsDoneOnceAndLeavesAloneWhatOthersHaveMade) {
    NodeConfig own;
    Instance mine;
    mine.tag = web;
    mine.id = ResourceId("id");
    mine.created_at = 5;
    RecordChange put;
    put.edits.emplace_back(PutInstance{mine});
    auto edits = edits_for(own, put);
    ASSERT_TRUE(edits);
    ASSERT_EQ(edits->size(), 1U);
    config::apply(own, edits->front());
    edits = edits_for(own, put);
    ASSERT_TRUE(edits);
    EXPECT_THAT(*edits, IsEmpty()) << "done twice is done once";

    own.instances.at(web).created_at = 6;  // somebody else's
    EXPECT_EQ(edits_for(own, put).error().code, Code::exists);
    RecordChange removal;
    removal.removals.push_back({web, mine.id, mine.created_at});
    edits = edits_for(own, removal);
    ASSERT_TRUE(edits);
    EXPECT_THAT(*edits, IsEmpty());
}

TEST(RecordChange, KeepsEverythingOnTheWire) {
    RecordChange change;
    change.edits.emplace_back(DropDependency{web, ip});
    change.removals.push_back({vol, ResourceId("\xff id"), 12});
    change.properties.push_back({web, "info", "a \"b\"", "old"});
    change.properties.push_back({web, "quick_check", "5"});
    change.idle = {web};
    change.unreserved = {ip};
    const auto read = decode_record_change(encode(change));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(read->removals, change.removals);
    EXPECT_EQ(read->properties, change.properties);
    EXPECT_EQ(read->idle, change.idle);
    EXPECT_EQ(read->unreserved, change.unreserved);
    ASSERT_EQ(read->edits.size(), 1U);
    EXPECT_EQ(std::get<DropDependency>(read->edits.front()).child, ip);
    EXPECT_FALSE(decode_record_change("{}"));
    EXPECT_FALSE(decode_record_change("nonsense"));
}

TEST(RecordChange, AWordOfTheInformationIsReplacedAddedOrTakenAway) {
    EXPECT_EQ(with_info_word("device=eth0 prefix=24", "device", "eth1"), "device=eth1 prefix=24");
    EXPECT_EQ(with_info_word("device=eth0", "prefix", "24"), "device=eth0 prefix=24");
    EXPECT_EQ(with_info_word("a=\"x y\" b=2", "b", ""), "a=\"x y\"");
    EXPECT_EQ(with_info_word("a=\"x y\" b=2", "a", "z"), "a=z b=2");
    EXPECT_EQ(with_info_word("", "a", "x y"), "a=\"x y\"");
    EXPECT_EQ(with_info_word("", "a", ""), "");
}

}  // namespace
}  // namespace understudy::config
