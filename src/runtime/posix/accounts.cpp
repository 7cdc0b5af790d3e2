#include "runtime/posix/accounts.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <vector>

namespace understudy::runtime {

bool in_group(std::uint32_t uid, const std::string& group) {
    constexpr int kMaxGroups = 1024;
    const auto* wanted = getgrnam(group.c_str());
    if (wanted == nullptr) return false;
    const auto gid = wanted->gr_gid;
    const auto* account = getpwuid(uid);
    if (account == nullptr) return false;
    std::vector<gid_t> groups(kMaxGroups);
    int count = kMaxGroups;
    if (getgrouplist(account->pw_name, account->pw_gid, groups.data(), &count) < 0) count = kMaxGroups;
    groups.resize(static_cast<std::size_t>(count));
    return std::find(groups.begin(), groups.end(), gid) != groups.end();
}

std::string user_name(std::uint32_t uid) {
    const auto* account = getpwuid(uid);
    return account == nullptr ? std::to_string(uid) : account->pw_name;
}

}  // namespace understudy::runtime
