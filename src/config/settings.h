#pragma once
// The settings a person edits: etc/default/LifeKeeper, KEY=value lines. One table holds each key's unit,
// default, range and meaning; the sample file, the documentation and the validation come from it. Spec:
// CLU-276.

#include "base/result.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

enum class SettingKind { integer, boolean, text };

struct Setting {
    std::string_view key;
    SettingKind kind;
    std::string_view fallback;  // the default, as it would stand in the file
    std::int64_t least = 0;     // integers only
    std::int64_t most = 0;
    std::string_view unit;     // "s", "ms", "" ...
    std::string_view meaning;  // one sentence; when it takes effect
    // Words that are legal, separated by '|' and compared without case: for a text all of them, for an
    // integer besides its range (then integer() gives Settings::kAutomatic). Empty: no such rule.
    std::string_view choices;
};

std::span<const Setting> setting_table();

class Settings {
  public:
    /// Unknown keys are kept (kits read their own). A value outside its range is an error naming key, value
    /// and range.
    static Result<Settings> parse(std::string_view text);
    /// The same, but a line or value that is wrong is left out, so that its default holds; `problems` gets
    /// one text each. For a running daemon that must not stop over an edit. Spec: QUO-008, QUO-009.
    static Settings parse_leniently(std::string_view text, std::vector<std::string>& problems);
    /// One value by itself. Error: the key does not take it; names key, value and range.
    static Result<> check(std::string_view key, std::string_view value);
    /// What integer() gives for the word "auto".
    static constexpr std::int64_t kAutomatic = -1;
    [[nodiscard]] std::int64_t integer(std::string_view key) const;  // the key must be in the table
    [[nodiscard]] bool boolean(std::string_view key) const;
    /// Of a setting with choices: the choice as the table spells it. Also for keys that are not in the table,
    /// "" when absent.
    [[nodiscard]] std::string text(std::string_view key) const;
    [[nodiscard]] bool present(std::string_view key) const;
    [[nodiscard]] const std::map<std::string, std::string>& all() const { return values_; }

  private:
    std::map<std::string, std::string> values_;
};

/// A commented sample file made from the table.
std::string sample_settings();

}  // namespace understudy::config
