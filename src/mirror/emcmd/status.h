#pragma once
// The status numbers that emcmd ends with: the platform error codes of the manual, kept as they are, with
// what each means here. Spec: EMC-022, EMC-026, EMC-027, EMC-065.

#include "base/result.h"

#include <string>
#include <string_view>

namespace understudy::mirror::emcmd {

enum class Status : int {
    success = 0,
    invalid_function = 1,  // failed, or sent to a node in the wrong role
    file_not_found = 2,    // service, mirror, volume, target or job is not there
    path_not_found = 3,
    access_denied = 5,
    invalid_drive = 15,
    bad_command = 22,
    lock_violation = 33,  // the volume is in use
    account_mismatch = 46,
    not_supported = 50,
    network_path_not_found = 51,
    bad_network_path = 53,
    network_name_deleted = 64,
    invalid_parameter = 87,
    timeout = 121,
    busy = 170,  // a resync has not finished
    ring2_stack_in_use = 207,
    no_data = 232,
    more_data = 234,
    operation_aborted = 995,
    service_marked_for_delete = 1072,  // STOPSERVICE has succeeded
    possible_deadlock = 1131,
    connection_refused = 1225,
    connection_invalid = 1229,
    network_unreachable = 1231,
    request_aborted = 1235,
    downgrade_detected = 1265,  // the second hop was not authenticated
    logon_failure = 1326,
    no_system_resources = 1450,
};

[[nodiscard]] constexpr int number(Status status) {
    return static_cast<int>(status);
}

/// Largest status that is an exit code as it is; larger ones end with kExitOfLarge.
inline constexpr int kMostExit = 250;
inline constexpr int kExitOfLarge = 251;

/// Exit code of a command that ended with this status. Spec: EMC-026, EMC-237.
int exit_code(Status status);
/// "Status = 87\n"
std::string status_line(Status status);
/// What a number means, for `emcmd -helpmsg`; empty for one that emcmd never gives.
std::string_view meaning(int number);
/// The status of an operation's error, where the caller knows nothing more exact.
Status status_of(const Error& error);
/// Whether an error says that a device is held by somebody.
bool is_in_use(const Error& error);

}  // namespace understudy::mirror::emcmd
