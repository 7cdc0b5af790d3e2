// The commands that the documentation shows are commands, with options that they have.

#include "base/text.h"
#include "cli/command_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

namespace understudy::cli {
namespace {

namespace fs = std::filesystem;

/// Tests run in the source directory.
std::vector<fs::path> pages() {
    std::vector<fs::path> found{"README.md"};
    for (const auto& entry : fs::directory_iterator("docs"))
        if (entry.path().extension() == ".md") found.push_back(entry.path());
    return found;
}

/// The first command of a line as words, as a shell would split it: quotes are taken off, and it ends at a
/// pipe, a redirection, a comment or the next command.
std::vector<std::string> words_of(std::string_view line) {
    std::vector<std::string> words;
    std::string word;
    char quote = 0;
    bool started = false;
    const auto end_word = [&] {
        if (started) words.push_back(std::exchange(word, {}));
        started = false;
    };
    for (const char c : line) {
        if (quote != 0) {
            if (c == quote)
                quote = 0;
            else
                word += c;
        } else if (c == '"' || c == '\'') {
            quote = c;
            started = true;
        } else if (c == ' ') {
            end_word();
        } else if (std::string_view("|;&<>").find(c) != std::string_view::npos || (c == '#' && !started)) {
            break;
        } else {
            word += c;
            started = true;
        }
    }
    end_word();
    return words;
}

/// Takes the command's name off the words: "understudy mirror create" is one name. nullptr: these words do
/// not begin with a command of ours.
const CommandSpec* take_name(std::vector<std::string>& words, std::string& unknown) {
    static const std::set<std::string> first = [] {
        std::set<std::string> names;
        for (const auto& spec : command_table())
            names.insert(text::split(std::string(spec.name), ' ').front());
        return names;
    }();
    if (words.empty() || !first.contains(words[0])) return nullptr;
    for (auto count = std::min<std::size_t>(3, words.size()); count > 0; --count) {
        const std::vector<std::string> name(words.begin(),
                                            words.begin() + static_cast<std::ptrdiff_t>(count));
        if (const auto* spec = find_command(text::join(name, " "))) {
            words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(count));
            return spec;
        }
    }
    // "understudy mirror" is the name of a group.
    const auto said = text::join(words, " ");
    const auto in_group = [&said](const CommandSpec& spec) { return spec.name.starts_with(said + " "); };
    if (std::none_of(command_table().begin(), command_table().end(), in_group)) unknown = said;
    return nullptr;
}

/// Whether it is a line as it is typed, not the form of one.
bool is_whole(std::string_view line) {
    for (const auto* part : {"[", "...", "$(", "{", "<"})
        if (line.find(part) != std::string_view::npos) return false;
    return true;
}

/// Blocks of commands: indented, or between fences.
template <class Look>
void each_block_line(const std::string& page, Look look) {
    bool fenced = false;
    for (const auto& line : text::split(page, '\n')) {
        if (line.starts_with("```"))
            fenced = !fenced;
        else if (fenced || line.starts_with("    "))
            look(std::string(text::trim(line)));
    }
}

std::string read(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Documentation, ShowsCommandsThatCanBeTyped) {
    std::size_t seen = 0;
    for (const auto& path : pages())
        each_block_line(read(path), [&](const std::string& line) {
            auto words = words_of(line);
            std::string unknown;
            const auto* spec = take_name(words, unknown);
            EXPECT_EQ(unknown, "") << path << " shows no command of ours: " << line;
            if (spec == nullptr || !is_whole(line)) return;
            if (std::find(words.begin(), words.end(), "--help") != words.end()) return;
            ++seen;
            const auto parsed = parse(*spec, words);
            EXPECT_TRUE(parsed) << path << ": " << line << "\n" << parsed.error().text;
        });
    EXPECT_GT(seen, 50U) << "the blocks are not found";
}

TEST(Documentation, NamesCommandsAndOptionsThatExist) {
    std::size_t seen = 0;
    for (const auto& path : pages()) {
        const auto page = read(path);
        for (std::size_t at = 0; (at = page.find('`', at)) != std::string::npos;) {
            if (page.compare(at, 3, "```") == 0) {
                at = page.find("```", at + 3);
                if (at == std::string::npos) break;
                at += 3;
                continue;
            }
            const auto close = page.find('`', at + 1);
            if (close == std::string::npos) break;
            auto shown = page.substr(at + 1, close - at - 1);
            std::replace(shown.begin(), shown.end(), '\n', ' ');
            at = close + 1;
            auto words = words_of(shown);
            std::string unknown;
            const auto* spec = take_name(words, unknown);
            EXPECT_EQ(unknown, "") << path << " names no command of ours: " << shown;
            if (spec == nullptr) continue;
            ++seen;
            for (auto word : words) {
                if (word == "--" || word == "--help") break;
                std::erase_if(word, [](char c) { return c == '[' || c == ']'; });
                if (!word.starts_with("--")) continue;
                const auto name = word.substr(2, word.find('=') - 2);
                EXPECT_TRUE(std::any_of(spec->options.begin(), spec->options.end(),
                                        [&](const OptionSpec& option) { return option.name == name; }))
                    << path << ": " << spec->name << " has no option " << word << ": " << shown;
            }
        }
    }
    EXPECT_GT(seen, 50U) << "the names are not found";
}

}  // namespace
}  // namespace understudy::cli
