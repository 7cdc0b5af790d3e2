#include "kits/sdk/kit.h"

#include "base/text.h"
#include "cli/client.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace understudy::kits {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxHolders = 8;  // named in one message

/// These run before the instance is there.
bool comes_before_instance(const std::string& action) {
    return action == "create" || action == "canextend" || action == "extend";
}

bool is_check(const std::string& action) {
    return action == "quickchk" || action == "deepchk";
}

Result<Instance> read_instance(int argc, char** argv, const std::string& action, KitOptions options) {
    Instance instance;
    instance.layout = cli::layout_from_environment();
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "-t" && i + 1 < argc && instance.tag.empty())
            instance.tag = Tag(argv[++i]);
        else if (word == "-i" && i + 1 < argc && instance.id.empty())
            instance.id = ResourceId(argv[++i]);
        else if (word != "--" || !instance.arguments.empty())
            instance.arguments.emplace_back(word);
    }
    if (instance.tag.empty())
        return fail(Code::syntax,
                    "usage: ACTION -t tag [-i id] [arguments]; actions are run by perform_action");
    UNDERSTUDY_TRY(const auto reply, cli::run(instance.layout, "ins_list", {"-t", instance.tag.str()}));
    if (reply.exit_code == static_cast<int>(Code::not_found) && comes_before_instance(action)) {
        instance.exists = false;
        std::ifstream file(instance.layout.etc() + "/node");
        std::getline(file, instance.node);
        return instance;
    }
    if (reply.exit_code != 0) return fail(static_cast<Code>(reply.exit_code), "{}", reply.err);
    const auto fields = text::split(text::trim(reply.out), '\x01');
    if (fields.size() < 7)
        return fail(Code::internal, "ins_list gave {} fields for {}", fields.size(), instance.tag.str());
    instance.node = fields[0];
    instance.app = AppName(fields[1]);
    instance.type = TypeName(fields[2]);
    instance.id = ResourceId(fields[4]);
    instance.info_text = fields[5];
    instance.state = fields[6];
    if (options.free_info) return instance;
    auto info = parse_info(instance.info_text);
    if (!info)
        return fail(Code::bad_argument, "info field damaged: {}; set it with ins_setin -t {} -v \"...\"",
                    info.error().text, instance.tag.str());
    instance.info = std::move(*info);
    return instance;
}

/// Whether an administrator has suspended the checks of this resource. Spec: CLU-171, APP-044.
bool in_maintenance(const Instance& instance) {
    const auto flag = cli::run(instance.layout, "flg_test", {"-f", "Maintenance_" + instance.tag.str()});
    return flag && flag->exit_code == 0;
}

Result<> run_action(const std::string& name, const Action& action, const Instance& instance) {
    if (is_check(name) && (instance.state != "ISP" || in_maintenance(instance))) return {};
    if (name == "recover" && in_maintenance(instance))
        return fail(Code::failure, "{} is under maintenance (flag Maintenance_{}); it is not recovered",
                    instance.tag.str(), instance.tag.str());
    return action(instance);
}

bool holds(const fs::path& process, const std::string& path) {
    const auto below = [&](const fs::path& link) {
        std::error_code error;
        const auto target = fs::read_symlink(link, error).string();
        return !error && (target == path || target.starts_with(path + "/"));
    };
    if (below(process / "cwd") || below(process / "root") || below(process / "exe")) return true;
    std::error_code error;
    for (fs::directory_iterator fd(process / "fd", error), end; !error && fd != end; fd.increment(error))
        if (below(fd->path())) return true;
    return false;
}

}  // namespace

Result<std::string> Instance::required(const std::string& key) const {
    const auto at = info.find(key);
    if (at == info.end() || at->second.empty())
        return fail(Code::bad_argument,
                    "the information of {} has no {}=...; set it with ins_setin -t {} -v \"{}=... ...\"",
                    tag.str(), key, tag.str(), key);
    return at->second;
}

std::string Instance::optional(const std::string& key, const std::string& otherwise) const {
    const auto at = info.find(key);
    return at == info.end() ? otherwise : at->second;
}

