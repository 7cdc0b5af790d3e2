#include "mirror/control/posix/file_systems.h"

#include "mirror/filesystem/fsmap_protocol.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <utility>

namespace understudy::mirror::control {

namespace {

using runtime::OneShot;
using runtime::Task;

/// Freezing waits until what is being written is on the disk, here and, of a synchronous mirror, there.
constexpr auto kFreeLimit = std::chrono::seconds(60);
/// Of looking at files; mounting comes before it.
constexpr auto kFilesLimit = std::chrono::seconds(5);
constexpr auto kMountLimit = std::chrono::seconds(5);
/// Of the areas that the helper is told of: a command line has its limit.
constexpr std::size_t kMostAreas = 20000;
constexpr std::size_t kMostErrorText = 4096;

using ReaderPointer = std::shared_ptr<filesystem::Reader>;

/// The reader holds all lines when this succeeds.
Task<Result<ReaderPointer>> run(runtime::World world, runtime::ProcessSpec spec) {
    struct Run {
        filesystem::Reader reader;
        Result<> ended;
    };
    auto state = std::make_shared<Run>();
    OneShot<bool> done(world.tasks);
    world.processes.start(
        spec, [state](std::string_view line) { state->reader.line(line); },
        [state, done, path = spec.path](const Result<runtime::ProcessResult>& result) {
            if (!result)
                state->ended = fail(result.error());
            else if (result->timed_out)
                state->ended = fail(Code::failure, "its file system did not answer in time");
            else if (result->exit_code != 0)
                state->ended =
                    fail(Code::failure, "{}",
                         result->errors.empty() ? fmt::format("{} ended with {}", path, result->exit_code)
                                                : result->errors.substr(0, result->errors.find('\n')));
            done.set(true);
        });
    co_await done;
    if (!state->ended) co_return fail(state->ended.error());
    co_return ReaderPointer(state, &state->reader);
}

runtime::ProcessSpec spec_of(const std::string& helper, const char* what, const FileSystems::Place& place,
                             const std::string& directory) {
    runtime::ProcessSpec spec;
    spec.path = helper;
    spec.arguments = {what, place.device, "--directory", directory};
    if (!place.exported.empty()) {
        spec.arguments.emplace_back("--export");
        spec.arguments.push_back(place.exported);
    }
    spec.environment = {{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"}};
    spec.separate_errors = true;
    spec.max_output = kMostErrorText;
    return spec;
}

}  // namespace

LinuxFileSystems::LinuxFileSystems(runtime::World world, std::string helper, std::string directory)
    : world_(world), helper_(std::move(helper)), directory_(std::move(directory)) {}

Task<Result<BlockRanges>> LinuxFileSystems::free_blocks(Place place) {
    runtime::ProcessSpec spec = spec_of(helper_, "free", place, directory_);
    spec.limit = kFreeLimit;
    Result<ReaderPointer> said = co_await run(world_, std::move(spec));
    if (!said) co_return fail(said.error());
    Result<filesystem::FreeSpace> space = (*said)->space();
    if (!space) co_return fail(space.error());
    co_return std::move(space->free);
}

Task<Result<FileNames>> LinuxFileSystems::files(Place place, BlockRanges blocks) {
    runtime::ProcessSpec spec = spec_of(helper_, "files", place, directory_);
    spec.limit = kMountLimit + kFilesLimit;
    spec.arguments.insert(spec.arguments.end(),
                          {"--limit-ms", std::to_string(std::chrono::milliseconds(kFilesLimit).count()),
                           "--most", std::to_string(kMostFileNames)});
    const bool all = blocks.size() <= kMostAreas;
    for (const BlockRange& range : std::span(blocks).first(std::min(blocks.size(), kMostAreas)))
        spec.arguments.push_back(fmt::format("{}+{}", range.first, range.count));
    Result<ReaderPointer> said = co_await run(world_, std::move(spec));
    if (!said) co_return fail(said.error());
    Result<filesystem::ChangedFiles> files = (*said)->files();
    if (!files) co_return fail(files.error());
    FileNames out;
    out.type = files->type;
    out.names = std::move(files->names);
    out.found = files->found;
    out.complete = files->complete && all;
    co_return out;
}

}  // namespace understudy::mirror::control
