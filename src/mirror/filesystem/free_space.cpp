#include "mirror/filesystem/free_space.h"

#include "mirror/filesystem/open_file_system.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fsmap.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace understudy::mirror::filesystem {

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kBatch = 4096;                // records of one question
constexpr std::size_t kMostPieces = 16UL << 20;  // 256 MiB of memory, more than any sane file system has

struct Release {
    void operator()(void* memory) const { std::free(memory); }
};

Result<std::vector<Piece>> ask(const OpenFileSystem& fs, Clock::time_point late) {
    const std::unique_ptr<fsmap_head, Release> head(
        static_cast<fsmap_head*>(std::calloc(1, fsmap_sizeof(kBatch))));
    if (!head) return fail(Code::failure, "no memory for the list of free space");
    fsmap& high = head->fmh_keys[1];
    high.fmr_device = high.fmr_flags = ~0U;
    high.fmr_physical = high.fmr_owner = high.fmr_offset = ~0ULL;
    std::vector<Piece> out;
    for (;;) {
        head->fmh_count = kBatch;
        if (ioctl(fs.root.get(), FS_IOC_GETFSMAP, head.get()) != 0)
            return fail(Code::failure, "the {} file system does not tell its free space: {}", fs.type,
                        std::strerror(errno));
        if ((head->fmh_oflags & FMH_OF_DEV_T) == 0)
            return fail(Code::failure, "the {} file system has parts that are not known here", fs.type);
        if (head->fmh_entries == 0) return out;
        for (unsigned i = 0; i < head->fmh_entries; ++i) {
            const fsmap& one = head->fmh_recs[i];
            if (one.fmr_device != fs.device || (one.fmr_flags & FMR_OF_SPECIAL_OWNER) == 0 ||
                one.fmr_owner != FMR_OWN_FREE)
                continue;
            out.push_back({one.fmr_physical, one.fmr_physical + one.fmr_length});
        }
        if ((head->fmh_recs[head->fmh_entries - 1].fmr_flags & FMR_OF_LAST) != 0) return out;
        if (out.size() > kMostPieces) return fail(Code::failure, "its free space is too scattered");
        if (Clock::now() >= late) return fail(Code::failure, "it took too long to tell its free space");
        fsmap_advance(head.get());
    }
}

Result<> check_label(const std::string& device) {
    UNDERSTUDY_TRY(const Label label, read_label(device));
    if (label.errors)
        return fail(Code::failure, "the kernel has found errors in the file system on {}: run fsck", device);
    if (label.needs_recovery || label.unclean)
        return fail(Code::failure, "the file system on {} was not unmounted cleanly", device);
    return {};
}

Result<std::vector<Piece>> ask_frozen(const OpenFileSystem& fs, const std::string& device) {
    if (!fs.recovered) return fail(Code::failure, "it is mounted without having been recovered");
    // First most of what waits to be written, while everybody can go on.
    syncfs(fs.root.get());
    if (ioctl(fs.root.get(), FIFREEZE, 0) != 0)
        return fail(Code::failure, "it cannot be frozen: {}", std::strerror(errno));
    const auto late = Clock::now() + kFrozenLimit;
    Result<> clean = check_label(device);
    Result<std::vector<Piece>> out = clean ? ask(fs, late) : fail(clean.error());
    if (ioctl(fs.root.get(), FITHAW, 0) != 0)
        return fail(Code::failure, "it was thawed by somebody else: {}", std::strerror(errno));
    return out;
}

/// The child does the work with everything that can end it early kept away from it; should it be killed all
/// the same, this process is there to thaw.
int guard(int child, const OpenFileSystem& fs) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status)) ioctl(fs.root.get(), FITHAW, 0);
    return status;
}

bool write_all(int fd, const void* data, std::size_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t wrote = write(fd, at, bytes);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return false;
        at += wrote;
        bytes -= static_cast<std::size_t>(wrote);
    }
    return true;
}

/// A kind (1: pieces, 0: an error's text), then the rest.
void send(int fd, const Result<std::vector<Piece>>& result) {
    const char kind = result ? 1 : 0;
    if (!write_all(fd, &kind, 1)) return;
    if (result)
        write_all(fd, result->data(), result->size() * sizeof(Piece));
    else
        write_all(fd, result.error().text.data(), result.error().text.size());
}

Result<std::vector<Piece>> received(int fd) {
    std::vector<char> bytes;
    char buffer[65536];
    for (ssize_t got = 0; (got = read(fd, buffer, sizeof buffer)) != 0;) {
        if (got < 0 && errno != EINTR) break;
        if (got > 0) bytes.insert(bytes.end(), buffer, buffer + got);
    }
    if (bytes.empty()) return fail(Code::failure, "the process that froze it has ended early");
    if (bytes[0] == 0) return fail(Code::failure, "{}", std::string(bytes.begin() + 1, bytes.end()));
    std::vector<Piece> out((bytes.size() - 1) / sizeof(Piece));
    std::memcpy(out.data(), bytes.data() + 1, out.size() * sizeof(Piece));
    return out;
}

Result<std::vector<Piece>> ask_mounted(const OpenFileSystem& fs, const std::string& device) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return fail(Code::failure, "no pipe: {}", std::strerror(errno));
    Descriptor from(ends[0]), to(ends[1]);
    const pid_t child = fork();
    if (child < 0) return fail(Code::failure, "no process: {}", std::strerror(errno));
    if (child == 0) {
        setsid();  // mirrord's limit kills a process group
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, nullptr);
        from.reset();
        send(to.get(), ask_frozen(fs, device));
        _exit(0);
    }
    to.reset();
    Result<std::vector<Piece>> out = received(from.get());
    const int status = guard(child, fs);
    if (!WIFEXITED(status)) return fail(Code::failure, "the process that froze it was killed");
    return out;
}

}  // namespace

Result<FreeSpace> free_space(const std::string& device, const std::string& exported,
                             const std::string& directory) {
    if (exported.empty()) {
        UNDERSTUDY_CHECK(check_label(device));
        UNDERSTUDY_TRY(const OpenFileSystem fs, mount_privately(device, directory, false));
        UNDERSTUDY_TRY(auto pieces, ask(fs, Clock::now() + kFrozenLimit));
        return FreeSpace{whole_blocks(std::move(pieces)), fs.type};
    }
    UNDERSTUDY_TRY(const OpenFileSystem fs, open_mounted(exported));
    UNDERSTUDY_TRY(auto pieces, ask_mounted(fs, device));
    return FreeSpace{whole_blocks(std::move(pieces)), fs.type};
}

}  // namespace understudy::mirror::filesystem
