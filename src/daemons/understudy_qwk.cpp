// understudy-qwk: one access to the quorum storage, in a process of its own. Called by understudyd only.

#include "quorum/helper_storage.h"
#include "quorum/s3_objects.h"
#include "runtime/posix/shared_object.h"

#include <cstdio>

namespace understudy::quorum {
namespace {

std::string of_list(const std::vector<std::string>& list, std::size_t index) {
    if (list.empty()) return {};
    return index < list.size() ? list[index] : list.back();
}

S3Place place(const HelperTask& task, const std::string& uri, std::size_t index) {
    return {uri, of_list(task.endpoints, index), of_list(task.regions, index)};
}

/// One put of two is enough. Spec: QUO-097
Result<> write(const HelperTask& task, std::string& log) {
    if (task.type == StorageType::file)
        return runtime::write_shared_object(task.write_paths.front(), task.record);
    Result<> last = fail(Error{Code::failure, "no object", 18217});
    bool any = false;
    for (std::size_t i = 0; i < task.write_paths.size(); ++i) {
        auto written = put_s3(place(task, task.write_paths[i], i), task.record);
        any = any || written.has_value();
        if (!written) log += fmt::format("note {} {}\n", written.error().number, written.error().text);
        last = std::move(written);
    }
    if (any) return {};
    return last;
}

/// The valid one with the highest sequence, else whatever was found.
Result<std::string> read(const HelperTask& task, const NodeName& node, const std::vector<std::string>& paths,
                         std::string& log) {
    if (task.type == StorageType::file) {
        auto bytes = runtime::read_shared_object(paths.front(), kObjectBytes);
        // A file server may show a write half done: once more, at once. Spec: QUO-086
        if (bytes && !decode_object(*bytes, node))
            bytes = runtime::read_shared_object(paths.front(), kObjectBytes);
        return bytes;
    }
    Result<std::string> best = fail(Error{Code::failure, "no object", 18216});
    std::optional<std::uint64_t> sequence;
    for (std::size_t i = 0; i < paths.size(); ++i) {
        auto bytes = get_s3(place(task, paths[i], i), kObjectBytes);
        if (!bytes) log += fmt::format("note {} {}\n", bytes.error().number, bytes.error().text);
        const auto object = bytes ? decode_object(*bytes, node) : Result<Object>(fail(bytes.error()));
        const bool better = object && (!sequence || object->sequence > *sequence);
        if (object && better) sequence = object->sequence;
        if (better || !best) best = std::move(bytes);
    }
    return best;
}

int run(const std::vector<std::string>& words) {
    const auto task = parse_helper_arguments(words);
    if (!task) {
        std::fprintf(stderr, "%s\n", task.error().text.c_str());
        return static_cast<int>(Code::syntax);
    }
    std::string out;
    std::string log;
    if (!task->write_paths.empty()) out += write_line(write(*task, log));
    for (const auto& [node, paths] : task->reads)
        out += object_line(node, read(*task, node, paths, log));
    out += log;
    std::fwrite(out.data(), 1, out.size(), stdout);
    return 0;
}

}  // namespace
}  // namespace understudy::quorum

int main(int argc, char** argv) {
    return understudy::quorum::run({argv + 1, argv + argc});
}
