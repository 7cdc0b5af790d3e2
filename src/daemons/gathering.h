#pragma once
// One question to every living node, this one included. Threading: loop thread only.

#include "comm/cluster.h"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

namespace understudy::daemons {

using Answers = std::map<NodeName, Result<std::string>>;

/// Calls `method` on every living peer and `local` here; `finish` runs once, when all have answered or
/// `limit` has passed for those that did not (they have an error then).
inline void gather(comm::Cluster& cluster, const NodeName& self, const std::string& method,
                   const std::string& payload, runtime::Duration limit,
                   const std::function<void(std::function<void(Result<std::string>)>)>& local,
                   std::function<void(const Answers&)> finish) {
    struct Gathering {
        std::size_t waiting = 0;
        Answers answers;
        std::function<void(const Answers&)> finish;
        void arrived(const NodeName& node, Result<std::string> answer) {
            answers.emplace(node, std::move(answer));
            if (--waiting == 0) finish(answers);
        }
    };
    auto gathering = std::make_shared<Gathering>();
    const auto peers = cluster.alive_peers();
    gathering->waiting = peers.size() + 1;
    gathering->finish = std::move(finish);
    for (const auto& peer : peers)
        cluster.call(peer, method, payload, limit, [gathering, peer](Result<std::string> answer) {
            gathering->arrived(peer, std::move(answer));
        });
    local([gathering, self](Result<std::string> answer) { gathering->arrived(self, std::move(answer)); });
}

/// "left did not answer; right is not reachable": what an answer of the whole cluster lacks; empty when
/// nothing.
std::string missing_answers(const Answers& answers, const std::set<NodeName>& systems);

}  // namespace understudy::daemons
