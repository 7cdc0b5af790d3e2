#include "runtime/posix/posix_files.h"

#include "runtime/posix/descriptor.h"
#include "runtime/posix/file_error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

namespace understudy::runtime {

namespace {

constexpr std::string_view kTemporaryPrefix = ".understudy-tmp-";

std::string parent_of(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

/// Makes names in `directory` durable: an fsync of a file does not save its directory entry.
Result<> sync_directory(const std::string& directory) {
    const Descriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || ::fsync(fd.get()) != 0) return file_error("save directory", directory, errno);
    return {};
}

/// 0 or an errno.
int write_all(int fd, std::string_view content) {
    while (!content.empty()) {
        const ssize_t put = ::write(fd, content.data(), content.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return errno;
        content.remove_prefix(static_cast<std::size_t>(put));
    }
    return 0;
}

/// Writes, sets the mode and syncs, in this order; 0 or an errno.
int fill(int fd, std::string_view content, int mode) {
    if (const int error = write_all(fd, content)) return error;
    // Not by the umask: the mode is part of what is written (keys are 0600).
    if (::fchmod(fd, static_cast<mode_t>(mode)) != 0) return errno;
    return ::fsync(fd) == 0 ? 0 : errno;
}

}  // namespace

tl::unexpected<Error> file_error(std::string_view doing, const std::string& path, int error) {
    switch (error) {
        case ENOENT:
            return fail(Code::not_found, "cannot {} {}: no such file or directory", doing, path);
        case EEXIST:
            return fail(Code::exists, "cannot {} {}: it exists already", doing, path);
        case ENOSPC:
        case EDQUOT:
            return fail(Code::failure, "cannot {} {}: no space left on its file system; free some and repeat",
                        doing, path);
        case EROFS:
            return fail(Code::failure, "cannot {} {}: its file system is read-only", doing, path);
        default:
            return fail(Code::failure, "cannot {} {}: {}", doing, path, strerror(error));
    }
}

Result<std::string> PosixFiles::read(const std::string& path) const {
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return file_error("read", path, errno);
    struct stat about {};
    if (::fstat(fd.get(), &about) != 0) return file_error("read", path, errno);
    if (!S_ISREG(about.st_mode)) return fail(Code::failure, "cannot read {}: it is not a file", path);
    const auto too_large = [&] {
        return fail(Code::failure, "cannot read {}: it is larger than {} bytes", path, kMaxSmallFileBytes);
    };
    if (static_cast<std::size_t>(about.st_size) > kMaxSmallFileBytes) return too_large();
    std::string out;
    // Not by st_size alone: files of /proc and /sys say 0.
    for (;;) {
        const std::size_t had = out.size();
        out.resize(std::max<std::size_t>(had + 4096, static_cast<std::size_t>(about.st_size) + 1));
        const ssize_t got = ::read(fd.get(), out.data() + had, out.size() - had);
        const int error = errno;
        out.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got < 0 && error == EINTR) continue;
        if (got < 0) return file_error("read", path, error);
        if (got == 0) return out;
        if (out.size() > kMaxSmallFileBytes) return too_large();
    }
}

Result<> PosixFiles::write_atomic(const std::string& path, std::string_view content, int mode) {
    const std::string directory = parent_of(path);
    std::string temporary = fmt::format("{}/{}XXXXXX", directory, kTemporaryPrefix);
    {
        const Descriptor fd(::mkostemp(temporary.data(), O_CLOEXEC));
        if (!fd) return file_error("write", path, errno);
        if (const int error = fill(fd.get(), content, mode)) {
            ::unlink(temporary.c_str());
            return file_error("write", path, error);
        }
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
        const int error = errno;
        ::unlink(temporary.c_str());
        return file_error("write", path, error);
    }
    return sync_directory(directory);
}

Result<> PosixFiles::append(const std::string& path, std::string_view text, std::size_t most) {
    struct stat about {};
    if (::stat(path.c_str(), &about) == 0 && about.st_size > 0 &&
        static_cast<std::size_t>(about.st_size) + text.size() > most &&
        ::rename(path.c_str(), (path + ".1").c_str()) != 0)
        return file_error("rename", path, errno);
    const Descriptor fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644));
    if (!fd) return file_error("write", path, errno);
    if (const int error = write_all(fd.get(), text)) return file_error("write", path, error);
    return {};
}

Result<> PosixFiles::remove(const std::string& path) {
    if (::unlink(path.c_str()) != 0) {
        if (errno == ENOENT) return {};
        return file_error("remove", path, errno);
    }
    return sync_directory(parent_of(path));
}

Result<> PosixFiles::make_directories(const std::string& path, int mode) {
    for (std::size_t at = 0; at != std::string::npos && at < path.size();) {
        at = path.find('/', at + 1);
        const std::string part = path.substr(0, at);
        if (::mkdir(part.c_str(), static_cast<mode_t>(mode)) == 0) {
            if (::chmod(part.c_str(), static_cast<mode_t>(mode)) != 0)
                return file_error("create directory", part, errno);
            UNDERSTUDY_CHECK(sync_directory(parent_of(part)));
            continue;
        }
        const int error = errno;
        struct stat about {};
        if (::stat(part.c_str(), &about) != 0) return file_error("create directory", part, error);
        if (!S_ISDIR(about.st_mode))
            return fail(Code::exists, "cannot create directory {}: {} exists and is not a directory", path,
                        part);
    }
    return {};
}

bool PosixFiles::exists(const std::string& path) const {
    return ::access(path.c_str(), F_OK) == 0;
}

bool PosixFiles::executable(const std::string& path) const {
    struct stat about {};
    return ::stat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

std::vector<std::string> PosixFiles::list(const std::string& directory) const {
    std::vector<std::string> out;
    const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory.c_str()), ::closedir);
    if (!open) return out;
    while (const dirent* entry = ::readdir(open.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != ".." && !name.starts_with(kTemporaryPrefix)) out.emplace_back(name);
    }
    std::sort(out.begin(), out.end());
    return out;
}

}  // namespace understudy::runtime
