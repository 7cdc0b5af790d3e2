#include "mirror/emcmd/status.h"

#include <algorithm>
#include <array>

namespace understudy::mirror::emcmd {

namespace {

struct Meaning {
    Status status;
    std::string_view text;
};

constexpr std::array kMeanings{
    Meaning{Status::success, "done"},
    Meaning{Status::invalid_function, "failed, or sent to a node whose role does not allow it"},
    Meaning{Status::file_not_found,
            "the service does not run, or there is no such mirror, volume, target or job"},
    Meaning{Status::path_not_found, "the directory does not exist"},
    Meaning{Status::access_denied,
            "not permitted: no administrator, a directory that cannot be written, or a volume that the "
            "cluster holds"},
    Meaning{Status::invalid_drive, "information about the volume cannot be obtained"},
    Meaning{Status::bad_command, "the device does not know the command"},
    Meaning{Status::lock_violation, "the volume is in use; close what has it open"},
    Meaning{Status::account_mismatch, "the systems' accounts do not match"},
    Meaning{Status::not_supported,
            "not supported: a local command sent to another system, or a layout for which there is none"},
    Meaning{Status::network_path_not_found, "the other system's host does not answer"},
    Meaning{Status::bad_network_path, "the address cannot be reached or the name cannot be resolved"},
    Meaning{Status::network_name_deleted, "the other system went away during the request"},
    Meaning{Status::invalid_parameter, "the arguments are not legal"},
    Meaning{Status::timeout, "not within the time allowed"},
    Meaning{Status::busy, "a resync has not finished"},
    Meaning{Status::ring2_stack_in_use, "a network component is not enabled (never on Linux)"},
    Meaning{Status::no_data, "the connection closed while the answer was on its way"},
    Meaning{Status::more_data, "the answer is larger than a reply may be"},
    Meaning{Status::operation_aborted,
            "the volume's data port cannot be opened: a firewall, or the port is taken"},
    Meaning{Status::service_marked_for_delete, "the service stops, as it was told to"},
    Meaning{Status::possible_deadlock, "the connection to the other system failed"},
    Meaning{Status::connection_refused,
            "the target refused the mirror; see its log, and whether its switchover flag is set "
            "(CLEARSWITCHOVER)"},
    Meaning{Status::connection_invalid, "there is no connection to the server"},
    Meaning{Status::network_unreachable, "the network cannot be reached"},
    Meaning{Status::request_aborted, "the end of the split brain was aborted"},
    Meaning{Status::downgrade_detected,
            "the second system was not authenticated: check the nodes' certificates"},
    Meaning{Status::logon_failure, "unknown user or bad password"},
    Meaning{Status::no_system_resources, "out of resources"},
};

}  // namespace

int exit_code(Status status) {
    if (status == Status::service_marked_for_delete) return 0;
    return number(status) > kMostExit ? kExitOfLarge : number(status);
}

std::string status_line(Status status) {
    return fmt::format("Status = {}\n", number(status));
}

std::string_view meaning(int wanted) {
    const auto* const at = std::find_if(kMeanings.begin(), kMeanings.end(), [wanted](const Meaning& one) {
        return number(one.status) == wanted;
    });
    return at == kMeanings.end() ? std::string_view{} : at->text;
}

bool is_in_use(const Error& error) {
    // Codes are the commands' exit codes and too coarse; these are the words of every refusal of that kind.
    constexpr std::array<std::string_view, 4> kWords{"in use", "is mounted on", "is part of", "used as swap"};
    return std::any_of(kWords.begin(), kWords.end(), [&error](std::string_view words) {
        return error.text.find(words) != std::string::npos;
    });
}

Status status_of(const Error& error) {
    if (is_in_use(error)) return Status::lock_violation;
    switch (error.code) {
        case Code::ok:
            return Status::success;
        case Code::not_found:
            return Status::file_not_found;
        case Code::unreachable:
            return Status::bad_network_path;
        case Code::syntax:
        case Code::bad_argument:
        case Code::out_of_range:
            return Status::invalid_parameter;
        case Code::has_dependents:
            return Status::busy;
        case Code::exists:
        case Code::failure:
        case Code::internal:
            return Status::invalid_function;
    }
    return Status::invalid_function;
}

}  // namespace understudy::mirror::emcmd
