#include "runtime/simulated/shared_disk.h"

#include <utility>

namespace understudy::runtime {

SimulatedDisk::Link SimulatedDisk::link(const std::string& host) const {
    const auto at = links_.find(host);
    return at == links_.end() ? Link::works : at->second;
}

void SimulatedDisk::set_link(const std::string& host, Link link) {
    links_[host] = link;
    if (link == Link::hangs) return;
    for (auto& function : std::exchange(hanging_[host], {}))
        function();
}

void SimulatedDisk::all_reach() {
    for (const auto& [host, link] : std::map(links_))
        set_link(host, Link::works);
}

void SimulatedDisk::set_delay(Duration least, Duration most) {
    least_ = least;
    most_ = most;
}

Duration SimulatedDisk::delay() const {
    return simulation_.random_duration(least_, most_);
}

void SimulatedDisk::when_not_hanging(const std::string& host, std::function<void()> function) {
    if (link(host) == Link::hangs)
        hanging_[host].push_back(std::move(function));
    else
        function();
}

/// What the host has handed to the disk lands, unless its power went meanwhile: then a part of it does.
void SimulatedDisk::write(const SimulatedNode& host, std::uint64_t boots, std::uint64_t offset,
                          const std::string& bytes) {
    const bool torn = !host.powered() || host.boots() != boots;
    const auto size = torn ? static_cast<std::size_t>(simulation_.random_below(bytes.size())) : bytes.size();
    if (offset + bytes.size() <= content_.size()) content_.replace(offset, size, bytes, 0, size);
}

class SimulatedDisk::Client final : public SharedDisk {
  public:
    Client(SimulatedDisk& disk, const SimulatedNode& host, Tasks& tasks)
        : disk_(disk), host_(host), tasks_(tasks) {}
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() override { *alive_ = false; }

    void read(std::uint64_t offset, std::size_t bytes, ReadHandler done) override {
        access([this, offset, bytes, done = std::move(done)](bool works) {
            if (!works) return done(problem("read"));
            if (offset + bytes > disk_.content_.size())
                return done(fail(Code::bad_argument, "the disk is too small"));
            done(disk_.content_.substr(offset, bytes));
        });
    }

    void write(std::uint64_t offset, std::string bytes, WriteHandler done) override {
        // The disk's part does not need the program any more.
        disk_.simulation_.after(disk_.delay(),
                                [&disk = disk_, &host = host_, boots = host_.boots(), offset, bytes] {
                                    disk.when_not_hanging(host.name(), [&disk, &host, boots, offset, bytes] {
                                        if (disk.reached(host.name())) disk.write(host, boots, offset, bytes);
                                    });
                                });
        access([this, done = std::move(done)](bool works) {
            done(works ? Result<>() : Result<>(problem("write to")));
        });
    }

  private:
    [[nodiscard]] tl::unexpected<Error> problem(std::string_view what) const {
        return fail(Code::failure, "cannot {} the shared disk: Input/output error", what);
    }
    void access(std::function<void(bool works)> ends) {
        tasks_.after(2 * disk_.most_, [this, alive = alive_, ends = std::move(ends)] {
            if (!*alive) return;
            disk_.when_not_hanging(host_.name(), [this, alive, ends] {
                if (*alive)
                    tasks_.post([this, alive, ends] {
                        if (*alive) ends(disk_.reached(host_.name()));
                    });
            });
        });
    }

    SimulatedDisk& disk_;
    const SimulatedNode& host_;
    Tasks& tasks_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

namespace {

/// Under a name that leads nowhere.
class NoDisk final : public SharedDisk {
  public:
    explicit NoDisk(Tasks& tasks) : tasks_(tasks) {}
    void read(std::uint64_t, std::size_t, ReadHandler done) override {
        tasks_.post([done = std::move(done)] { done(fail(Code::failure, "there is no such device")); });
    }
    void write(std::uint64_t, std::string, WriteHandler done) override {
        tasks_.post([done = std::move(done)] { done(fail(Code::failure, "there is no such device")); });
    }

  private:
    Tasks& tasks_;
};

}  // namespace

std::unique_ptr<SharedDisk> SimulatedDisks::open(const std::string& device, Use) {
    const auto at = disks_.find(device);
    if (at == disks_.end()) return std::make_unique<NoDisk>(tasks_);
    return std::make_unique<SimulatedDisk::Client>(*at->second, host_, tasks_);
}

}  // namespace understudy::runtime
