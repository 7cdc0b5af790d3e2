#include "mirror/filesystem/open_file_system.h"

#include "base/mount_table.h"
#include "base/text.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace understudy::mirror::filesystem {

namespace {

constexpr unsigned kLoopMajor = 7;
constexpr int kConfigureAttempts = 64;  // another process may take the free device first

// ext2 to ext4: offsets in the superblock and what stands there.
constexpr std::size_t kExtSuperblock = 1024;
constexpr std::size_t kExtMagicAt = 56, kExtStateAt = 58, kExtCompatAt = 92, kExtIncompatAt = 96;
constexpr unsigned kExtMagic = 0xef53;
constexpr unsigned kExtStateValid = 1, kExtStateErrors = 2;
constexpr unsigned kExtCompatJournal = 4, kExtIncompatRecover = 4;

std::string system_text() {
    return std::strerror(errno);
}

unsigned le16(const unsigned char* at) {
    return at[0] | unsigned{at[1]} << 8;
}

/// The kernel's encoding of a device number in 32 bits.
std::uint32_t encoded(dev_t device) {
    const std::uint32_t low = minor(device), high = major(device);
    return (low & 0xff) | high << 8 | (low & ~0xffU) << 12;
}

Result<OpenFileSystem> opened(Descriptor root, std::string type, bool mounted, bool recovered) {
    struct stat status {};
    if (fstat(root.get(), &status) != 0)
        return fail(Code::failure, "cannot look at the file system: {}", system_text());
    OpenFileSystem out;
    out.root = std::move(root);
    out.type = std::move(type);
    out.mounted = mounted;
    out.recovered = recovered;
    out.device = encoded(status.st_dev);
    return out;
}

/// A read-only loop device on `device` that goes with its last user, and its node, which goes with this
/// object.
class PrivateLoop {
  public:
    PrivateLoop() = default;
    PrivateLoop(const PrivateLoop&) = delete;
    PrivateLoop& operator=(const PrivateLoop&) = delete;
    ~PrivateLoop() {
        if (!node_.empty()) unlink(node_.c_str());
    }

