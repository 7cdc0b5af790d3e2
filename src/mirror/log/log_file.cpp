#include "mirror/log/log_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace understudy::mirror {
namespace {

using log_format::kBitmapOffset;
using log_format::kPageBytes;

/// The bitmap is read in pieces of this size; a multiple of its pages.
constexpr std::uint64_t kReadBytes = 64 << 10;
static_assert(kReadBytes % kMapPageBytes == 0 && kReadBytes >= kBitmapOffset);

int open_direct(const std::string& path, int flags) {
    int fd = ::open(path.c_str(), flags | O_DIRECT | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EINVAL) fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
    return fd;
}

/// All of `data` at `offset`; 0 or a negative errno.
int write_fully(int fd, const std::byte* data, std::size_t length, std::uint64_t offset) {
    while (length > 0) {
        const ssize_t count = ::pwrite(fd, data, length, static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return count < 0 ? -errno : -EIO;
        data += count;
        offset += static_cast<std::uint64_t>(count);
        length -= static_cast<std::size_t>(count);
    }
    return 0;
}

int read_fully(int fd, std::byte* data, std::size_t length, std::uint64_t offset) {
    while (length > 0) {
        const ssize_t count = ::pread(fd, data, length, static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return count < 0 ? -errno : -EIO;
        data += count;
        offset += static_cast<std::uint64_t>(count);
        length -= static_cast<std::size_t>(count);
    }
    return 0;
}

int sync_directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    const int result = ::fsync(fd) == 0 ? 0 : -errno;
    ::close(fd);
    return result;
}

/// Page number `page` of the bits of a volume that had `former` bytes and has `now`; `words` are the old
/// bits. What has grown counts as different, a block of which only the rest is new as well. Spec: REP-307.
void fit_page(std::uint64_t page, std::uint64_t former, std::uint64_t now, std::span<std::uint64_t> words) {
    if (now <= former) return;
    const std::uint64_t first_new = former / kBlockBytes, start = page * kBlocksPerPage;
    for (std::uint64_t i = 0; i < kWordsPerPage; ++i) {
        const std::uint64_t block = start + i * 64;
        if (block >= first_new)
            words[i] = ~std::uint64_t{0};
        else if (first_new - block < 64)
            words[i] |= ~std::uint64_t{0} << (first_new - block);
    }
}

}  // namespace

LogFile::LogFile(Reactor& reactor, std::string path, int fd, std::optional<LogRegion> region, IntentLog& log)
    : reactor_(reactor), path_(std::move(path)), fd_(fd), region_(std::move(region)), log_(log) {
    page_ = static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kPageBytes));
    header_write_.owner = this;
    header_write_.done = [](IoOperation& op, int result) {
        static_cast<LogFile*>(op.owner)->update_done(result);
    };
}

LogFile::~LogFile() {
    assert(idle());
    if (fd_ >= 0) ::close(fd_);
    std::free(page_);
}

Result<std::unique_ptr<LogFile>> LogFile::open(Reactor& reactor, std::string path,
                                               const std::array<std::uint8_t, 16>& uuid,
                                               std::uint64_t volume_bytes, IntentLog& log) {
    if (auto region = parse_region(path))
        return open_region(reactor, std::move(path), std::move(*region), uuid, volume_bytes, log);
    int fd = open_direct(path, O_RDWR);
    const bool create = fd < 0 && errno == ENOENT;
    const std::string temporary = path + ".new";
    if (create) fd = open_direct(temporary, O_RDWR | O_CREAT | O_TRUNC);
    if (fd < 0) return fail(Code::failure, "cannot open the intent log {}: {}", path, std::strerror(errno));
    std::unique_ptr<LogFile> file(new LogFile(reactor, path, fd, std::nullopt, log));
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0)
        return fail(Code::failure, "the intent log {} is in use by another process", path);
    if (!create) {
        UNDERSTUDY_CHECK(file->load(uuid, volume_bytes));
        return file;
    }
    // Made whole under another name first, so that a crash or a full disk leaves no half-made log.
    if (auto made = file->create_content(uuid, volume_bytes); !made) {
        ::unlink(temporary.c_str());
        return fail(std::move(made.error()));
    }
    UNDERSTUDY_CHECK(file->replace(temporary));
    return file;
}

