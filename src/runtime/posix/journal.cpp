#include "runtime/posix/journal.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace understudy::runtime {
namespace {

/// Of a record that the socket takes nowhere as it is.
constexpr std::size_t kCutText = 16 * 1024;

/// A value may hold line ends.
void add_field(std::string& record, std::string_view name, std::string_view value) {
    record += name;
    record += '\n';
    const auto size = static_cast<std::uint64_t>(value.size());
    for (unsigned shift = 0; shift < 64; shift += 8)
        record += static_cast<char>(size >> shift & 0xff);
    record += value;
    record += '\n';
}

/// 0, or errno.
int send_datagram(int fd, const sockaddr_un& to, const std::string& datagram) {
    const auto sent = sendto(fd, datagram.data(), datagram.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                             reinterpret_cast<const sockaddr*>(&to), sizeof to);
    return sent == static_cast<ssize_t>(datagram.size()) ? 0 : errno;
}

}  // namespace

std::string encode(const JournalRecord& record) {
    std::string datagram;
    add_field(datagram, "MESSAGE", record.text);
    add_field(datagram, "PRIORITY", std::to_string(record.priority));
    add_field(datagram, "SYSLOG_IDENTIFIER", record.identifier);
    if (record.number != 0) add_field(datagram, "LK_NUMBER", std::to_string(record.number));
    for (const auto& [name, value] : record.more)
        add_field(datagram, name, value);
    return datagram;
}

bool send_to_journal(const JournalRecord& record, std::string_view socket) {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    if (socket.size() >= sizeof to.sun_path) return false;
    std::memcpy(to.sun_path, socket.data(), socket.size());
    const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    int error = send_datagram(fd, to, encode(record));
    if (error == EMSGSIZE && record.text.size() > kCutText) {
        auto shorter = record;
        shorter.text = record.text.substr(0, kCutText);
        error = send_datagram(fd, to, encode(shorter));
    }
    close(fd);
    return error == 0;
}

}  // namespace understudy::runtime
