#pragma once
// YAML files that people write, read with errors that name the line. Only for .cpp files: yaml-cpp is heavy.

#include "base/result.h"
#include "base/text.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace understudy::config {

/// One mapping of the file, which must have no other keys than those that are asked for.
class YamlReader {
  public:
    static Result<YamlReader> of(const YAML::Node& node, std::string what,
                                 std::initializer_list<std::string_view> keys) {
        if (!node.IsMap())
            return fail(Code::bad_argument, "line {}: {} must be a mapping (key: value)", line(node), what);
        std::set<std::string> seen;
        for (const auto& entry : node) {
            if (!entry.first.IsScalar())
                return fail(Code::bad_argument, "line {}: {} has a key that is no word", line(entry.first),
                            what);
            const auto& key = entry.first.Scalar();
            if (std::find(keys.begin(), keys.end(), key) == keys.end())
                return fail(Code::bad_argument, "line {}: {} has no \"{}\"; it has {}", line(entry.first),
                            what, key, fmt::join(keys, ", "));
            if (!seen.insert(key).second)
                return fail(Code::bad_argument, "line {}: {} has \"{}\" twice", line(entry.first), what, key);
        }
        return YamlReader(node, std::move(what));
    }
    static int line(const YAML::Node& node) { return node.Mark().line + 1; }

    [[nodiscard]] bool has(const char* key) const { return node_[key].IsDefined() && !node_[key].IsNull(); }
    [[nodiscard]] YAML::Node at(const char* key) const { return node_[key]; }

    [[nodiscard]] Result<std::string> word(const char* key) const {
        if (!has(key)) return fail(Code::bad_argument, "line {}: {} lacks \"{}\"", line(node_), what_, key);
        if (!at(key).IsScalar())
            return fail(Code::bad_argument, "line {}: \"{}\" of {} must be one value", line(at(key)), key,
                        what_);
        return at(key).Scalar();
    }
    /// `fallback` when it is not there.
    [[nodiscard]] Result<int> number(const char* key, int fallback, std::int64_t least,
                                     std::int64_t most) const {
        if (!has(key)) return fallback;
        UNDERSTUDY_TRY(const auto text, word(key));
        const auto value = text::to_int(text);
        if (!value || *value < least || *value > most)
            return fail(Code::out_of_range, "line {}: \"{}\" of {} is {} to {}, not \"{}\"", line(at(key)),
                        key, what_, least, most, text);
        return static_cast<int>(*value);
    }
    [[nodiscard]] Result<bool> flag(const char* key, bool fallback) const {
        if (!has(key)) return fallback;
        UNDERSTUDY_TRY(const auto text, word(key));
        if (text::iequals(text, "true") || text::iequals(text, "yes")) return true;
        if (text::iequals(text, "false") || text::iequals(text, "no")) return false;
        return fail(Code::bad_argument, "line {}: \"{}\" of {} is true or false, not \"{}\"", line(at(key)),
                    key, what_, text);
    }

  private:
    YamlReader(YAML::Node node, std::string what) : node_(std::move(node)), what_(std::move(what)) {}
    YAML::Node node_;
    std::string what_;
};

/// Parses `yaml` and gives its root to `read`; what is no YAML, and what yaml-cpp throws meanwhile, becomes
/// an error with its line.
template <class T, class Read>
Result<T> read_yaml(std::string_view yaml, Read read) {
    YAML::Node root;
    try {
        root = YAML::Load(std::string(yaml));
    } catch (const YAML::Exception& error) {
        return fail(Code::bad_argument, "line {}: this is no YAML: {}", error.mark.line + 1, error.msg);
    }
    try {
        return read(root);
    } catch (const YAML::Exception& error) {
        return fail(Code::bad_argument, "line {}: {}", error.mark.line + 1, error.msg);
    }
}

}  // namespace understudy::config
