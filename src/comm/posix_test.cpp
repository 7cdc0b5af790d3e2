// The same parts over real sockets, TLS and files: a cluster begins, a node joins, both talk.

#include "comm/cluster.h"
#include "comm/enrolment.h"
#include "comm/pki.h"
#include "runtime/posix/posix_world.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <thread>

namespace understudy::comm {
namespace {

using namespace std::chrono_literals;

// A loopback address of this test process alone, so that parallel runs do not meet.
std::string own_address(int host) {
    const auto pid = static_cast<unsigned>(getpid());
    return fmt::format("127.{}.{}.{}", 1 + pid / 251 % 251, pid % 251, host);
}

// One host: its own loop on its own thread, its own pki directory.
class Host {
  public:
    explicit Host(const std::string& name)
        : directory_(std::filesystem::temp_directory_path() /
                     fmt::format("understudy-comm-{}-{}", getpid(), name)),
          world_(std::make_unique<runtime::PosixWorld>(
              runtime::CredentialPaths{pki() + "/ca.pem", pki() + "/node.pem", pki() + "/node.key"})),
          thread_([this] { world_->run(); }) {}
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;
    ~Host() {
        on_loop([this] {
            scope.clear();
            service.reset();
            cluster.reset();
        });
        world_->stop();
        thread_.join();
        std::filesystem::remove_all(directory_);
    }

    [[nodiscard]] std::string pki() const { return directory_.string() + "/pki"; }
    runtime::World world() { return world_->world(); }
    // Runs on the loop's thread and waits for it.
    void on_loop(std::function<void()> function) {
        auto done = std::make_shared<std::promise<void>>();
        auto future = done->get_future();
        world().tasks.post_from_thread([function = std::move(function), done] {
            function();
            done->set_value();
        });
        ASSERT_EQ(future.wait_for(20s), std::future_status::ready);
    }
    bool wait_until(const std::function<bool()>& condition, std::chrono::seconds limit = 20s) {
        for (const auto end = std::chrono::steady_clock::now() + limit;
             std::chrono::steady_clock::now() < end; std::this_thread::yield()) {
            bool holds = false;
            on_loop([&] { holds = condition(); });
            if (holds) return true;
        }
        return false;
    }

    std::unique_ptr<Cluster> cluster;
    std::unique_ptr<EnrolmentService> service;
    runtime::TaskScope scope;

