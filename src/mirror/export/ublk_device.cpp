#include "mirror/export/ublk_device.h"

#include "base/text.h"
#include "mirror/io/driver_command.h"
#include "mirror/io/local_device.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <thread>

namespace understudy::mirror::ublk {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(5);
constexpr std::uint16_t kNoQueue = 0xffff;
constexpr std::uint32_t kAnyNumber = ~0U;
/// A request of which the kernel hears nothing for so long makes it look whether the server still lives.
constexpr unsigned kLookAfterServerMs = 2000;

/// Commands to the driver, one at a time.
class Control {
  public:
    static Result<Control> open() {
        Control control;
        control.file_ = Descriptor(::open(kControl, O_RDWR | O_CLOEXEC));
        if (!control.file_.valid())
            return fail(Code::failure, "cannot open {}: {}; the ublk_drv module and root's rights are needed",
                        kControl, std::strerror(errno));
        return control;
    }

    /// 0 or more, or a negative errno.
    int run(std::uint32_t command, ublksrv_ctrl_cmd argument) const {
        static_assert(sizeof argument == kDriverArgument);
        return run_driver_command(file_.get(), command,
                                  std::as_bytes(std::span(&argument, 1)).first<kDriverArgument>());
    }

  private:
    Control() = default;
    Descriptor file_;
};

ublksrv_ctrl_cmd for_device(int number, void* data = nullptr, std::size_t size = 0) {
    ublksrv_ctrl_cmd argument{};
    argument.dev_id = static_cast<std::uint32_t>(number);
    argument.queue_id = kNoQueue;
    argument.addr = reinterpret_cast<std::uintptr_t>(data);
    argument.len = static_cast<std::uint16_t>(size);
    return argument;
}

Result<> check(int result, std::string_view doing, int number) {
    if (result >= 0) return {};
    return fail(Code::failure, "cannot {} ublk device {}: {}", doing, number, std::strerror(-result));
}

Result<std::uint64_t> label_of(const std::string& device_directory, const std::string& volume) {
    struct stat status {};
    if (stat(device_directory.c_str(), &status) != 0)
        return fail(Code::not_found, "no directory for device nodes at {}: {}", device_directory,
                    std::strerror(errno));
    return label(status.st_dev, status.st_ino, volume);
}

std::string block_name(int number) {
    return fmt::format("ublkb{}", number);
}

std::optional<std::string> attribute(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    if (!file || !std::getline(file, line)) return std::nullopt;
    return line;
}

/// "259:3" of a device's `dev` file.
std::optional<dev_t> device_number(const std::string& directory) {
    const auto line = attribute(directory + "/dev");
    if (!line) return std::nullopt;
    const auto parts = text::split(*line, ':');
    if (parts.size() != 2) return std::nullopt;
    const auto major_number = text::to_int(parts[0]), minor_number = text::to_int(parts[1]);
    if (!major_number || !minor_number) return std::nullopt;
    return makedev(static_cast<unsigned>(*major_number), static_cast<unsigned>(*minor_number));
}

Result<> make_node(const Place& place, int number) {
    const auto device = device_number("/sys/block/" + block_name(number));
    if (!device) return fail(Code::failure, "the kernel has no block device {}", block_name(number));
    const std::string path = node(place), fresh = fmt::format("{}.{}", path, getpid());
    unlink(fresh.c_str());
    if (mknod(fresh.c_str(), S_IFBLK | 0660, *device) == 0 && rename(fresh.c_str(), path.c_str()) == 0)
        return {};
    const int error = errno;
    unlink(fresh.c_str());
    return fail(Code::failure, "cannot make the device node {}: {}", path, std::strerror(error));
}

void set_attribute(int number, const char* name, const std::string& value) {
    std::ofstream file(fmt::format("/sys/block/{}/queue/{}", block_name(number), name));
    file << value << std::flush;
}

/// No scheduler: the volume below has its own. And one request fewer than there are fetches: before
/// Linux 6.16 the kernel finds out at once that a server died only when one of its fetches was open.
void tune(int number, unsigned depth) {
    set_attribute(number, "scheduler", "none");
    set_attribute(number, "nr_requests", std::to_string(depth - 1));
    set_attribute(number, "io_timeout", std::to_string(kLookAfterServerMs));
}

Result<ublksrv_ctrl_dev_info> information(const Control& control, int number) {
    ublksrv_ctrl_dev_info info{};
    UNDERSTUDY_CHECK(
        check(control.run(kGetDeviceInfo, for_device(number, &info, sizeof info)), "inspect", number));
    return info;
}

Device device_of(const ublksrv_ctrl_dev_info& info) {
    return {static_cast<int>(info.dev_id),
            {info.nr_hw_queues, info.queue_depth, info.max_io_buf_bytes},
            info.ublksrv_pid,
            info.state != UBLK_S_DEV_DEAD};
}

std::vector<int> numbers() {
    constexpr std::string_view kPrefix = "ublkc";
    std::vector<int> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/class/ublk-char", error)) {
        const std::string name = entry.path().filename();
        if (!name.starts_with(kPrefix)) continue;
        if (const auto number = text::to_int(std::string_view(name).substr(kPrefix.size())))
            found.push_back(static_cast<int>(*number));
    }
    return found;
}

