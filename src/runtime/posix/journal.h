#pragma once
// The system's journal, by its native protocol: a record is a datagram of fields, so that a message's number
// is a field of its own (journalctl LK_NUMBER=18163) and not only part of its text. Spec: QUO-130, CMD-108.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace understudy::runtime {

/// Where journald listens on a real host.
inline constexpr std::string_view kJournalSocket = "/run/systemd/journal/socket";

/// Priorities of the journal (syslog's).
inline constexpr int kJournalCritical = 2;
inline constexpr int kJournalError = 3;
inline constexpr int kJournalWarning = 4;
inline constexpr int kJournalInfo = 6;
inline constexpr int kJournalDebug = 7;

struct JournalRecord {
    std::string_view identifier;  // of the program, SYSLOG_IDENTIFIER
    int priority = kJournalInfo;
    int number = 0;  // of the message, LK_NUMBER; 0: it has none
    std::string_view text;
    std::vector<std::pair<std::string_view, std::string_view>> more = {};  // further fields
};

/// The datagram. Pure.
std::string encode(const JournalRecord& record);

/// Sends a record; false when nobody listens or takes it at once. A text that is too long for one record is
/// cut. Any thread; does not wait.
bool send_to_journal(const JournalRecord& record, std::string_view socket = kJournalSocket);

}  // namespace understudy::runtime
