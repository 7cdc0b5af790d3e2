#include "mirror/emcmd/health.h"

#include "mirror/emcmd/request.h"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::mirror::emcmd {

namespace {

/// State changes of a bad day need about as much; a full log loses those after them.
constexpr std::uint64_t kLeastEventLogBytes = 64 << 20;

/// In words, without depending on what the data path's words are.
std::string_view word(MirrorState state) {
    switch (state) {
        case MirrorState::invalid:
            return "invalid";
        case MirrorState::none:
            return "not mirrored";
        case MirrorState::mirroring:
            return "mirroring";
        case MirrorState::resync:
            return "resync";
        case MirrorState::broken:
            return "broken";
        case MirrorState::paused:
            return "paused";
        case MirrorState::pending:
            return "resync pending";
    }
    return "invalid";
}

void look_at_mirror(const MirrorHealth& mirror, std::vector<Finding>& out) {
    const std::string name = fmt::format("volume {}", volume_letter(mirror.volume));
    const auto say = [&out](Severity severity, std::string text) {
        out.push_back({severity, std::move(text), false});
    };
    if (mirror.split_brain)
        say(Severity::error, fmt::format("{}: split brain with {}", name, mirror.peer));
    else if (!mirror.problem.empty())
        say(Severity::warning, fmt::format("{}: {}", name, mirror.problem));
    switch (mirror.state) {
        case MirrorState::invalid:
            say(Severity::error, fmt::format("{}: its state cannot be obtained", name));
            break;
        case MirrorState::paused:
        case MirrorState::broken:
            if (!mirror.split_brain)
                say(Severity::warning,
                    fmt::format("{}: {}, {} lacks what is written", name, word(mirror.state), mirror.peer));
            break;
        case MirrorState::resync:
        case MirrorState::pending:
            say(Severity::warning, fmt::format("{}: {} is not complete yet", name, mirror.peer));
            break;
        case MirrorState::none:
        case MirrorState::mirroring:
            if (mirror.role == Role::target && mirror.state == MirrorState::mirroring && !mirror.connected)
                say(Severity::warning, fmt::format("{}: there is no connection to {}", name, mirror.peer));
            break;
    }
    if (mirror.peer_size != 0 && mirror.peer_size < mirror.size)
        say(Severity::warning, fmt::format("{}: its target {} has {} bytes, less than its {}", name,
                                           mirror.peer, mirror.peer_size, mirror.size));
    if (mirror.unlocked) say(Severity::warning, fmt::format("{}: the target is unlocked", name));
    if (mirror.has_swap)
        out.push_back({Severity::warning, fmt::format("{}: it is used as swap", name), true});
    if (!mirror.boot_mount.empty())
        out.push_back({Severity::warning, fmt::format("{}: {}", name, mirror.boot_mount), true});
    if (!mirror.snapshot_location.empty())
        out.push_back(
            {Severity::warning,
             fmt::format("{}: no snapshot can be taken: {} is missing, cannot be written or is on a "
                         "mirrored volume",
                         name, mirror.snapshot_location),
             true});
}

/// What a job has for a mirror is what the mirror uses: else the next change of roles makes another one.
void compare_with_pair(const HealthInput& input, const MirrorHealth& mirror, const Job& job,
                       const JobPair& pair, std::vector<Finding>& out) {
    const auto say = [&](const std::string& text) {
        out.push_back({Severity::warning,
                       fmt::format("job {}: volume {}: {}", job.name, volume_letter(mirror.volume), text),
                       true});
    };
    const bool first_here = same_system(pair.first.system, input.node);
    const JobEnd& here = first_here ? pair.first : pair.second;
    const JobEnd& there = first_here ? pair.second : pair.first;
    if (here.address != mirror.local_address || there.address != mirror.address)
        say(fmt::format("the mirror with {} goes from {} to {}, and the job says from {} to {}", mirror.peer,
                        mirror.local_address, mirror.address, here.address, there.address));
    if (pair.type != 'D' && (pair.type == 'A') != (mirror.type == MirrorType::async))
        say(fmt::format("the mirror with {} is {}, and the job says otherwise", mirror.peer,
                        mirror.type == MirrorType::async ? "asynchronous" : "synchronous"));
}

/// Jobs and mirrors say the same.
void compare_with_jobs(const HealthInput& input, std::vector<Finding>& out) {
    for (const MirrorHealth& mirror : input.mirrors) {
        const bool named = std::any_of(input.jobs.begin(), input.jobs.end(), [&](const Job& job) {
            return contains(job, input.node, mirror.volume);
        });
        // Nodes without any job do not work with jobs at all.
        if (!named && !input.jobs.empty())
            out.push_back({Severity::warning,
                           fmt::format("volume {}: it belongs to no job", volume_letter(mirror.volume)),
                           true});
        if (!named || mirror.address.empty()) continue;
        bool paired = false;
        for (const Job& job : input.jobs) {
            const JobPair* const pair = find_pair(job, input.node, mirror.peer, mirror.volume);
            if (pair == nullptr) continue;
            paired = true;
            compare_with_pair(input, mirror, job, *pair, out);
        }
        if (!paired)
            out.push_back({Severity::warning,
                           fmt::format("volume {}: no job has the addresses of its mirror with {}",
                                       volume_letter(mirror.volume), mirror.peer),
                           true});
    }
    for (const Job& job : input.jobs)
        for (const std::string& pair : missing_pairs(job))
            out.push_back({Severity::warning,
                           fmt::format("job {}: there are no addresses for {}", job.name, pair), true});
}

}  // namespace

