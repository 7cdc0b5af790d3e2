#pragma once
// Two hosts share a disk that is mirrored to a third, or to a third and a fourth who share theirs: left and
// right have the one by turns, third and fourth the other. Real commands, control and lock in the simulated
// world; the data path and the logs' bits are test_pair.h's.

#include "mirror/emcmd/test_lab.h"
#include "mirror/shared/shared_volumes.h"
#include "runtime/simulated/shared_disk.h"

#include <gmock/gmock.h>

#include <map>

namespace understudy::mirror::emcmd::testing_lab {

using namespace std::chrono_literals;
using control::testing_pair::kBlocks;
using control::testing_pair::ModelHost;
using ::testing::HasSubstr;

inline constexpr std::size_t kAreaBytes = 3 << 20;

/// The kernel's timer, which the test's clock plays.
struct TestFence final : shared::Fence {
    explicit TestFence(std::optional<runtime::TimePoint>& until) : armed(until) {}
    Result<> arm(runtime::TimePoint until) override {
        armed = until;
        return {};
    }
    void disarm() override { armed.reset(); }
    std::optional<runtime::TimePoint>& armed;
};

struct NoReservations final : shared::ReservableDisk {
    Result<Holder> holder() override { return Holder{}; }
    Result<Outcome> unregister(std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> register_key(std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> reserve(std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> preempt(std::uint64_t, std::uint64_t) override { return Outcome::unsupported; }
    Result<Outcome> release(std::uint64_t) override { return Outcome::unsupported; }
};

struct AreaAccess final : shared::DeviceAccess {
    AreaAccess(runtime::SimulatedDisk& disk, std::string node) : area(disk), name(std::move(node)) {}
    Result<> write_now(const std::string&, std::uint64_t offset, std::string_view bytes,
                       runtime::Duration) override {
        if (lands_late) area.content().replace(offset, bytes.size(), bytes);
        if (lands_late || !area.reached(name)) return fail(Code::failure, "cannot write to the area");
        area.content().replace(offset, bytes.size(), bytes);
        return {};
    }
    Result<> wait_until_free(const std::string&) override { return {}; }
    runtime::SimulatedDisk& area;
    std::string name;
    bool lands_late = false;  // what is refused is written all the same
};

/// A device has one holder: what the program keeps others from it cannot open either.
struct ExclusiveHost final : ModelHost {
    template <class... Args>
    explicit ExclusiveHost(const FakeHost& host, Args&&... args)
        : ModelHost(std::forward<Args>(args)...), facts(host) {}
    runtime::Task<Result<std::uint64_t>> open(VolumeId id, std::string device, std::uint64_t size) override {
        if (facts.holds(id))
            co_return fail(Code::failure, "{} is in use by another process; held by mirrord", device);
        auto opened = co_await ModelHost::open(std::move(id), std::move(device), size);
        co_return opened;
    }
    const FakeHost& facts;
};

struct SharingProgram {
    SharingProgram(runtime::World w, Host& host, control::testing_pair::Daemon& daemon, Pair& pair,
                   runtime::SimulatedDisk& area, std::optional<runtime::TimePoint>& fence)
        : world(w),
          facts(w, host),
          disks(*host.node, w.tasks, {{"/dev/area", &area}}),
          access(area, host.name),
          volumes(
              w, {config::Layout{}, NodeName(host.name)}, disks,
              [this, &host, &daemon, &pair](const VolumeId&, control::HostEvents& events) {
                  auto made = std::make_unique<ExclusiveHost>(facts, world, host.own_disk(), pair.wire,
                                                              host.end(), events);
                  daemon.host = made.get();
                  made->seat = &daemon.host;
                  return made;
              },
              [&fence]() -> Result<std::unique_ptr<shared::Fence>> {
                  return std::unique_ptr<shared::Fence>(std::make_unique<TestFence>(fence));
              },
              [](const std::string&) -> Result<std::unique_ptr<shared::ReservableDisk>> {
                  return std::unique_ptr<shared::ReservableDisk>(std::make_unique<NoReservations>());
              }),
          service(w, daemon.manager, facts, {config::Layout{}, host.name}) {
        volumes.set_mirrors(daemon.manager, access);
        service.set_shared(volumes);
        service.add_to(daemon.commands);
        service.start();
    }
    runtime::World world;
    FakeHost facts;
    runtime::SimulatedDisks disks;
    AreaAccess access;
    shared::SharedVolumes volumes;
    Service service;
    runtime::TaskScope tasks;
};

struct SharedMirror : testing::Test {
    /// `hosts`: 3; 4 when the target's disk is shared, too; 6 with another target of two hosts. `shares`: who
    /// has which other host's disk.
    explicit SharedMirror(std::uint64_t seed = 1, std::size_t hosts = 3,
                          const std::map<std::string, std::string>& shares = {{"right", "left"},
                                                                              {"fourth", "third"},
                                                                              {"sixth", "fifth"}})
        : pair(seed, hosts),
          area(pair.sim, kAreaBytes),
          far(pair.sim, kAreaBytes),
          farther(pair.sim, kAreaBytes) {
        for (Host* host : pair.hosts)
            for (Host* other : pair.hosts)
                if (shares.contains(host->name) && shares.at(host->name) == other->name)
                    host->shares_with = other;
        left.disk.log_area = &area.content();
        third.disk.log_area = &far.content();
        fifth.disk.log_area = &farther.content();
        pair.sim.set_trace_detail(runtime::TraceDetail::none);
        pair.extra = [this](Host& host, runtime::World world, control::testing_pair::Daemon& daemon) {
            runtime::SimulatedDisk& at = &host.own_disk() == &left.disk    ? area
                                         : &host.own_disk() == &third.disk ? far
                                                                           : farther;
            auto made = std::make_shared<SharingProgram>(world, host, daemon, pair, at, fences[host.name]);
            programs[host.name] = made.get();
            return made;
        };
        pair.sim.after_each_event([this] {
            for (const Host* site : {&left, &third, &fifth})
                for (ModelHost* one : site->disk.opened)
                    one->store_logs();
            for (Host* host : pair.hosts) {
                const auto& fence = fences[host->name];
                if (fenced && host->daemon && fence && programs.at(host->name)->world.clock.now() >= *fence)
                    kill(*host);
            }
        });
        for (Host* host : pair.hosts) {
            kill(*host);
            pair.start(*host);
            EXPECT_EQ(own(*host, "understudy volume set", {"R"}, {{"device", "/disks/r"}}).exit_code, 0);
        }
    }
    ~SharedMirror() override {
        pair.sim.after_each_event([] {});
    }

    void kill(Host& host) {
        fences[host.name].reset();
        pair.kill(host);
    }
    void power_off(Host& host) {
        fences[host.name].reset();
        const bool kept = host.own_disk().kept && !opened(host);
        pair.power_off(host);
        host.own_disk().kept = kept;
        pair.cluster.dead.insert(host.name);
    }
    void start(Host& host) {
        pair.cluster.dead.erase(host.name);
        pair.start(host);
    }
    bool opened(Host& host) { return host.daemon && programs.at(host.name)->volumes.is_open(VolumeId("R")); }

    config::Reply run(Host& host, config::Command command) {
        command.uid = 0;
        auto reply = std::make_shared<std::optional<config::Reply>>();
        SharingProgram* const program = programs.at(host.name);
        program->tasks.spawn(answer(program, std::move(command), reply));
        if (!pair.until([&] { return reply->has_value() || !host.daemon; }, 180s) || !reply->has_value())
            return config::failure({Code::internal, "no answer", 0});
        return **reply;
    }
    config::Reply own(Host& host, std::string name, Words words,
                      std::map<std::string, std::string> options = {}) {
        config::Command command;
        command.name = std::move(name);
        command.arguments = std::move(words);
        command.options = std::move(options);
        return run(host, std::move(command));
    }
    /// Without waiting for its end.
    void begin(Host& host, Words words) {
        config::Command command;
        command.name = "emcmd";
        command.arguments = std::move(words);
        command.uid = 0;
        programs.at(host.name)->tasks.spawn(answer(programs.at(host.name), std::move(command),
                                                   std::make_shared<std::optional<config::Reply>>()));
    }
    int status(Host& host, Words words) {
        const config::Reply reply = own(host, "emcmd", std::move(words));
        error = reply.err;
        const auto at = reply.out.rfind("Status = ");
        return at == std::string::npos ? -1 : std::stoi(reply.out.substr(at + 9));
    }
    void ok(Host& host, Words words) {
        const std::string line = words[0] + " " + words[1];
        EXPECT_EQ(status(host, std::move(words)), 0) << line << ": " << error;
    }
    bool in_sync(Host& source, runtime::Duration limit = 60s) { return in_sync(source, third, limit); }
    bool in_sync(Host& source, Host& target, runtime::Duration limit = 60s) {
        return pair.until(
            [&] {
                const auto from = source.daemon ? source.daemon->manager.find(VolumeId("R")) : nullptr;
                const auto to = target.daemon ? target.daemon->manager.find(VolumeId("R")) : nullptr;
                return from && to && from->record().role == Role::source &&
                       from->record().main().state == MirrorState::mirroring &&
                       to->record().role == Role::target && to->record().consistent &&
                       to->record().main().host_name() == source.name &&
                       from->record().main().host_name() == target.name &&
                       to->record().lineage.current == from->record().lineage.current;
            },
            limit);
    }
    /// One of several targets.
    bool follows(Host& source, Host& target, runtime::Duration limit = 60s) {
        return pair.until(
            [&] {
                const auto from = source.daemon ? source.daemon->manager.find(VolumeId("R")) : nullptr;
                const auto to = target.daemon ? target.daemon->manager.find(VolumeId("R")) : nullptr;
                if (!from || !to) return false;
                const control::PeerRecord* const leg = from->record().peer_of_host(target.name);
                return from->record().role == Role::source && to->record().role == Role::target && leg &&
                       leg->host_name() == target.name && leg->state == MirrorState::mirroring &&
                       to->record().consistent && to->record().main().host_name() == source.name &&
                       to->record().lineage.current == from->record().lineage.current;
            },
            limit);
    }
    /// A job with every pair of these ends, each of one or several hosts that share a disk.
    void make_job(const std::vector<std::vector<Host*>>& ends) {
        Words words{".", "CREATEJOB", "sites", ""};
        const auto add = [&words](Host* one, Host* other, bool disk) {
            for (const std::string& word :
                 {one->name, std::string("R"), disk ? "0.0.0.0" : one->address, other->name, std::string("R"),
                  disk ? "0.0.0.0" : other->address, std::string(disk ? "D" : "S")})
                words.push_back(word);
        };
        for (std::size_t i = 0; i < ends.size(); ++i) {
            for (std::size_t j = i + 1; j < ends.size(); ++j)
                for (Host* one : ends[i])
                    for (Host* other : ends[j])
                        add(one, other, false);
            for (std::size_t k = 1; k < ends[i].size(); ++k)
                add(ends[i][k - 1], ends[i][k], true);
        }
        ok(*ends.front().front(), words);
    }
    void share() { share(left, right); }
    void share(Host& first, Host& second) {
        for (Host* host : {&first, &second}) {
            std::map<std::string, std::string> options{{"area", "/dev/area"}};
            if (host == &first) options["hosts"] = first.name + "," + second.name;
            const auto shared = own(*host, "understudy volume share", {"R"}, options);
            ASSERT_EQ(shared.exit_code, 0) << shared.err;
        }
        ok(first, {".", "UNLOCKVOLUME", "R"});
    }
    void make_job() {
        ok(left,
           {".",        "CREATEJOB", "data",    "",      "left",     "R",       "10.0.0.1", "third",    "R",
            "10.0.0.3", "S",         "right",   "R",     "10.0.0.2", "third",   "R",        "10.0.0.3", "S",
            "left",     "R",         "0.0.0.0", "right", "R",        "0.0.0.0", "D"});
    }
    void mirror() {
        share();
        make_job();
        ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
        ASSERT_TRUE(in_sync(left));
        sent();
    }
    std::uint64_t sent() {
        const std::uint64_t before = std::exchange(sent_, pair.wire.blocks_sent);
        return pair.wire.blocks_sent - before;
    }
    const control::MirrorRecord& record(Host& host) {
        return host.daemon->manager.find(VolumeId("R"))->record();
    }

    std::map<std::string, std::optional<runtime::TimePoint>> fences;
    std::map<std::string, SharingProgram*> programs;
    bool fenced = true;  // false: kernels end nobody
    std::string error;
    std::uint64_t sent_ = 0;
    Pair pair;
    Host& left = pair.left;
    Host& right = pair.right;
    Host& third = pair.third;
    Host& fourth = pair.fourth;
    Host& fifth = pair.fifth;
    Host& sixth = pair.sixth;
    // Of left and right; of third and fourth; of fifth and sixth.
    runtime::SimulatedDisk area, far, farther;

    static runtime::Task<> ask(std::shared_ptr<control::Mirror> mirror, control::PeerRequest request,
                               std::shared_ptr<std::optional<control::PeerReply>> out) {
        control::PeerReply reply = co_await mirror->serve("left", std::move(request));
        *out = std::move(reply);
    }

  private:
    static runtime::Task<> answer(SharingProgram* program, config::Command command,
                                  std::shared_ptr<std::optional<config::Reply>> out) {
        config::Reply reply;
        if (command.name == "emcmd")
            reply = co_await program->service.run(std::move(command));
        else if (command.name == "understudy volume share")
            reply = co_await program->service.run_share(std::move(command));
        else if (command.name == "understudy mirror endpoints")
            reply = co_await program->service.run_endpoints(std::move(command));
        else
            reply = co_await program->service.run_volume(std::move(command));
        *out = std::move(reply);
    }
};

}  // namespace understudy::mirror::emcmd::testing_lab
