// Random sequences of emcmd commands on a volume with two targets and its job, typed on any host, against a
// model of what must result: each command's status, who is source, each mirror's state, type and lock, and
// the job on every host; and at no moment two sides that can be written to, but for one that was unlocked.
// UNDERSTUDY_SEEDS=n runs n sequences, UNDERSTUDY_SEED=s the one that failed.

#include "base/test_seeds.h"
#include "mirror/emcmd/test_lab.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kSeeds = 500;
constexpr int kOperations = 12;
constexpr runtime::Duration kSettle = 90s;

/// A mirror to one target, when nothing moves any more.
struct ModelMirror {
    bool exists = true;
    MirrorState state = MirrorState::mirroring;
    bool unlocked = false;  // the target
    [[nodiscard]] bool stopped() const { return state != MirrorState::mirroring; }
};

struct Life : Emcmd {
    explicit Life(unsigned seed) : Emcmd(seed), random(seed) {}
    void TestBody() override {}

    std::mt19937 random;
    Host* source = &left;
    std::map<Host*, ModelMirror> mirrors;  // by target
    /// As each host has it of each other: a pair's own, which a source's record decides.
    std::map<std::pair<Host*, Host*>, MirrorType> types;
    std::string job_id, job_name;     // empty: there is none
    std::set<Host*> may_be_unlocked;  // are, or are being unlocked or locked
    bool two_writable = false;
    std::string history;

