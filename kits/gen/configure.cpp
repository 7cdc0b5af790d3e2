#include "kits/gen/configure.h"

#include "base/text.h"
#include "kits/gen/scripts.h"
#include "kits/sdk/cluster.h"

#include <fmt/chrono.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace understudy::kits {
namespace {

using std::chrono::seconds;

// For the optional scripts; restore and remove themselves have no limit (Spec: CLU-142).
constexpr seconds kOptionalScriptLimit{300};
constexpr auto kDefaultQuick = "180";
constexpr auto kDefaultDeep = "300";

Result<> run_optional(const Instance& instance, const std::string& role, const std::string& path) {
    if (access(path.c_str(), X_OK) != 0) return {};
    Program program;
    program.words = {path, "-t", instance.tag.str(), "-i", instance.id.str()};
    program.limit = kOptionalScriptLimit;
    program.environment = script_environment(instance, role);
    UNDERSTUDY_TRY(const auto outcome, run_program(program));
    if (const auto said = text::trim(outcome.output); !said.empty()) say(std::string(said));
    if (outcome.timed_out)
        return fail(Code::failure, "the {} script did not end within {} s", role,
                    kOptionalScriptLimit.count());
    if (outcome.exit_code != 0)
        return fail(Code::failure, "the {} script ended with {}: {}", role, outcome.exit_code,
                    text::trim(outcome.output));
    return {};
}

struct Chosen {
    std::map<std::string, std::string> paths;  // by role
    std::string info;
};

/// Spec: KIT-173, KIT-165, CLU-156. The scripts are
/// the arguments, or else the information of the instance that the hierarchy commands have defined.
Result<Chosen> chosen_scripts(const Instance& instance) {
    Chosen chosen;
    Words words;
    if (instance.exists && instance.arguments.empty()) {
        const auto text = split_create_text(instance.info_text);
        UNDERSTUDY_TRY(words, parse_info(text.words));
        chosen.info = text.info;
    } else {
        UNDERSTUDY_TRY(words, words_of_arguments(instance));
        chosen.info = instance.info_text;
    }
    std::string directory;
    for (const auto& [key, value] : words) {
        if (key == "info")
            chosen.info = value;
        else if (key == "scripts")
            directory = value;
        else if (const auto role = role_of(key); !role.empty())
            chosen.paths[role] = value;
        else
            return fail(Code::bad_argument,
                        "\"{}=\" is not one of restore=, remove=, quickchk=, deepchk=, recover=, create=, "
                        "extend=, delete=, scripts=, info=",
                        key);
    }
    std::erase_if(chosen.paths, [](const auto& each) { return each.second.empty(); });
    if (!directory.empty()) {
        UNDERSTUDY_CHECK(check_script_path(directory));
        for (const auto& role : script_roles())
            if (const auto path = beside(directory + "/restore", role); !path.empty())
                chosen.paths.emplace(role, path);
    }
    for (const auto* role : {"restore", "remove"})
        if (!chosen.paths.contains(role))
            return fail(Code::bad_argument, "{}: a Generic Application needs a {} script", role, role);
    for (const auto* role : {"create", "extend", "delete"})
        if (const auto path = beside(chosen.paths["restore"], role); !path.empty())
            chosen.paths.emplace(role, path);
    return chosen;
}

/// Every copy of the node that the hierarchy is extended from.
Result<Scripts> fetch_scripts(const Instance& instance, const Template& from) {
    const auto& node = from.node;
    const auto directory = "\"$UNDERSTUDY_ROOT\"" + shell_quoted(copies_below_root(from.tag));
    UNDERSTUDY_TRY(const auto listed,
                   on_node(instance.layout, node, fmt::format("cd {} && stat -c '%n %s' *", directory)));
    Scripts scripts;
    for (const auto& line : text::split(text::trim(listed), '\n')) {
        const auto words = text::words(line);
        if (words.size() != 2 || role_of(words[0]) != words[0]) continue;
        UNDERSTUDY_TRY(auto content,
                       on_node(instance.layout, node, fmt::format("cat {}/{}", directory, words[0])));
        if (std::to_string(content.size()) != words[1])
            return fail(Code::failure, "{} of {} changed on {} while it was copied; try again", words[0],
                        instance.tag.str(), node.str());
        scripts[words[0]] = std::move(content);
    }
    for (const auto* role : {"restore", "remove"})
        if (!scripts.contains(role))
            return fail(Code::failure, "{} has no {} script of {}", node.str(), role, instance.tag.str());
    return scripts;
}

Result<> check_interpreters(const Scripts& scripts) {
    for (const auto& [role, content] : scripts) {
        UNDERSTUDY_TRY(const auto interpreter, interpreter_of(content));
        if (!has_interpreter(interpreter))
            return fail(Code::failure, "the {} script needs {}, which is not on this host", role,
                        interpreter);
    }
    return {};
}

std::string statistics(const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return "none";
    return fmt::format("{} bytes, changed {:%Y-%m-%d %H:%M:%S}", status.st_size,
                       fmt::localtime(status.st_mtime));
}

/// A check or a recovery that had no script until now begins with its default.
Result<> enable_role(const Instance& instance, const NodeName& node, const Tag& tag,
                     const std::string& role) {
    const std::vector<std::string> to{"-d", node.str(), "-t", tag.str()};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), to.begin(), to.end());
        return more;
    };
    Result<std::string> done = std::string();
    if (role == "quickchk")
        done = command(instance.layout, "ins_setchkint", with({"-c", "q", "-v", kDefaultQuick}));
    if (role == "deepchk")
        done = command(instance.layout, "ins_setchkint", with({"-c", "d", "-v", kDefaultDeep}));
    if (role == "recover") done = command(instance.layout, "ins_setlocalrecover", with({"-l", "Y"}));
    if (!done) return fail(done.error());
    return {};
}

