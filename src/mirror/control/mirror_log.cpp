// The intent logs of a volume, one for each peer: where they are, and what they are worth after a start.

#include "messages/messages.h"
#include "mirror/control/log_place.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/parameters.h"

#include <algorithm>

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

/// Beside those of the others; a name that a path cannot hold belongs to no host.
std::string Mirror::log_path(const std::string& peer) const {
    if (record_.peers.empty())
        return log_file(log_place(around_.settings, around_.bitmaps).directory, record_.volume, peer);
    const std::string& any = record_.peers.front().log_path;
    return log_file(any.substr(0, any.rfind('/')), record_.volume, peer);
}

/// Of a shared volume it lies beside the volume, where the next owner finds it.
Task<Result<std::string>> Mirror::new_log(std::string peer) {
    if (!record_.shared) co_return log_path(peer);
    if (!around_.new_log) co_return fail(Code::failure, "this program has no shared volumes");
    MirrorRecord now = record_;
    co_return co_await around_.new_log(std::move(now));
}

/// An unmounted disk appears late, or not at all: then the logs begin anew elsewhere, because writes must not
/// wait for ever. Spec: REP-057, REP-061, REP-062, REP-068.
Task<> Mirror::find_log_directory() {
    if (record_.shared) co_return;         // beside the volume
    if (record_.peers.empty()) co_return;  // there is none
    const LogPlace wanted = log_place(around_.settings, around_.bitmaps);
    std::string directory = wanted.directory;
    const auto deadline = world_.clock.now() + log_directory_wait(around_.settings);
    auto tell_at = world_.clock.now();
    while (!world_.files.exists(directory) && !closing_) {
        if (world_.clock.now() >= tell_at) {
            tell_at += kLogDirectoryTold;
            log_problem_ = fmt::format(
                "the directory of the intent logs, BitmapBaseDir={}, is not there; the mirror does not "
                "function until "
                "it is",
                directory);
            tell(Event::log_directory_missing, {}, log_problem_);
        }
        if (world_.clock.now() >= deadline) {
            log_problem_ = fmt::format(
                "BitmapBaseDir={} has not appeared; the intent log is in {} until mirrord starts with it "
                "there",
                directory, around_.bitmaps);
            tell(Event::log_directory_given_up, {}, log_problem_);
            directory = around_.bitmaps;
            break;
        }
        co_await runtime::sleep_for(world_.tasks, kOpenRetryStart);
    }
    if (closing_) co_return;
    if (directory == wanted.directory && !log_problem_.empty()) {
        tell(Event::log_directory_there, {}, fmt::format("{} is there now", directory));
        log_problem_.clear();
    }
    for (const std::string& peer : names())
        if (auto placed = place_log(peer, directory); !placed) alarm(placed.error().text);
}

/// Moves the log there, or lets a new one begin: what the old place has is not reachable.
Result<> Mirror::place_log(const std::string& peer, const std::string& directory) {
    const std::string before = record_.peer(peer)->log_path;
    const std::string path = directory + before.substr(std::min(before.rfind('/'), before.size()));
    if (path == before || before.empty()) return {};
    if (world_.files.exists(before)) {
        UNDERSTUDY_TRY(const std::string content, world_.files.read(before));
        UNDERSTUDY_CHECK(world_.files.write_atomic(path, content, 0600));
    } else {
        UNDERSTUDY_CHECK(world_.files.remove(path));  // of an earlier time; its bits say nothing about now
    }
    MirrorRecord next = record_;
    next.peer(peer)->log_path = path;
    UNDERSTUDY_CHECK(commit(std::move(next)));
    messages::info("volume {}: the intent log of the mirror with {} is {} now", record_.volume.str(), peer,
                   path);
    return world_.files.remove(before);
}

/// The log of one peer, and what moves the data of its mirror. `in_memory`: without a file; the record says
/// so before.
Task<Result<>> Mirror::open_log(std::string peer, bool expected, bool in_memory) {
    const PeerRecord one = *record_.peer(peer);
    VolumeOptions options;
    options.log_in_memory = in_memory;
    options.id = record_.volume;
    options.device = record_.device;
    options.log_path = one.log_path;
    options.uuid = record_.uuid;
    options.size = volume_size_;
    options.type = one.type;
    std::vector<std::string> problems;
    options.parameters = parameters_of(around_.settings, one.parameters, record_.volume, problems);
    for (const std::string& problem : problems)
        messages::warning("volume {}: {}", record_.volume.str(), problem);
    auto opened = co_await host_->add(peer, std::move(options));
    if (!opened) co_return fail(opened.error());
    Leg& leg = legs_.at(peer);
    leg.log_lost = leg.log_in_memory = in_memory;
    MirrorRecord next = record_;
    PeerRecord& changed = *next.peer(peer);
    // A log that had to be made anew knows nothing, unless the last life ended with nothing in it. Spec:
    // REP-073.
    if (opened->log_created && expected && !changed.clean)
        changed.distrust_log(fmt::format("the intent log {} was missing or damaged", one.log_path));
    if (!opened->log_valid)
        changed.distrust_log(fmt::format("the intent log {} cannot be trusted", one.log_path));
    if (opened->log_created)
        tell(Event::log_created, peer, fmt::format("{} is a new intent log", one.log_path));
    if (!log_place(around_.settings, around_.bitmaps).outlives_crash && expected && !changed.clean)
        changed.distrust_log(
            "mirrord did not end cleanly, and with BitmapBaseDir= no log outlives that");  // Spec: REP-059
    changed.clean = false;
    auto saved = commit(std::move(next));
    co_return saved;
}

/// The mirror gets a log without a file, and no later start may trust what the file has: it goes, which makes
/// room for the record that says so as well.
Task<Result<>> Mirror::go_on_without_log(std::string peer) {
    auto gone = world_.files.remove(record_.peer(peer)->log_path);
    MirrorRecord next = record_;
    next.peer(peer)->log_complete = false;
    next.peer(peer)->distrust_log("there was no room for the intent log");
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    if (!gone)  // the record is enough
        messages::warning("volume {}: {}", record_.volume.str(), gone.error().text);
    auto opened = co_await open_log(peer, true, true);
    if (!opened) co_return fail(opened.error());
    tell(Event::log_failed, peer,
         fmt::format("there is no intent log of {} until a \"continue\" finds room for it; a full resync "
                     "follows then, and after a crash",
                     peer));
    co_return Result<>{};
}

}  // namespace understudy::mirror::control
