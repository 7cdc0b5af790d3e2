#include "cli/log_message.h"

#include "base/text.h"
#include "messages/messages.h"
#include "runtime/posix/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <filesystem>

namespace understudy::cli {
namespace {

constexpr const char* kIdentifier = "understudy";
constexpr off_t kMaxLogBytes = 10L << 20;  // then the file becomes messages.log.1

struct Category {
    std::string_view name;
    int priority;
    messages::Severity severity;
};
constexpr Category kCategories[] = {{"FRS_MES", LOG_INFO, messages::Severity::info},
                                    {"FRS_WARN", LOG_WARNING, messages::Severity::warning},
                                    {"FRS_ERR", LOG_ERR, messages::Severity::error}};

void to_file(const config::Layout& layout, const std::string& message) {
    std::error_code error;
    std::filesystem::create_directories(layout.log(), error);
    const auto path = layout.log() + "/messages.log";
    struct stat about {};
    if (stat(path.c_str(), &about) == 0 && about.st_size > kMaxLogBytes)
        std::filesystem::rename(path, path + ".1", error);
    const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) return;  // a script must not fail because its message cannot be kept
    char stamp[64];
    const auto now = time(nullptr);
    tm local{};
    localtime_r(&now, &local);
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &local);
    std::string line = fmt::format("{} {}", stamp, text::trim(message));
    std::replace(line.begin(), line.end(), '\n', ' ');
    line += '\n';
    (void)!write(fd, line.data(), line.size());  // one write: lines of several scripts do not mix
    close(fd);
}

}  // namespace

Result<> log_message(const config::Layout& layout, const config::Command& command) {
    const auto category = std::find_if(std::begin(kCategories), std::end(kCategories),
                                       [&](const auto& each) { return each.name == command.get("c"); });
    if (category == std::end(kCategories))
        return fail(Code::syntax, "-c takes FRS_MES, FRS_WARN or FRS_ERR, not \"{}\"", command.get("c"));
    const auto destination = command.get("d");
    if (command.has("d") && destination != "TO_LOG" && destination != "TO_STDERR")
        return fail(Code::syntax, "-d takes TO_LOG or TO_STDERR, not \"{}\"", destination);
    const auto number = text::to_int(command.get("n"));
    if (!number || *number < 1 || *number > INT32_MAX)
        return fail(Code::bad_argument, "-n takes a positive number, not \"{}\"", command.get("n"));

    const auto process = command.get("p");
    const auto& message = command.arguments.at(0);
    // Information has no word for its severity. Spec: CMD-108
    const auto text =
        category->severity == messages::Severity::info
            ? fmt::format("Process: {}({})\n(No. {}) {}\n", process, getppid(), *number, message)
            : messages::layout(category->severity, static_cast<int>(*number), message, process, getppid());
    if (destination != "TO_LOG") std::fputs(text.c_str(), stderr);
    if (destination == "TO_STDERR") return {};
    const bool sent =
        runtime::send_to_journal({.identifier = kIdentifier,
                                  .priority = category->priority,
                                  .number = static_cast<int>(*number),
                                  .text = text,
                                  .more = {{"LK_PROCESS", process}, {"LK_CATEGORY", category->name}}});
    if (!sent) {
        openlog(kIdentifier, 0, LOG_DAEMON);
        syslog(category->priority, "%s", text.c_str());
        closelog();
    }
    to_file(layout, text);
    return {};
}

}  // namespace understudy::cli
