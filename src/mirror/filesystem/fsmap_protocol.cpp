#include "mirror/filesystem/fsmap_protocol.h"

#include "base/text.h"

#include <algorithm>

namespace understudy::mirror::filesystem {

namespace {

/// A name may hold anything but a slash and a zero.
std::string one_line(std::string name) {
    std::replace_if(
        name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, '?');
    return name;
}

std::string end_line(const std::string& type, std::uint64_t found, std::uint64_t looked_at, bool complete) {
    return fmt::format("{}{} {} {} {}\n", kEndWord, type, found, looked_at, complete ? 1 : 0);
}

std::optional<std::uint64_t> number(std::string_view text) {
    const auto value = text::to_int(text);
    if (!value || *value < 0) return std::nullopt;
    return static_cast<std::uint64_t>(*value);
}

}  // namespace

std::string lines_of(const FreeSpace& space) {
    std::string out;
    for (const BlockRange& range : space.free)
        out += fmt::format("{}{} {}\n", kFreeWord, range.first, range.count);
    return out + end_line(space.type, space.free.size(), 0, true);
}

std::string lines_of(const ChangedFiles& files) {
    std::string out;
    for (const std::string& name : files.names)
        out += fmt::format("{}{}\n", kFileWord, one_line(name));
    return out + end_line(files.type, files.found, files.looked_at, files.complete);
}

void Reader::line(std::string_view text) {
    damaged_ = damaged_ || ended_;
    if (text.starts_with(kFileWord)) {
        files_.names.emplace_back(text.substr(kFileWord.size()));
        return;
    }
    const auto words = text::words(text);
    if (text.starts_with(kFreeWord) && words.size() == 3) {
        const auto first = number(words[1]), count = number(words[2]);
        const std::uint64_t before =
            space_.free.empty() ? 0 : space_.free.back().first + space_.free.back().count;
        if (first && count && *first >= before && *count > 0 && *count <= ~std::uint64_t{0} - *first) {
            space_.free.push_back({*first, *count});
            return;
        }
    }
    if (text.starts_with(kEndWord) && words.size() == 5) {
        const auto found = number(words[2]), looked_at = number(words[3]), complete = number(words[4]);
        if (found && looked_at && complete) {
            space_.type = files_.type = words[1];
            files_.found = *found;
            files_.looked_at = *looked_at;
            files_.complete = *complete == 1;
            ended_ = true;
            return;
        }
    }
    damaged_ = true;
}

Result<FreeSpace> Reader::space() const {
    if (!usable() || files_.found != space_.free.size())
        return fail(Code::internal, "the list of free space is incomplete");
    return space_;
}

Result<ChangedFiles> Reader::files() const {
    if (!usable() || files_.found < files_.names.size())
        return fail(Code::internal, "the list of files is incomplete");
    return files_;
}

}  // namespace understudy::mirror::filesystem