/// What is kept there is the header alone: a log that has failed commits nothing.
Result<std::unique_ptr<LogFile>> LogFile::in_memory(Reactor& reactor, std::string path,
                                                    const std::array<std::uint8_t, 16>& uuid,
                                                    std::uint64_t volume_bytes, IntentLog& log) {
    const int fd = ::memfd_create("intent log", MFD_CLOEXEC);
    if (fd < 0) return fail(Code::failure, "no memory for the intent log {}: {}", path, std::strerror(errno));
    std::unique_ptr<LogFile> file(new LogFile(reactor, std::move(path), fd, std::nullopt, log));
    file->header_.uuid = uuid;
    file->header_.volume_bytes = volume_bytes;
    file->header_.generation = 1;
    file->header_.valid = false;
    file->found_ = file->header_;
    UNDERSTUDY_CHECK(file->write_header_now());
    log.fail();
    return file;
}

Result<std::unique_ptr<LogFile>> LogFile::open_region(Reactor& reactor, std::string path, LogRegion region,
                                                      const std::array<std::uint8_t, 16>& uuid,
                                                      std::uint64_t volume_bytes, IntentLog& log) {
    const int fd = open_direct(region.device, O_RDWR);
    if (fd < 0)
        return fail(Code::failure, "cannot open the intent log {}: {}", region.device, std::strerror(errno));
    std::unique_ptr<LogFile> file(new LogFile(reactor, std::move(path), fd, std::move(region), log));
    UNDERSTUDY_CHECK(file->check_room());
    std::unique_ptr<std::byte, decltype(&std::free)> buffer(
        static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kBitmapOffset)), &std::free);
    if (const int error = read_fully(fd, buffer.get(), kBitmapOffset, file->base()); error != 0)
        return fail(Code::failure, "cannot read the intent log {}: {}", file->path_, std::strerror(-error));
    const std::span<const std::byte> copies(buffer.get(), kBitmapOffset);
    const auto header = newest(copies.first(kPageBytes), copies.subspan(kPageBytes));
    const bool damaged =
        !header && (looks_like_log_header(copies) || looks_like_log_header(copies.subspan(kPageBytes)));
    if (damaged || (header && header->uuid == uuid))
        UNDERSTUDY_CHECK(file->load(uuid, volume_bytes));
    else
        UNDERSTUDY_CHECK(file->create_content(uuid, volume_bytes));
    return file;
}

Result<> LogFile::check_room() const {
    const std::uint64_t needed = kBitmapOffset + log_.image().size();
    if (!region_ || needed <= region_->bytes) return {};
    return fail(Code::failure, "the intent log of {} bytes does not fit into its {} bytes of {}", needed,
                region_->bytes, region_->device);
}

/// `temporary` is the log from here on; on an error it is gone and what was there before is the log.
Result<> LogFile::replace(const std::string& temporary) {
    int error = ::rename(temporary.c_str(), path_.c_str()) == 0 ? 0 : -errno;
    if (error == 0) error = sync_directory_of(path_);
    if (error == 0) return {};
    ::unlink(temporary.c_str());
    return fail(Code::failure, "cannot create the intent log {}: {}", path_, std::strerror(-error));
}

Result<> LogFile::create_content(const std::array<std::uint8_t, 16>& uuid, std::uint64_t volume_bytes) {
    created_ = true;
    header_.uuid = uuid;
    header_.volume_bytes = volume_bytes;
    header_.generation = 1;
    header_.fresh = true;
    found_ = header_;
    UNDERSTUDY_CHECK(write_image());
    if (region_ && ::fdatasync(fd_) != 0)
        return fail(Code::failure, "cannot write the intent log {}: {}", path_, std::strerror(errno));
    UNDERSTUDY_CHECK(write_header_now());
    return write_header_now();  // the second copy
}

