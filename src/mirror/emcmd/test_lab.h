#pragma once
// Three hosts with emcmd's service in the simulated world: the manual's command lines, typed on any of them.

#include "mirror/control/test_pair.h"
#include "mirror/emcmd/service.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace understudy::mirror::emcmd::testing_lab {

using control::testing_pair::Host;
using control::testing_pair::Pair;
using Words = std::vector<std::string>;

/// What a host says about itself; every device is an eligible one of the model's size.
class FakeHost : public HostFacts {
  public:
    FakeHost(runtime::World world, const Host& host) : world_(world), host_(host) {}
    [[nodiscard]] DeviceLook look(const std::string&, const std::string&) const override {
        DeviceLook out;
        out.eligibility = eligibility;
        out.file_system = {"ext4", "data1"};
        out.size = host_.disk.size;
        return out;
    }
    [[nodiscard]] Result<std::vector<std::string>> resolve(const std::string& name) const override {
        return fail(Code::not_found, "{} is not known", name);
    }
    [[nodiscard]] bool is_local(const std::string& address) const override {
        return address == host_.address || address == host_.new_address;
    }
    [[nodiscard]] std::vector<std::string> addresses_beside(const std::string& remote) const override {
        for (const std::string& network : networks)
            if (remote.starts_with(network)) return {host_.address};
        return {};
    }
    std::vector<std::string> networks{""};  // what their addresses begin with
    [[nodiscard]] Status snapshot_directory(const std::string&,
                                            const std::vector<std::string>&) const override {
        return snapshots;
    }
    Result<> hold(const VolumeId& volume, const std::string& device) override {
        if (!host_.disk.used_by.empty())
            return fail(Code::failure, "{} is in use by {}", device, host_.disk.used_by);
        held_.insert(volume);
        return {};
    }
    void release(const VolumeId& volume) override { held_.erase(volume); }
    [[nodiscard]] bool holds(const VolumeId& volume) const override { return held_.contains(volume); }
    [[nodiscard]] std::string fstab() const override { return boot_table; }
    [[nodiscard]] std::optional<std::uint64_t> bytes_left(const std::string&) const override {
        return log_room;
    }
    [[nodiscard]] InstanceStore instance_store() const override {
        return {.disks = ephemeral, .fstab = boot_table};
    }
    [[nodiscard]] std::int64_t now_s() const override {
        return std::chrono::duration_cast<std::chrono::seconds>(world_.clock.now().time_since_epoch())
            .count();
    }

    Eligibility eligibility;
    std::string boot_table;
    std::vector<std::string> ephemeral;
    std::optional<std::uint64_t> log_room = 1ULL << 30;
    Status snapshots = Status::success;

  private:
    runtime::World world_;
    const Host& host_;
    std::set<VolumeId> held_;
};

struct Program {
    Program(runtime::World world, const Host& host, control::testing_pair::Daemon& daemon)
        : facts(world, host), service(world, daemon.manager, facts, {config::Layout{}, host.name}) {
        service.add_to(daemon.commands);
        service.start();
    }
    FakeHost facts;
    Service service;
    runtime::TaskScope tasks;
};

/// Volume R of left is mirrored to right, or to right and third. Addresses: 10.0.0.1 to 10.0.0.3.
struct Emcmd : testing::Test {
    std::map<std::string, Program*> programs;
    std::string error;  // standard error of the last command
    int exit_code = 0;
    Pair pair;
    Host& left = pair.left;
    Host& right = pair.right;
    Host& third = pair.third;

    explicit Emcmd(std::uint64_t seed = 1) : pair(seed, 3) {
        pair.extra = [this](Host& host, runtime::World world, control::testing_pair::Daemon& daemon) {
            auto made = std::make_shared<Program>(world, host, daemon);
            programs[host.name] = made.get();
            return made;
        };
        for (Host* host : pair.hosts) {
            pair.kill(*host);
            pair.start(*host);
            EXPECT_EQ(own(*host, "understudy volume set", {"R"}, {{"device", "/disks/r"}}).exit_code, 0);
        }
    }

