// Dependencies and equivalencies: output, order and exit codes to the letter.

#include "config/lcdi.h"
#include "config/test_support.h"

#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using testing::equivalency;
using testing::instance;
using testing::Shell;

class Relations : public ::testing::Test {
  protected:
    Shell shell;
    void SetUp() override { shell.add_hierarchy(); }

    void expect(const std::string& line, int code, const std::string& out = "") {
        const auto before = shell.database->own();
        const auto reply = shell(line);
        EXPECT_EQ(reply.exit_code, code) << line << ": " << reply.err;
        EXPECT_EQ(reply.out, out) << line;
        if (code == 0) return;
        EXPECT_NE(reply.err, "") << line;
        EXPECT_EQ(shell.database->own(), before) << line;
    }
};

// Spec: CMD-039, CMD-040
TEST_F(Relations, ThePrimaryHasTheBestPriority) {
    shell.database->commit({PutSystem{NodeName("nodeB")}, PutSystem{NodeName("nodeC")},
                            PutEquivalency{equivalency("Vol.E", "nodeC", 10, 20)},
                            PutEquivalency{equivalency("Vol.E", "nodeB", 10, 1)},
                            PutEquivalency{equivalency("ip.0", "nodeB", 1, 10)}});
    expect("lcdrecover -p Vol.E", 0, "secondary\n");
    expect("lcdrecover -o Vol.E", 0, "nodeB\nnodeC\n");
    expect("lcdrecover -p ip.0", 0, "primary\n");
    expect("lcdrecover -p web.0", 0, "primary\n");
    expect("lcdrecover -o web.0", 0, "");
    expect("lcdrecover -o none", 7);
    expect("lcdrecover", 2);
}

// Acceptance scenario 6. Spec: CMD-080, CMD-008
TEST_F(Relations, DependenciesAreListedByDirection) {
    expect("dep_list -f|", 0, "web.0|ip.0\nweb.0|Vol.E\ndb.0|Vol.E\n");
    expect("dep_list", 0, "web.0\x01ip.0\nweb.0\x01Vol.E\ndb.0\x01Vol.E\n");
    expect("dep_list -f| -C web.0", 0, "web.0|ip.0\nweb.0|Vol.E\n");
    expect("dep_list -f| -P Vol.E", 0, "web.0|Vol.E\ndb.0|Vol.E\n");
    expect("dep_list -f| -c web.0", 0, "web.0|ip.0\nweb.0|Vol.E\n");
    expect("dep_list -f| -p ip.0", 0, "web.0|ip.0\n");
    expect("dep_list -f| -C ip.0", 0, "");
    expect("dep_list -C web.0 -P Vol.E", 2);
    expect("dep_list -c web.0 -p ip.0", 2);
    expect("dep_list -C none", 7);
    expect("dep_list -p none", 7);
    expect("dep_list -a none", 7);
    expect("dep_list -r none", 7);
}

TEST_F(Relations, IndirectDependenciesComeBreadthFirstEachOnce) {
    shell.database->commit({PutInstance{instance("disk")}, PutDependency{{Tag("Vol.E"), Tag("disk")}},
                            PutDependency{{Tag("ip.0"), Tag("disk")}}});
    expect("dep_list -f| -C web.0", 0, "web.0|ip.0\nweb.0|Vol.E\nip.0|disk\nVol.E|disk\n");
    expect("dep_list -f| -P disk", 0, "Vol.E|disk\nip.0|disk\nweb.0|Vol.E\ndb.0|Vol.E\nweb.0|ip.0\n");
    expect("dep_list -f| -c web.0", 0, "web.0|ip.0\nweb.0|Vol.E\n");
}

