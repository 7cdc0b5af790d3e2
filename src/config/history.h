#pragma once
// The history of a node's configuration and states: every commit with time, who asked for it, by which
// command, and what each record was before and is now. An entry is written in the same transaction as its
// commit.
//
// Bounded: kMaxHistoryEntries, kMaxHistoryBytes and an age (setting HISTORY_DAYS); the oldest go first.
// Reservations are no part of it: they come and go with every action and say nothing about the configuration.

#include "base/result.h"
#include "base/types.h"
#include "config/edit.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

struct NodeConfig;

inline constexpr std::uint64_t kMaxHistoryEntries = 50'000;
inline constexpr std::uint64_t kMaxHistoryBytes = 32ULL << 20;
/// A commit of more records keeps the first so many and counts the rest.
inline constexpr std::size_t kMaxHistoryItems = 200;
/// One answer holds at most so many entries.
inline constexpr std::size_t kMaxHistoryAnswer = 10'000;

/// Who asked for a change. Empty command: the daemon by itself (recovery, start, replication of a pair).
struct Origin {
    std::string user;     // "root", or the uid in digits when it has no name here
    NodeName node;        // where the command was given
    std::string command;  // with its options, as it would be typed
    friend bool operator==(const Origin&, const Origin&) = default;
};

/// One record's change. Fields that stayed equal are left out; a record that is new has no `before`, one that
/// is gone no `after`.
struct HistoryItem {
    std::string kind;     // "instance", "dependency", "equivalency", "path", "app", "type", "system", "flag"
    std::string subject;  // tag, or what else names the record
    std::string before;
    std::string after;
    friend bool operator==(const HistoryItem&, const HistoryItem&) = default;
};

struct HistoryEntry {
    std::uint64_t id = 0;      // ascending on a node
    std::int64_t wall_us = 0;  // microseconds since 1970, the node's wall clock
    NodeName node;             // whose configuration changed
    std::uint64_t generation = 0;
    Origin origin;
    std::vector<HistoryItem> items;
    std::uint64_t omitted = 0;  // items beyond kMaxHistoryItems
    friend bool operator==(const HistoryEntry&, const HistoryEntry&) = default;
};

/// What to look for; empty fields match everything.
struct HistoryQuery {
    std::int64_t since_us = 0;
    std::int64_t until_us = 0;  // 0: now
    std::string tag;            // of a resource that an item is about
    std::string text;           // anywhere in the entry, without case
    std::size_t limit = 100;    // the newest so many
};

/// What `edits` change in `before`. Edits that change nothing are left out, and those of a reservation only.
std::vector<HistoryItem> describe_changes(const NodeConfig& before, const std::vector<Edit>& edits);
/// Whether an item concerns this resource: it, a dependency or an equivalency of it.
bool concerns(const HistoryItem& item, std::string_view tag);
bool matches(const HistoryEntry& entry, const HistoryQuery& query);

/// Stable byte forms for the file and the wire. decode reports Code::internal on malformed input.
std::string encode(const HistoryEntry& entry);
Result<HistoryEntry> decode_history(std::string_view data);
std::string encode(const HistoryQuery& query);
Result<HistoryQuery> decode_history_query(std::string_view data);
/// An answer to a query: the newest entries, as many as a message holds, oldest first.
struct HistoryList {
    std::vector<HistoryEntry> entries;
    bool cut = false;  // older ones matched too
};
HistoryList fit_into_message(std::vector<HistoryEntry> entries);
std::string encode(const HistoryList& list);
Result<HistoryList> decode_history_list(std::string_view data);

}  // namespace understudy::config
