// How messages look, and the numbers that scripts know.

#include "messages/messages.h"

#include "messages/sink.h"

#include <gtest/gtest.h>

#include <set>

namespace understudy::messages {
namespace {

// Spec: CMD-006, CLU-275
TEST(Layout, NamesProcessSeverityAndNumber) {
    EXPECT_EQ(layout(Severity::critical, 472, "no daemon", "sys_list", 7),
              "Process: sys_list(7)\nCRITICAL (No. 472) no daemon\n");
    EXPECT_EQ(layout(Severity::error, 424, "text", "p", 1), "Process: p(1)\n*ERROR* (No. 424) text\n");
    EXPECT_EQ(layout(Severity::warning, 12104, "text", "p", 1),
              "Process: p(1)\n*WARNING* (No. 12104) text\n");
    EXPECT_EQ(layout(Severity::info, 1, "text", "p", 1), "Process: p(1)\nINFO (No. 1) text\n");
    EXPECT_EQ(layout(Severity::error, 0, "text", "p", 1), "Process: p(1)\n*ERROR* text\n")
        << "without a number";
}

#define MESSAGE(number, severity, name, english, japanese) number,
constexpr int kNumbers[] = {
#include "messages/catalogue.def"
#include "messages/kits.def"
};
#undef MESSAGE

// Spec: CMD-006, CLU-275
TEST(Catalogue, HasTheNumbersOfTheManualEachOnce) {
    const std::set<int> numbers(std::begin(kNumbers), std::end(kNumbers));
    EXPECT_EQ(numbers.size(), std::size(kNumbers));
    for (const int known : {424, 472, 1001, 12035, 12046, 20042})
        EXPECT_TRUE(numbers.contains(known)) << known;
}

TEST(Catalogue, TextsTakeTheirArgumentsInBothLanguages) {
    EXPECT_EQ(text(kit_not_enabled, "ip.0", "comm/ip"),
              "resource ip.0 requires the kit comm/ip, which is not enabled on this system (DISABLED_KITS).");
    EXPECT_EQ(fmt::vformat(kit_not_enabled.japanese, fmt::make_format_args("a", "b")).find("{}"),
              std::string::npos);
    const auto error = fail(Code::bad_argument, remove_local_system, "nodeA").value();
    EXPECT_EQ(error.number, 424);
    EXPECT_EQ(error.text, "can't remove entry for local system \"nodeA\"");
}

// Spec: QUO-130
TEST(Log, GoesToAnotherSinkWithItsNumberAndToStandardErrorWhenThatDoesNotTakeIt) {
    configure({.process = "test", .file = ""});
    std::string told;
    bool takes = true;
    log_to([&](Severity severity, int number, std::string_view text) {
        told += fmt::format("{}/{}/{};", static_cast<int>(severity), number, text);
        return takes;
    });
    testing::internal::CaptureStderr();
    log_numbered(Severity::warning, 18163, "peer is up");
    info("plain {}", 1);
    log_text(Severity::debug, "below the level");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    EXPECT_EQ(told, fmt::format("{}/18163/peer is up;{}/0/plain 1;", static_cast<int>(Severity::warning),
                                static_cast<int>(Severity::info)));
    takes = false;
    testing::internal::CaptureStderr();
    log_numbered(Severity::error, 7, "lost otherwise");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "(No. 7) lost otherwise\n");
    configure({.process = "test", .file = ""});
    told.clear();
    testing::internal::CaptureStderr();
    log_numbered(Severity::error, 7, "as before");
    EXPECT_NE(testing::internal::GetCapturedStderr().find("(No. 7) as before"), std::string::npos);
    EXPECT_EQ(told, "");
}

}  // namespace
}  // namespace understudy::messages