/// The whole bitmap, allocated and written out once, so that a commit later changes data only and no
/// allocation has to be journalled.
Result<> LogFile::write_image() {
    const auto image = log_.image();
    int error = 0;
    if (!region_ && ::fallocate(fd_, 0, 0, static_cast<off_t>(kBitmapOffset + image.size())) != 0)
        error = -errno;
    if (error == 0 || error == -EOPNOTSUPP)
        error = write_fully(fd_, image.data(), image.size(), base() + kBitmapOffset);
    if (error == 0) return {};
    return fail(Code::failure, "cannot create the intent log {} of {} bytes: {}{}", path_,
                kBitmapOffset + image.size(), std::strerror(-error),
                error == -ENOSPC ? "; free space there or choose another directory" : "");
}

/// The image in a new file, which takes the place of the old one when it is whole: a crash finds one or the
/// other, and both are right for the data that there was.
Result<> LogFile::lay_out_anew() {
    if (region_) {
        // In place: until it is whole it says that it cannot be trusted.
        UNDERSTUDY_CHECK(check_room());
        header_.valid = false;
        UNDERSTUDY_CHECK(write_header_now());
        UNDERSTUDY_CHECK(write_header_now());  // the second copy
        UNDERSTUDY_CHECK(write_image());
        if (::fdatasync(fd_) != 0)
            return fail(Code::failure, "cannot write the intent log {}: {}", path_, std::strerror(errno));
        header_.valid = true;
        return write_header_now();
    }
    const std::string temporary = path_ + ".new";
    const int fd = open_direct(temporary, O_RDWR | O_CREAT | O_TRUNC);
    if (fd < 0)
        return fail(Code::failure, "cannot create the intent log {}: {}", temporary, std::strerror(errno));
    const int former = std::exchange(fd_, fd);
    header_.serial = 0;
    Result<> made;
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0)
        made = fail(Code::failure, "the intent log {} is in use by another process", temporary);
    if (made) made = write_image();
    if (made) made = write_header_now();
    if (made) made = write_header_now();  // the second copy
    if (made) {
        made = replace(temporary);
    } else {
        ::unlink(temporary.c_str());
    }
    ::close(former);
    return made;
}

Result<> LogFile::load(const std::array<std::uint8_t, 16>& uuid, std::uint64_t volume_bytes) {
    struct stat status {};
    std::unique_ptr<std::byte, decltype(&std::free)> buffer(
        static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kReadBytes)), &std::free);
    std::uint64_t bytes = region_ ? region_->bytes : 0;
    if (!region_ && ::fstat(fd_, &status) == 0) bytes = static_cast<std::uint64_t>(status.st_size);
    if (bytes < kBitmapOffset) return fail(Code::failure, "{} is not an intent log; move it away", path_);
    if (const int error = read_fully(fd_, buffer.get(), kBitmapOffset, base()); error != 0)
        return fail(Code::failure, "cannot read the intent log {}: {}", path_, std::strerror(-error));
    const std::span<const std::byte> copies(buffer.get(), kBitmapOffset);
    const auto header = newest(copies.first(kPageBytes), copies.subspan(kPageBytes));
    if (!header && !looks_like_log_header(copies) && !looks_like_log_header(copies.subspan(kPageBytes)))
        return fail(Code::failure, "{} is not an intent log; move it away", path_);
    if (header && header->version != log_format::kVersion)
        return fail(Code::failure, "the intent log {} has format {}, this program knows {}", path_,
                    header->version, log_format::kVersion);
    if (header && header->uuid != uuid)
        return fail(Code::failure, "the intent log {} belongs to another mirror; move it away", path_);

    if (header) header_ = *header;
    const std::uint64_t former = header ? header->volume_bytes : volume_bytes;
    header_.uuid = uuid;
    header_.volume_bytes = volume_bytes;
    const std::uint64_t found_pages =
        std::max<std::uint64_t>(1, (blocks_of(former) + kBlocksPerPage - 1) / kBlocksPerPage);
    const std::uint64_t pages = log_.dirty().pages();
    header_.valid = header && header->valid && bytes >= kBitmapOffset + found_pages * kMapPageBytes;
    for (std::uint64_t page = 0; header_.valid && page < pages; ++page) {
        const std::uint64_t in_buffer = page % (kReadBytes / kMapPageBytes);
        if (in_buffer == 0) {
            const std::uint64_t count =
                std::min(kReadBytes / kMapPageBytes, found_pages - std::min(page, found_pages));
            std::memset(buffer.get(), 0, kReadBytes);
            if (read_fully(fd_, buffer.get(), count * kMapPageBytes,
                           base() + kBitmapOffset + page * kMapPageBytes) != 0)
                header_.valid = false;
        }
        const std::span<std::uint64_t> words(
            reinterpret_cast<std::uint64_t*>(buffer.get() + in_buffer * kMapPageBytes), kWordsPerPage);
        fit_page(page, former, volume_bytes, words);
        log_.load(page, words);
    }
    found_ = header_;
    const bool repaired = !header_.valid;
    if (repaired) {
        // Nothing is known: everything may differ, and the file must say so before it is called valid again.
        if (!log_.set_all_dirty()) throw std::bad_alloc();  // as its other memory; open() may not go on
        log_.persist();
        if (log_.wants_commit()) log_.start_commit();
    }
    header_.valid = true;
    header_.clean = false;
    ++header_.generation;
    if (former != volume_bytes) {
        UNDERSTUDY_CHECK(lay_out_anew());
    } else if (repaired) {
        if (auto written = write_image(); !written)
            return fail(Code::failure, "cannot repair the intent log {}: {}", path_, written.error().text);
        if (::fdatasync(fd_) != 0)
            return fail(Code::failure, "cannot repair the intent log {}: {}", path_, std::strerror(errno));
    }
    if (log_.committing()) log_.finish_commit(true);
    if (former != volume_bytes) return {};
    return write_header_now();
}

