#include "mirror/filesystem/changed_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <memory>

namespace understudy::mirror::filesystem {

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kExtents = 512;            // of one question
constexpr std::size_t kMostWaiting = 200000;  // directories that wait for their turn

struct Release {
    void operator()(void* memory) const { std::free(memory); }
};
struct Close {
    void operator()(DIR* directory) const { closedir(directory); }
};

class Walk {
  public:
    Walk(const OpenFileSystem& fs, const BlockRanges& blocks, Clock::time_point late, std::size_t most,
         ChangedFiles& out)
        : fs_(fs),
          blocks_(blocks),
          late_(late),
          most_(most),
          out_(out),
          map_(static_cast<fiemap*>(
              std::calloc(1, sizeof(fiemap) + std::size_t{kExtents} * sizeof(fiemap_extent)))) {}

    void run() {
        struct stat status {};
        if (!map_ || fstat(fs_.root.get(), &status) != 0) return stop();
        device_ = status.st_dev;
        waiting_.emplace_back();
        while (!waiting_.empty() && !stopped_) {
            const std::string path = std::move(waiting_.back());
            waiting_.pop_back();
            enter(path);
        }
    }

  private:
    void stop() {
        stopped_ = true;
        out_.complete = false;
    }

    /// `path` is relative to the root: "" or "a/b".
    void enter(const std::string& path) {
        // Whoever exchanges a directory for a link meanwhile leads nowhere.
        const int fd = openat(fs_.root.get(), path.empty() ? "." : path.c_str(),
                              O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) return;
        const std::unique_ptr<DIR, Close> directory(fdopendir(fd));
        if (!directory) {
            close(fd);
            return;
        }
        struct stat status {};
        if (fstat(fd, &status) != 0 || status.st_dev != device_) return;
        look_at(fd, path, true);
        while (const dirent* entry = readdir(directory.get())) {
            if (stopped_) return;
            const std::string_view name = entry->d_name;
            if (name == "." || name == "..") continue;
            const std::string below = path.empty() ? std::string(name) : fmt::format("{}/{}", path, name);
            if (entry->d_type == DT_DIR) {
                if (waiting_.size() < kMostWaiting)
                    waiting_.push_back(below);
                else
                    out_.complete = false;
            } else if (entry->d_type == DT_REG) {
                const Descriptor file(
                    openat(fd, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC));
                if (file.valid()) look_at(file.get(), below, false);
            }
        }
    }

    void look_at(int fd, const std::string& path, bool directory) {
        if (Clock::now() >= late_) return stop();
        ++out_.looked_at;
        if (!lies_there(fd)) return;
        ++out_.found;
        if (out_.names.size() < most_)
            out_.names.push_back("/" + path + (directory && !path.empty() ? "/" : ""));
    }

    bool lies_there(int fd) {
        std::uint64_t from = 0;
        for (;;) {
            std::memset(map_.get(), 0, sizeof(fiemap));
            map_->fm_start = from;
            map_->fm_length = FIEMAP_MAX_OFFSET - from;
            map_->fm_extent_count = kExtents;
            if (ioctl(fd, FS_IOC_FIEMAP, map_.get()) != 0 || map_->fm_mapped_extents == 0) return false;
            for (unsigned i = 0; i < map_->fm_mapped_extents; ++i) {
                const fiemap_extent& one = map_->fm_extents[i];
                // Not written to the device yet: it has no place there.
                if ((one.fe_flags & FIEMAP_EXTENT_UNKNOWN) == 0 &&
                    touches(blocks_, {one.fe_physical, one.fe_physical + one.fe_length}))
                    return true;
                if ((one.fe_flags & FIEMAP_EXTENT_LAST) != 0) return false;
                from = one.fe_logical + one.fe_length;
            }
            if (Clock::now() >= late_) {
                stop();
                return false;
            }
        }
    }

    const OpenFileSystem& fs_;
    const BlockRanges& blocks_;
    Clock::time_point late_;
    std::size_t most_;
    ChangedFiles& out_;
    std::unique_ptr<fiemap, Release> map_;
    dev_t device_ = 0;
    std::vector<std::string> waiting_;
    bool stopped_ = false;
};

}  // namespace

ChangedFiles changed_files(const OpenFileSystem& fs, const BlockRanges& blocks,
                           std::chrono::milliseconds limit, std::size_t most) {
    ChangedFiles out;
    out.type = fs.type;
    Walk(fs, blocks, Clock::now() + limit, most, out).run();
    return out;
}

}  // namespace understudy::mirror::filesystem
