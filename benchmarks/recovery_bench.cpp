// What ./bench recovery needs of C++: plans of large clusters. Prints milliseconds, one run a line; run by
// benchmarks/recovery_rows.py.

#include "base/text.h"
#include "recovery/plan.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace understudy::recovery {
namespace {

using Clock = std::chrono::steady_clock;

const NodeName kDead("left");
const NodeName kSelf("right");

/// Hierarchies of ten on three nodes: a root over three services over two volumes each; half of them in
/// service on the node that dies, half on this one.
ClusterView cluster(int resources) {
    ClusterView view;
    view.self = kSelf;
    const std::vector<NodeName> names{kDead, kSelf, NodeName("third")};
    for (std::size_t n = 0; n < names.size(); ++n) {
        auto& node = view.nodes[names[n]];
        node.alive = names[n] != kDead;
        node.known_dead = names[n] == kDead;
        node.config.generation = 1;
        std::uint64_t order = 0;
        const auto add = [&](const std::string& name, const std::string& parent, bool on_dead) {
            const Tag tag(name);
            config::Instance instance;
            instance.tag = tag;
            instance.order = ++order;
            instance.state = (on_dead ? kDead : kSelf) == names[n] ? config::State::isp : config::State::osu;
            node.config.instances[tag] = instance;
            for (std::size_t other = 0; other < names.size(); ++other)
                if (other != n)
                    node.config.equivalencies.push_back(
                        {tag, names[other], tag, Priority{static_cast<int>(n) * 10 + 1},
                         Priority{static_cast<int>(other) * 10 + 1}, ++order});
            if (!parent.empty()) node.config.dependencies.push_back({Tag(parent), tag, ++order});
        };
        for (int i = 0; i < resources / 10; ++i) {
            const auto root = fmt::format("app.{}", i);
            const bool on_dead = i % 2 == 0;
            add(root, "", on_dead);
            for (int service = 0; service < 3; ++service) {
                const auto name = fmt::format("{}.service.{}", root, service);
                add(name, root, on_dead);
                for (int volume = 0; volume < 2; ++volume)
                    add(fmt::format("{}.volume.{}", name, volume), name, on_dead);
            }
        }
        node.config.reindex();
    }
    return view;
}

/// Plan and its division into hierarchies: what a takeover computes before its first script begins.
int failover(int resources, int runs) {
    const auto view = cluster(resources);
    for (int run = 0; run < runs; ++run) {
        const auto start = Clock::now();
        const auto made = plan(view, FailoverRequest{kDead, {}, {}});
        const auto parts = made ? by_hierarchy(view, *made) : std::vector<Plan>();
        const auto took = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
        // Half of the hierarchies move, each with all its ten; of the others one line says that they stay.
        const auto wanted = static_cast<std::size_t>(resources / 20) * 11;
        if (!made || made->steps.size() != wanted ||
            parts.size() != static_cast<std::size_t>(resources / 10)) {
            std::fprintf(stderr, "the plan has %zu steps in %zu parts, not %zu\n",
                         made ? made->steps.size() : 0, parts.size(), wanted);
            return 1;
        }
        std::printf("%.3f\n", took);
    }
    return 0;
}

}  // namespace
}  // namespace understudy::recovery

int main(int argc, char** argv) {
    using namespace understudy;
    const auto resources = argc > 2 ? text::to_int(argv[1]) : std::nullopt;
    const auto runs = argc > 2 ? text::to_int(argv[2]) : std::nullopt;
    if (!resources || !runs || *resources < 20 || *runs < 1) {
        std::fputs("usage: understudy-recovery-bench RESOURCES RUNS\n", stderr);
        return 2;
    }
    return recovery::failover(static_cast<int>(*resources), static_cast<int>(*runs));
}
