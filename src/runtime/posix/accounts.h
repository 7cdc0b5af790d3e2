#pragma once
// Accounts of this host.

#include <cstdint>
#include <string>

namespace understudy::runtime {

/// Whether the account with this uid is a member of the group, by its primary or a further group. False when
/// either does not exist. May ask directory services and block; any thread.
bool in_group(std::uint32_t uid, const std::string& group);

/// The account's name, or the uid in digits when it has none. May read the account databases.
std::string user_name(std::uint32_t uid);

}  // namespace understudy::runtime