std::size_t descriptions_size(unsigned depth) {
    constexpr std::size_t kPage = 4096;
    return (depth * sizeof(ublksrv_io_desc) + kPage - 1) / kPage * kPage;
}

}  // namespace

std::string node(const Place& place) {
    return place.device_directory + "/" + place.volume;
}

Result<> available() {
    UNDERSTUDY_TRY(const Control control, Control::open());
    std::uint64_t features = 0;
    const int result = control.run(kGetFeatures, for_device(-1, &features, sizeof features));
    if (result < 0)
        return fail(Code::failure,
                    "the kernel does not say what its ublk driver can do: {}; Linux 6.5 is needed",
                    std::strerror(-result));
    if ((features & kFlags) != kFlags)
        return fail(Code::failure, "the kernel's ublk driver cannot keep a device whose server died");
    return {};
}

Result<std::optional<Device>> find(const Place& place) {
    const std::vector<int> candidates = numbers();
    if (candidates.empty()) return std::optional<Device>();
    UNDERSTUDY_TRY(const std::uint64_t wanted, label_of(place.device_directory, place.volume));
    UNDERSTUDY_TRY(const Control control, Control::open());
    for (int number : candidates)
        // One that cannot be inspected goes at this moment.
        if (const auto info = information(control, number); info && info->ublksrv_flags == wanted)
            return std::optional<Device>(device_of(*info));
    return std::optional<Device>();
}

Result<std::vector<std::string>> kept(const std::string& device_directory) {
    std::vector<std::string> volumes;
    if (numbers().empty()) return volumes;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(device_directory, error)) {
        if (!entry.is_block_file(error)) continue;
        const Place place{entry.path().filename(), device_directory};
        UNDERSTUDY_TRY(const auto found, find(place));
        if (found && found->started) volumes.push_back(place.volume);
    }
    return volumes;
}

Result<int> add(const Place& place, const Geometry& geometry, const Shape& wanted) {
    UNDERSTUDY_TRY(const Control control, Control::open());
    ublksrv_ctrl_dev_info info{};
    UNDERSTUDY_TRY(info.ublksrv_flags, label_of(place.device_directory, place.volume));
    info.dev_id = kAnyNumber;
    info.nr_hw_queues = geometry.queues;
    info.queue_depth = geometry.depth;
    info.max_io_buf_bytes = geometry.max_request;
    info.flags = kFlags;
    UNDERSTUDY_CHECK(check(control.run(kAddDevice, for_device(-1, &info, sizeof info)), "make", -1));
    const int number = static_cast<int>(info.dev_id);
    ublk_params settings = parameters(wanted);
    auto set = check(control.run(kSetParameters, for_device(number, &settings, sizeof settings)), "describe",
                     number);
    if (!set) {
        control.run(kDeleteDeviceLater, for_device(number));
        return fail(set.error());
    }
    return number;
}

Result<Device> inspect(int number) {
    UNDERSTUDY_TRY(const Control control, Control::open());
    UNDERSTUDY_TRY(const auto info, information(control, number));
    return device_of(info);
}

Result<Descriptor> open_server_side(const Place& place, int number) {
    const auto device = device_number(fmt::format("/sys/class/ublk-char/ublkc{}", number));
    if (!device) return fail(Code::not_found, "ublk device {} has gone", number);
    // Without relying on /dev, which may be another namespace's or come late.
    const std::string path = fmt::format("{}/.ublkc{}.{}", place.device_directory, number, getpid());
    unlink(path.c_str());
    int error = 0;
    Descriptor file;
    if (mknod(path.c_str(), S_IFCHR | 0600, *device) == 0)
        file = Descriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!file.valid()) error = errno;
    unlink(path.c_str());
    if (!file.valid())
        return fail(Code::failure, "cannot serve ublk device {} through a node in {}: {}", number,
                    place.device_directory, std::strerror(error));
    return file;
}

const ublksrv_io_desc* map_descriptions(int server_side, unsigned queue, unsigned depth) {
    const auto offset = static_cast<off_t>(queue * descriptions_size(kMaxDepth)) + UBLKSRV_CMD_BUF_OFFSET;
    const std::size_t size = descriptions_size(depth);
    void* at = mmap(nullptr, size, PROT_READ, MAP_SHARED | MAP_POPULATE, server_side, offset);
    if (at == MAP_FAILED) return nullptr;
    // A child must not keep the server's side open: the next server could not have it.
    madvise(at, size, MADV_DONTFORK);
    return static_cast<const ublksrv_io_desc*>(at);
}