std::int64_t Instance::setting(const char* key, std::int64_t otherwise, std::int64_t least) const {
    const auto* value = std::getenv(key);
    const auto number = value == nullptr ? std::nullopt : text::to_int(value);
    if (value != nullptr && !number)
        say(fmt::format("{}={} is not a number; {} is used", key, value, otherwise));
    if (!number) return otherwise;
    if (*number < least) say(fmt::format("{}={} is below the least value; {} is used", key, *number, least));
    return std::max(*number, least);
}

int run(int argc, char** argv, const std::map<std::string, Action>& actions, KitOptions options) {
    setvbuf(stdout, nullptr, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    const auto name = fs::path(argv[0]).stem().string();
    const auto action = actions.find(name);
    if (action == actions.end()) {
        std::fprintf(stderr, "this kit has no action %s\n", name.c_str());
        return static_cast<int>(Code::not_found);
    }
    const auto instance = read_instance(argc, argv, name, options);
    const auto done =
        instance ? run_action(name, action->second, *instance) : Result<>(tl::unexpected(instance.error()));
    if (done) return 0;
    const auto number =
        done.error().number == 0 ? std::string() : fmt::format("(No. {}) ", done.error().number);
    std::fprintf(stderr, "%s%s\n", number.c_str(), done.error().text.c_str());
    return 1;
}

Result<std::map<std::string, std::string>> parse_info(std::string_view info) {
    std::map<std::string, std::string> result;
    std::size_t at = 0;
    while (true) {
        while (at < info.size() && info[at] == ' ')
            ++at;
        if (at == info.size()) return result;
        const auto equals = info.find('=', at);
        if (equals == std::string_view::npos || equals == at ||
            info.substr(at, equals - at).find(' ') != std::string_view::npos)
            return fail(Code::bad_argument, "\"{}\" is not a list of key=value words", info);
        const std::string key(info.substr(at, equals - at));
        at = equals + 1;
        if (at < info.size() && info[at] == '"') {
            const auto close = info.find('"', at + 1);
            if (close == std::string_view::npos)
                return fail(Code::bad_argument, "\"{}\" has an open quote", info);
            result[key] = info.substr(at + 1, close - at - 1);
            at = close + 1;
        } else {
            const auto end = std::min(info.find(' ', at), info.size());
            result[key] = info.substr(at, end - at);
            at = end;
        }
    }
}

void say(const std::string& line) {
    std::printf("%s\n", line.c_str());
}

Result<> must_run(const Program& program) {
    UNDERSTUDY_TRY(const auto outcome, run_program(program));
    if (outcome.timed_out)
        return fail(Code::failure, "{} did not end within {} ms", program.words[0], program.limit.count());
    if (outcome.exit_code != 0)
        return fail(Code::failure, "{} ended with {}: {}", text::join(program.words, " "), outcome.exit_code,
                    text::trim(outcome.output));
    return {};
}

bool wait_until(std::chrono::milliseconds limit, const std::function<bool()>& condition,
                std::chrono::milliseconds pause) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(pause);
    }
    return true;
}

std::string file_name_of(const Tag& tag) {
    std::string name;
    for (const unsigned char c : tag.str())
        name += c == '/' || c == '%' || c < 0x20 || (c == '.' && name.empty())
                    ? fmt::format("%{:02X}", c)
                    : std::string(1, static_cast<char>(c));
    return name;
}

std::string holders_of(const std::string& path) {
    std::vector<std::string> found;
    std::error_code error;
    for (fs::directory_iterator process("/proc", error), end; !error && process != end;
         process.increment(error)) {
        const auto pid = process->path().filename().string();
        if (!text::to_int(pid) || pid == std::to_string(getpid()) || !holds(process->path(), path)) continue;
        std::string name;
        std::getline(std::ifstream(process->path() / "comm"), name);
        found.push_back(fmt::format("{}({})", name, pid));
        if (found.size() == kMaxHolders) {
            found.emplace_back("...");
            break;
        }
    }
    return text::join(found, ", ");
}

}  // namespace understudy::kits
