#pragma once
// Creating a PostgreSQL resource and extending it to another node. Spec: APP-176 to APP-178, APP-187 to
// APP-202.

#include "base/result.h"
#include "kits/sdk/kit.h"

#include <string>

namespace understudy::kits {

/// create -t TAG data=DIR [port=N] [bin=DIR] [user=ACCOUNT] [admin=ROLE] [volume=TAG]: the server must run
/// with its port as an argument, answer without a prompt, and have its data on a volume that is in service
/// here, which becomes the resource's child.
Result<> create_postgres(const Instance& instance);
/// Programs of the data's version, the account with the same
/// numbers, and a free port. Spec: APP-202.
Result<> can_extend_postgres(const Instance& instance);
Result<> extend_postgres(const Instance& instance);

/// Tells of tablespaces and write-ahead logs outside the volumes of the hierarchy. Spec: APP-178.
void warn_about_places(const Instance& instance, const std::string& data);

}  // namespace understudy::kits