    Result<> attach(const std::string& device, const std::string& directory) {
        const Descriptor file(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
        if (!file.valid()) return fail(Code::failure, "cannot open {}: {}", device, system_text());
        const Descriptor control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
        if (!control.valid()) return fail(Code::failure, "cannot open /dev/loop-control: {}", system_text());
        loop_config config{};
        config.fd = static_cast<__u32>(file.get());
        config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
        for (int attempt = 0; attempt < kConfigureAttempts; ++attempt) {
            const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
            if (number < 0) return fail(Code::failure, "no free loop device: {}", system_text());
            UNDERSTUDY_CHECK(make_node(directory, static_cast<unsigned>(number)));
            loop_ = Descriptor(::open(node_.c_str(), O_RDONLY | O_CLOEXEC));
            if (!loop_.valid()) return fail(Code::failure, "cannot open {}: {}", node_, system_text());
            if (ioctl(loop_.get(), LOOP_CONFIGURE, &config) == 0) return {};
            if (errno != EBUSY)
                return fail(Code::failure, "cannot make a loop device of {}: {}", device, system_text());
        }
        return fail(Code::failure, "every free loop device was taken by somebody else");
    }
    [[nodiscard]] const std::string& node() const { return node_; }

  private:
    Result<> make_node(const std::string& directory, unsigned number) {
        if (!node_.empty()) unlink(node_.c_str());
        std::error_code error;
        std::filesystem::create_directories(directory, error);  // mknod() says what is wrong with it
        node_ = fmt::format("{}/.fsmap.{}", directory, getpid());
        unlink(node_.c_str());
        if (mknod(node_.c_str(), S_IFBLK | 0600, makedev(kLoopMajor, number)) == 0) return {};
        return fail(Code::failure, "cannot make a device node in {}: {}", directory, system_text());
    }

    std::string node_;
    Descriptor loop_;
};

}  // namespace

Result<Label> read_label(const std::string& device) {
    const Descriptor file(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return fail(Code::failure, "cannot open {}: {}", device, system_text());
    std::array<unsigned char, 4096> bytes{};
    // What the page cache kept of a time before the mirror's direct writes.
    posix_fadvise(file.get(), 0, bytes.size(), POSIX_FADV_DONTNEED);
    const ssize_t got = pread(file.get(), bytes.data(), bytes.size(), 0);
    if (got < 0) return fail(Code::failure, "cannot read {}: {}", device, system_text());
    Label out;
    if (got < static_cast<ssize_t>(bytes.size())) return out;
    const unsigned char* ext = bytes.data() + kExtSuperblock;
    if (std::memcmp(bytes.data(), "XFSB", 4) == 0) {
        out.kind = Kind::xfs;
    } else if (le16(ext + kExtMagicAt) == kExtMagic) {
        out.kind = Kind::ext;
        const unsigned state = le16(ext + kExtStateAt);
        out.errors = (state & kExtStateErrors) != 0;
        out.needs_recovery = (le16(ext + kExtIncompatAt) & kExtIncompatRecover) != 0;
        out.unclean = (le16(ext + kExtCompatAt) & kExtCompatJournal) == 0 && (state & kExtStateValid) == 0;
    }
    return out;
}

Result<OpenFileSystem> open_mounted(const std::string& device) {
    struct stat status {};
    if (stat(device.c_str(), &status) != 0 || !S_ISBLK(status.st_mode))
        return fail(Code::failure, "{} is no block device: its file systems are others' business", device);
    const std::string number = fmt::format("{}:{}", major(status.st_rdev), minor(status.st_rdev));
    std::ifstream table("/proc/self/mountinfo");
    std::string found, type, options;
    for (const Mount& mount : read_mounts(table)) {
        if (mount.device != number) continue;
        // A mount of a part of it serves as well, but for a walk through all.
        if (!found.empty() && mount.root != "/") continue;
        found = mount.directory;
        type = mount.type;
        options = "," + mount.options + ",";
    }
    if (found.empty()) return fail(Code::not_found, "{} is not mounted", device);
    if (type != "xfs" && type != "ext4" && type != "ext3" && type != "ext2")
        return fail(Code::failure, "on {} is a {} file system, of which nothing is known here", device, type);
    Descriptor root(::open(found.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root.valid()) return fail(Code::failure, "cannot open {}: {}", found, system_text());
    struct stat there {};
    if (fstat(root.get(), &there) != 0 || there.st_dev != status.st_rdev)
        return fail(Code::failure, "something else is mounted over {}", found);
    const bool recovered =
        options.find(",norecovery,") == std::string::npos && options.find(",noload,") == std::string::npos;
    return opened(std::move(root), type, true, recovered);
}

Result<OpenFileSystem> mount_privately(const std::string& device, const std::string& directory,
                                       bool even_unclean) {
    UNDERSTUDY_TRY(const Label label, read_label(device));
    if (label.kind == Kind::none) return fail(Code::failure, "{} holds no ext4 or XFS file system", device);
    const std::string type = label.kind == Kind::xfs ? "xfs" : "ext4";
    PrivateLoop loop;
    UNDERSTUDY_CHECK(loop.attach(device, directory));
    const Descriptor context(fsopen(type.c_str(), FSOPEN_CLOEXEC));
    if (!context.valid()) return fail(Code::failure, "cannot read {} file systems: {}", type, system_text());
    const auto set = [&context](const char* key, const char* value) {
        return fsconfig(context.get(), value != nullptr ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value,
                        0) == 0;
    };
    bool ready = set("source", loop.node().c_str()) && set("ro", nullptr);
    // Another mount of the same file system may exist, under the export's device.
    if (label.kind == Kind::xfs) ready = ready && set("nouuid", nullptr);
    if (even_unclean) ready = ready && set(label.kind == Kind::xfs ? "norecovery" : "noload", nullptr);
    // Without a journal to replay the kernel succeeds, on a device that cannot be written.
    if (!ready || fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
        return fail(
            Code::failure, "the {} file system on {} cannot be read as it is: {}", type, device,
            errno == EROFS ? std::string("it was not unmounted and must be recovered first") : system_text());
    Descriptor root(fsmount(context.get(), FSMOUNT_CLOEXEC,
                            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
    if (!root.valid())
        return fail(Code::failure, "the {} file system on {} cannot be mounted: {}", type, device,
                    system_text());
    // What fsmount() gives cannot be asked by ioctl().
    Descriptor top(openat(root.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!top.valid())
        return fail(Code::failure, "cannot open the file system on {}: {}", device, system_text());
    return opened(std::move(top), type, false, !even_unclean);
}

}  // namespace understudy::mirror::filesystem