void unmap_descriptions(const ublksrv_io_desc* at, unsigned depth) {
    munmap(const_cast<ublksrv_io_desc*>(at), descriptions_size(depth));
}

Result<> start(const Place& place, int number, pid_t server) {
    UNDERSTUDY_TRY(const Control control, Control::open());
    UNDERSTUDY_TRY(const auto info, information(control, number));
    auto argument = for_device(number);
    argument.data[0] = static_cast<std::uint64_t>(server);
    UNDERSTUDY_CHECK(check(control.run(kStartDevice, argument), "start", number));
    tune(number, info.queue_depth);
    return make_node(place, number);
}

Result<> begin_recovery(int number, std::chrono::milliseconds limit) {
    UNDERSTUDY_TRY(const Control control, Control::open());
    const auto deadline = std::chrono::steady_clock::now() + limit;
    int result = 0;
    // Busy until the kernel has taken back what the earlier server had.
    while ((result = control.run(kStartRecovery, for_device(number))) == -EBUSY &&
           std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(kPoll);
    if (result != -EBUSY) return check(result, "take over", number);
    const auto info = information(control, number);
    return fail(Code::exists, "ublk device {} is still served by process {}", number,
                info ? info->ublksrv_pid : 0);
}

Result<> finish_recovery(const Place& place, int number, pid_t server) {
    UNDERSTUDY_TRY(const Control control, Control::open());
    auto argument = for_device(number);
    argument.data[0] = static_cast<std::uint64_t>(server);
    UNDERSTUDY_CHECK(check(control.run(kEndRecovery, argument), "take over", number));
    return make_node(place, number);
}

Result<> remove(const Place& place, int number, bool forced, std::chrono::milliseconds limit) {
    UNDERSTUDY_TRY(const Control control, Control::open());
    Descriptor guard;
    if (!forced && device_number("/sys/block/" + block_name(number))) {
        // Another program (udev, blkid) may look at it for a moment. A program that stays is named.
        UNDERSTUDY_CHECK(make_node(place, number));
        const auto deadline = std::chrono::steady_clock::now() + limit;
        std::string holders;
        while (true) {
            holders = holders_of(node(place));
            // Exclusively: nothing can be mounted on it between the check and the end.
            if (holders.empty())
                guard = Descriptor(::open(node(place).c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
            if (guard.valid()) break;
            if (std::chrono::steady_clock::now() >= deadline)
                return fail(
                    Code::has_dependents, "{} is in use{}: {} first", node(place),
                    holders.empty() ? "" : ", " + holders,
                    holders.find("mounted") != std::string::npos ? "unmount it" : "stop what has it open");
            std::this_thread::sleep_for(kPoll);
        }
        // The driver fails what reaches it while a device is deleted.
        if (fsync(guard.get()) != 0)
            return fail(Code::failure, "cannot write out what {} has in memory: {}", node(place),
                        std::strerror(errno));
    }
    // Later: this process's server still has its side open.
    UNDERSTUDY_CHECK(check(control.run(kDeleteDeviceLater, for_device(number)), "delete", number));
    unlink(node(place).c_str());
    return {};
}

Result<> resize(int number, std::uint64_t size) {
    UNDERSTUDY_TRY(const Control control, Control::open());
    std::uint64_t features = 0;
    if (control.run(kGetFeatures, for_device(-1, &features, sizeof features)) < 0 ||
        (features & kCanUpdateSize) == 0)
        return fail(
            Code::failure,
            "the kernel's ublk driver cannot give a device in use another size (Linux 6.16 can); it gets "
            "its new size when its volume is out of service for a moment");
    auto argument = for_device(number);
    argument.data[0] = size >> kSectorShift;
    return check(control.run(kUpdateSize, argument), "resize", number);
}

Result<Shape> shape(int number) {
    const std::string directory = "/sys/block/" + block_name(number);
    const auto sectors = attribute(directory + "/size"),
               sector = attribute(directory + "/queue/logical_block_size"),
               read_only = attribute(directory + "/ro");
    const auto count = sectors ? text::to_int(*sectors) : std::nullopt;
    const auto sector_size = sector ? text::to_int(*sector) : std::nullopt;
    if (!count || !sector_size || !read_only)
        return fail(Code::failure, "cannot read what {} looks like", directory);
    Shape result;
    result.size = static_cast<std::uint64_t>(*count) << kSectorShift;
    result.sector_size = static_cast<std::uint32_t>(*sector_size);
    result.read_only = *read_only == "1";
    return result;
}

}  // namespace understudy::mirror::ublk
