#include "kits/postgres/configure.h"

#include "base/text.h"
#include "kits/postgres/server.h"
#include "kits/sdk/cluster.h"
#include "messages/kits.h"

#include <arpa/inet.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

namespace understudy::kits {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

const std::vector<std::string> kFields{"data", "port", "bin", "user", "admin"};

std::string content_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

struct Volume {
    std::string tag;
    std::string mount;
    bool in_service = false;
};

Result<std::vector<Volume>> volumes_of_host(const Instance& instance) {
    UNDERSTUDY_TRY(const auto out, command(instance.layout, "ins_list", {"-a", "filesys", "-r", "volume"}));
    std::vector<Volume> volumes;
    for (const auto& line : text::split(text::trim(out), '\n')) {
        const auto fields = text::split(line, '\x01');
        if (fields.size() < 7) continue;
        const auto info = parse_info(fields[5]);
        if (!info || !info->contains("mount")) continue;
        volumes.push_back({fields[3], info->at("mount"), fields[6] == "ISP"});
    }
    return volumes;
}

dev_t device_of(const std::string& path) {
    struct stat status {};
    return stat(path.c_str(), &status) == 0 ? status.st_dev : 0;
}

/// The protected volume below a directory. Spec: APP-198.
Result<std::string> volume_below(const Instance& instance, const std::string& data) {
    UNDERSTUDY_TRY(const auto volumes, volumes_of_host(instance));
    for (const auto& volume : volumes)
        if (volume.in_service && (data == volume.mount || data.starts_with(volume.mount + "/")) &&
            device_of(data) == device_of(volume.mount))
            return volume.tag;
    std::string mount = data;
    while (mount.size() > 1 && device_of(fs::path(mount).parent_path()) == device_of(data))
        mount = fs::path(mount).parent_path();
    return messages::fail(Code::failure, messages::kit_not_protected, data, mount);
}

Result<> check_port_is_free(const std::string& port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return {};
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(text::to_int(port).value_or(0)));
    const bool free = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    close(fd);
    if (free) return {};
    return fail(Code::failure, "port {} is used by another process of this host", port);
}

Result<std::string> info_of(const std::map<std::string, std::string>& fields) {
    std::string info;
    for (const auto* key : {"data", "bin", "user", "admin"}) {
        const auto at = fields.find(key);
        if (at == fields.end() || at->second.empty()) continue;
        UNDERSTUDY_TRY(const auto word, info_word(key, at->second));
        info += (info.empty() ? "" : " ") + word;
    }
    return info;
}

/// Makes the volume the resource's child unless it is one, directly or not.
Result<> needs(const Instance& instance, const std::string& volume) {
    if (instance.exists) {
        UNDERSTUDY_TRY(const auto out, command(instance.layout, "dep_list", {"-C", instance.tag.str()}));
        for (const auto& line : text::split(text::trim(out), '\n'))
            if (const auto fields = text::split(line, '\x01'); fields.size() > 1 && fields[1] == volume)
                return {};
    }
    UNDERSTUDY_TRY(const auto out,
                   command(instance.layout, "dep_create", {"-p", instance.tag.str(), "-c", volume}));
    return {};
}

/// The running server's port, which must be an argument and the same everywhere. Spec: APP-192 to APP-194,
/// APP-199.
Result<std::string> running_port(const std::string& data, const std::string& wanted) {
    if (postmaster_of(data) == 0)
        return fail(Code::failure,
                    "data: PostgreSQL in {} does not run; start it with pg_ctl start -D {} -o "
                    "\"-p PORT\"",
                    data, data);
    const auto options = content_of(data + "/postmaster.opts");
    const auto argument = port_argument(options);
    if (!argument)
        return messages::fail(Code::failure, messages::pg_no_port_argument, data,
                              std::string(text::trim(options)));
    const auto file = pid_file(data);
    if (!file || file->port != *argument || (!wanted.empty() && wanted != *argument))
        return fail(Code::failure, "port: {} in postmaster.opts, {} in postmaster.pid, {} wanted", *argument,
                    file ? file->port : "none", wanted.empty() ? "any" : wanted);
    return *argument;
}

/// "version uid gid account" of the data directory on the template's node. Spec: APP-202.
Result<std::vector<std::string>> data_there(const Instance& instance, const NodeName& node,
                                            const std::string& data) {
    const auto place = shell_quoted(data);
    UNDERSTUDY_TRY(const auto out,
                   on_node(instance.layout, node,
                           fmt::format("cat {}/PG_VERSION && stat -c '%u %g %U' {}", place, place)));
    auto words = text::words(out);
    if (words.size() != 4)
        return fail(Code::failure, "{} on {} cannot be examined; the hierarchy must be in service there",
                    data, node.str());
    return words;
}

}  // namespace

