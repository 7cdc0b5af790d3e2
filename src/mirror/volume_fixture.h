#pragma once
// Two real volumes on files, joined by TCP on loopback or socket pairs, on one reactor.

#include "mirror/volume.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace understudy::mirror::testing_volume {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline constexpr std::uint64_t kBlock = 65536;
inline constexpr std::uint64_t kSize = (24u << 20) + 4096;  // not a multiple of a block

struct Events : VolumeEvents {
    void state_changed(MirrorState, MirrorState to, PauseCause why) override {
        states.push_back(to);
        cause = why;
    }
    void link_lost(std::string why) override {
        ++lost;
        reason = std::move(why);
    }
    void link_interrupted(std::string why) override {
        ++interrupted;
        reason = std::move(why);
    }
    void degraded(DegradeAnswer release) override {
        ++degradations;
        if (hold_release) {
            held = std::move(release);
        } else {
            release(true);
        }
    }
    void in_sync() override { ++synced; }
    void target_silent() override {}
    void log_failed(std::string why) override { log_error = std::move(why); }

    std::vector<MirrorState> states;
    PauseCause cause = PauseCause::none;
    int lost = 0, interrupted = 0, degradations = 0, synced = 0;
    bool hold_release = false;
    DegradeAnswer held;
    std::string reason, log_error;
};

struct Request {
    explicit Request(std::uint32_t bytes)
        : buffer(static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)),
                 &std::free) {}
    BlockRequest block;
    std::unique_ptr<std::byte, decltype(&std::free)> buffer;
    bool done = false;
};

/// Nothing but the end of a test takes longer than this.
inline constexpr auto kLimit = seconds(20);

class VolumeTest : public ::testing::Test {
  protected:
    void SetUp() override {
        auto made = Reactor::create();
        ASSERT_TRUE(made) << made.error().text;
        reactor = std::move(*made);
        std::string pattern = base() + "/volume_test.XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        directory = pattern;
        reactor->after_batch([this] {
            if (condition && condition()) reactor->stop();
        });
        for (const char* name : {"left", "right"}) {
            std::ofstream file(path(name));
            file.close();
            std::filesystem::resize_file(path(name), kSize);
        }
    }

    void TearDown() override {
        for (auto* volume : {&left, &right})
            close(*volume);
        reactor.reset();
        std::filesystem::remove_all(directory);
    }

    [[nodiscard]] virtual std::string base() const { return std::filesystem::temp_directory_path(); }
    [[nodiscard]] std::string path(const std::string& name) const { return directory + "/" + name; }

    bool run_until(std::function<bool()> wanted) {
        if (wanted()) return true;
        bool late = false;
        IoOperation deadline;
        deadline.owner = &late;
        deadline.done = [](IoOperation& op, int) { *static_cast<bool*>(op.owner) = true; };
        reactor->timeout(deadline, kLimit);
        condition = [&] { return late || wanted(); };
        reactor->run();
        const bool reached = wanted();
        if (deadline.in_flight) {
            reactor->cancel(deadline);
            condition = [&] { return late; };
            reactor->run();
        }
        condition = nullptr;
        return reached;
    }

    /// Lets the volumes' own timers work for a while.
    void reactor_idle(milliseconds time) {
        const auto end = std::chrono::steady_clock::now() + time;
        run_until([end] { return std::chrono::steady_clock::now() >= end; });
    }

    VolumeOptions options(const std::string& name) {
        VolumeOptions result;
        result.id = VolumeId("data");
        result.device = path(name);
        result.log_path = path(name + ".log");
        result.log_in_memory = without_log == name;
        result.uuid = {1, 2, 3};
        result.type = type;
        result.parameters = parameters;
        result.busy_wait_ms = 0;
        return result;
    }

    std::unique_ptr<Volume> open(const std::string& name, Events& events) {
        auto volume = Volume::open(*reactor, options(name), events);
        EXPECT_TRUE(volume) << (volume ? "" : volume.error().text);
        return volume ? std::move(*volume) : nullptr;
    }

    void close(std::unique_ptr<Volume>& volume) {
        if (!volume) return;
        bool done = false;
        volume->shutdown([&] { done = true; });
        EXPECT_TRUE(run_until([&] { return done; }));
        volume.reset();
    }