    config::Reply run(Host& host, config::Command command) {
        command.uid = 0;
        auto reply = std::make_shared<std::optional<config::Reply>>();
        Program* const program = programs.at(host.name);
        program->tasks.spawn(answer(program, std::move(command), reply));
        if (!pair.until([&] { return reply->has_value(); }, std::chrono::seconds(180)))
            return config::failure({Code::internal, "no answer", 0});
        return **reply;
    }
    /// One of this program's own commands.
    config::Reply own(Host& host, std::string name, Words words,
                      std::map<std::string, std::string> options = {}) {
        config::Command command;
        command.name = std::move(name);
        command.arguments = std::move(words);
        command.options = std::move(options);
        return run(host, std::move(command));
    }
    /// "emcmd ..." as it is typed on `host`: standard output.
    std::string emcmd(Host& host, Words words) {
        config::Reply reply = own(host, "emcmd", std::move(words));
        error = reply.err;
        exit_code = reply.exit_code;
        return reply.out;
    }
    int status(Host& host, Words words) {
        const std::string out = emcmd(host, std::move(words));
        const auto at = out.rfind("Status = ");
        return at == std::string::npos ? -1 : std::stoi(out.substr(at + 9));
    }
    void ok(Host& host, Words words) {
        const std::string line = words[0] + " " + words[1];
        EXPECT_EQ(emcmd(host, std::move(words)), "Status = 0\n") << line << ": " << error;
    }
    /// The line of GETMIRRORVOLINFO with this address; role and state.
    std::string state(Host& host, const std::string& address) {
        const std::string out = emcmd(host, {".", "GETMIRRORVOLINFO", "R"});
        std::size_t begin = 0;
        while (begin < out.size()) {
            const auto end = out.find('\n', begin);
            const std::string line = out.substr(begin, end - begin);
            if (line.find(" " + address + " ") != std::string::npos)
                return std::string{line.at(3), ' ', line.back()};
            begin = end + 1;
        }
        return "-";
    }
    bool in_sync(Host& source, std::vector<Host*> targets) {
        return pair.until([&] { return pair.in_sync(source, targets); });
    }
    void one_target() {
        ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S"});
        ASSERT_TRUE(in_sync(left, {&right}));
    }
    void two_targets() {
        one_target();
        ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
        ASSERT_TRUE(in_sync(left, {&right, &third}));
    }
    /// Job "data" with every pair of the three.
    std::string job_of_three() {
        const std::string made = emcmd(left, {".",     "CREATEJOB", "data",     "",  "left",  "R", "10.0.0.1",
                                              "right", "R",         "10.0.0.2", "S", "left",  "R", "10.0.0.1",
                                              "third", "R",         "10.0.0.3", "S", "right", "R", "10.0.0.2",
                                              "third", "R",         "10.0.0.3", "S"});
        EXPECT_TRUE(made.ends_with("Status = 0\n")) << made << error;
        return made.substr(5, 36);
    }
    void power_off(Host& host) {
        pair.power_off(host);
        pair.cluster.dead.insert(host.name);
    }
    void start(Host& host) {
        pair.cluster.dead.erase(host.name);
        pair.start(host);
    }
    /// How many blocks travelled since the last call.
    std::uint64_t sent() {
        const std::uint64_t before = std::exchange(sent_, pair.wire.blocks_sent);
        return pair.wire.blocks_sent - before;
    }
    std::uint64_t sent_ = 0;

  private:
    static runtime::Task<> answer(Program* program, config::Command command,
                                  std::shared_ptr<std::optional<config::Reply>> out) {
        config::Reply reply;
        if (command.name == "emcmd")
            reply = co_await program->service.run(std::move(command));
        else if (command.name.starts_with("understudy volume"))
            reply = co_await program->service.run_volume(std::move(command));
        else if (command.name == "mirror job")
            reply = co_await program->service.run_job(std::move(command));
        else if (command.name == "mirror delete")
            reply = co_await program->service.run_delete(std::move(command));
        else if (command.name == "mirror set")
            reply = co_await program->service.run_set(std::move(command));
        else
            reply = co_await program->service.run_health(std::move(command));
        *out = std::move(reply);
    }
};

}  // namespace understudy::mirror::emcmd::testing_lab
