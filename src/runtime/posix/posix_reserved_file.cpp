#include "runtime/posix/posix_reserved_file.h"

#include "runtime/posix/file_error.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace understudy::runtime {
namespace {

constexpr mode_t kOwnerOnly = 0600;
constexpr std::size_t kPiece = 64 * 1024;

}  // namespace

Result<> PosixReservedFile::open() {
    if (file_) return {};
    Descriptor opened(
        ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, kOwnerOnly));
    if (!opened) return file_error("write", path_, errno);
    // Not by the umask, and not by whoever made it before.
    if (::fchmod(opened.get(), kOwnerOnly) != 0) return file_error("write", path_, errno);
    file_ = std::move(opened);
    return {};
}

Result<std::string> PosixReservedFile::read() const {
    const Descriptor fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return file_error("read", path_, errno);
    std::string content;
    for (;;) {
        const auto had = content.size();
        content.resize(had + kPiece);
        const auto got = ::read(fd.get(), content.data() + had, kPiece);
        const int error = errno;
        content.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got < 0 && error == EINTR) continue;
        if (got < 0) return file_error("read", path_, error);
        if (got == 0) return content;
    }
}

Result<> PosixReservedFile::reserve(std::size_t bytes) {
    UNDERSTUDY_CHECK(open());
    int done = 0;
    do {
        done = ::fallocate(file_.get(), 0, 0, static_cast<off_t>(bytes));
    } while (done != 0 && errno == EINTR);
    if (done == 0) return {};
    if (errno != EOPNOTSUPP) return file_error("reserve room in", path_, errno);
    // A file system without it, which a run directory rarely is: written zeros have room there.
    struct stat about {};
    if (::fstat(file_.get(), &about) != 0) return file_error("reserve room in", path_, errno);
    const auto has = static_cast<std::size_t>(about.st_size);
    if (has < bytes) UNDERSTUDY_CHECK(write(has, std::string(bytes - has, '\0')));
    return {};
}

Result<> PosixReservedFile::write(std::size_t offset, std::string_view bytes) {
    UNDERSTUDY_CHECK(open());
    struct stat about {};
    if (::fstat(file_.get(), &about) == 0 && about.st_nlink == 0) {
        file_.reset();
        return fail(Code::failure, "cannot write {}: somebody has removed it", path_);
    }
    while (!bytes.empty()) {
        const auto put = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return file_error("write", path_, errno);
        bytes.remove_prefix(static_cast<std::size_t>(put));
        offset += static_cast<std::size_t>(put);
    }
    return {};
}

Result<> PosixReservedFile::shrink(std::size_t bytes) {
    struct stat about {};
    if (!file_ || ::fstat(file_.get(), &about) != 0 || static_cast<std::size_t>(about.st_size) <= bytes)
        return {};
    if (::ftruncate(file_.get(), static_cast<off_t>(bytes)) != 0) return file_error("write", path_, errno);
    return {};
}

Result<> PosixReservedFile::remove() {
    file_.reset();
    if (::unlink(path_.c_str()) != 0 && errno != ENOENT) return file_error("remove", path_, errno);
    return {};
}

}  // namespace understudy::runtime
