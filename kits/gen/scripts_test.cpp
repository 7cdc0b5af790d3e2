#include "kits/gen/scripts.h"

#include <gtest/gtest.h>

#include <fstream>

namespace understudy::kits {
namespace {

// Spec: CLU-155, KIT-179
TEST(ScriptPath, IsFullAndOfPlainCharacters) {
    EXPECT_TRUE(check_script_path("/opt/app-1_x!/restore.sh"));
    for (const auto* path : {"restore", "", "/opt/a b", "/opt/$(x)", "/opt/a;b", "/opt/ä"})
        EXPECT_FALSE(check_script_path(path)) << path;
}

// Spec: KIT-166
TEST(ScriptInterpreter, IsThatOfTheFirstLine) {
    EXPECT_EQ(*interpreter_of("#!/bin/sh\necho\n"), "/bin/sh");
    EXPECT_EQ(*interpreter_of("#! /usr/bin/perl -w\n"), "/usr/bin/perl");
    EXPECT_EQ(*interpreter_of("#!/usr/bin/env -S python3 -u\n"), "python3");
    EXPECT_EQ(*interpreter_of("\x7F"
                              "ELF..."),
              "");
    for (const auto* content : {"", "echo\n", "#!\n", "#!/usr/bin/env\n"})
        EXPECT_FALSE(interpreter_of(content)) << content;
    EXPECT_TRUE(has_interpreter("/bin/sh"));
    EXPECT_TRUE(has_interpreter("sh"));
    EXPECT_FALSE(has_interpreter("no-such-language"));
    EXPECT_FALSE(has_interpreter("/bin/no-such-language"));
}

TEST(ScriptRole, IsKnownByEveryName) {
    EXPECT_EQ(role_of("quickCheck"), "quickchk");
    EXPECT_EQ(role_of("deepchk"), "deepchk");
    EXPECT_EQ(role_of("Restore"), "restore");
    EXPECT_EQ(role_of("start"), "");
}

// Spec: CLU-154, KIT-165
TEST(ScriptsBeside, AreFoundByNameAndExtension) {
    const auto directory = testing::TempDir() + "scripts-beside";
    std::system(("rm -rf " + directory + " && mkdir -p " + directory).c_str());
    for (const auto* name : {"restore.sh", "delete.pl", "quickCheck.py", "extend.txt"})
        std::ofstream(directory + "/" + name) << "#!/bin/sh\n";
    const auto restore = directory + "/restore.sh";
    EXPECT_EQ(beside(restore, "delete"), directory + "/delete.pl");
    EXPECT_EQ(beside(restore, "quickchk"), directory + "/quickCheck.py");
    EXPECT_EQ(beside(restore, "extend"), "");
}

TEST(CreateText, InfoIsTheRestWithItsOwnQuotes) {
    const auto text = split_create_text(R"(scripts=/opt/a info="command="/bin/x -y" user=nobody")");
    EXPECT_EQ(text.words, "scripts=/opt/a");
    EXPECT_EQ(text.info, R"(command="/bin/x -y" user=nobody)");
    EXPECT_EQ(split_create_text("info=80 restore=/x").info, "80 restore=/x");
    EXPECT_EQ(split_create_text("restore=/x remove=/y").words, "restore=/x remove=/y");
    EXPECT_EQ(split_create_text("restore=/x info=\"\"").info, "");
}

TEST(StoredScript, IsACopyThatIsWholeAndExecutable) {
    Instance instance;
    instance.tag = Tag("a/b");
    instance.layout.root = testing::TempDir() + "stored-script";
    ASSERT_TRUE(store_script(instance, "restore", "#!/bin/sh\nexit 0\n"));
    const auto path = copies_of(instance) + "/restore";
    EXPECT_EQ(copies_of(instance),
              instance.layout.root + "/var/lib/understudy/subsys/gen/resources/app/actions/a%2Fb");
    EXPECT_EQ(std::system(path.c_str()), 0);
    ASSERT_TRUE(store_script(instance, "restore", "#!/bin/sh\nexit 1\n"));
    EXPECT_NE(std::system(path.c_str()), 0);
    ASSERT_TRUE(remove_copies(instance));
    EXPECT_TRUE(remove_copies(instance)) << "removing nothing is no error";
}

}  // namespace
}  // namespace understudy::kits
