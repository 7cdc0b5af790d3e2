// How much processor the heartbeats of a large cluster take: all its nodes in this process, each with its own
// event loop on its own thread and its own certificate, every pair with one path over loopback and TLS.
//
//   understudy-comm-bench NODES INTERVAL_MS SECONDS
//
// Prints the processor time of this process a node, in percent of one core, over SECONDS in which every node
// saw every other; the number of heartbeats a second that a node got from its peers follows from the
// interval. Exit code 1 when a node was missing in that time.

#include "comm/cluster.h"
#include "comm/pki.h"
#include "runtime/posix/posix_world.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace understudy::benchmarks {
namespace {

using namespace std::chrono_literals;

constexpr int kFirstPort = 20'000;
constexpr int kMisses = 50;  // other programs may want this machine meanwhile
constexpr auto kAllUpWithin = 60s;

NodeName name_of(int node) {
    return NodeName(fmt::format("n{:02}", node));
}

std::string address_of(int node) {
    return fmt::format("127.78.{}.1", node + 1);
}

/// One node: its loop, its credentials, its ends of the paths.
class Node {
  public:
    Node(const comm::KeyAndCertificate& ca, std::filesystem::path directory, int number)
        : directory_(std::move(directory)) {
        std::filesystem::create_directories(directory_);
        const auto name = name_of(number);
        const auto request = comm::make_request(name).value();
        write("ca.pem", ca.certificate);
        write("node.pem", comm::sign_request(ca, name, request.certificate).value());
        write("node.key", request.private_key);
        world_ = std::make_unique<runtime::PosixWorld>(runtime::CredentialPaths{
            directory_ / "ca.pem", directory_ / "node.pem", directory_ / "node.key"});
        thread_ = std::thread([this] { world_->run(); });
    }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;
    ~Node() {
        on_loop([this] { cluster_.reset(); });
        world_->stop();
        thread_.join();
    }

    void open(const NodeName& self, const std::vector<config::Path>& paths) {
        on_loop([&] {
            cluster_ =
                std::make_unique<comm::Cluster>(world_->world(), comm::Cluster::Options{self, "benchmark"});
            cluster_->set_paths(paths);
        });
    }
    std::size_t alive() {
        std::size_t count = 0;
        on_loop([&] { count = cluster_->alive_peers().size(); });
        return count;
    }

  private:
    void write(const char* file, const std::string& content) const {
        std::ofstream(directory_ / file) << content;
    }
    void on_loop(const std::function<void()>& function) {
        std::promise<void> done;
        world_->world().tasks.post_from_thread([&] {
            function();
            done.set_value();
        });
        done.get_future().wait();
    }

    std::filesystem::path directory_;
    std::unique_ptr<runtime::PosixWorld> world_;
    std::unique_ptr<comm::Cluster> cluster_;
    std::thread thread_;
};

std::vector<config::Path> paths_of(int self, int nodes, int interval_ms) {
    std::vector<config::Path> paths;
    int pair = 0;
    for (int i = 0; i < nodes; ++i)
        for (int j = i + 1; j < nodes; ++j, ++pair) {
            if (i != self && j != self) continue;
            const int other = i == self ? j : i;
            config::Path path;
            path.remote = name_of(other);
            path.device = fmt::format("TCP:{}", kFirstPort + pair);
            path.transport = "TLI";
            path.interval_ms = interval_ms;
            path.misses = kMisses;
            path.local_address = address_of(self);
            path.remote_address = address_of(other);
            paths.push_back(path);
        }
    return paths;
}

bool all_see_all(const std::vector<std::unique_ptr<Node>>& nodes) {
    return std::all_of(nodes.begin(), nodes.end(),
                       [&](const auto& node) { return node->alive() == nodes.size() - 1; });
}

int run(int count, int interval_ms, int seconds) {
    const auto directory =
        std::filesystem::temp_directory_path() / fmt::format("understudy-comm-bench-{}", std::time(nullptr));
    const auto ca = comm::make_ca("benchmark").value();
    int code = 1;
    {
        std::vector<std::unique_ptr<Node>> nodes;
        for (int i = 0; i < count; ++i)
            nodes.push_back(std::make_unique<Node>(ca, directory / std::to_string(i), i));
        for (int i = 0; i < count; ++i)
            nodes[static_cast<std::size_t>(i)]->open(name_of(i), paths_of(i, count, interval_ms));
        const auto limit = std::chrono::steady_clock::now() + kAllUpWithin;
        while (!all_see_all(nodes) && std::chrono::steady_clock::now() < limit)
            std::this_thread::sleep_for(100ms);
        std::this_thread::sleep_for(2s);  // handshakes are over
        const bool before = all_see_all(nodes);
        const auto cpu = std::clock();
        const auto begin = std::chrono::steady_clock::now();
        std::this_thread::sleep_for(std::chrono::seconds(seconds));
        const double used = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
        const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        fmt::print("{:.3f} percent of a core for each of {} nodes\n", 100 * used / wall / count, count);
        code = before && all_see_all(nodes) ? 0 : 1;
    }
    std::filesystem::remove_all(directory);
    return code;
}

}  // namespace
}  // namespace understudy::benchmarks

int main(int argc, char** argv) {
    if (argc != 4) {
        fmt::print(stderr, "usage: understudy-comm-bench NODES INTERVAL_MS SECONDS\n");
        return 2;
    }
    return understudy::benchmarks::run(std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3]));
}