Result<> create_postgres(const Instance& instance) {
    UNDERSTUDY_TRY(auto words, create_words(instance));
    UNDERSTUDY_CHECK(check_words(words, kFields));
    auto data = words["data"];
    while (data.size() > 1 && data.ends_with('/'))
        data.pop_back();
    if (!data.starts_with('/')) return fail(Code::bad_argument, "data: give the data directory's full path");
    words["data"] = data;
    const auto version = data_version(data);
    if (version.empty()) return fail(Code::bad_argument, "data: {} holds no PG_VERSION", data);
    UNDERSTUDY_TRY(const auto port, running_port(data, words["port"]));
    Instance wanted = instance;
    wanted.id = ResourceId(port);
    wanted.info.clear();
    for (const auto* key : {"data", "bin", "user", "admin"})
        if (!words[key].empty()) wanted.info[key] = words[key];
    UNDERSTUDY_TRY(const auto server, server_of(wanted));
    UNDERSTUDY_TRY(const auto outcome, query(server, "SELECT datname FROM pg_database LIMIT 1", seconds(30)));
    if (outcome.exit_code != 0 || outcome.timed_out)
        return messages::fail(
            Code::failure, messages::pg_no_automatic_connection, server.admin, host_to_ask(*pid_file(data)),
            outcome.timed_out ? "no answer in time" : std::string(text::trim(outcome.output)));
    UNDERSTUDY_TRY(const auto volume, volume_below(instance, data));
    UNDERSTUDY_TRY(const auto info, info_of(wanted.info));
    UNDERSTUDY_CHECK(
        define_instance(instance, {.app = "database", .type = "pgsql", .id = port, .info = info}));
    const auto joined = needs(instance, volume);
    if (joined || instance.exists) return joined;  // who defined the instance takes it back
    // Nothing half-created stays. Spec: APP-012.
    if (const auto removed = command(instance.layout, "ins_remove", {"-t", instance.tag.str(), "-G"});
        !removed)
        say(removed.error().text);
    return joined;
}

Result<> can_extend_postgres(const Instance& instance) {
    UNDERSTUDY_TRY(const auto from, template_of(instance));
    UNDERSTUDY_TRY(const auto words, extension_words(instance, from));
    UNDERSTUDY_CHECK(check_words(words, kFields));
    const auto data = word(words, "data");
    if (data.empty())
        return fail(Code::bad_argument, "info field damaged: {} has no data=DIR on {}", from.tag.str(),
                    from.node.str());
    UNDERSTUDY_TRY(const auto there, data_there(instance, from.node, data));
    const auto& version = there[0];
    const auto bin = word(words, "bin", default_bin(version));
    const auto installed = run_program({{bin + "/postgres", "--version"}, "", "/", seconds(10)});
    // "postgres (PostgreSQL) 15.5 (Debian 15.5-0)": the data's version is the first number.
    const auto said =
        installed && installed->exit_code == 0 ? text::words(installed->output) : std::vector<std::string>();
    const auto found = said.size() > 2 ? text::split(said[2], '.').front() : std::string("missing");
    if (found != text::split(version, '.').front())
        return messages::fail(Code::failure, messages::kit_peer_differs, "PostgreSQL in " + bin, found,
                              version);
    const auto* account = getpwnam(there[3].c_str());
    const auto numbers =
        account == nullptr ? std::string("missing") : fmt::format("{}:{}", account->pw_uid, account->pw_gid);
    if (numbers != there[1] + ":" + there[2])
        return messages::fail(Code::failure, messages::kit_peer_differs, "account " + there[3], numbers,
                              there[1] + ":" + there[2]);
    return check_port_is_free(from.id.str());
}

Result<> extend_postgres(const Instance& instance) {
    UNDERSTUDY_TRY(const auto from, template_of(instance));
    UNDERSTUDY_TRY(const auto words, extension_words(instance, from));
    UNDERSTUDY_TRY(const auto info, info_of(words));
    return define_instance(instance, {.app = "database", .type = "pgsql", .id = from.id.str(), .info = info});
}

void warn_about_places(const Instance& instance, const std::string& data) {
    std::vector<fs::path> links{data + "/pg_wal"};
    std::error_code error;
    for (fs::directory_iterator each(data + "/pg_tblspc", error), end; !error && each != end;
         each.increment(error))
        links.push_back(each->path());
    std::erase_if(links, [](const fs::path& path) {
        std::error_code none;
        return !fs::is_symlink(path, none);
    });
    if (links.empty()) return;
    std::set<dev_t> safe{device_of(data)};
    std::set<std::string> children;
    if (const auto out = command(instance.layout, "dep_list", {"-C", instance.tag.str()}); out)
        for (const auto& line : text::split(text::trim(*out), '\n'))
            if (const auto fields = text::split(line, '\x01'); fields.size() > 1) children.insert(fields[1]);
    if (const auto volumes = volumes_of_host(instance); volumes)
        for (const auto& volume : *volumes)
            if (children.contains(volume.tag)) safe.insert(device_of(volume.mount));
    for (const auto& link : links)
        if (const auto place = fs::canonical(link, error); !error && !safe.contains(device_of(place)))
            say(fmt::format("warning: {} leads to {}, which is on no volume of this hierarchy", link.string(),
                            place.string()));
}

}  // namespace understudy::kits
