#include "runtime/posix/shared_object.h"

#include "runtime/posix/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

namespace understudy::runtime {
namespace {

constexpr std::size_t kAlignment = 4096;

struct Free {
    void operator()(void* memory) const { ::free(memory); }
};
using Aligned = std::unique_ptr<char, Free>;

Aligned aligned(std::size_t size) {
    return Aligned(static_cast<char*>(::aligned_alloc(kAlignment, size)));
}

/// Without the cache where that is possible.
Descriptor open_direct(const std::string& path, int flags) {
    Descriptor fd(::open(path.c_str(), flags | O_DIRECT | O_CLOEXEC, 0600));
    if (!fd && errno == EINVAL) fd = Descriptor(::open(path.c_str(), flags | O_CLOEXEC, 0600));
    return fd;
}

tl::unexpected<Error> failed(const char* doing, const std::string& path, int number) {
    const int error = errno;
    return fail(Error{error == ENOENT ? Code::not_found : Code::failure,
                      fmt::format("{} {}: {}", doing, path, strerror(error)), number});
}

}  // namespace

Result<> write_shared_object(const std::string& path, std::string_view bytes) {
    struct ::stat there {};
    if (::lstat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode))
        return fail(Error{Code::bad_argument, fmt::format("{} is no regular file", path), 18130});
    const auto fresh = path + ".new";
    {
        const auto fd = open_direct(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_SYNC);
        if (!fd) return failed("cannot open", fresh, 18130);
        const auto buffer = aligned(bytes.size());
        if (!buffer) return fail(Error{Code::failure, "no memory", 18155});
        ::memcpy(buffer.get(), bytes.data(), bytes.size());
        if (::write(fd.get(), buffer.get(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
            return failed("cannot write", fresh, 18131);
        if (::fsync(fd.get()) != 0) return failed("cannot write", fresh, 18131);
    }
    if (::rename(fresh.c_str(), path.c_str()) != 0) return failed("cannot replace", path, 18131);
    const auto slash = path.rfind('/');
    const Descriptor directory(
        ::open(path.substr(0, std::max<std::size_t>(slash, 1)).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Not every file server's directories can be synced; the rename has been seen by it all the same.
    if (directory) (void)::fsync(directory.get());
    return {};
}

Result<std::string> read_shared_object(const std::string& path, std::size_t most) {
    const auto fd = open_direct(path, O_RDONLY);
    if (!fd) return failed("cannot open", path, errno == ENOENT ? 18149 : 18127);
    struct ::stat there {};
    if (::fstat(fd.get(), &there) != 0 || !S_ISREG(there.st_mode))
        return fail(Error{Code::bad_argument, fmt::format("{} is no regular file", path), 18127});
    const auto buffer = aligned(most);
    if (!buffer) return fail(Error{Code::failure, "no memory", 18155});
    const auto size = ::read(fd.get(), buffer.get(), most);
    if (size < 0) return failed("cannot read", path, 18128);
    return std::string(buffer.get(), static_cast<std::size_t>(size));
}

}  // namespace understudy::runtime
