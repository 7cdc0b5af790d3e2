#include "recovery/host_probe.h"

#include "base/text.h"
#include "messages/messages.h"

#include <algorithm>
#include <initializer_list>
#include <set>

namespace understudy::recovery {
namespace {

constexpr runtime::Duration kLimit = std::chrono::seconds(2);

using Words = std::vector<std::string>;
using Paths = std::initializer_list<const char*>;

/// nullopt: there is no such program here, or it was killed at the limit.
runtime::Task<std::optional<runtime::ProcessResult>> run(runtime::World world, Paths programs,
                                                         Words arguments) {
    runtime::ProcessSpec spec;
    for (const char* program : programs)
        if (spec.path.empty() && world.files.executable(program)) spec.path = program;
    if (spec.path.empty()) co_return std::nullopt;
    spec.arguments = std::move(arguments);
    spec.environment = {{"LC_ALL", "C"}};
    spec.limit = kLimit;
    const runtime::OneShot<std::optional<runtime::ProcessResult>> ended(world.tasks);
    world.processes.start(spec, {}, [ended](const Result<runtime::ProcessResult>& result) {
        ended.set(result && !result->timed_out ? std::optional(*result) : std::nullopt);
    });
    std::optional<runtime::ProcessResult> result = co_await ended;
    co_return result;
}

constexpr Paths kPing{"/usr/bin/ping", "/bin/ping", "/sbin/ping"};
constexpr Paths kIp{"/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"};
constexpr Paths kNetBios{"/usr/bin/nmblookup"};
constexpr Paths kGetent{"/usr/bin/getent"};

runtime::Task<bool> ping(runtime::World world, SafetyCheck::Target target) {
    Words arguments{"-n", "-q", "-c", "1", "-W", "1"};
    if (!target.local_address.empty()) {
        arguments.emplace_back("-I");
        arguments.push_back(target.local_address);
    }
    arguments.push_back(target.address);
    const auto done = co_await run(world, kPing, std::move(arguments));
    if (!done)
        messages::warning("the safety check cannot ask {} by ping: is the program ping installed?",
                          target.address);
    co_return done && done->exit_code == 0;
}

runtime::Task<bool> answers_netbios(runtime::World world, std::string address) {
    if (address.find(':') != std::string::npos) co_return false;
    Words arguments{"-A", std::move(address)};
    const auto done = co_await run(world, kNetBios, std::move(arguments));
    co_return done && done->exit_code == 0 && done->output.find("<00>") != std::string::npos;
}

runtime::Task<std::string> neighbour(runtime::World world, std::string address, std::string device) {
    Words arguments{"neigh", "show", "to", std::move(address), "dev", std::move(device)};
    auto done = co_await run(world, kIp, std::move(arguments));
    std::string lines = done && done->exit_code == 0 ? done->output : std::string();
    co_return lines;
}

runtime::Task<bool> probe(runtime::World world, SafetyCheck::Target target, bool neighbours) {
    std::string device;
    if (neighbours) {
        Words ask{"-o", "route", "get", target.address};
        const auto route = co_await run(world, kIp, std::move(ask));
        if (route && route->exit_code == 0) device = device_on_link(route->output);
    }
    if (!device.empty()) {
        // What was learnt before says nothing about now.
        const std::string known = co_await neighbour(world, target.address, device);
        if (neighbour_is_set(known)) device.clear();
    }
    if (!device.empty()) {
        Words forget{"neigh", "del", target.address, "dev", device};
        co_await run(world, kIp, std::move(forget));
    }
    const bool echo = co_await ping(world, target);
    if (echo) co_return true;
    if (!device.empty()) {
        const std::string now = co_await neighbour(world, target.address, device);
        if (neighbour_answered(now)) co_return true;
    }
    const bool netbios = co_await answers_netbios(world, target.address);
    co_return netbios;
}

runtime::Task<std::vector<std::string>> resolve(runtime::World world, NodeName node) {
    Words arguments{"ahosts", node.str()};
    const auto done = co_await run(world, kGetent, std::move(arguments));
    std::set<std::string> found;
    if (done && done->exit_code == 0)
        for (const auto& line : text::split(done->output, '\n'))
            if (const auto words = text::words(line); !words.empty()) found.emplace(words.front());
    std::vector<std::string> addresses(found.begin(), found.end());
    co_return addresses;
}

/// The states of the entries, each the last word of a line.
std::set<std::string> states(std::string_view lines) {
    std::set<std::string> out;
    for (const auto& line : text::split(lines, '\n'))
        if (const auto words = text::words(line); !words.empty()) out.emplace(words.back());
    return out;
}

}  // namespace

std::string device_on_link(std::string_view route) {
    const auto words = text::words(route);
    const auto has = [&](std::string_view word) {
        return std::find(words.begin(), words.end(), word) != words.end();
    };
    const auto dev = std::find(words.begin(), words.end(), "dev");
    if (has("via") || has("local") || words.end() - dev < 2 || dev[1] == "lo") return {};
    return std::string(dev[1]);
}

bool neighbour_answered(std::string_view lines) {
    const auto found = states(lines);
    return found.contains("REACHABLE") || found.contains("STALE") || found.contains("DELAY") ||
           found.contains("PROBE");
}

bool neighbour_is_set(std::string_view lines) {
    const auto found = states(lines);
    return found.contains("PERMANENT") || found.contains("NOARP");
}

SafetyCheck::Probe host_probe(runtime::World world, bool neighbours) {
    return [world, neighbours](SafetyCheck::Target target) {
        return probe(world, std::move(target), neighbours);
    };
}

SafetyCheck::Resolver name_resolver(runtime::World world) {
    return [world](NodeName node) { return resolve(world, std::move(node)); };
}

}  // namespace understudy::recovery