TEST_F(Relations, TypeAndApplicationOfTheChildSelect) {
    shell.database->commit({PutApp{AppName("comm")}, PutType{{AppName("comm"), TypeName("ip")}},
                            PutInstance{instance("addr", "comm", "ip")},
                            PutDependency{{Tag("web.0"), Tag("addr")}}});
    expect("dep_list -f| -a comm", 0, "web.0|addr\n");
    expect("dep_list -f| -r ip", 0, "web.0|addr\n");
    expect("dep_list -f| -C web.0 -r app", 0, "web.0|ip.0\nweb.0|Vol.E\n");
    expect("dep_list -f| -a comm -c db.0", 0, "");
}

// Spec: CMD-078, CMD-030
TEST_F(Relations, ADependencyIsCreatedOnceAndNeverAsACycle) {
    expect("dep_create -p Vol.E -c web.0", 5);
    expect("dep_create -p web.0 -c web.0", 5);
    expect("dep_create -p web.0 -c ip.0", 4);
    expect("dep_create -p web.0 -c none", 7);
    expect("dep_create -p none -c ip.0", 7);
    expect("dep_create -p web.0", 2);
    expect("dep_create -c ip.0", 2);
    expect("dep_create -p db.0 -c ip.0", 0);
    expect("dep_list -f| -c db.0", 0, "db.0|Vol.E\ndb.0|ip.0\n");
}

// Spec: CMD-079
TEST_F(Relations, WhatACallerShouldHaveSeenToIsWarnedOf) {
    EXPECT_EQ(shell("dep_create -p db.0 -c ip.0").err, "");
    shell.database->commit({PutInstance{instance("a")}, PutInstance{instance("b")},
                            PutEquivalency{equivalency("a", "nodeB", 1, 10)},
                            PutEquivalency{equivalency("a", "nodeC", 1, 20)},
                            PutEquivalency{equivalency("b", "nodeB", 10, 1)}});
    shell.database->set_state(Tag("a"), State::isp, "");
    const auto reply = shell("dep_create -p a -c b");
    EXPECT_EQ(reply.exit_code, 0);
    EXPECT_EQ(reply.out, "");
    EXPECT_NE(reply.err.find("nodeC"), std::string::npos);
    EXPECT_NE(reply.err.find("orders of priority"), std::string::npos);
    EXPECT_NE(reply.err.find("bring it in service"), std::string::npos);
}

TEST_F(Relations, NodesInADifferentOrderAreWarnedOfToo) {
    shell.database->commit(
        {PutInstance{instance("a")}, PutInstance{instance("b")},
         PutEquivalency{equivalency("a", "nodeB", 1, 10)}, PutEquivalency{equivalency("a", "nodeC", 1, 20)},
         PutEquivalency{equivalency("b", "nodeB", 1, 30)}, PutEquivalency{equivalency("b", "nodeC", 1, 20)}});
    EXPECT_NE(shell("dep_create -p a -c b").err.find("orders of priority"), std::string::npos);
}

// Acceptance scenario 7. Spec: CMD-081
TEST_F(Relations, DependenciesAreRemovedByPairParentChildOrAll) {
    expect("dep_remove -p web.0 -c db.0", 7);
    expect("dep_remove -p ip.0", 7);
    expect("dep_remove -p none", 7);
    expect("dep_remove -p web.0", 0);
    expect("dep_list -f|", 0, "db.0|Vol.E\n");
    expect("dep_create -p web.0 -c Vol.E", 0);
    expect("dep_create -p web.0 -c ip.0", 0);
    expect("dep_remove -c Vol.E", 0);
    expect("dep_list -f|", 0, "web.0|ip.0\n");
    expect("dep_remove -p web.0 -c ip.0", 0);
    shell.database->commit({PutDependency{{Tag("web.0"), Tag("ip.0")}},
                            PutDependency{{Tag("web.0"), Tag("Vol.E")}},
                            PutDependency{{Tag("db.0"), Tag("Vol.E")}}});
    const auto reply = shell("dep_remove");
    EXPECT_EQ(reply.exit_code, 0);
    EXPECT_EQ(reply.out, "");
    EXPECT_NE(reply.err.find('3'), std::string::npos);
    expect("dep_list", 0, "");
    expect("dep_remove", 0, "");
}

