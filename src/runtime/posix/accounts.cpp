#include "runtime/posix/accounts.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <vector>

namespace understudy::runtime {

bool in_group(std::uint32_t uid, const std::string& group) {
    constexpr int kMaxGroups = 1024;
    constexpr std::size_t kBuffer = 1UL << 20;  // a group's members are part of its entry
    std::vector<char> buffer(kBuffer);
    ::group wanted{};
    ::group* found_group = nullptr;
    if (getgrnam_r(group.c_str(), &wanted, buffer.data(), buffer.size(), &found_group) != 0 ||
        found_group == nullptr)
        return false;
    const auto gid = wanted.gr_gid;
    passwd account{};
    passwd* found_account = nullptr;
    if (getpwuid_r(uid, &account, buffer.data(), buffer.size(), &found_account) != 0 ||
        found_account == nullptr)
        return false;
    std::vector<gid_t> groups(kMaxGroups);
    int count = kMaxGroups;
    if (getgrouplist(account.pw_name, account.pw_gid, groups.data(), &count) < 0) count = kMaxGroups;
    groups.resize(static_cast<std::size_t>(count));
    return std::find(groups.begin(), groups.end(), gid) != groups.end();
}

std::string user_name(std::uint32_t uid) {
    const auto* account = getpwuid(uid);
    return account == nullptr ? std::to_string(uid) : account->pw_name;
}

}  // namespace understudy::runtime
