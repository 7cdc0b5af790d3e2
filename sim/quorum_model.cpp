#include "sim/quorum_model.h"

#include <algorithm>

namespace understudy::sim {
namespace {

constexpr std::size_t kKeptVersions = 32;

}  // namespace

void SharedStorage::write(const std::string& path, std::string bytes) {
    auto& versions = objects_[path];
    versions.push_back({simulation_.now(), std::move(bytes)});
    if (versions.size() > kKeptVersions) versions.pop_front();
}

std::optional<std::string> SharedStorage::newest(const std::string& path) const {
    const auto at = objects_.find(path);
    if (at == objects_.end() || at->second.empty()) return std::nullopt;
    return at->second.back().bytes;
}

void SharedStorage::damage(const std::string& path) {
    auto& versions = objects_[path];
    if (versions.empty()) return;
    auto bytes = versions.back().bytes;
    bytes[bytes.find("sequence=") + 9] ^= 1;
    write(path, std::move(bytes));
}

Result<std::string> SharedStorage::read(const std::string& path) const {
    const auto at = objects_.find(path);
    if (at == objects_.end() || at->second.empty()) return fail(Code::not_found, "{}: no such object", path);
    const auto& versions = at->second;
    // A stale read shows what was newest some time ago.
    const auto then = simulation_.now() - (stale_ > runtime::Duration::zero()
                                               ? simulation_.random_duration(runtime::Duration(0), stale_)
                                               : runtime::Duration(0));
    for (auto version = versions.rbegin(); version != versions.rend(); ++version)
        if (version->at <= then) return version->bytes;
    return versions.front().bytes;
}

void SharedStorage::cycle(const NodeName& host, runtime::Tasks& tasks,
                          const quorum::Storage::Request& request, quorum::Storage::Done done) {
    struct Running {
        quorum::Storage::Request request;
        quorum::CycleOutcome outcome;
    };
    auto running = std::make_shared<Running>();
    running->request = request;
    const auto last = delay() + delay();
    const auto unreached = [this, host] {
        return fail(Error{Code::failure, fmt::format("{} does not reach the storage", host.str()), 18131});
    };
    // The write is the file server's from here on: it lands even if the host dies meanwhile.
    simulation_.after(delay(), [this, host, running, unreached] {
        if (running->request.own.empty()) return;
        if (!reached(host)) {
            running->outcome.write = unreached();
            return;
        }
        write(running->request.configuration.objects.at(host).front(), running->request.own);
    });
    tasks.after(2 * last, [this, host, running, unreached, done = std::move(done)] {
        for (const auto& [node, paths] : running->request.configuration.objects)
            running->outcome.objects.emplace(
                node, reached(host) ? read(paths.front()) : Result<std::string>(unreached()));
        if (!reached(host) && running->outcome.write) running->outcome.write = unreached();
        done(running->outcome);
    });
}

void HostWatchdog::arm(runtime::Duration time) {
    const auto setting = ++setting_;
    simulation_.after(time, [this, setting, boot = host_.boots()] {
        if (setting == setting_ && host_.powered() && host_.boots() == boot) reset("its watchdog");
    });
}

void HostWatchdog::reset(const std::string& why) {
    ++setting_;
    ++resets_;
    simulation_.note(host_.name(), "RESET: " + why);
    reset_(why);
}

}  // namespace understudy::sim
