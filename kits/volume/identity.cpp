#include "kits/volume/identity.h"

#include "kits/sdk/cluster.h"
#include "runtime/posix/posix_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace understudy::kits {
namespace {

constexpr std::size_t kDigits = 32;
constexpr std::size_t kTextBytes = 38;  // with braces and dashes; a newline follows in the file

std::string path_of(const config::Layout& layout, const std::string& volume) {
    return layout.lkroot() + "/" + identity_file(volume);
}

}  // namespace

std::string identity_text(std::string_view id) {
    const auto digit = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
    if (id.size() != kDigits || !std::all_of(id.begin(), id.end(), digit)) return {};
    return fmt::format("{{{}-{}-{}-{}-{}}}", id.substr(0, 8), id.substr(8, 4), id.substr(12, 4),
                       id.substr(16, 4), id.substr(20));
}

std::string identity_file(const std::string& volume) {
    return "subsys/filesys/resources/volume/LKDRInfo." + volume;
}

std::string known_identity(const config::Layout& layout, const std::string& volume) {
    std::ifstream file(path_of(layout, volume), std::ios::binary);
    std::string text(kTextBytes + 2, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.size() != kTextBytes + 1 || text.back() != '\n') return {};
    text.pop_back();
    std::string digits;
    std::copy_if(text.begin(), text.end(), std::back_inserter(digits),
                 [](char c) { return c != '{' && c != '-' && c != '}'; });
    return identity_text(digits) == text ? text : std::string();
}

Result<> keep_identity(const config::Layout& layout, const std::string& volume, std::string_view id) {
    const auto text = identity_text(id);
    if (text.empty() || known_identity(layout, volume) == text) return {};
    const auto path = path_of(layout, volume);
    runtime::PosixFiles files;
    UNDERSTUDY_CHECK(files.make_directories(std::filesystem::path(path).parent_path(), 0755));
    return files.write_atomic(path, text + "\n", 0644);
}

Result<> forget_identity(const config::Layout& layout, const std::string& volume) {
    runtime::PosixFiles files;
    const auto path = path_of(layout, volume);
    UNDERSTUDY_CHECK(files.remove(path + ".new"));  // of line_to_keep_identity()
    return files.remove(path);
}

Result<> check_identity(const config::Layout& layout, const std::string& volume, std::string_view id) {
    const auto here = identity_text(id);
    const auto known = known_identity(layout, volume);
    if (here.empty()) return {};
    if (known.empty()) return keep_identity(layout, volume, id);
    if (known == here) return {};
    return fail(Code::failure,
                "{} of this node is of the mirror {}, but the resource is of the mirror {}: what is here is "
                "of another time. Delete this half (understudy mirror delete {} --force) and make this node "
                "a target again (understudy mirror add, on the source); or, to use what is here, remove {}",
                volume, here, known, volume, path_of(layout, volume));
}

std::string line_to_keep_identity(const std::string& volume, std::string_view id) {
    const auto text = identity_text(id);
    if (text.empty()) return {};
    return fmt::format(
        "f={}; test \"$(cat \"$f\" 2>/dev/null)\" = {} || {{ printf '%s\\n' {} >\"$f.new\" && mv \"$f.new\" "
        "\"$f\"; }}",
        shell_quoted(identity_file(volume)), shell_quoted(text), shell_quoted(text));
}

}  // namespace understudy::kits