Result<> LogFile::write_header_now() {
    ++header_.serial;
    encode(header_, std::span<std::byte, kPageBytes>(page_, kPageBytes));
    int error = write_fully(fd_, page_, kPageBytes, base() + log_format::kHeaderOffset[header_.serial % 2]);
    if (error == 0 && ::fdatasync(fd_) != 0) error = -errno;
    if (error != 0)
        return fail(Code::failure, "cannot write the intent log {}: {}", path_, std::strerror(-error));
    return {};
}

void LogFile::commit() {
    if (!log_.wants_commit()) return;
    const auto runs = log_.start_commit();
    while (runs_.size() < runs.size()) {
        RunWrite& run = runs_.emplace_back();
        run.owner = this;
        run.done = [](IoOperation& op, int result) {
            static_cast<LogFile*>(op.owner)->run_done(static_cast<RunWrite&>(op), result);
        };
    }
    runs_left_ = runs.size();
    commit_error_ = 0;
    for (std::size_t i = 0; i < runs.size(); ++i) {
        runs_[i].at = runs[i].first * kMapPageBytes;
        runs_[i].end = runs_[i].at + runs[i].count * kMapPageBytes;
        issue(runs_[i]);
    }
}

void LogFile::issue(RunWrite& run) {
    reactor_.write(run, fd_, log_.image().subspan(run.at, run.end - run.at), base() + kBitmapOffset + run.at,
                   true);
}

void LogFile::run_done(RunWrite& run, int result) {
    if (result == -EINTR || result == -EAGAIN) return issue(run);
    if (result > 0) {
        run.at += static_cast<std::uint64_t>(result);
        if (run.at < run.end) return issue(run);
    } else {
        commit_error_ = result < 0 ? result : -EIO;
    }
    if (--runs_left_ > 0) return;
    log_.finish_commit(commit_error_ == 0);
    if (finished) finished(commit_error_);
}

void LogFile::update_header(std::function<void(LogHeader&)> change, std::function<void(int)> done) {
    updates_.push_back({std::move(change), std::move(done)});
    if (updates_.size() == 1) next_update();
}

void LogFile::next_update() {
    updates_.front().change(header_);
    ++header_.serial;
    encode(header_, std::span<std::byte, kPageBytes>(page_, kPageBytes));
    reactor_.write(header_write_, fd_, {page_, kPageBytes},
                   base() + log_format::kHeaderOffset[header_.serial % 2], true);
}

void LogFile::update_done(int result) {
    const Update update = std::move(updates_.front());
    updates_.pop_front();
    if (!updates_.empty()) next_update();
    if (update.done) update.done(result == static_cast<int>(kPageBytes) ? 0 : result < 0 ? result : -EIO);
}

}  // namespace understudy::mirror
