#pragma once
// A command of the manual as it travels: from the thin client to the local daemon, and with -d on to another
// node's. The client has parsed the command line by the command table (config/command_table.h); the daemon
// answers with what to print and the exit code, so that output and code of `-d` are those of the remote
// operation (Spec: CMD-007).

#include "base/result.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

struct Command {
    std::string name;  // "ins_list", "perform_action", "understudy status"
    std::map<std::string, std::string>
        options;                         // by option letter or long name without dashes; flags have ""
    std::vector<std::string> arguments;  // after the options, or after "--"
    std::uint32_t uid = ~0U;             // caller, filled in by the daemon from the socket
    int pid = 0;                         // caller's pid, for reservations
    std::string user;  // the uid's name on its node, filled in by the daemon; for the history
    [[nodiscard]] bool has(std::string_view option) const { return options.contains(std::string(option)); }
    /// The option's value, or `otherwise`.
    [[nodiscard]] std::string get(std::string_view option, std::string_view otherwise = "") const {
        const auto at = options.find(std::string(option));
        return at == options.end() ? std::string(otherwise) : at->second;
    }
};

/// A Reply with this code is progress of a long command (lkstop); the final Reply follows on the same
/// connection.
inline constexpr int kMoreFollows = -1;

struct Reply {
    int exit_code = 0;
    std::string out;  // to standard output, byte for byte
    std::string
        err;  // to standard error: the message text, without the "Process:" layout (the client adds it)
    int message_number = 0;
    bool raw = false;  // `err` is what a program wrote, to be copied byte for byte (lcdremexec)
};

/// The command as it would be typed, without what must stay secret. For logs and the history.
std::string command_line(const Command& command);

/// Code::ok and `out`.
Reply success(std::string out = {});
Reply failure(const Error& error);

/// The frames between client and daemon: kind byte + protobuf. Malformed input gives Code::internal.
std::string encode(const Command& command);
Result<Command> decode_command(std::string_view data);
std::string encode(const Reply& reply);
Result<Reply> decode_reply(std::string_view data);

}  // namespace understudy::config
