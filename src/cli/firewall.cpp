#include "cli/firewall.h"

#include "base/text.h"
#include "cli/client.h"
#include "cli/firewall_rules.h"
#include "cli/firewall_state.h"
#include "config/address.h"
#include "runtime/posix/programs.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

namespace understudy::cli {
namespace {

namespace fs = std::filesystem;
using config::Reply;
using Json = nlohmann::json;

/// What a host's rules may have, printed.
constexpr std::size_t kMaxToolOutput = 16UL << 20;

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

bool has_tool(const std::string& name) {
    return !runtime::find_program(name).empty();
}

/// A program of the host's firewall, in English whatever the administrator's language.
Result<runtime::ProcessResult> run_tool(const std::vector<std::string>& words,
                                        const std::string& input = {}) {
    runtime::Program program;
    program.words = words;
    program.input = input;
    program.environment = {{"LC_ALL", "C.UTF-8"}};
    program.errors = runtime::StandardError::separate;
    program.max_output = kMaxToolOutput;
    UNDERSTUDY_TRY(auto result, runtime::run_program(program));
    if (result.timed_out)
        return fail(Code::failure, "{} did not end within {} ms", words[0], program.limit.count());
    if (result.truncated)
        return fail(Code::failure, "{} printed more than {} MiB", words[0], kMaxToolOutput >> 20);
    return result;
}

Result<runtime::ProcessResult> must(const std::vector<std::string>& words, const std::string& input = {}) {
    UNDERSTUDY_TRY(auto outcome, run_tool(words, input));
    if (outcome.exit_code != 0)
        return fail(Code::failure, "{} ended with {}: {}", text::join(words, " "), outcome.exit_code,
                    text::trim(outcome.errors.empty() ? outcome.output : outcome.errors));
    return outcome;
}

/// One firewall of the host.
class Backend {
  public:
    virtual ~Backend() = default;
    /// Whether it can keep rules here at all; asked before anything is changed.
    virtual Result<> usable() { return {}; }
    /// What was done, in one line.
    virtual Result<std::string> apply(const FirewallPlan& plan, FirewallState& state) = 0;
    virtual Result<std::string> remove(const FirewallPlan& plan, const FirewallState& state) = 0;
    virtual Result<std::vector<std::string>> problems(const FirewallPlan& plan, bool blocked_only) = 0;
    /// What apply would write, for hand installation.
    virtual std::string print(const FirewallPlan& plan) = 0;
};

class Nft : public Backend {
  public:
    Result<> usable() override {
        UNDERSTUDY_TRY(const auto now, rules());
        if (!now.has_firewalld()) return {};
        return fail(Code::failure,
                    "firewalld keeps the rules of this host; use --backend firewalld, or stop it first");
    }
    Result<std::string> apply(const FirewallPlan& plan, FirewallState& /*state*/) override {
        UNDERSTUDY_TRY(const auto now, rules());
        if (settled(plan, now)) return std::string("the rules are there already; nothing was changed");
        UNDERSTUDY_CHECK(must({"nft", "-f", "-"}, nft_script(plan, now)));
        UNDERSTUDY_TRY(const auto after, rules());
        if (const auto wrong = nft_problems(plan, after, false); !wrong.empty())
            return fail(Code::failure, "the rules are in place, but {}", text::join(wrong, "; "));
        const auto others = after.dropping_chains().size();
        return fmt::format(
            "table inet {} is in place; chains of others that drop packets and let ours through: {}",
            kOurTable, others);
    }
    Result<std::string> remove(const FirewallPlan& /*plan*/, const FirewallState& /*state*/) override {
        UNDERSTUDY_TRY(const auto now, rules());
        const auto script = nft_removal(now);
        if (script.empty()) return std::string("there is nothing of ours; nothing was changed");
        UNDERSTUDY_CHECK(must({"nft", "-f", "-"}, script));
        return fmt::format("table inet {} and its rules are removed", kOurTable);
    }
    Result<std::vector<std::string>> problems(const FirewallPlan& plan, bool blocked_only) override {
        UNDERSTUDY_TRY(const auto now, rules());
        return nft_problems(plan, now, blocked_only);
    }
    std::string print(const FirewallPlan& plan) override {
        return nft_table(plan) + fmt::format(
                                     "# and first in every chain that drops incoming packets:\n"
                                     "# meta mark and {:#x} == {:#x} accept comment \"{}\"\n",
                                     kAdmittedMark, kAdmittedMark, kOurComment);
    }

