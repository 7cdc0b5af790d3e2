#include "kits/gen/scripts.h"

#include "base/text.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace understudy::kits {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kElf =
    "\x7F"
    "ELF";
const std::vector<std::string> kExtensions{"", ".sh", ".ksh", ".py", ".pl"};  // Spec: CLU-134
constexpr mode_t kCopyMode = 0700;

}  // namespace

const std::vector<std::string>& script_roles() {
    static const std::vector<std::string> roles{"restore", "remove", "quickchk", "deepchk",
                                                "recover", "create", "extend",   "delete"};
    return roles;
}

std::string role_of(std::string_view name) {
    const auto lower = text::lower(name);
    if (lower == "quickcheck") return "quickchk";
    if (lower == "deepcheck") return "deepchk";
    const auto& roles = script_roles();
    return std::find(roles.begin(), roles.end(), lower) == roles.end() ? std::string() : lower;
}

Result<> check_script_path(const std::string& path) {
    const auto allowed = [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '!' || c == '.' || c == '/';
    };
    if (path.empty() || path.front() != '/')
        return fail(Code::bad_argument, "\"{}\" is not the full path of a script", path);
    if (!std::all_of(path.begin(), path.end(), allowed))
        return fail(Code::bad_argument, "\"{}\": a script's path consists of letters, digits and - _ ! . /",
                    path);
    return {};
}

Result<std::string> interpreter_of(std::string_view content) {
    if (content.starts_with(kElf)) return std::string();
    if (!content.starts_with("#!"))
        return fail(
            Code::bad_argument,
            "neither a program nor a script: its first line does not name an interpreter (#!/bin/sh)");
    const auto words = text::words(content.substr(2, content.find('\n') - 2));
    if (words.empty()) return fail(Code::bad_argument, "its first line names no interpreter");
    if (!words[0].ends_with("/env")) return words[0];
    for (std::size_t i = 1; i < words.size(); ++i)
        if (!words[i].starts_with('-') && words[i].find('=') == std::string::npos) return words[i];
    return fail(Code::bad_argument, "its first line names no interpreter after {}", words[0]);
}

bool has_interpreter(const std::string& interpreter) {
    if (interpreter.empty()) return true;
    if (interpreter.find('/') != std::string::npos) return access(interpreter.c_str(), X_OK) == 0;
    const auto* path = std::getenv("PATH");
    for (const auto& directory : text::split(path == nullptr ? "/usr/bin:/bin" : path, ':'))
        if (access((directory + "/" + interpreter).c_str(), X_OK) == 0) return true;
    return false;
}

Result<std::string> read_script(const std::string& path) {
    UNDERSTUDY_CHECK(check_script_path(path));
    struct stat status {};
    if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode))
        return fail(Code::bad_argument, "there is no file {}", path);
    if (static_cast<std::size_t>(status.st_size) > kMaxScript)
        return fail(Code::bad_argument,
                    "{} has {} bytes; at most {} are stored, so make it a script that "
                    "starts the program",
                    path, status.st_size, kMaxScript);
    std::ifstream file(path, std::ios::binary);
    std::string content{std::istreambuf_iterator<char>(file), {}};
    if (content.size() != static_cast<std::size_t>(status.st_size))
        return fail(Code::failure, "{} cannot be read", path);
    const auto interpreter = interpreter_of(content);
    if (!interpreter) return with_context(interpreter.error(), path);
    if (!has_interpreter(*interpreter))
        return fail(Code::bad_argument, "{} needs {}, which is not on this host", path, *interpreter);
    return content;
}

std::string beside(const std::string& script, const std::string& role) {
    const auto directory = fs::path(script).parent_path();
    std::vector<std::string> names{role};
    if (role == "quickchk") names.emplace_back("quickCheck");
    if (role == "deepchk") names.emplace_back("deepCheck");
    std::error_code error;
    for (const auto& extension : kExtensions)
        for (const auto& name : names)
            if (const auto path = directory / (name + extension); fs::is_regular_file(path, error))
                return path.string();
    return {};
}

CreateText split_create_text(std::string_view text) {
    constexpr std::string_view kWord = "info=";
    auto at = text.starts_with(kWord) ? 0 : text.find(" info=");
    if (at == std::string_view::npos) return {std::string(text), {}};
    const auto words = text.substr(0, at);
    auto info = text::trim(text.substr(at == 0 ? 0 : at + 1)).substr(kWord.size());
    if (info.size() >= 2 && info.front() == '"' && info.back() == '"') info = info.substr(1, info.size() - 2);
    return {std::string(words), std::string(info)};
}

std::string copies_below_root(const Tag& tag) {
    return "/var/lib/understudy/subsys/gen/resources/app/actions/" + file_name_of(tag);
}

std::string copies_of(const Instance& instance) {
    return instance.layout.root + copies_below_root(instance.tag);
}

Result<> store_script(const Instance& instance, const std::string& role, const std::string& content) {
    const auto directory = copies_of(instance);
    const auto path = directory + "/" + role;
    const auto temporary = path + ".new";
    std::error_code error;
    fs::create_directories(directory, error);
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    file.close();
    if (!file) return fail(Code::failure, "the copy {} cannot be written", temporary);
    // A copy that a crash leaves empty would be no script at all.
    if (const auto synced = must_run({{"sync", temporary}}); !synced) return synced;
    if (chmod(temporary.c_str(), kCopyMode) != 0 || rename(temporary.c_str(), path.c_str()) != 0)
        return fail(Code::failure, "the copy {} cannot be put in place", path);
    return must_run({{"sync", directory}});
}

Result<> remove_copies(const Instance& instance) {
    std::error_code error;
    fs::remove_all(copies_of(instance), error);
    if (error) return fail(Code::failure, "{} cannot be removed: {}", copies_of(instance), error.message());
    return {};
}

}  // namespace understudy::kits
