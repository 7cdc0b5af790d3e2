#include "daemons/metrics.h"

#include "base/text.h"

#include <array>
#include <iterator>
#include <tuple>

namespace understudy::daemons {
namespace {

constexpr std::string_view kVerdicts[] = {"peer_up", "peer_down", "quorum_lost",
                                          "no_verdict"};  // of the enum
static_assert(std::size(kVerdicts) == std::tuple_size_v<decltype(quorum::Counters::verdicts)>);
static_assert(static_cast<int>(quorum::Witness::no_verdict) == std::size(kVerdicts) - 1);

/// A label's value: the format escapes these three.
std::string escaped(std::string_view value) {
    std::string result;
    for (const char c : value) {
        if (c == '\\' || c == '"') result += '\\';
        if (c == '\n')
            result += "\\n";
        else
            result += c;
    }
    return result;
}

class Text {
  public:
    void family(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    }
    void sample(double value,
                std::initializer_list<std::pair<std::string_view, std::string_view>> labels = {}) {
        std::string list;
        for (const auto& [label, of] : labels)
            list += fmt::format("{}{}=\"{}\"", list.empty() ? "" : ",", label, escaped(of));
        text_ += list.empty() ? fmt::format("{} {}\n", name_, value)
                              : fmt::format("{}{{{}}} {}\n", name_, list, value);
    }
    [[nodiscard]] std::string take() { return std::move(text_); }

  private:
    std::string name_;
    std::string text_;
};

void add_quorum(Text& out, const MetricsFacts& facts) {
    const auto& status = facts.quorum;
    out.family("lk_quorum_state", "gauge",
               "0: quorum, 1: none, 2: storage not initialised, 3: configuration error");
    out.sample(static_cast<int>(status.quorum));
    out.family("lk_quorum_known_nodes", "gauge", "Nodes of the cluster, this one among them");
    out.sample(static_cast<double>(status.known));
    out.family("lk_quorum_reachable_nodes", "gauge", "Those of them that are ALIVE here");
    out.sample(static_cast<double>(status.reachable));
    out.family("lk_quorum_loss_total", "counter",
               "How often this node lost quorum and took everything out of service");
    out.sample(static_cast<double>(facts.counters.losses));
    out.family("lk_witness_verdict_total", "counter", "What the witness said of silent peers");
    for (std::size_t i = 0; i < std::size(kVerdicts); ++i)
        out.sample(static_cast<double>(facts.counters.verdicts[i]), {{"verdict", kVerdicts[i]}});
    if (!status.storage_ready) return;
    out.family("lk_qwk_sequence", "gauge", "The number of the newest record of a node in the quorum storage");
    out.sample(static_cast<double>(status.sequence), {{"node", facts.self.str()}});
    for (const auto& peer : status.peers)
        if (peer.sequence) out.sample(static_cast<double>(*peer.sequence), {{"node", peer.name.str()}});
    out.family("lk_qwk_quiet_seconds", "gauge", "How long a node's record has not changed");
    for (const auto& peer : status.peers)
        if (peer.quiet)
            out.sample(std::chrono::duration<double>(*peer.quiet).count(), {{"node", peer.name.str()}});
}

}  // namespace

std::string metrics_text(const MetricsFacts& facts) {
    Text out;
    out.family("lk_engine_ready", "gauge", "1 when the engine has finished its start");
    out.sample(facts.ready ? 1 : 0);
    out.family("lk_node_alive", "gauge", "1 when the other node is ALIVE here");
    for (const auto& peer : facts.quorum.peers)
        out.sample(peer.state == comm::PeerState::alive ? 1 : 0, {{"node", peer.name.str()}});
    out.family("lk_path_alive", "gauge", "1 when the communication path is ALIVE");
    for (const auto& path : facts.paths)
        out.sample(path.state == comm::PathState::alive ? 1 : 0,
                   {{"node", path.path.remote.str()}, {"device", path.path.device}});
    out.family("lk_path_down_total", "counter", "How often the path went DEAD");
    for (const auto& path : facts.paths)
        out.sample(path.times_down, {{"node", path.path.remote.str()}, {"device", path.path.device}});
    out.family("lk_resource_state", "gauge", "1 for the state that the resource has here");
    for (const auto& [tag, instance] : facts.own.instances)
        out.sample(1, {{"tag", tag.str()}, {"state", config::to_string(instance.state)}});
    add_quorum(out, facts);
    return out.take();
}

}  // namespace understudy::daemons