/// Stores the copies, runs the optional script `role`, defines the instance; what fails leaves no copy.
/// Spec: KIT-214.
Result<> take_scripts(const Instance& self, const Scripts& scripts, const std::string& role) {
    const auto all = [&]() -> Result<> {
        for (const auto& [each, content] : scripts)
            UNDERSTUDY_CHECK(store_script(self, each, content));
        UNDERSTUDY_CHECK(run_optional(self, role, copies_of(self) + "/" + role));
        return define_instance(self, {.app = "gen",
                                      .type = "app",
                                      .id = self.id.str(),
                                      .info = self.info_text,
                                      .quick_check = scripts.contains("quickchk"),
                                      .deep_check = scripts.contains("deepchk"),
                                      .local_recovery = scripts.contains("recover")});
    };
    const auto done = all();
    if (done) return {};
    if (const auto removed = remove_copies(self); !removed) say(removed.error().text);
    return done;
}

std::string interpreter_test(const std::string& interpreter) {
    return interpreter.empty() ? "true" : "command -v " + shell_quoted(interpreter) + " >/dev/null";
}

}  // namespace

std::map<std::string, std::string> script_environment(const Instance& instance, const std::string& role) {
    return {{"LK_TAG", instance.tag.str()},
            {"LK_ID", instance.id.str()},
            {"LK_INFO", instance.info_text},
            {"LK_ACTION", role}};
}

Result<> create_generic(const Instance& instance) {
    UNDERSTUDY_TRY(const auto chosen, chosen_scripts(instance));
    Scripts scripts;
    for (const auto& [role, path] : chosen.paths) {
        auto content = read_script(path);
        if (!content) return with_context(content.error(), role);
        scripts[role] = std::move(*content);
    }
    auto self = instance;
    if (!self.exists) self.id = ResourceId(instance.tag.str());
    self.info_text = chosen.info;
    UNDERSTUDY_CHECK(take_scripts(self, scripts, "create"));
    say(fmt::format("{} keeps its own copies of the scripts in {}", instance.tag.str(), copies_of(self)));
    return {};
}

Result<> can_extend_generic(const Instance& instance) {
    UNDERSTUDY_TRY(const auto from, template_of(instance));
    UNDERSTUDY_TRY(const auto scripts, fetch_scripts(instance, from));
    return check_interpreters(scripts);
}

