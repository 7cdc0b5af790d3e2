#include "base/mount_table.h"

#include "base/text.h"

#include <algorithm>

namespace understudy {
namespace {

constexpr std::size_t kDevice = 2, kRoot = 3, kDirectory = 4, kTags = 6;
constexpr std::size_t kType = 1, kOptions = 3;  // after the dash

bool octal(char c) {
    return c >= '0' && c <= '7';
}

std::string unescaped(std::string_view field) {
    std::string out;
    for (std::size_t i = 0; i < field.size(); ++i) {
        const std::string_view digits = field.substr(i + 1, 3);
        if (field[i] == '\\' && digits.size() == 3 && std::all_of(digits.begin(), digits.end(), octal)) {
            out += static_cast<char>((digits[0] - '0') * 64 + (digits[1] - '0') * 8 + (digits[2] - '0'));
            i += digits.size();
        } else {
            out += field[i];
        }
    }
    return out;
}

}  // namespace

std::vector<Mount> read_mounts(std::istream& table) {
    std::vector<Mount> out;
    for (std::string line; std::getline(table, line);) {
        const auto fields = text::words(line);
        if (fields.size() <= kTags) continue;
        const auto dash = std::find(fields.begin() + kTags, fields.end(), "-");
        if (fields.end() - dash <= static_cast<std::ptrdiff_t>(kOptions)) continue;
        out.push_back({std::string(fields[kDevice]), unescaped(fields[kRoot]), unescaped(fields[kDirectory]),
                       std::string(dash[kType]), std::string(dash[kOptions])});
    }
    return out;
}

}  // namespace understudy
