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
};

std::span<const Setting> setting_table();

class Settings {
  public:
    /// Unknown keys are kept (kits read their own). A value outside its range is an error naming key, value
    /// and range.
    static Result<Settings> parse(std::string_view text);
    [[nodiscard]] std::int64_t integer(std::string_view key) const;  // the key must be in the table
    [[nodiscard]] bool boolean(std::string_view key) const;
    [[nodiscard]] std::string text(std::string_view key) const;
    [[nodiscard]] bool present(std::string_view key) const;
    [[nodiscard]] const std::map<std::string, std::string>& all() const { return values_; }

  private:
    std::map<std::string, std::string> values_;
};

/// A commented sample file made from the table.
std::string sample_settings();

}  // namespace understudy::config
