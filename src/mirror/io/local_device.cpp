#include "mirror/io/local_device.h"

#include "base/mount_table.h"
#include "base/text.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

namespace understudy::mirror {
namespace {

bool same_object(const struct stat& wanted, const struct stat& found) {
    if (S_ISBLK(wanted.st_mode)) return S_ISBLK(found.st_mode) && found.st_rdev == wanted.st_rdev;
    return found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino;
}

std::string first_line(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

}  // namespace

std::string holders_of(const std::string& path) {
    namespace fs = std::filesystem;
    struct stat wanted {};
    if (::stat(path.c_str(), &wanted) != 0) return {};
    std::vector<std::string> found;
    std::error_code ignored;
    for (const auto& process : fs::directory_iterator("/proc", ignored)) {
        const std::string pid = process.path().filename();
        if (!text::to_int(pid)) continue;
        std::error_code error;
        for (const auto& descriptor : fs::directory_iterator(process.path() / "fd", error)) {
            struct stat status {};
            if (::stat(descriptor.path().c_str(), &status) != 0 || !same_object(wanted, status)) continue;
            found.push_back(fmt::format("{} (pid {})", first_line(process.path() / "comm"), pid));
            break;
        }
    }
    if (S_ISBLK(wanted.st_mode)) {
        const std::string number = fmt::format("{}:{}", major(wanted.st_rdev), minor(wanted.st_rdev));
        std::ifstream mounts("/proc/self/mountinfo");
        for (const Mount& mount : read_mounts(mounts))
            if (mount.device == number) found.push_back("mounted on " + mount.directory);
        for (const auto& holder : fs::directory_iterator("/sys/dev/block/" + number + "/holders", ignored))
            found.push_back("part of " + holder.path().filename().string());
    }
    return text::join(found, ", ");
}

Result<LocalDevice> open_device(Reactor& reactor, const std::string& path,
                                std::chrono::milliseconds busy_wait) {
    RawBackendOptions options;
    options.path = path;
    options.busy_wait = busy_wait;
    auto backend = RawBackend::open(reactor, options);
    if (!backend) {
        Error error = std::move(backend.error());
        if (error.code == Code::failure)
            if (const std::string holders = holders_of(path); !holders.empty())
                error.text += "; held by " + holders;
        return fail(std::move(error));
    }
    const bool punches = (*backend)->punches();
    return LocalDevice{std::move(*backend), punches};
}

}  // namespace understudy::mirror
