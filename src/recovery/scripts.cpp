#include "recovery/scripts.h"

#include "base/text.h"
#include "messages/messages.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <deque>

namespace understudy::recovery {
namespace {

constexpr std::array<std::string_view, 5> kExtensions{"", ".sh", ".ksh", ".py", ".pl"};  // Spec: CLU-134
constexpr std::string_view kSystemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::size_t kLastLines = 10;
constexpr std::size_t kMaxLoggedLine = 2000;
constexpr std::size_t kMaxActionName = 64;
constexpr std::string_view kDeepNeedsQuick = "deepchk-needs-quickchk";

std::map<std::string, std::string> complete_environment(const std::string& lkroot,
                                                        const std::map<std::string, std::string>& settings,
                                                        const std::map<std::string, std::string>& further) {
    auto result = settings;
    std::string path(kSystemPath);
    if (const auto set = settings.find("PATH"); set != settings.end()) path = set->second;
    for (const auto& [key, value] : further)
        result[key] = value;
    result["PATH"] = lkroot + "/bin:" + path;
    result["LKROOT"] = lkroot;
    result["LANG"] = "C.UTF-8";
    result["LC_ALL"] = "C.UTF-8";
    return result;
}

}  // namespace

bool is_action_name(const std::string& action) {
    if (action.empty() || action.size() > kMaxActionName || action.front() == '.') return false;
    return std::all_of(action.begin(), action.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
    });
}

Scripts::Scripts(runtime::World world, std::string lkroot, const std::map<std::string, std::string>& settings,
                 const std::map<std::string, std::string>& environment)
    : world_(world),
      lkroot_(std::move(lkroot)),
      environment_(complete_environment(lkroot_, settings, environment)) {}

std::string Scripts::descend(const std::string& directory, const std::string& name) const {
    const auto exact = directory + "/" + name;
    if (world_.files.exists(exact)) return exact;
    for (const auto& entry : world_.files.list(directory))
        if (text::iequals(entry, name)) return directory + "/" + entry;
    return exact;
}

std::string Scripts::find_in(const std::string& directory, const std::string& action) const {
    for (const auto extension : kExtensions)
        if (const auto path = fmt::format("{}/{}{}", directory, action, extension);
            world_.files.executable(path))
            return path;
    const auto entries = world_.files.list(directory);
    for (const auto extension : kExtensions)
        for (const auto& entry : entries)
            if (text::iequals(entry, action + std::string(extension)) &&
                world_.files.executable(directory + "/" + entry))
                return directory + "/" + entry;
    return {};
}

std::string Scripts::find(const AppName& app, const TypeName& type, const std::string& action) const {
    if (!is_action_name(action)) return {};
    const auto of_type = descend(directory_of(app, type), "actions");
    if (auto path = find_in(of_type, action); !path.empty()) return path;
    return find_in(descend(descend(lkroot_ + "/subsys", app.str()), "actions"), action);
}

std::string Scripts::directory_of(const AppName& app, const TypeName& type) const {
    return descend(descend(descend(lkroot_ + "/subsys", app.str()), "resources"), type.str());
}

bool Scripts::deep_needs_quick(const AppName& app, const TypeName& type) const {
    return world_.files.exists(fmt::format("{}/{}", directory_of(app, type), kDeepNeedsQuick));
}

std::string Scripts::core(const std::string& name) const {
    return find_in(lkroot_ + "/admin/core/actions", name);
}

std::vector<std::string> Scripts::disabled_kits() const {
    std::vector<std::string> kits;
    const auto setting = environment_.find("DISABLED_KITS");
    if (setting == environment_.end()) return kits;
    for (const auto& kit : text::split(setting->second, ','))
        if (const auto name = text::trim(kit); !name.empty()) kits.emplace_back(name);
    return kits;
}

bool Scripts::enabled(const AppName& app, const TypeName& type) const {
    const auto kits = disabled_kits();
    return std::none_of(kits.begin(), kits.end(), [&](const std::string& kit) {
        return text::iequals(kit, app.str() + "/" + type.str());
    });
}

std::vector<std::string> Scripts::global(const std::string& name) const {
    std::vector<std::string> directories{lkroot_ + "/admin/core/actions"};
    for (const auto& app : world_.files.list(lkroot_ + "/subsys"))
        directories.push_back(descend(lkroot_ + "/subsys", app) + "/actions");
    std::vector<std::string> paths;
    for (const auto& directory : directories)
        if (auto path = find_in(directory, name); !path.empty()) paths.push_back(std::move(path));
    return paths;
}

runtime::Task<Result<ScriptResult>> Scripts::run(Tag tag, std::string action, std::string path,
                                                 std::vector<std::string> arguments, Started started) {
    runtime::ProcessSpec spec;
    spec.path = path;
    spec.arguments = std::move(arguments);
    spec.environment = environment();
    spec.directory = lkroot_;
    // The handlers may outlive this coroutine when the engine ends while the script runs.
    const auto last = std::make_shared<std::deque<std::string>>();
    const runtime::OneShot<Result<runtime::ProcessResult>> ended(world_.tasks);
    const auto process = world_.processes.start(
        spec,
        [last, tag, action](std::string_view line) {
            const auto shown = line.substr(0, kMaxLoggedLine);
            messages::info("{} {}: {}", tag.str(), action, shown);
            last->emplace_back(shown);
            if (last->size() > kLastLines) last->pop_front();
        },
        [ended](Result<runtime::ProcessResult> result) { ended.set(std::move(result)); });
    if (started) started(process);
    auto result = co_await ended;
    if (!result)
        co_return with_context(result.error(), fmt::format("{} of {} ({})", action, tag.str(), path));
    ScriptResult script;
    script.exit_code = result->exit_code;
    script.output = std::move(result->output);
    for (const auto& line : *last)
        script.last_lines += (script.last_lines.empty() ? "" : " | ") + line;
    co_return script;
}

}  // namespace understudy::recovery