    std::array<int, 2> tcp_pair() {
        const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        EXPECT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(listener, 1), 0);
        ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
        const int first = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        EXPECT_EQ(::connect(first, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        const int second = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        ::close(listener);
        return {first, second};
    }

    /// Joins two volumes; keeps duplicates of the sockets so that a test can cut the link.
    void join(Volume& source, Volume& target, ResyncKind kind) {
        const auto data = tcp_pair(), resync = tcp_pair();
        for (const int fd : cut_handles)
            ::close(fd);
        cut_handles = {::dup(data[0]), ::dup(resync[0])};
        target.attach(data[1], resync[1], {ResyncKind::none, features});
        source.attach(data[0], resync[0], {kind, features});
    }

    /// New connections for an interrupted session.
    void rejoin(Volume& source, Volume& target) {
        const auto data = tcp_pair(), resync = tcp_pair();
        cut_handles = {::dup(data[0]), ::dup(resync[0])};
        const LinkTerms terms{ResyncKind::partial, wire::kAllFeatures, true};
        target.attach(data[1], resync[1], terms);
        source.attach(data[0], resync[0], terms);
    }

    void cut() {
        for (const int fd : cut_handles) {
            ::shutdown(fd, SHUT_RDWR);
            ::close(fd);
        }
        cut_handles.clear();
    }

    void start(ResyncKind kind) {
        left = open("left", left_events);
        right = open("right", right_events);
        ASSERT_TRUE(left && right);
        left->become_source(MirrorState::pending, PauseCause::none, false);
        right->become_target();
        join(*left, *right, kind);
        ASSERT_TRUE(run_until([&] {
            return left->status().state == MirrorState::mirroring &&
                   right->status().state == MirrorState::mirroring;
        }));
    }

    std::unique_ptr<Request> submit(Volume& volume, BlockOp op, std::uint64_t offset, std::uint32_t length,
                                    std::byte fill = {}) {
        auto request = std::make_unique<Request>(std::max(length, 4096u));
        request->block.op = op;
        request->block.offset = offset;
        request->block.length = length;
        request->block.data = request->buffer.get();
        request->block.owner = request.get();
        request->block.done = [](BlockRequest& block) { static_cast<Request*>(block.owner)->done = true; };
        if (op == BlockOp::write) std::memset(request->buffer.get(), static_cast<int>(fill), length);
        volume.submit(request->block);
        return request;
    }

    int write(Volume& volume, std::uint64_t offset, std::uint32_t length, int fill) {
        auto request = submit(volume, BlockOp::write, offset, length, static_cast<std::byte>(fill));
        EXPECT_TRUE(run_until([&] { return request->done; }));
        return request->block.result;
    }

    int flush(Volume& volume) {
        auto request = submit(volume, BlockOp::flush, 0, 0);
        EXPECT_TRUE(run_until([&] { return request->done; }));
        return request->block.result;
    }

    /// Many writes at once, as a busy file system does.
    void storm(Volume& volume, unsigned count, unsigned seed) {
        std::mt19937 random(seed);
        std::deque<std::unique_ptr<Request>> flying;
        for (unsigned i = 0; i < count; ++i) {
            const std::uint32_t length = 4096u << (random() % 5);
            const std::uint64_t offset = random() % ((kSize - length) / 4096) * 4096;
            flying.push_back(
                submit(volume, BlockOp::write, offset, length, static_cast<std::byte>(random())));
            if (flying.size() < 16) continue;
            EXPECT_TRUE(run_until([&] { return flying.front()->done; }));
            flying.pop_front();
        }
        EXPECT_TRUE(run_until([&] {
            return std::all_of(flying.begin(), flying.end(),
                               [](const auto& request) { return request->done; });
        }));
    }

    static std::string content(const std::string& file) {
        std::ifstream stream(file, std::ios::binary);
        std::string bytes(std::filesystem::file_size(file), 0);
        stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        return bytes;
    }
    bool equal() { return content(path("left")) == content(path("right")); }

    wire::Features features = wire::kAllFeatures & ~wire::kFeatureResend;
    std::unique_ptr<Reactor> reactor;
    std::string directory;
    std::function<bool()> condition;
    Events left_events, right_events;
    std::unique_ptr<Volume> left, right;
    std::vector<int> cut_handles;
    MirrorType type = MirrorType::sync;
    std::string without_log;  // which of the two
    MirrorParameters parameters;
};

}  // namespace understudy::mirror::testing_volume
