// Response command: tells the managers of LK_TRAP_MGR of an event as an SNMP trap. It is linked into the
// directories of the engine's events, talks to nobody unless LK_TRAP_MGR is set, never waits for an answer,
// and writes what it sent to snmp.log. Spec: CMD-148 to CMD-157.
//
//   snmptrap -C lifekeeper -E node_failure -m LK:recovery -n nodeA -s 5 -i ID
//   LK_EVENT_NUMBER, LK_EVENT_TEXT in the environment: what of the event is exported

#include "base/text.h"
#include "cli/client.h"
#include "config/settings.h"
#include "kits/snmp/trap.h"

#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>

namespace understudy::kits::snmp {
namespace {

constexpr int kCommUp = 140;
constexpr int kCommDown = 141;

std::string read_file(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// What the environment or the event's name says; 0: nothing that is exported.
int number_of(const std::string& event, const config::Settings& settings) {
    if (const auto* number = std::getenv("LK_EVENT_NUMBER"))
        return static_cast<int>(text::to_int(number).value_or(0));
    if (event == "mirror_state") return kMirrorState;
    if (event == "split_brain") return kSplitBrain;
    if (!settings.boolean("LK_TRAP_COMM")) return 0;
    return event == "comm_up" ? kCommUp : event == "comm_down" ? kCommDown : 0;
}

std::uint32_t uptime_cs() {
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<std::uint32_t>(now.tv_sec * 100 + now.tv_nsec / 10'000'000);
}

/// One line in snmp.log and in the journal.
void note(const config::Layout& layout, int priority, const std::string& line) {
    openlog("understudy", 0, LOG_DAEMON);
    syslog(priority, "%s", line.c_str());
    closelog();
    char stamp[64];
    const auto now = time(nullptr);
    tm local{};
    localtime_r(&now, &local);
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &local);
    std::ofstream(layout.log() + "/snmp.log", std::ios::app) << fmt::format("{}: {}\n", stamp, line);
}

Result<> send(const Manager& manager, const Trap& trap, Sender sender) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo* found = nullptr;
    if (const int error =
            getaddrinfo(manager.host.c_str(), std::to_string(manager.port).c_str(), &hints, &found);
        error != 0)
        return fail(Code::failure, "{}", gai_strerror(error));
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, freeaddrinfo);
    const int fd = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(Code::failure, "{}", strerror(errno));
    Result<> sent;
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    if (connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        sent = fail(Code::failure, "{}", strerror(errno));
    } else {
        if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size) == 0 && own.ss_family == AF_INET)
            memcpy(sender.address.data(), &reinterpret_cast<const sockaddr_in&>(own).sin_addr,
                   sender.address.size());
        const auto bytes = encode(trap, sender, manager.community);
        if (::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
            sent = fail(Code::failure, "{}", strerror(errno));
    }
    close(fd);
    return sent;
}

int run(int argc, char** argv) {
    std::string event;
    std::string subject;
    for (int i = 1; i + 1 < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "-E") event = argv[i + 1];
        if (word == "-n") subject = argv[i + 1];
    }
    const auto layout = cli::layout_from_environment();
    // As they are now: the daemon's environment has those of its start.
    std::vector<std::string> problems;
    const auto settings = config::Settings::parse_leniently(read_file(layout.settings()), problems);
    const auto managers = parse_managers(settings.text("LK_TRAP_MGR"));
    if (!managers) {
        note(layout, LOG_WARNING, "LK_TRAP_MGR: " + managers.error().text);
        return 1;
    }
    if (managers->empty()) return 0;
    const auto node = std::string(text::trim(read_file(layout.etc() + "/node")));
    const auto* text = std::getenv("LK_EVENT_TEXT");
    const auto trap = trap_of(number_of(event, settings), subject, text == nullptr ? "" : text, node);
    if (!trap) return 0;
    Sender sender;
    sender.version_1 = settings.text("LK_TRAP_VERSION") == "1";
    sender.uptime_cs = uptime_cs();
    sender.request_id = std::random_device()();
    if (const auto prefix = settings.text("LK_TRAP_PREFIX"); !prefix.empty()) {
        const auto parsed = parse_oid(prefix);
        if (!parsed) {
            note(layout, LOG_WARNING, "LK_TRAP_PREFIX: " + parsed.error().text);
            return 1;
        }
        sender.prefix = *parsed;
    }
    int failures = 0;
    for (const auto& manager : *managers) {
        const auto sent = send(manager, *trap, sender);
        const auto what = fmt::format("Trap {} [{}]", trap->number, trap->message);
        if (sent) {
            note(layout, LOG_INFO,
                 fmt::format("{} sent to {}{}", what, manager.host,
                             trap->extra ? " :" + trap->extra->second : ""));
            continue;
        }
        ++failures;
        note(layout, LOG_WARNING,
             fmt::format("{} not sent to {}: {}", what, manager.host, sent.error().text));
    }
    return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace understudy::kits::snmp

int main(int argc, char** argv) {
    return understudy::kits::snmp::run(argc, argv);
}
