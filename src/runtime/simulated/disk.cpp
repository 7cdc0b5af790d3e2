#include "runtime/simulated/disk.h"

namespace understudy::runtime::simulated {
namespace {

// After this long a file system has written a removal back by itself.
constexpr auto kWriteBack = std::chrono::seconds(5);

std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

bool Disk::is_directory(const std::string& path) const {
    return path == "/" || path == "." || directories_.contains(path);
}

Result<std::string> Disk::read(const std::string& path) const {
    const auto at = files_.find(path);
    if (at == files_.end()) return fail(Code::not_found, "{}: no such file", path);
    return at->second.content;
}

Result<> Disk::write_atomic(const std::string& path, std::string_view content, int mode) {
    if (is_directory(path)) return fail(Code::failure, "cannot write {}: it is a directory", path);
    UNDERSTUDY_CHECK(make_directories(directory_of(path)));
    sync_directory(directory_of(path));
    unsynced_removals_.erase(path);
    files_[path] = {std::string(content), mode};
    return {};
}

Result<> Disk::write_as_program(const std::string& path, std::string_view content, int mode,
                                const std::function<void()>& power_off) {
    UNDERSTUDY_CHECK(can_write(path));
    if (std::exchange(power_off_in_next_write_, false)) {
        if (random_.chance(0.5)) static_cast<void>(write_atomic(path, content, mode));
        power_off();
        return fail(Code::failure, "cannot write {}: the power went off", path);
    }
    return write_atomic(path, content, mode);
}

Result<> Disk::can_write(const std::string& path) const {
    if (is_memory(path) ? run_full_ : full_)
        return fail(Code::failure, "cannot write {}: no space left on the disk", path);
    if (!is_directory(directory_of(path)))
        return fail(Code::failure, "cannot write {}: there is no directory {}", path, directory_of(path));
    return {};
}

Result<> Disk::append_in_memory(const std::string& path, std::string_view text) {
    UNDERSTUDY_CHECK(can_write(path));
    files_[path].content += text;
    return {};
}

Result<> Disk::remove(const std::string& path) {
    const auto at = files_.find(path);
    if (at == files_.end()) return {};
    unsynced_removals_[path] = {std::move(at->second), now_()};
    files_.erase(at);
    return {};
}

// A rename that is made durable by syncing its directory makes the removals in it durable too.
void Disk::sync_directory(const std::string& path) {
    std::erase_if(unsynced_removals_, [&](const auto& removal) {
        return directory_of(removal.first) == path || now_() - removal.second.at > kWriteBack;
    });
}

void Disk::lose_unsynced() {
    for (auto& [path, removal] : unsynced_removals_) {
        if (now_() - removal.at > kWriteBack || files_.contains(path)) continue;
        if (random_.chance(0.5)) files_[path] = std::move(removal.file);
    }
    unsynced_removals_.clear();
    std::erase_if(files_, [](const auto& file) { return is_memory(file.first); });
    power_off_in_next_write_ = false;
}

Result<> Disk::make_directories(const std::string& path, int /*mode*/) {
    if (files_.contains(path)) return fail(Code::failure, "cannot make directory {}: it is a file", path);
    if (is_directory(path)) return {};
    UNDERSTUDY_CHECK(make_directories(directory_of(path)));
    directories_.insert(path);
    return {};
}

bool Disk::exists(const std::string& path) const {
    return files_.contains(path) || is_directory(path);
}

bool Disk::executable(const std::string& path) const {
    const auto at = files_.find(path);
    return at != files_.end() && (at->second.mode & 0111) != 0;
}

std::vector<std::string> Disk::list(const std::string& directory) const {
    std::set<std::string> names;
    const auto prefix = directory == "/" ? directory : directory + "/";
    const auto collect = [&](const std::string& path) {
        if (path.size() > prefix.size() && path.starts_with(prefix) &&
            path.find('/', prefix.size()) == std::string::npos)
            names.insert(path.substr(prefix.size()));
    };
    for (const auto& [path, file] : files_)
        collect(path);
    for (const auto& path : directories_)
        collect(path);
    return {names.begin(), names.end()};
}

void Disk::install(const std::string& path) {
    static_cast<void>(write_atomic(path, "", 0755));
}

}  // namespace understudy::runtime::simulated
