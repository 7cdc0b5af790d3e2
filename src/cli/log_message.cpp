#include "cli/log_message.h"

#include "base/text.h"
#include "messages/messages.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <filesystem>

namespace understudy::cli {
namespace {

constexpr const char* kIdentifier = "understudy";
constexpr const char* kJournal = "/run/systemd/journal/socket";
constexpr off_t kMaxLogBytes = 10L << 20;  // then the file becomes messages.log.1

struct Category {
    std::string_view name;
    int priority;
    messages::Severity severity;
};
constexpr Category kCategories[] = {{"FRS_MES", LOG_INFO, messages::Severity::info},
                                    {"FRS_WARN", LOG_WARNING, messages::Severity::warning},
                                    {"FRS_ERR", LOG_ERR, messages::Severity::error}};

/// One field of the journal's datagram: a value may hold line ends.
void add_field(std::string& record, std::string_view name, std::string_view value) {
    record += name;
    record += '\n';
    const auto size = static_cast<std::uint64_t>(value.size());
    for (unsigned shift = 0; shift < 64; shift += 8)
        record += static_cast<char>(size >> shift & 0xff);
    record += value;
    record += '\n';
}

bool to_journal(const std::string& record) {
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, kJournal, sizeof address.sun_path - 1);
    const auto sent = sendto(fd, record.data(), record.size(), MSG_NOSIGNAL,
                             reinterpret_cast<const sockaddr*>(&address), sizeof address);
    close(fd);
    return sent == static_cast<ssize_t>(record.size());
}

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
    std::string record;
    add_field(record, "MESSAGE", text);
    add_field(record, "PRIORITY", std::to_string(category->priority));
    add_field(record, "SYSLOG_IDENTIFIER", kIdentifier);
    add_field(record, "LK_NUMBER", std::to_string(*number));
    add_field(record, "LK_PROCESS", process);
    add_field(record, "LK_CATEGORY", category->name);
    if (!to_journal(record)) {
        openlog(kIdentifier, 0, LOG_DAEMON);
        syslog(category->priority, "%s", text.c_str());
        closelog();
    }
    to_file(layout, text);
    return {};
}

}  // namespace understudy::cli
