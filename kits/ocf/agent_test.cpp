#include "kits/ocf/agent.h"

#include <gtest/gtest.h>

namespace understudy::kits {
namespace {

using std::chrono::seconds;

constexpr auto kMetadata = R"(ocf-exit-reason: a warning before it
<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="web" version="1.0">
<longdesc lang="en">A &lt;web&gt; server.</longdesc>
<shortdesc lang="en"> Web server </shortdesc>
<parameters>
<parameter name="configfile" unique="1" required="1">
<longdesc lang="en">Where.</longdesc><shortdesc lang="en">configuration file</shortdesc>
<content type="string"/></parameter>
<parameter name="port"><content type="integer" default="80"/></parameter>
<parameter name="strict"><content type="boolean" default="false"/></parameter>
<parameter name="old" deprecated="1"><content type="string"/></parameter>
</parameters>
<actions>
<action name="start" timeout="40s"/><action name="stop" timeout="1m"/>
<action name="monitor" timeout="30" depth="0" interval="10s"/>
<action name="monitor" timeout="45s" depth="10" interval="30s"/>
<action name="validate-all" timeout="500ms"/>
</actions>
</resource-agent>)";

AgentSettings settings_of(const std::string& info) {
    const auto settings = parse_agent_info(info);
    EXPECT_TRUE(settings) << info;
    return settings.value_or(AgentSettings{});
}

std::string problem_of(const std::string& info) {
    const auto metadata = parse_metadata(kMetadata);
    const auto checked = check_settings(settings_of(info), *metadata);
    return checked ? "" : checked.error().text;
}

TEST(AgentInfo, NamesTheAgentItsParametersAndOurOptions) {
    const auto settings = settings_of(
        "ocf:heartbeat:nginx configfile=\"/srv/my web/nginx.conf\" port= op.start.timeout=90 "
        "op.monitor.level=10");
    EXPECT_EQ(settings.agent.text(), "ocf:heartbeat:nginx");
    EXPECT_EQ(settings.parameters.at("configfile"), "/srv/my web/nginx.conf");
    EXPECT_EQ(settings.parameters.at("port"), "");
    EXPECT_EQ(settings.timeouts.at("start"), seconds(90));
    EXPECT_EQ(settings.check_level, 10);
    const auto text = agent_info(settings);
    ASSERT_TRUE(text);
    EXPECT_EQ(*agent_info(settings_of(*text)), *text);
}

TEST(AgentInfo, TheAgentMayBeAWordLikeTheOthers) {
    EXPECT_EQ(settings_of("port=80 agent=ocf:heartbeat:nginx").agent.text(), "ocf:heartbeat:nginx");
    EXPECT_EQ(settings_of("ocf:heartbeat:x agent=7").parameters.at("agent"), "7");
    EXPECT_EQ(*agent_info(settings_of("ocf:heartbeat:nginx port=80")), "agent=ocf:heartbeat:nginx port=80");
}

TEST(AgentInfo, ValuesMayHoldEqualSigns) {
    EXPECT_EQ(settings_of("ocf:heartbeat:Filesystem options=uid=5,gid=6").parameters.at("options"),
              "uid=5,gid=6");
}

TEST(AgentInfo, MalformedOnesAreErrors) {
    for (const auto* info :
         {"", "nginx", "ocf:heartbeat", "ocf:../../etc:passwd", "ocf:heartbeat:..", "lsb:x:y", "ocf:a:b x",
          "ocf:a:b =x", "ocf:a:b x=\"open", "ocf:a:b x=1 x=2", "ocf:a:b op.start.timeout=soon",
          "ocf:a:b op.start.timeout=0", "ocf:a:b op.promote.timeout=5", "ocf:a:b op.monitor.level=101"})
        EXPECT_FALSE(parse_agent_info(info)) << info;
}

TEST(AgentMetadata, IsReadFromTheAgentsXml) {
    const auto metadata = parse_metadata(kMetadata);
    ASSERT_TRUE(metadata) << metadata.error().text;
    EXPECT_EQ(metadata->name, "web");
    EXPECT_EQ(metadata->description, "Web server");
    ASSERT_EQ(metadata->parameters.size(), 4U);
    EXPECT_TRUE(metadata->parameters[0].required);
    EXPECT_EQ(metadata->parameters[1].type, "integer");
    EXPECT_TRUE(metadata->parameters[3].deprecated);
    ASSERT_NE(metadata->action("monitor", 10), nullptr);
    EXPECT_EQ(metadata->action("monitor", 10)->timeout, seconds(45));
    EXPECT_EQ(metadata->action("validate-all")->timeout, seconds(1)) << "rounded up";
    EXPECT_EQ(metadata->action("promote"), nullptr);
}

TEST(AgentMetadata, WhatIsNoneIsAnError) {
    for (const auto* xml :
         {"", "not xml", "<?xml version=\"1.0\"?><other/>", "<?xml version=\"1.0\"?><resource-agent"})
        EXPECT_FALSE(parse_metadata(xml)) << xml;
}

TEST(AgentSettingsCheck, NamesEverythingThatIsWrongAtOnce) {
    EXPECT_EQ(problem_of("ocf:x:web configfile=/c port=8080 strict=yes op.monitor.level=10"), "");
    const auto problems = problem_of("ocf:x:web prt=1 port=eighty strict=maybe op.monitor.level=20");
    for (const auto* part :
         {"no parameter prt (it has: configfile, port, strict, old)", "port=eighty is not a number",
          "strict=maybe is neither true nor false", "configfile= is required (configuration file)",
          "no monitor of level 20 (it has: 0, 10)"})
        EXPECT_NE(problems.find(part), std::string::npos) << part << "\n" << problems;
    EXPECT_NE(problem_of("ocf:x:web configfile=").find("must not be empty"), std::string::npos);
}

TEST(AgentSettingsCheck, ClonesAndPromotableAgentsAreRefused) {
    EXPECT_NE(problem_of("ocf:x:web configfile=/c CRM_meta_clone_max=2").find("clone"), std::string::npos);
    auto metadata = parse_metadata(kMetadata);
    ASSERT_TRUE(metadata);
    metadata->actions.push_back({"promote", seconds(5), 0});
    const auto refused = check_settings(settings_of("ocf:x:web configfile=/c"), *metadata);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("op.promotable=no"), std::string::npos);
    EXPECT_TRUE(check_settings(settings_of("ocf:x:web configfile=/c op.promotable=no"), *metadata));
}