class Equivalencies : public Relations {
  protected:
    void SetUp() override {
        Relations::SetUp();
        shell.database->commit({PutSystem{NodeName("nodeB")}, PutSystem{NodeName("nodeC")},
                                PutInstance{instance("17.17.17.17")}});
    }
    Result<EquivalencyPair> parse(const std::map<std::string, std::string>& options) const {
        return parse_eqv_create(Command{"eqv_create", options, {}, 0, 0}, NodeName("nodeA"));
    }
    int check(const Equivalency& record) const {
        const auto checked = check_equivalency(shell.database->own(), record);
        return checked ? 0 : static_cast<int>(checked.error().code);
    }
};

// Acceptance scenario 8. Spec: CMD-084, CMD-085
TEST_F(Equivalencies, PairsAreListedWithThisNodeFirst) {
    shell.database->commit({PutEquivalency{equivalency("Vol.E", "nodeB", 1, 10)},
                            PutEquivalency{equivalency("Vol.E", "nodeC", 1, 20)},
                            PutEquivalency{equivalency("17.17.17.17", "nodeB", 1, 10)}});
    expect("eqv_list -f|", 0,
           "nodeA|Vol.E|nodeB|Vol.E|SHARED|1|10\nnodeA|Vol.E|nodeC|Vol.E|SHARED|1|20\n"
           "nodeA|17.17.17.17|nodeB|17.17.17.17|SHARED|1|10\n");
    expect("eqv_list -f| -t 17.17.17.17", 0, "nodeA|17.17.17.17|nodeB|17.17.17.17|SHARED|1|10\n");
    expect("eqv_list -f| -s nodeC", 0, "nodeA|Vol.E|nodeC|Vol.E|SHARED|1|20\n");
    expect("eqv_list -f| -s nodeA -t Vol.E -e SHARED", 0,
           "nodeA|Vol.E|nodeB|Vol.E|SHARED|1|10\nnodeA|Vol.E|nodeC|Vol.E|SHARED|1|20\n");
    expect("eqv_list -t 17.17.17.17", 0,
           "nodeA\x01"
           "17.17.17.17\x01nodeB\x01"
           "17.17.17.17\x01SHARED\x01"
           "1\x01"
           "10\n");
    expect("eqv_list -f| -t web.0", 0, "");
    expect("eqv_list -t none", 7);
    expect("eqv_list -s nodeX", 7);
    expect("eqv_list -e COPY", 5);
}

// Spec: CMD-082, CMD-083
TEST_F(Equivalencies, APairHasTheManualsDefaults) {
    const auto pair = parse({{"t", "t1"}, {"S", "nodeB"}, {"o", "t2"}, {"e", "SHARED"}});
    ASSERT_TRUE(pair);
    EXPECT_EQ(pair->system, NodeName("nodeA"));
    EXPECT_EQ(pair->priority, Priority{1});
    EXPECT_EQ(pair->other_priority, Priority{10});
    EXPECT_TRUE(pair->includes(NodeName("nodeB")));
    EXPECT_FALSE(pair->includes(NodeName("nodeC")));
    EXPECT_EQ(pair->record_on(NodeName("nodeA")),
              (Equivalency{Tag("t1"), NodeName("nodeB"), Tag("t2"), Priority{1}, Priority{10}}));
    EXPECT_EQ(pair->record_on(NodeName("nodeB")),
              (Equivalency{Tag("t2"), NodeName("nodeA"), Tag("t1"), Priority{10}, Priority{1}}));
}

