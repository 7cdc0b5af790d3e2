#include "config/sqlite_fault_disk.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <vector>

namespace understudy::config::testing {

struct FaultDisk::Impl {
    /// Becomes SQLite's default for its life. One at a time.
    Impl() {
        real_ = sqlite3_vfs_find(nullptr);
        vfs_ = *real_;
        vfs_.iVersion = 1;
        vfs_.zName = "understudy-fault-disk";
        vfs_.szOsFile = static_cast<int>(sizeof(File)) + real_->szOsFile;
        vfs_.pAppData = this;
        vfs_.xOpen = &open;
        vfs_.xDelete = &remove;
        sqlite3_vfs_register(&vfs_, 1);
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() {
        sqlite3_vfs_unregister(&vfs_);
        sqlite3_vfs_register(real_, 1);
    }

    /// The operation with this number (from 1) and all that follow fail: the process is as good as dead.
    void die_at(std::uint64_t operation) {
        const std::lock_guard guard(mutex_);
        die_at_ = operation;
    }
    /// Only the operation with this number fails, without effect.
    void fail_once_at(std::uint64_t operation) {
        const std::lock_guard guard(mutex_);
        fail_at_ = operation;
    }
    /// Reads of this part of the file that is there now fail, also when it is renamed.
    void break_sector(const std::string& path, std::int64_t offset, std::int64_t size) {
        const std::lock_guard guard(mutex_);
        struct stat facts {};
        stat(path.c_str(), &facts);
        broken_ = Broken{facts.st_ino, offset, size};
    }
    [[nodiscard]] std::uint64_t operations() const {
        const std::lock_guard guard(mutex_);
        return operations_;
    }
    [[nodiscard]] bool dead() const {
        const std::lock_guard guard(mutex_);
        return dead_;
    }
    /// Makes the files what they are after a power cut now, and the disk whole again.
    void cut_power(Unsynced unsynced, std::uint64_t seed) {
        const std::lock_guard guard(mutex_);
        std::mt19937_64 random(seed);
        for (auto& [path, file] : files_) {
            if (!std::filesystem::exists(path)) continue;  // renamed or removed
            auto content = file.durable;
            for (const auto& change : file.unsynced)
                apply(content, change, unsynced, random);
            std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
            // The index of a log lives in memory.
            if (path.ends_with("-wal")) std::filesystem::remove(path.substr(0, path.size() - 4) + "-shm");
        }
        files_.clear();
        dead_ = false;
        operations_ = 0;
        die_at_.reset();
        fail_at_.reset();
    }

    static constexpr std::size_t kSector = 512;

    struct Change {
        std::int64_t offset = 0;  // of a write; the new size of a truncation
        std::string data;
        bool truncates = false;
    };
    struct State {
        std::string durable;
        std::vector<Change> unsynced;
    };
    struct File {
        sqlite3_file base;
        Impl* disk;
        std::string* path;
        ino_t inode;
        sqlite3_file* real;
    };
    struct Broken {
        ino_t inode = 0;
        std::int64_t offset = 0;
        std::int64_t size = 0;
    };

    static void apply(std::string& content, const Change& change, Unsynced unsynced,
                      std::mt19937_64& random) {
        if (unsynced == Unsynced::lost) return;
        if (unsynced == Unsynced::torn && random() % 3 == 0) return;
        const auto at = static_cast<std::size_t>(change.offset);
        if (change.truncates) {
            content.resize(at, '\0');
            return;
        }
        auto size = change.data.size();
        if (unsynced == Unsynced::torn && random() % 2 == 0) size = random() % (size / kSector + 1) * kSector;
        if (content.size() < at + size) content.resize(at + size, '\0');
        content.replace(at, size, change.data, 0, size);
    }

    /// Whether the operation that begins now takes place.
    bool next() {
        if (dead_) return false;
        ++operations_;
        if (die_at_ == operations_) dead_ = true;
        if (fail_at_ == operations_) return false;
        return !dead_;
    }
    static Impl& disk_of(sqlite3_file* file) { return *reinterpret_cast<File*>(file)->disk; }
    static sqlite3_file* real_of(sqlite3_file* file) { return reinterpret_cast<File*>(file)->real; }
    State& state_of(sqlite3_file* file) { return files_[*reinterpret_cast<File*>(file)->path]; }

    static int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* opened, int flags, int* out) {
        auto* disk = static_cast<Impl*>(vfs->pAppData);
        auto* file = reinterpret_cast<File*>(opened);
        file->base.pMethods = nullptr;
        file->disk = disk;
        file->real = reinterpret_cast<sqlite3_file*>(file + 1);
        const std::string path = name == nullptr ? "" : name;
        const std::lock_guard guard(disk->mutex_);
        if (disk->dead_) return SQLITE_CANTOPEN;
        const int result = disk->real_->xOpen(disk->real_, name, file->real, flags, out);
        if (result != SQLITE_OK) return result;
        file->path = new std::string(path);
        struct stat facts {};
        file->inode = stat(path.c_str(), &facts) == 0 ? facts.st_ino : 0;
        file->base.pMethods = &methods();
        // What was there before this disk began to watch is durable.
        if (!path.empty() && !disk->files_.contains(path)) {
            std::ifstream stream(path, std::ios::binary);
            disk->files_[path].durable =
                std::string(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
        }
        return SQLITE_OK;
    }
    static int remove(sqlite3_vfs* vfs, const char* name, int sync) {
        auto* disk = static_cast<Impl*>(vfs->pAppData);
        const std::lock_guard guard(disk->mutex_);
        if (!disk->next()) return SQLITE_IOERR_DELETE;
        disk->files_.erase(name);
        return disk->real_->xDelete(disk->real_, name, sync);
    }
    static int close(sqlite3_file* file) {
        auto* real = real_of(file);
        delete reinterpret_cast<File*>(file)->path;
        return real->pMethods == nullptr ? SQLITE_OK : real->pMethods->xClose(real);
    }
    static int read(sqlite3_file* file, void* to, int size, sqlite3_int64 offset) {
        auto& disk = disk_of(file);
        const std::lock_guard guard(disk.mutex_);
        if (disk.dead_) return SQLITE_IOERR_READ;
        const auto& broken = disk.broken_;
        if (broken && reinterpret_cast<File*>(file)->inode == broken->inode &&
            offset < broken->offset + broken->size && broken->offset < offset + size)
            return SQLITE_IOERR_READ;
        return real_of(file)->pMethods->xRead(real_of(file), to, size, offset);
    }
    static int write(sqlite3_file* file, const void* from, int size, sqlite3_int64 offset) {
        auto& disk = disk_of(file);
        const std::lock_guard guard(disk.mutex_);
        const bool was_dead = disk.dead_;
        const bool done = disk.next();
        // The write in which the power goes may have reached the disk, in part or whole.
        if (done || (disk.dead_ && !was_dead))
            disk.state_of(file).unsynced.push_back(
                {offset, std::string(static_cast<const char*>(from), static_cast<std::size_t>(size)), false});
        if (!done) return SQLITE_IOERR_WRITE;
        return real_of(file)->pMethods->xWrite(real_of(file), from, size, offset);
    }
    static int truncate(sqlite3_file* file, sqlite3_int64 size) {
        auto& disk = disk_of(file);
        const std::lock_guard guard(disk.mutex_);
        if (!disk.next()) return SQLITE_IOERR_TRUNCATE;
        disk.state_of(file).unsynced.push_back({size, "", true});
        return real_of(file)->pMethods->xTruncate(real_of(file), size);
    }
    static int sync(sqlite3_file* file, int /*flags*/) {
        auto& disk = disk_of(file);
        const std::lock_guard guard(disk.mutex_);
        if (!disk.next()) return SQLITE_IOERR_FSYNC;
        auto& state = disk.state_of(file);
        std::mt19937_64 unused;
        for (const auto& change : state.unsynced)
            apply(state.durable, change, Unsynced::kept, unused);
        state.unsynced.clear();
        return SQLITE_OK;
    }
    static const sqlite3_io_methods& methods() {
        static const sqlite3_io_methods table = [] {
            sqlite3_io_methods made{};
            made.iVersion = 2;
            made.xClose = &close;
            made.xRead = &read;
            made.xWrite = &write;
            made.xTruncate = &truncate;
            made.xSync = &sync;
            made.xFileSize = [](sqlite3_file* f, sqlite3_int64* size) {
                return real_of(f)->pMethods->xFileSize(real_of(f), size);
            };
            made.xLock = [](sqlite3_file* f, int level) {
                return real_of(f)->pMethods->xLock(real_of(f), level);
            };
            made.xUnlock = [](sqlite3_file* f, int level) {
                return real_of(f)->pMethods->xUnlock(real_of(f), level);
            };
            made.xCheckReservedLock = [](sqlite3_file* f, int* out) {
                return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
            };
            made.xFileControl = [](sqlite3_file* f, int op, void* argument) {
                return real_of(f)->pMethods->xFileControl(real_of(f), op, argument);
            };
            made.xSectorSize = [](sqlite3_file* f) { return real_of(f)->pMethods->xSectorSize(real_of(f)); };
            made.xDeviceCharacteristics = [](sqlite3_file* f) {
                return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
            };
            made.xShmMap = [](sqlite3_file* f, int page, int size, int extend, void volatile** out) {
                return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, out);
            };
            made.xShmLock = [](sqlite3_file* f, int offset, int count, int flags) {
                return real_of(f)->pMethods->xShmLock(real_of(f), offset, count, flags);
            };
            made.xShmBarrier = [](sqlite3_file* f) { real_of(f)->pMethods->xShmBarrier(real_of(f)); };
            made.xShmUnmap = [](sqlite3_file* f, int remove_it) {
                return real_of(f)->pMethods->xShmUnmap(real_of(f), remove_it);
            };
            return made;
        }();
        return table;
    }

    mutable std::mutex mutex_;
    sqlite3_vfs* real_ = nullptr;
    sqlite3_vfs vfs_{};
    std::map<std::string, State> files_;
    std::uint64_t operations_ = 0;
    std::optional<std::uint64_t> die_at_;
    std::optional<std::uint64_t> fail_at_;
    std::optional<Broken> broken_;
    bool dead_ = false;
};

FaultDisk::FaultDisk() : impl_(std::make_unique<Impl>()) {}
FaultDisk::~FaultDisk() = default;
void FaultDisk::die_at(std::uint64_t operation) {
    impl_->die_at(operation);
}
void FaultDisk::fail_once_at(std::uint64_t operation) {
    impl_->fail_once_at(operation);
}
void FaultDisk::break_sector(const std::string& path, std::int64_t offset, std::int64_t size) {
    impl_->break_sector(path, offset, size);
}
std::uint64_t FaultDisk::operations() const {
    return impl_->operations();
}
bool FaultDisk::dead() const {
    return impl_->dead();
}
void FaultDisk::cut_power(Unsynced unsynced, std::uint64_t seed) {
    impl_->cut_power(unsynced, seed);
}

}  // namespace understudy::config::testing
