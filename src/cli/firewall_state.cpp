#include "cli/firewall_state.h"

#include "base/text.h"
#include "cli/client.h"
#include "config/settings.h"
#include "runtime/posix/posix_files.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

namespace understudy::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int kVersion = 1;

std::string file_of(const config::Layout& layout) {
    return layout.etc() + "/firewall.json";
}

std::optional<std::uint16_t> to_port(std::string_view word) {
    const auto port = text::to_int(word);
    if (!port || *port < 1 || *port > std::numeric_limits<std::uint16_t>::max()) return std::nullopt;
    return static_cast<std::uint16_t>(*port);
}

/// The lines of a list command, as fields; nothing when the daemon does not answer.
std::optional<std::vector<std::vector<std::string>>> listed(const config::Layout& layout,
                                                            const std::string& name) {
    const auto reply = run(layout, name, {"-f|"});
    if (!reply || reply->exit_code != 0) return std::nullopt;
    std::vector<std::vector<std::string>> lines;
    for (const auto& line : text::split(reply->out, '\n'))
        if (!line.empty()) lines.push_back(text::split(line, '|'));
    return lines;
}

void take_paths(const std::vector<std::vector<std::string>>& lines, FirewallState& state) {
    constexpr std::string_view kTcp = "TCP:";
    constexpr std::size_t kRemoteFromEnd = 2;
    state.peers.clear();
    state.needs.path_ports.clear();
    for (const auto& fields : lines) {
        if (fields.size() < 4 || !fields[1].starts_with(kTcp)) continue;
        if (const auto port = to_port(std::string_view(fields[1]).substr(kTcp.size())))
            state.needs.path_ports.insert(*port);
        state.peers.insert(fields[fields.size() - kRemoteFromEnd]);
    }
}

/// A load balancer's probe: a resource of that kit, or the generic application that has its name.
void take_resources(const std::vector<std::vector<std::string>>& lines, FirewallState& state) {
    state.needs.probe_ports.clear();
    state.needs.file_shares = false;
    for (const auto& fields : lines) {
        if (fields.size() < 6) continue;
        const auto& type = fields[2];
        if (text::iequals(type, "lanman") || text::iequals(type, "volshare")) state.needs.file_shares = true;
        if (!config::answers_load_balancers(type, fields[3])) continue;
        const auto words = text::words(fields[5]);
        const auto port = words.empty() ? std::nullopt : to_port(words[0]);
        if (port) state.needs.probe_ports.insert(*port);
    }
}

}  // namespace

std::string encode(const FirewallState& state) {
    return Json{{"version", kVersion},
                {"backend", state.backend},
                {"extra_peers", state.extra_peers},
                {"anywhere", state.anywhere},
                {"peers", state.peers},
                {"path_ports", state.needs.path_ports},
                {"probe_ports", state.needs.probe_ports},
                {"file_shares", state.needs.file_shares},
                {"ufw_rules", state.ufw_rules}}
               .dump(2) +
           "\n";
}

Result<FirewallState> decode_firewall_state(std::string_view text) {
    const auto json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return fail(Code::internal, "it is not JSON");
    FirewallState state;
    try {
        if (json.value("version", 0) > kVersion)
            return fail(Code::internal, "it is of a newer version of this program");
        state.backend = json.value("backend", "");
        state.extra_peers = json.value("extra_peers", state.extra_peers);
        state.anywhere = json.value("anywhere", false);
        state.peers = json.value("peers", state.peers);
        state.needs.path_ports = json.value("path_ports", state.needs.path_ports);
        state.needs.probe_ports = json.value("probe_ports", state.needs.probe_ports);
        state.needs.file_shares = json.value("file_shares", false);
        state.ufw_rules = json.value("ufw_rules", state.ufw_rules);
    } catch (const Json::exception& error) {
        return fail(Code::internal, "{}", error.what());
    }
    return state;
}

Result<FirewallState> load_firewall_state(const config::Layout& layout) {
    std::ifstream file(file_of(layout), std::ios::binary);
    if (!file) return FirewallState();
    const std::string content(std::istreambuf_iterator<char>(file), {});
    auto state = decode_firewall_state(content);
    if (!state)
        return fail(
            state.error().code,
            "{} cannot be used: {}; with it removed, apply and remove work again, but do not know what "
            "was applied before",
            file_of(layout), state.error().text);
    return state;
}

Result<> save_firewall_state(const config::Layout& layout, const FirewallState& state) {
    return replace_file(file_of(layout), encode(state));
}

Result<> forget_firewall_state(const config::Layout& layout) {
    std::error_code error;
    fs::remove(file_of(layout), error);
    if (error) return fail(Code::failure, "cannot remove {}: {}", file_of(layout), error.message());
    return {};
}

void ask_daemons(const config::Layout& layout, FirewallState& state) {
    const auto paths = listed(layout, "net_list");
    if (!paths) return;
    take_paths(*paths, state);
    if (const auto resources = listed(layout, "ins_list")) take_resources(*resources, state);
    const auto mirrors = run(layout, "understudy mirror status", {"--json"});
    if (!mirrors || mirrors->exit_code != 0) return;
    const auto json = Json::parse(mirrors->out, nullptr, false);
    if (!json.is_object()) return;
    for (const auto& mirror : json.value("mirrors", Json::array()))
        for (const auto& peer : mirror.value("peers", Json::array()))
            if (const auto address = peer.value("address", ""); !address.empty()) state.peers.insert(address);
}

std::map<std::string, std::string> settings_of(const config::Layout& layout) {
    std::ifstream file(layout.settings(), std::ios::binary);
    std::vector<std::string> problems;  // the daemons tell them
    return config::Settings::parse_leniently(
               std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()), problems)
        .all();
}

Result<> replace_file(const std::string& path, const std::string& content) {
    runtime::PosixFiles files;
    UNDERSTUDY_CHECK(files.make_directories(fs::path(path).parent_path(), 0755));
    return files.write_atomic(path, content, 0644);
}

}  // namespace understudy::cli