// Spec: CMD-083, CMD-030
TEST_F(Equivalencies, WrongPairsAreRefusedWithTheirCode) {
    using Options = std::map<std::string, std::string>;
    const Options good{{"t", "t1"}, {"S", "nodeB"}, {"o", "t1"}, {"e", "SHARED"}};
    const auto code = [&](const Options& changes, const std::string& without = "") {
        auto options = good;
        for (const auto& [key, value] : changes)
            options[key] = value;
        options.erase(without);
        const auto pair = parse(options);
        return pair ? 0 : static_cast<int>(pair.error().code);
    };
    EXPECT_EQ(code({}), 0);
    EXPECT_EQ(code({{"p", "1024"}, {"r", "1"}}), 0);
    EXPECT_EQ(code({{"r", "1025"}}), 6);
    EXPECT_EQ(code({{"p", "0"}}), 6);
    EXPECT_EQ(code({{"p", "x"}}), 5);
    EXPECT_EQ(code({{"p", "10"}}), 5);  // the same as the default of -r
    EXPECT_EQ(code({{"e", "COPY"}}), 5);
    EXPECT_EQ(code({{"S", "nodeA"}}), 5);
    EXPECT_EQ(code({}, "S"), 5);  // both ends are this system
    EXPECT_EQ(code({}, "t"), 2);
    EXPECT_EQ(code({}, "o"), 2);
    EXPECT_EQ(code({}, "e"), 2);
}

// Spec: CMD-083, CMD-027, CLU-108
TEST_F(Equivalencies, ASideTakesItsRecordOnlyWhenItFits) {
    EXPECT_EQ(check(equivalency("Vol.E", "nodeB", 1, 10)), 0);
    EXPECT_EQ(check(equivalency("none", "nodeB", 1, 10)), 7);
    EXPECT_EQ(check(equivalency("Vol.E", "nodeX", 1, 10)), 7);
    EXPECT_EQ(check(equivalency("Vol.E", "nodeB", 1, 1025)), 6);
    EXPECT_EQ(check(equivalency("Vol.E", "nodeB", 7, 7)), 5);
    shell.database->commit({PutEquivalency{equivalency("Vol.E", "nodeB", 1, 10)}});
    EXPECT_EQ(check(equivalency("Vol.E", "nodeB", 1, 10)), 4);
    EXPECT_EQ(check(equivalency("Vol.E", "nodeC", 1, 10)), 5);  // nodeB's priority
    EXPECT_EQ(check(equivalency("Vol.E", "nodeC", 2, 20)), 5);  // this node's priority is 1
    EXPECT_EQ(check(equivalency("Vol.E", "nodeC", 1, 20)), 0);
    auto other_tag = equivalency("Vol.E", "nodeB", 1, 10);
    other_tag.other_tag = Tag("Vol.F");
    EXPECT_EQ(check(other_tag), 5);
    auto taken = equivalency("web.0", "nodeB", 1, 10);
    taken.other_tag = Tag("Vol.E");
    EXPECT_EQ(check(taken), 5);
}

// Spec: CMD-086, CLU-093
TEST_F(Equivalencies, ARemovalNeedsNoTagOfTheOtherSide) {
    shell.database->commit({PutEquivalency{equivalency("Vol.E", "nodeB", 1, 10)}});
    const auto pair = parse_eqv_remove(Command{"eqv_remove", {{"t", "Vol.E"}, {"S", "nodeB"}}, {}, 0, 0},
                                       NodeName("nodeA"));
    ASSERT_TRUE(pair);
    const auto record = pair->record_on(NodeName("nodeA"));
    const auto removal = equivalency_removal(shell.database->own(), record);
    ASSERT_TRUE(removal);
    shell.database->commit({*removal});
    EXPECT_EQ(shell("eqv_list").out, "");
    EXPECT_EQ(equivalency_removal(shell.database->own(), record).error().code, Code::not_found);
    EXPECT_EQ(
        parse_eqv_remove(Command{"eqv_remove", {{"S", "nodeB"}}, {}, 0, 0}, NodeName("nodeA")).error().code,
        Code::syntax);
}

}  // namespace
}  // namespace understudy::config