  private:
    static Result<NftRuleset> rules() {
        UNDERSTUDY_TRY(const auto outcome, must({"nft", "-j", "list", "ruleset"}));
        return NftRuleset::parse(outcome.output);
    }
    static bool settled(const FirewallPlan& plan, const NftRuleset& now) {
        const auto chains = now.dropping_chains();
        return now.our_version() == nft_version(plan) && nft_problems(plan, now, false).empty() &&
               std::all_of(chains.begin(), chains.end(), [](const DroppingChain& chain) {
                   return chain.ours.size() == 1 && chain.ours_first;
               });
    }
};

/// Files below the host's root; firewalld is told of them only on the host itself.
class Firewalld : public Backend {
  public:
    explicit Firewalld(std::string root) : root_(std::move(root)) {}

    Result<std::string> apply(const FirewallPlan& plan, FirewallState& /*state*/) override {
        return write(firewalld_files(plan), "the files are there already; nothing was changed");
    }
    Result<std::string> remove(const FirewallPlan& plan, const FirewallState& /*state*/) override {
        auto files = firewalld_files(plan);
        for (auto& file : files)
            file.content.clear();
        return write(files, "there is nothing of ours; nothing was changed");
    }
    Result<std::vector<std::string>> problems(const FirewallPlan& plan, bool blocked_only) override {
        std::vector<std::string> found;
        for (const auto& file : firewalld_files(plan))
            if (read_file(root_ + file.path) != file.content)
                found.push_back(fmt::format("{} is {}", file.path,
                                            file.content.empty() ? "not needed any more" : "missing or old"));
        if (!running()) return blocked_only ? std::vector<std::string>() : found;
        UNDERSTUDY_TRY(const auto loaded, run_tool({"firewall-cmd", "--info-policy=understudy"}));
        if (loaded.exit_code != 0 && found.empty())
            found.emplace_back("firewalld has not loaded its policy understudy: firewall-cmd --reload");
        return found;
    }
    std::string print(const FirewallPlan& plan) override {
        std::string out;
        for (const auto& file : firewalld_files(plan))
            if (!file.content.empty()) out += fmt::format("# {}\n{}\n", file.path, file.content);
        return out + "# then: firewall-cmd --reload\n";
    }

  private:
    [[nodiscard]] bool running() const {
        if (!root_.empty() || !has_tool("firewall-cmd")) return false;
        const auto state = run_tool({"firewall-cmd", "--state"});
        return state && state->exit_code == 0;
    }
    Result<std::string> write(const std::vector<GeneratedFile>& files, const char* nothing) {
        std::size_t changed = 0;
        for (const auto& file : files) {
            const auto path = root_ + file.path;
            std::error_code error;
            if (file.content.empty()) {
                changed += fs::remove(path, error) ? 1 : 0;
                if (error) return fail(Code::failure, "cannot remove {}: {}", path, error.message());
            } else if (read_file(path) != file.content) {
                UNDERSTUDY_CHECK(replace_file(path, file.content));
                ++changed;
            }
        }
        if (changed == 0) return std::string(nothing);
        if (!running())
            return fmt::format(
                "{} files of firewalld changed; it does not run, and reads them when it starts", changed);
        UNDERSTUDY_CHECK(must({"firewall-cmd", "--reload"}));
        return fmt::format("{} files of firewalld changed, and it has read them", changed);
    }
    std::string root_;
};

class Ufw : public Backend {
  public:
    explicit Ufw(std::string root) : root_(std::move(root)) {}

