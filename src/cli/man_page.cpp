#include "cli/man_page.h"

#include "base/text.h"

#include <algorithm>
#include <vector>

namespace understudy::cli {
namespace {

constexpr std::string_view kManSection = "8";
constexpr std::string_view kSections[] = {"DESCRIPTION", "NOTES", "EXIT STATUS", "EXAMPLES", "SEE ALSO"};

// Spec: CMD-004
constexpr std::string_view kExitStatus =
    "0: success. 1: a system or library call, or a script, failed, or the engine does not run. 2: wrong "
    "command\n"
    "line. 3: internal error. 4: the object exists already. 5: illegal argument. 6: a number is outside its\n"
    "range. 7: the object does not exist. 8: another resource depends on it. 9: the other system cannot be\n"
    "reached.\n\n"
    "Results go to standard output, messages to standard error. A message carries its number, as in (No. "
    "424); one\n"
    "that has none of its own has 600 plus the exit code.";

/// Text that scdoc shows as it is.
std::string literal(std::string_view text) {
    std::string result;
    for (const char c : text) {
        if (c == '*' || c == '_' || c == '\\' || c == '[' || c == '#' || c == '~') result += '\\';
        result += c;
    }
    return result;
}

std::string dashed(const OptionSpec& option) {
    return fmt::format("{}{}", option.name.size() == 1 ? "-" : "--", option.name);
}

struct Section {
    std::string name;
    std::string body;
};

std::vector<Section> split_sections(std::string_view prose) {
    std::vector<Section> sections{{"DESCRIPTION", {}}};
    bool fenced = false;
    for (const auto& line : text::split(std::string(prose), '\n')) {
        if (line.starts_with("```")) fenced = !fenced;
        if (!fenced && line.starts_with("# "))
            sections.push_back({line.substr(2), {}});
        else
            sections.back().body += line + "\n";
    }
    for (auto& section : sections)
        section.body = std::string(text::trim(section.body));
    return sections;
}

std::string options_section(const CommandSpec& spec) {
    std::string result;
    for (const auto& option : spec.options) {
        const auto value = option.value.empty() ? "" : fmt::format(" _{}_", literal(option.value));
        result += fmt::format("*{}*{}\n\t{}{}\n\n", dashed(option), value, literal(option.help),
                              option.required ? " (required)" : "");
    }
    return result + "*--help*\n\tprint the synopsis and the options";
}

/// "a, b-c" as references to pages.
std::string references(const std::string& names) {
    std::vector<std::string> result;
    for (const auto& name : text::split(names, ','))
        result.push_back(fmt::format("*{}*({})", literal(text::trim(name)), kManSection));
    return text::join(result, ", ");
}

}  // namespace

std::string page_name(const CommandSpec& spec) {
    std::string name(spec.name);
    std::replace(name.begin(), name.end(), ' ', '-');
    return name;
}

Result<std::string> man_page(const CommandSpec& spec, std::string_view prose) {
    auto sections = split_sections(prose);
    for (const auto& section : sections)
        if (std::find(std::begin(kSections), std::end(kSections), section.name) == std::end(kSections))
            return fail(Code::bad_argument, "{}: there is no place for a section \"{}\"", spec.name,
                        section.name);
    const auto body = [&](std::string_view name) {
        const auto at = std::find_if(sections.begin(), sections.end(),
                                     [&](const Section& section) { return section.name == name; });
        return at == sections.end() ? std::string() : at->body;
    };
    if (body("DESCRIPTION").empty())
        return fail(Code::bad_argument, "{}: the description is empty", spec.name);

    std::string summary(spec.summary);
    if (summary.ends_with('.')) summary.pop_back();
    const auto name = page_name(spec);
    std::string page = fmt::format("{}({}) \"\" \"Understudy\"\n", name, kManSection);
    const auto add = [&](std::string_view title, std::string_view text) {
        if (!text.empty()) page += fmt::format("\n# {}\n\n{}\n", title, text);
    };
    add("NAME", fmt::format("{} - {}", name, literal(summary)));
    add("SYNOPSIS", literal(synopsis(spec)));
    add("DESCRIPTION", body("DESCRIPTION"));
    add("OPTIONS", options_section(spec));
    const auto own_status = body("EXIT STATUS");
    add("EXIT STATUS", own_status.empty() ? kExitStatus : std::string_view(own_status));
    add("NOTES", body("NOTES"));
    add("EXAMPLES", body("EXAMPLES"));
    if (const auto also = body("SEE ALSO"); !also.empty()) add("SEE ALSO", references(also));
    return page;
}

}  // namespace understudy::cli