std::string_view to_string(Indicator indicator) {
    switch (indicator) {
        case Indicator::disabled:
            return "disabled";
        case Indicator::error:
            return "error";
        case Indicator::warning:
            return "warning";
        case Indicator::resync:
            return "resync";
        case Indicator::mirroring:
            return "mirroring";
        case Indicator::none:
            return "none";
    }
    return "none";
}

Health assess(const HealthInput& input) {
    Health out;
    for (const std::string& record : input.damaged)
        out.findings.push_back({Severity::error, fmt::format("a record cannot be read: {}", record), true});
    if (input.bitmaps_missing)
        out.findings.push_back(
            {Severity::error, fmt::format("the directory of the intent logs, {}, is missing", input.bitmaps),
             true});
    if (!input.ephemeral.empty())
        out.findings.push_back(
            {input.logs_elsewhere ? Severity::error : Severity::warning, input.ephemeral, true});
    for (const std::string& port : input.closed_ports)
        out.findings.push_back({Severity::error, port, false});
    for (const MirrorHealth& mirror : input.mirrors) {
        ++out.counts[std::string(word(mirror.state))];
        look_at_mirror(mirror, out.findings);
    }
    if (!input.event_log.empty() && !input.event_log_bytes)
        out.findings.push_back(
            {Severity::warning,
             fmt::format("the directory of the event log, {}, is missing", input.event_log), true});
    if (input.event_log_bytes.value_or(kLeastEventLogBytes) < kLeastEventLogBytes)
        out.findings.push_back({Severity::warning,
                                fmt::format("the event log in {} has room for {} bytes only", input.event_log,
                                            *input.event_log_bytes),
                                true});
    compare_with_jobs(input, out.findings);

    const auto any = [&input](auto matches) {
        return std::any_of(input.mirrors.begin(), input.mirrors.end(), matches);
    };
    const bool errors = std::any_of(out.findings.begin(), out.findings.end(), [](const Finding& finding) {
        return finding.severity == Severity::error;
    });
    if (input.updates_disabled)
        out.indicator = Indicator::disabled;
    else if (errors)
        out.indicator = Indicator::error;
    else if (any([](const MirrorHealth& m) {
                 return m.state == MirrorState::paused || m.state == MirrorState::broken;
             }))
        out.indicator = Indicator::warning;
    else if (any([](const MirrorHealth& m) {
                 return m.state == MirrorState::resync || m.state == MirrorState::pending;
             }))
        out.indicator = Indicator::resync;
    else if (!input.mirrors.empty())
        out.indicator = Indicator::mirroring;
    return out;
}

std::string_view verdict(const Health& health) {
    bool warned = false;
    for (const Finding& finding : health.findings) {
        if (finding.severity == Severity::error) return "error";
        warned = true;
    }
    return warned ? "warning" : "healthy";
}

std::string print(const Health& health, const std::string& node) {
    std::string out = fmt::format("{}: {}\n", node, to_string(health.indicator));
    for (const auto& [state, count] : health.counts)
        out += fmt::format("{} {}\n", count, state);
    for (const Finding& finding : health.findings)
        out += fmt::format("{}: {}{}\n", finding.severity == Severity::error ? "error" : "warning",
                           finding.local_configuration ? node + ": " : "", finding.text);
    return out;
}

}  // namespace understudy::mirror::emcmd