    Result<std::string> apply(const FirewallPlan& plan, FirewallState& state) override {
        const auto path = root_ + std::string(kUfwProfiles);
        const auto profiles = ufw_profiles(plan);
        const bool changed = read_file(path) != profiles;
        if (changed) UNDERSTUDY_CHECK(replace_file(path, profiles));
        const auto wanted = ufw_rules(plan);
        if (!root_.empty()) return std::string("the profiles are written");
        if (changed)
            for (const auto& name : text::split(profiles, '\n'))
                if (name.starts_with('['))
                    (void)run_tool({"ufw", "app", "update", name.substr(1, name.size() - 2)});
        std::size_t rules = 0;
        for (const auto& rule : state.ufw_rules)
            if (std::find(wanted.begin(), wanted.end(), rule) == wanted.end()) {
                UNDERSTUDY_CHECK(ufw({"delete"}, rule));
                ++rules;
            }
        state.ufw_rules = wanted;
        UNDERSTUDY_TRY(const auto shown, must({"ufw", "show", "added"}));
        if (ufw_problems(plan, shown.output).empty() && !changed && rules == 0)
            return std::string("the rules are there already; nothing was changed");
        for (const auto& rule : wanted)
            UNDERSTUDY_CHECK(ufw({"prepend"}, rule));
        return fmt::format("{} rules of ufw are in place", wanted.size());
    }
    Result<std::string> remove(const FirewallPlan& plan, const FirewallState& state) override {
        std::error_code error;
        if (root_.empty()) {
            auto rules = state.ufw_rules;
            for (const auto& rule : ufw_rules(plan))
                if (std::find(rules.begin(), rules.end(), rule) == rules.end()) rules.push_back(rule);
            for (const auto& rule : rules)
                (void)ufw({"delete"}, rule);  // ufw says so when there is none
        }
        const bool was = fs::remove(root_ + std::string(kUfwProfiles), error);
        if (error) return fail(Code::failure, "cannot remove {}: {}", kUfwProfiles, error.message());
        return std::string(was ? "the rules and profiles of ufw are removed"
                               : "there is nothing of ours; nothing was changed");
    }
    Result<std::vector<std::string>> problems(const FirewallPlan& plan, bool blocked_only) override {
        std::vector<std::string> found;
        if (read_file(root_ + std::string(kUfwProfiles)) != ufw_profiles(plan))
            found.push_back(fmt::format("{} is missing or old", kUfwProfiles));
        if (!root_.empty()) return found;
        UNDERSTUDY_TRY(const auto shown, must({"ufw", "show", "added"}));
        const auto wrong = ufw_problems(plan, shown.output);
        found.insert(found.end(), wrong.begin(), wrong.end());
        UNDERSTUDY_TRY(const auto status, must({"ufw", "status"}));
        const bool active = status.output.find("Status: active") != std::string::npos;
        return blocked_only && !active ? std::vector<std::string>() : found;
    }
    std::string print(const FirewallPlan& plan) override {
        auto out = fmt::format("# {}\n{}", kUfwProfiles, ufw_profiles(plan));
        for (const auto& rule : ufw_rules(plan))
            out += fmt::format("ufw prepend {}\n", rule);
        return out;
    }