TEST(AgentSettingsCheck, AnAgentThatCannotStopCannotBeProtected) {
    auto metadata = parse_metadata(kMetadata);
    ASSERT_TRUE(metadata);
    std::erase_if(metadata->actions, [](const AgentAction& action) { return action.name == "stop"; });
    EXPECT_FALSE(check_settings(settings_of("ocf:x:web configfile=/c"), *metadata));
}

TEST(AgentTimeout, IsOursElseTheMetadatasElseTheStandards) {
    const auto metadata = parse_metadata(kMetadata);
    const auto settings = settings_of("ocf:x:web configfile=/c op.stop.timeout=7");
    EXPECT_EQ(timeout_of(settings, *metadata, "stop"), seconds(7));
    EXPECT_EQ(timeout_of(settings, *metadata, "start"), seconds(40));
    EXPECT_EQ(timeout_of(settings, *metadata, "monitor", 10), seconds(45));
    EXPECT_EQ(timeout_of(settings, *metadata, "monitor", 30), seconds(30)) << "as the plain monitor";
    EXPECT_EQ(timeout_of(settings, *metadata, "reload"), seconds(20));
}

TEST(AgentExitCode, SaysWhetherAnotherTryOrAnotherNodeHelps) {
    EXPECT_EQ(exit_code(0).severity, Severity::none);
    EXPECT_EQ(exit_code(190).severity, Severity::none);
    EXPECT_EQ(exit_code(1).severity, Severity::soft);
    EXPECT_EQ(exit_code(7).severity, Severity::soft);
    for (const int code : {2, 3, 4, 5})
        EXPECT_EQ(exit_code(code).severity, Severity::hard) << code;
    for (const int code : {6, 8, 9, 191})
        EXPECT_EQ(exit_code(code).severity, Severity::fatal) << code;
    EXPECT_EQ(exit_code(77).name, "77");
}

}  // namespace
}  // namespace understudy::kits
