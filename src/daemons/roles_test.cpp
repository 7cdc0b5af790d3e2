// Who may ask a daemon for what.

#include "cli/command_table.h"
#include "daemons/node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace understudy::daemons {
namespace {

config::Command command(const std::string& name, std::map<std::string, std::string> options = {},
                        std::vector<std::string> arguments = {}) {
    config::Command made;
    made.name = name;
    made.options = std::move(options);
    made.arguments = std::move(arguments);
    return made;
}

/// What only looks.
const std::set<std::string> kForGuests{"app_list",
                                       "typ_list",
                                       "ins_list",
                                       "ins_gettag",
                                       "dep_list",
                                       "eqv_list",
                                       "sys_list",
                                       "sys_getst",
                                       "sys_getds",
                                       "net_list",
                                       "flg_list",
                                       "flg_test",
                                       "lcduname",
                                       "lkquorum",
                                       "understudy status",
                                       "understudy events",
                                       "understudy incident",
                                       "understudy plan",
                                       "understudy policy show",
                                       "understudy history",
                                       "understudy config export",
                                       "understudy metrics"};

// Spec: CLU-025
TEST(Roles, WhoeverIsNoAdministratorMayLookAndNothingElse) {
    for (const auto& spec : cli::command_table()) {
        if (spec.server != cli::Server::daemon) continue;
        const auto needed = role_needed(command(std::string(spec.name)));
        if (kForGuests.contains(std::string(spec.name)))
            EXPECT_EQ(needed, Role::guest) << spec.name;
        else
            EXPECT_NE(needed, Role::guest) << spec.name;
    }
}

// Spec: CLU-025
TEST(Roles, AnOperatorStartsStopsAndMovesAndChangesNoDefinition) {
    EXPECT_EQ(role_needed(command("perform_action", {{"a", "restore"}, {"t", "web"}})), Role::operate);
    EXPECT_EQ(role_needed(command("perform_action", {{"a", "remove"}, {"t", "web"}})), Role::operate);
    EXPECT_EQ(role_needed(command("understudy switchover", {}, {"web"})), Role::operate);
    EXPECT_EQ(role_needed(command("perform_action", {{"a", "delete"}, {"t", "web"}})), Role::administer);
    for (const auto* name :
         {"ins_create", "ins_remove", "dep_create", "dep_remove", "eqv_create", "net_create", "net_remove",
          "ins_setst", "understudy resource create", "understudy resource extend",
          "understudy resource unextend", "understudy resource delete", "understudy dependency add",
          "understudy dependency remove", "understudy policy set"})
        EXPECT_EQ(role_needed(command(name)), Role::administer) << name;
}

// Spec: QUO-004
TEST(Roles, OnlyAnAdministratorBeginsAndEndsTheStorageOfQuorum) {
    for (const auto* name : {"qwk_storage_init", "qwk_storage_exit"}) {
        ASSERT_NE(cli::find_command(name), nullptr);
        EXPECT_EQ(role_needed(command(name)), Role::administer) << name;
    }
}

}  // namespace
}  // namespace understudy::daemons
