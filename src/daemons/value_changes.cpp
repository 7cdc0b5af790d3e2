#include "daemons/value_changes.h"

#include "base/text.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

namespace understudy::daemons {
namespace {

constexpr int kPrivate = 0600;
constexpr std::string_view kIndex = "/index";  // of the originals: "mode path" lines, mode 0 for a new file

bool joins(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
}

class Changer {
  public:
    Changer(const Substitutions& substitutions, std::vector<FoundValue>& found)
        : substitutions_(substitutions), found_(found) {}

    /// The whole field.
    template <class Text>
    Text field(const Text& text) {
        const auto at = substitutions_.values.find(as_string(text));
        if (at == substitutions_.values.end()) return text;
        note(at->first, at->second);
        return Text(at->second);
    }
    Tag tag(const Tag& tag) { return substitutions_.tags ? field(tag) : tag; }
    std::string inside(const std::string& text) { return change_text(text, substitutions_, {}, found_); }
    void note(const std::string& from, const std::string& to) {
        found_.push_back({{}, found_.size() + 1, from, to});
    }

  private:
    static const std::string& as_string(const std::string& text) { return text; }
    template <class Purpose>
    static const std::string& as_string(const Name<Purpose>& name) {
        return name.str();
    }
    const Substitutions& substitutions_;
    std::vector<FoundValue>& found_;
};

int mode_of(const std::string& path) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    return error || !std::filesystem::exists(status) ? kPrivate
                                                     : static_cast<int>(status.permissions()) & 07777;
}

std::string original(const std::string& directory, std::size_t number) {
    return fmt::format("{}/{}", directory, number);
}

}  // namespace

Result<std::map<std::string, std::string>> parse_substitutions(std::string_view text) {
    std::map<std::string, std::string> values;
    std::size_t number = 0;
    for (const auto& line : text::split(text, '\n')) {
        ++number;
        if (text::trim(line).empty() || line.front() == '#') continue;
        const auto equals = line.find('=');
        if (equals == std::string::npos || equals == 0 || equals + 1 == line.size())
            return fail(Code::syntax, "line {}: \"{}\" is not old=new", number, line);
        if (!values.emplace(line.substr(0, equals), line.substr(equals + 1)).second)
            return fail(Code::syntax, "line {}: {} is replaced twice", number, line.substr(0, equals));
    }
    if (values.empty()) return fail(Code::syntax, "there is nothing to replace");
    return values;
}

std::string change_text(std::string_view text, const Substitutions& substitutions, const std::string& file,
                        std::vector<FoundValue>& found) {
    std::string result;
    std::size_t line = 1;
    for (std::size_t at = 0; at < text.size();) {
        const std::pair<const std::string, std::string>* longest = nullptr;
        if (at == 0 || !joins(text[at - 1]))
            for (const auto& each : substitutions.values) {
                const auto& old = each.first;
                const auto end = at + old.size();
                if (text.substr(at, old.size()) == old && (end == text.size() || !joins(text[end])) &&
                    (longest == nullptr || old.size() > longest->first.size()))
                    longest = &each;
            }
        if (longest == nullptr) {
            if (text[at] == '\n') ++line;
            result += text[at++];
            continue;
        }
        found.push_back({file, file.empty() ? found.size() + 1 : line, longest->first, longest->second});
        result += longest->second;
        at += longest->first.size();
    }
    return result;
}

Result<config::NodeConfig> change_values(const config::NodeConfig& config, const Substitutions& substitutions,
                                         std::vector<FoundValue>& found) {
    Changer change(substitutions, found);
    auto result = config;
    result.instances.clear();
    for (const auto& [old_tag, old] : config.instances) {
        auto instance = old;
        instance.tag = change.tag(old.tag);
        const auto whole = substitutions.values.find(old.id.str());
        if (substitutions.ids && whole != substitutions.values.end()) {
            if (!substitutions.whole_ids)
                return fail(
                    Code::bad_argument,
                    "the id of {} is \"{}\" as a whole; give -F to replace it or -I to leave ids alone",
                    old_tag.str(), old.id.str());
            instance.id = change.field(old.id);
        } else if (substitutions.ids) {
            instance.id = ResourceId(change.inside(old.id.str()));
        }
        instance.info = change.inside(old.info);
        const auto tag = instance.tag;
        if (!result.instances.emplace(tag, std::move(instance)).second)
            return fail(Code::syntax, "two resources would have the tag {}", tag.str());
    }
    for (auto& dependency : result.dependencies) {
        dependency.parent = change.tag(dependency.parent);
        dependency.child = change.tag(dependency.child);
    }
    for (auto& pair : result.equivalencies) {
        pair.tag = change.tag(pair.tag);
        pair.other_tag = change.tag(pair.other_tag);
        pair.other_node = change.field(pair.other_node);
    }
    result.systems.clear();
    for (const auto& system : config.systems)
        result.systems.insert(change.field(system));
    if (result.systems.size() != config.systems.size())
        return fail(Code::syntax, "two systems would have the same name");
    for (auto& path : result.paths) {
        path.remote = change.field(path.remote);
        path.remote_address = change.field(path.remote_address);
        path.local_address = change.field(path.local_address);
    }
    result.reindex();
    return result;
}

Result<> replace_files(runtime::Files& files, const FileChanges& changes, const std::string& directory) {
    UNDERSTUDY_CHECK(files.make_directories(directory, 0700));
    std::string index;
    std::map<std::string, int> modes;
    std::size_t number = 0;
    for (const auto& [path, content] : changes) {
        const bool exists = files.exists(path);
        modes[path] = exists ? mode_of(path) : 0;
        index += fmt::format("{} {}\n", modes[path], path);
        if (exists) {
            UNDERSTUDY_TRY(const auto before, files.read(path));
            UNDERSTUDY_CHECK(files.write_atomic(original(directory, number), before, kPrivate));
        }
        ++number;
    }
    // From here on the originals count, until the index goes.
    UNDERSTUDY_CHECK(files.write_atomic(directory + std::string(kIndex), index, kPrivate));
    Result<> result;
    for (const auto& [path, content] : changes) {
        result = content ? files.write_atomic(path, *content, modes[path] == 0 ? kPrivate : modes[path])
                         : files.remove(path);
        if (!result) break;
    }
    if (!result) {
        const auto restored = restore_files(files, directory);
        if (!restored) return with_context(restored.error(), result.error().text);
        return fail(result.error());
    }
    UNDERSTUDY_CHECK(files.remove(directory + std::string(kIndex)));
    for (std::size_t i = 0; i < number; ++i)
        UNDERSTUDY_CHECK(files.remove(original(directory, i)));
    return {};
}

Result<bool> restore_files(runtime::Files& files, const std::string& directory) {
    const auto index = files.read(directory + std::string(kIndex));
    if (!index) return false;
    std::size_t number = 0;
    for (const auto& line : text::split(*index, '\n')) {
        const auto blank = line.find(' ');
        if (blank == std::string::npos) continue;
        const auto mode = text::to_int(line.substr(0, blank));
        const auto path = line.substr(blank + 1);
        if (!mode) return fail(Code::internal, "{}{} is damaged", directory, kIndex);
        if (*mode == 0) {
            UNDERSTUDY_CHECK(files.remove(path));
        } else {
            UNDERSTUDY_TRY(const auto before, files.read(original(directory, number)));
            UNDERSTUDY_CHECK(files.write_atomic(path, before, static_cast<int>(*mode)));
        }
        ++number;
    }
    UNDERSTUDY_CHECK(files.remove(directory + std::string(kIndex)));
    return true;
}

}  // namespace understudy::daemons