Result<> extend_generic(const Instance& instance) {
    UNDERSTUDY_TRY(const auto from, template_of(instance));
    UNDERSTUDY_TRY(const auto scripts, fetch_scripts(instance, from));
    UNDERSTUDY_CHECK(check_interpreters(scripts));
    auto self = instance;
    if (!self.exists) {
        self.id = from.id;
        self.info_text = from.info;
    }
    return take_scripts(self, scripts, "extend");
}

Result<> update_generic(const Instance& instance) {
    UNDERSTUDY_TRY(auto fields, words_of_arguments(instance));
    UNDERSTUDY_CHECK(check_words(fields, {"action", "script", "systems"}));
    const auto role = role_of(fields["action"]);
    if (role.empty())
        return fail(Code::bad_argument, "action: \"{}\" is not one of {}", fields["action"],
                    text::join(script_roles(), ", "));
    const auto systems = fields["systems"].empty() ? "all" : fields["systems"];
    if (systems != "all" && systems != "here")
        return fail(Code::bad_argument, "systems: \"{}\" is neither all nor here", systems);
    UNDERSTUDY_TRY(const auto content, read_script(fields["script"]));
    UNDERSTUDY_TRY(const auto interpreter, interpreter_of(content));
    const auto copy = copies_of(instance) + "/" + role;
    const bool is_new = access(copy.c_str(), F_OK) != 0;
    say(fmt::format("old: {}", statistics(copy)));
    say(fmt::format("new: {}", statistics(fields["script"])));
    std::vector<Peer> peers;
    if (systems == "all") {
        UNDERSTUDY_TRY(peers, peers_of(instance));
    }
    const auto directory = [](const Peer& peer) {
        return "\"$UNDERSTUDY_ROOT\"" + shell_quoted(copies_below_root(peer.tag));
    };
    // First everywhere beside the old one, then in its place: who cannot take it is found out before.
    std::map<NodeName, std::string> roots;  // of the peers' files
    for (const auto& peer : peers) {
        auto able = on_node(instance.layout, peer.node,
                            fmt::format("mkdir -p {} && {} && printf %s \"$UNDERSTUDY_ROOT\"",
                                        directory(peer), interpreter_test(interpreter)));
        if (!able)
            return fail(able.error().code,
                        "{} cannot take the script (it needs {}); nothing was changed. systems=here changes "
                        "this node only: {}",
                        peer.node.str(), interpreter.empty() ? "nothing but room" : interpreter,
                        able.error().text);
        roots[peer.node] = std::move(*able);
    }
    const auto staged = copy + ".staged";
    UNDERSTUDY_CHECK(store_script(instance, role + ".staged", content));
    for (const auto& peer : peers)
        UNDERSTUDY_CHECK(
            copy_to_node(staged, peer.node,
                         fmt::format("{}{}/{}.staged", roots[peer.node], copies_below_root(peer.tag), role)));
    for (const auto& peer : peers) {
        const auto placed = on_node(instance.layout, peer.node,
                                    fmt::format("cd {} && chmod 700 {}.staged && mv -f {}.staged {} && sync",
                                                directory(peer), role, role, role));
        if (!placed)
            return with_context(placed.error(), "the script is not the same on all nodes; update again");
        if (is_new) UNDERSTUDY_CHECK(enable_role(instance, peer.node, peer.tag, role));
    }
    if (rename(staged.c_str(), copy.c_str()) != 0)
        return fail(Code::failure, "{} cannot be put in place; update again", copy);
    if (is_new) UNDERSTUDY_CHECK(enable_role(instance, NodeName(instance.node), instance.tag, role));
    say(fmt::format("{} of {} was updated on {}{}", role, instance.tag.str(), instance.node,
                    peers.empty() ? std::string() : fmt::format(" and {} more", peers.size())));
    return {};
}

Result<> delete_generic(const Instance& instance) {
    UNDERSTUDY_CHECK(run_optional(instance, "delete", copies_of(instance) + "/delete"));
    return remove_copies(instance);
}

}  // namespace understudy::kits