  private:
    std::filesystem::path directory_;
    std::unique_ptr<runtime::PosixWorld> world_;
    std::thread thread_;
};

runtime::Task<void> run_join(runtime::World world, JoinOptions options,
                             std::shared_ptr<std::promise<Result<Joined>>> to) {
    auto joined = co_await join(world, options);
    to->set_value(joined);
}

Result<Joined> join_and_wait(Host& host, JoinOptions options) {
    auto promise = std::make_shared<std::promise<Result<Joined>>>();
    auto future = promise->get_future();
    host.on_loop([&] { host.scope.spawn(run_join(host.world(), options, promise)); });
    if (future.wait_for(40s) != std::future_status::ready) return fail(Code::internal, "join did not end");
    return future.get();
}

config::Path path(const NodeName& remote, int remote_host, int local_host) {
    config::Path out;
    out.remote = remote;
    out.device = "TCP:1500";
    out.transport = "TLI";
    out.interval_ms = 200;
    out.misses = 25;  // other programs may want this machine too
    out.remote_address = own_address(remote_host);
    out.local_address = own_address(local_host);
    return out;
}

class Posix : public ::testing::Test {
  protected:
    void make_left() {
        left.on_loop([&] {
            const auto made = make_cluster(left.world(), left.pki(), kLeft, "blue");
            ASSERT_TRUE(made) << made.error().text;
            ASSERT_TRUE(left.world().network.reload_credentials());
            left.service = std::make_unique<EnrolmentService>(
                left.world(), EnrolmentService::Options{kLeft, "1.0", left.pki()},
                EnrolmentService::Hooks{[](const NodeName&) { return false; },
                                        [](const NodeName&, std::vector<config::Path> paths)
                                            -> Result<std::vector<config::Path>> { return paths; }});
            const auto listening = left.service->listen(own_address(1));
            ASSERT_TRUE(listening) << listening.error().text;
        });
    }
    std::string token() {
        std::string text;
        left.on_loop([&] { text = left.service->create_token(1h).value(); });
        return text;
    }
    JoinOptions options(const std::string& with) {
        JoinOptions out;
        out.self = kRight;
        out.software_version = "1.0";
        out.token = with;
        out.address = own_address(1);
        return out;
    }
    void open(Host& host, const NodeName& self, const config::Path& to) {
        host.on_loop([&] {
            host.cluster = std::make_unique<Cluster>(host.world(), Cluster::Options{self, "1.0"});
            host.cluster->serve(
                "echo", [](const NodeName& caller, std::string_view payload, const Cluster::Answer& answer) {
                    answer(caller.str() + " " + std::string(payload));
                });
            host.cluster->set_paths({to});
        });
    }
    /// A cluster of both, which see each other.
    void become_one() {
        make_left();
        const auto joined = join_and_wait(right, options(token()));
        ASSERT_TRUE(joined) << joined.error().text;
        right.on_loop([&] {
            ASSERT_TRUE(store_joined(right.world(), right.pki(), *joined));
            ASSERT_TRUE(right.world().network.reload_credentials());
        });
        const auto mode = std::filesystem::status(right.pki() + "/node.key").permissions();
        EXPECT_EQ(mode, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);

        open(right, kRight, path(kLeft, 1, 2));
        open(left, kLeft, path(kRight, 2, 1));
        ASSERT_TRUE(left.wait_until([&] { return left.cluster->peer_state(kRight) == PeerState::alive; }));
        ASSERT_TRUE(right.wait_until([&] { return right.cluster->peer_state(kLeft) == PeerState::alive; }));
    }
    const NodeName kLeft{"left"};
    const NodeName kRight{"right"};
    Host left{"left"};
    Host right{"right"};
};

// Spec: CLU-099, DEP-216
TEST_F(Posix, ANodeJoinsAndBothTalkOverTls) {
    ASSERT_NO_FATAL_FAILURE(become_one());
    auto answer = std::make_shared<std::promise<Result<std::string>>>();
    auto future = answer->get_future();
    const std::string large(4UL << 20, 'x');
    left.on_loop([&] {
        left.cluster->call(kRight, "echo", large, 20s,
                           [answer](auto result) { answer->set_value(std::move(result)); });
    });
    ASSERT_EQ(future.wait_for(30s), std::future_status::ready);
    EXPECT_EQ(future.get().value_or("failed"), "left " + large);
}

// What is sent beside the heartbeats, on the same connection, holds none of them up for long. Spec: CLU-051
TEST_F(Posix, HeavyTrafficOnAPathIsNoFailureOfIt) {
    ASSERT_NO_FATAL_FAILURE(become_one());
    constexpr int kCalls = 24;
    const auto large = std::make_shared<std::string>(4UL << 20, 'x');
    const auto answered = std::make_shared<int>(0);
    const auto failed = std::make_shared<int>(0);
    const auto lost = std::make_shared<std::atomic<int>>(0);  // on both threads
    for (auto* host : {&left, &right})
        host->on_loop([&] {
            host->cluster->on_peer_event([lost](const PeerEvent& event) {
                if (event.kind == PeerEvent::Kind::path_down) ++*lost;
            });
        });
    // So many at a time that more always wait than the connection takes.
    const auto next = std::make_shared<std::function<void()>>();
    *next = [this, large, answered, failed, weak = std::weak_ptr(next)] {
        left.cluster->call(kRight, "echo", *large, 60s, [=](const Result<std::string>& result) {
            if (!result) ++*failed;
            if (const auto again = weak.lock(); again && ++*answered < kCalls) (*again)();
        });
    };
    left.on_loop([&] {
        for (int i = 0; i < 8; ++i)
            (*next)();
    });
    EXPECT_TRUE(left.wait_until([&] { return *answered >= kCalls; }, 150s));
    EXPECT_EQ(*lost, 0);
    EXPECT_EQ(*failed, 0);
}

TEST_F(Posix, ATokenOfAnotherClusterIsRefused) {
    make_left();
    auto other = token();
    other.back() = other.back() == '0' ? '1' : '0';
    const auto joined = join_and_wait(right, options(other));
    ASSERT_FALSE(joined);
    EXPECT_NE(joined.error().text.find("belongs to another cluster"), std::string::npos)
        << joined.error().text;
}

TEST_F(Posix, AHostWithoutTheDaemonIsUnreachable) {
    make_left();
    const auto good = token();
    left.on_loop([&] { left.service.reset(); });
    const auto joined = join_and_wait(right, options(good));
    ASSERT_FALSE(joined);
    EXPECT_EQ(joined.error().code, Code::unreachable);
}

TEST_F(Posix, ANodeOfAnotherClusterComesNotIn) {
    make_left();
    right.on_loop([&] {
        ASSERT_TRUE(make_cluster(right.world(), right.pki(), kRight, "red"));
        ASSERT_TRUE(right.world().network.reload_credentials());
    });
    open(right, kRight, path(kLeft, 1, 2));
    open(left, kLeft, path(kRight, 2, 1));
    ASSERT_TRUE(left.wait_until([&] {
        return left.cluster->paths().front().problem.find("another cluster") != std::string::npos;
    })) << left.cluster->paths().front().problem;
    EXPECT_TRUE(right.wait_until([&] { return right.cluster->peer_state(kLeft) == PeerState::unknown; }));
}

}  // namespace
}  // namespace understudy::comm