  private:
    static Result<runtime::ProcessResult> ufw(std::vector<std::string> words, const std::string& rule) {
        words.insert(words.begin(), "ufw");
        for (auto& word : text::words(rule))
            words.push_back(std::move(word));
        return must(words);
    }
    std::string root_;
};

/// For a firewall that is somewhere else.
class Plain : public Backend {
  public:
    Result<std::string> apply(const FirewallPlan& plan, FirewallState& /*state*/) override {
        return "nothing on this host was changed; to be opened by hand:\n" + plain_rules(plan);
    }
    Result<std::string> remove(const FirewallPlan& plan, const FirewallState& /*state*/) override {
        return "nothing on this host was changed; to be closed by hand:\n" + plain_rules(plan);
    }
    Result<std::vector<std::string>> problems(const FirewallPlan& /*plan*/, bool /*blocked*/) override {
        return std::vector<std::string>();
    }
    std::string print(const FirewallPlan& plan) override { return plain_rules(plan); }
};

/// The one that keeps this host's rules now.
std::string found_backend(const config::Layout& layout) {
    if (layout.root.empty() && has_tool("firewall-cmd"))
        if (const auto state = run_tool({"firewall-cmd", "--state"}); state && state->exit_code == 0)
            return "firewalld";
    for (const auto& line : text::split(read_file(layout.root + "/etc/ufw/ufw.conf"), '\n'))
        if (text::iequals(text::trim(line), "ENABLED=yes")) return "ufw";
    return has_tool("nft") ? "nft" : "print";
}

Result<std::unique_ptr<Backend>> backend_of(const std::string& name, const config::Layout& layout) {
    if (name == "nft") return std::make_unique<Nft>();
    if (name == "firewalld") return std::make_unique<Firewalld>(layout.root);
    if (name == "ufw") return std::make_unique<Ufw>(layout.root);
    if (name == "print") return std::make_unique<Plain>();
    return fail(Code::bad_argument, "--backend takes firewalld, nft, ufw or print, not \"{}\"", name);
}

/// --peers: addresses separated by commas, beside those of the configuration.
Result<> take_peers(const std::string& list, FirewallState& state) {
    state.extra_peers.clear();
    state.anywhere = list == "any";
    if (state.anywhere || list == "cluster") return {};
    for (const auto& word : text::split(list, ',')) {
        const auto address = std::string(text::trim(word));
        if (!config::parse_address(address))
            return fail(
                Code::bad_argument,
                "--peers takes numeric addresses separated by commas, \"any\" or \"cluster\" (only those "
                "of the configuration), not \"{}\"",
                list);
        state.extra_peers.insert(address);
    }
    return {};
}

FirewallPlan plan_of(const FirewallState& state, std::map<std::string, std::string> settings) {
    config::PortNeeds needs = state.needs;
    needs.settings = std::move(settings);
    FirewallPlan plan{config::openings(needs), {}};
    if (state.anywhere) return plan;
    auto peers = state.peers;
    peers.insert(state.extra_peers.begin(), state.extra_peers.end());
    plan.peers.assign(peers.begin(), peers.end());
    return plan;
}

/// Sockets on which our programs listen and that nobody lets in.
std::vector<std::string> unknown_listeners(const FirewallPlan& plan) {
    const auto sockets = run_tool({"ss", "-Hltnp"});
    return sockets && sockets->exit_code == 0 ? strange_listeners(plan, sockets->output)
                                              : std::vector<std::string>();
}

std::string as_json(const FirewallPlan& plan, const std::string& backend, const std::string& applied) {
    Json list = Json::array();
    for (const auto& opening : plan.openings)
        list.push_back({{"name", opening.name},
                        {"protocol", protocol_word(opening.transport)},
                        {"first", opening.first},
                        {"last", opening.last},
                        {"from", opening.from == config::From::peers ? "peers" : "anywhere"},
                        {"service", config::to_string(opening.group)},
                        {"listener", opening.listener},
                        {"use", opening.use}});
    return Json{{"backend", backend}, {"applied", applied}, {"peers", plan.peers}, {"ports", list}}.dump(2) +
           "\n";
}

std::string as_text(const FirewallPlan& plan, const std::string& backend, const std::string& applied) {
    auto out = fmt::format("Firewall: {}; rules of ours: {}\n", backend,
                           applied.empty() ? "not applied" : fmt::format("applied with {}", applied));
    out += fmt::format("Peers: {}\n\n", plan.peers.empty() ? "anywhere" : text::join(plan.peers, ", "));
    out += fmt::format("{:<9} {:<12} {:<9} {:<12} {:<28} {}\n", "protocol", "port", "from", "listener",
                       "rule", "for");
    for (const auto& opening : plan.openings)
        out += fmt::format("{:<9} {:<12} {:<9} {:<12} {:<28} {}\n", protocol_word(opening.transport),
                           opening.transport == config::Transport::icmp ? "echo" : port_text(opening),
                           opening.from == config::From::peers ? "peers" : "anywhere",
                           opening.listener.empty() ? "-" : opening.listener, opening.name, opening.use);
    return out;
}

}  // namespace

Result<Reply> run_firewall(const config::Layout& layout, const config::Command& command) {
    const auto& action = command.arguments.at(0);
    constexpr std::array kActions{"show", "apply", "remove", "check", "print"};
    if (std::find(kActions.begin(), kActions.end(), action) == kActions.end())
        return fail(Code::syntax, "understudy firewall takes {}, not \"{}\"",
                    "show, apply, remove, check or print", action);
    UNDERSTUDY_TRY(auto state, load_firewall_state(layout));
    const auto applied = state.backend;
    const auto name = command.get("backend", applied.empty() ? found_backend(layout) : applied);
    UNDERSTUDY_TRY(const auto backend, backend_of(name, layout));
    if (command.has("peers")) UNDERSTUDY_CHECK(take_peers(command.get("peers"), state));
    ask_daemons(layout, state);
    const auto plan = plan_of(state, settings_of(layout));

    Reply reply;
    if (action == "show") {
        reply.out = command.has("json") ? as_json(plan, name, applied) : as_text(plan, name, applied);
    } else if (action == "print") {
        reply.out = backend->print(plan);
    } else if (action == "check") {
        UNDERSTUDY_TRY(auto problems, backend->problems(plan, command.has("blocked")));
        if (!command.has("blocked"))
            for (auto& text : unknown_listeners(plan))
                problems.push_back(std::move(text));
        for (const auto& problem : problems)
            reply.out += problem + "\n";
        if (problems.empty()) reply.out = "every port is open\n";
        reply.exit_code = problems.empty() ? 0 : 1;
    } else if (action == "apply") {
        UNDERSTUDY_CHECK(backend->usable());
        if (!applied.empty() && applied != name) {
            UNDERSTUDY_TRY(const auto former, backend_of(applied, layout));
            UNDERSTUDY_CHECK(former->remove(plan, state));
            state.ufw_rules.clear();
        }
        state.backend = name;
        // First, so that what is half done is known to the next remove.
        UNDERSTUDY_CHECK(save_firewall_state(layout, state));
        UNDERSTUDY_TRY(const auto done, backend->apply(plan, state));
        UNDERSTUDY_CHECK(save_firewall_state(layout, state));
        reply.out = done + "\n";
    } else {
        UNDERSTUDY_TRY(const auto done, backend->remove(plan, state));
        UNDERSTUDY_CHECK(forget_firewall_state(layout));
        reply.out = done + "\n";
    }
    return reply;
}

}  // namespace understudy::cli