    std::size_t below(std::size_t limit) {
        return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random);
    }
    Host& any_host() { return *pair.hosts[below(3)]; }

    MirrorType& type_of(Host& target) { return types[{source, &target}]; }

    /// Empty, or what went wrong.
    std::string live() {
        two_targets();
        if (HasFailure()) return "no mirrors";
        mirrors = {{&right, {}}, {&third, {}}};
        for (Host* one : pair.hosts)
            for (Host* other : pair.hosts)
                types[{one, other}] = MirrorType::sync;
        pair.watch = [this] {
            std::size_t writable = 0;
            for (Host* host : pair.writable())
                if (!may_be_unlocked.contains(host)) ++writable;
            if (writable > 1) two_writable = true;
        };
        std::string wrong;
        for (int i = 0; i < kOperations && wrong.empty(); ++i) {
            wrong = step();
            if (wrong.empty()) wrong = settle();
            if (wrong.empty() && two_writable) wrong = "two sides could be written to";
        }
        return wrong.empty() ? wrong : wrong + "\nafter:" + history;
    }

    [[nodiscard]] bool member(Host& host) {
        return &host == source || (mirrors.contains(&host) && mirrors.at(&host).exists);
    }

    /// Typed on any host that knows the one that it is about: by the mirror or the job.
    std::string ask(Host& host, std::vector<int> legal, Words words) {
        Host* const any = &any_host();
        Host& typed_on = job_id.empty() && !(member(*any) && member(host)) ? host : *any;
        history += fmt::format(" {}:{}", host.name, words.front());
        words.insert(words.begin(), &typed_on == &host ? "." : host.name);
        const int found = status(typed_on, words);
        if (std::find(legal.begin(), legal.end(), found) != legal.end()) return {};
        return fmt::format("status {} of {} on {}, typed on {}: {}", found, words[1], host.name,
                           typed_on.name, error);
    }

    std::string step() {
        std::vector<Host*> targets, missing;
        for (auto& [host, mirror] : mirrors)
            (mirror.exists ? targets : missing).push_back(host);
        Host& target = *targets[below(targets.size())];
        ModelMirror& mirror = mirrors.at(&target);
        const auto alone = [&](const char* verb) { return Words{verb, "R", target.address}; };
        switch (below(14)) {
            case 0: {
                const bool broken = mirror.state == MirrorState::broken;
                if (!broken) mirror.state = MirrorState::paused;
                return ask(*source, {broken ? 1 : 0}, alone("PAUSEMIRROR"));
            }
            case 1: {
                const bool refused = mirror.stopped() && mirror.unlocked;
                if (!refused) mirror.state = MirrorState::mirroring;
                return ask(*source, {refused ? 33 : 0}, alone("CONTINUEMIRROR"));
            }
            case 2:
                mirror.state = MirrorState::broken;
                return ask(*source, {0}, alone("BREAKMIRROR"));
            case 3:  // locks the target as well
                mirror.state = MirrorState::mirroring;
                mirror.unlocked = false;
                return ask(*source, {0}, alone("RESYNCMIRROR"));
            case 4:
                if (!mirror.stopped()) mirror.state = MirrorState::paused;
                mirror.unlocked = true;
                may_be_unlocked.insert(&target);
                return ask(target, {0}, {"UNLOCKVOLUME", "R"});
            case 5:
                mirror.unlocked = false;
                return ask(target, {0}, {"LOCKVOLUME", "R"});
            case 6: {
                const bool allowed = !mirror.stopped() && !mirror.unlocked;
                for (const auto& [host, other] :
                     mirrors)  // what becomes of stopped ones has tests of its own
                    if (allowed && host != &target && other.exists && other.stopped()) return {};
                const std::string wrong =
                    ask(target, allowed ? std::vector{0} : std::vector{1, 87}, {"SWITCHOVERVOLUME", "R"});
                if (!allowed) return wrong;
                mirrors.erase(&target);
                mirrors[source] = {};
                source = &target;
                return wrong;
            }
            case 7: {
                const std::vector<std::pair<const char*, int>> verbs = {{"PAUSEMIRROR", 0},
                                                                        {"CONTINUEMIRROR", 1},
                                                                        {"BREAKMIRROR", 1},
                                                                        {"RESYNCMIRROR", 1},
                                                                        {"DELETEMIRROR", 1}};
                const auto& [verb, expected] = verbs[below(verbs.size())];
                return ask(target, {expected}, {verb, "R"});
            }
            case 8:
                type_of(target) = type_of(target) == MirrorType::sync ? MirrorType::async : MirrorType::sync;
                return ask(*source, {0},
                           {"CHANGEMIRRORTYPE", "R", target.address,
                            type_of(target) == MirrorType::sync ? "S" : "A"});
            case 9:
                if (!missing.empty()) {
                    Host* const added = missing.front();
                    std::string wrong = ask(*source, {0}, {"CREATEMIRROR", "R", added->address, "S"});
                    mirrors[added] = {};
                    for (Host* other : targets) {  // each hears of the other from the source
                        types[{added, other}] = type_of(*other);
                        types[{other, added}] = MirrorType::sync;
                    }
                    type_of(*added) = MirrorType::sync;
                    return wrong;
                }
                if (mirror.unlocked) return {};
                mirror.exists = false;
                return ask(*source, {0}, alone("DELETEMIRROR"));
            case 10:
                return change_job();
            case 11: {
                Host& host = any_host();
                history += fmt::format(" {}:killed", host.name);
                pair.kill(host);
                pair.sim.run_for(std::chrono::milliseconds(below(3000)));
                pair.start(host);
                pair.until([&] { return host.daemon->manager.find(VolumeId("R")) != nullptr; }, 5s);
                return {};
            }
            default: {
                Host& host = mirror.unlocked && below(2) == 0 ? target : *source;
                history += fmt::format(" {}:write", host.name);
                return pair.write(host, below(control::testing_pair::kBlocks), static_cast<int>(below(1000)))
                           ? ""
                           : "a write was not answered";
            }
        }
    }

    std::string change_job() {
        Host& host = any_host();
        if (job_id.empty()) {
            history += " CREATEJOB";
            job_id = job_of_three();
            job_name = "data";
            return {};
        }
        switch (below(3)) {
            case 0: {
                const std::string id = std::exchange(job_id, "");
                return ask(host, {0}, {"DELETEJOB", id});
            }
            case 1:
                job_name = fmt::format("job{}", below(100));
                return ask(host, {0}, {"UPDATEJOB", job_id, job_name,   "",  "left",  "R", "10.0.0.1",
                                       "right",     "R",    "10.0.0.2", "S", "left",  "R", "10.0.0.1",
                                       "third",     "R",    "10.0.0.3", "S", "right", "R", "10.0.0.2",
                                       "third",     "R",    "10.0.0.3", "S"});
            default:
                return ask(host, {87},
                           {"UPDATEJOB", job_id, "x", "", "left", "R", "10.0.0.1", "right", "R", "10.0.0.1",
                            "S"});  // one address of two systems
        }
    }

    bool as_expected() {
        for (Host* host : pair.hosts) {
            const auto mirror = mirrors.find(host);
            const bool member = host == source || (mirror != mirrors.end() && mirror->second.exists);
            if (host->daemon == nullptr || (host->daemon->manager.find(VolumeId("R")) != nullptr) != member)
                return false;
        }
        const control::MirrorRecord& from = pair.record(*source);
        if (from.role != Role::source || !source->daemon->host->exported()) return false;
        for (const auto& [host, mirror] : mirrors) {
            const control::PeerRecord* peer = from.peer(host->name);
            if ((peer != nullptr) != mirror.exists) return false;
            if (!mirror.exists) continue;
            const control::MirrorRecord& to = pair.record(*host);
            if (to.role != Role::target || to.unlocked != mirror.unlocked) return false;
            const MirrorType type = type_of(*host);
            if (peer->state != mirror.state || peer->type != type) return false;
            if (to.peer(source->name) == nullptr || to.peer(source->name)->type != type) return false;
            if (host->daemon->host->exported() != mirror.unlocked) return false;
            if (mirror.stopped()) {
                if (!peer->user_requested) return false;
            } else if (!pair.in_sync(*source, {host}) || host->disk.blocks != source->disk.blocks) {
                return false;
            }
        }
        return true;
    }

    /// As scripts see it; empty, or what is otherwise.
    std::string mismatch() {
        for (const auto& [host, mirror] : mirrors) {
            if (!mirror.exists) continue;
            const std::string expected = fmt::format("1 {}", static_cast<int>(mirror.state));
            if (const std::string found = state(*source, host->address); found != expected)
                return fmt::format("GETMIRRORVOLINFO on {} says {} of {}, not {}", source->name, found,
                                   host->name, expected);
        }
        for (Host* host : pair.hosts) {
            const std::string found = emcmd(*host, {".", "GETJOBINFO"});
            const std::string line = job_id.empty() ? "" : "ID = " + job_id + "\nName = " + job_name + "\n";
            if (job_id.empty() ? !found.empty() : !found.starts_with(line))
                return fmt::format("{} has the job\n{}not\n{}", host->name, found, line);
        }
        return {};
    }

    std::string settle() {
        std::string wrong;
        for (const auto deadline = pair.sim.now() + kSettle; pair.sim.now() < deadline;
             pair.sim.run_for(100ms)) {
            wrong = "the records";
            if (!pair.until([this] { return as_expected(); }, deadline - pair.sim.now())) break;
            // The data path follows its record after a start.
            wrong = mismatch();
            if (!wrong.empty()) continue;
            may_be_unlocked.clear();
            for (const auto& [host, mirror] : mirrors) {
                if (mirror.unlocked) may_be_unlocked.insert(host);
                if (mirror.exists) types[{host, source}] = type_of(*host);
            }
            return {};
        }
        wrong += "; expected source " + source->name;
        for (const auto& [host, mirror] : mirrors)
            wrong += fmt::format(", {} {}{}", host->name,
                                 mirror.exists ? to_string(mirror.state) : "without a mirror",
                                 mirror.unlocked ? " unlocked" : "");
        for (Host* host : pair.hosts)
            wrong += fmt::format("\n{}: {}", host->name,
                                 host->daemon ? pair.run(*host, {"status", "R"}).out : "off");
        return wrong;
    }
};

// Spec: EMC-067, EMC-070, EMC-086, EMC-014, EMC-240, MOP-003, MOP-006, MOP-016, MOP-033
TEST(Sequences, OfCommandsOnTwoTargetsAndAJobEndAsTheModelSays) {
    const auto [first, end] = test_seeds(kSeeds);
    for (std::uint64_t seed = first; seed < end; ++seed) {
        const std::string wrong = Life(seed).live();
        ASSERT_EQ(wrong, "") << "UNDERSTUDY_SEED=" << seed;
    }
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
