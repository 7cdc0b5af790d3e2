#include "recovery/peers.h"

namespace understudy::recovery {

runtime::Task<Result<std::string>> call(Peers& peers, runtime::Tasks& tasks, NodeName peer,
                                        std::string method, std::string payload, runtime::Duration deadline) {
    const runtime::OneShot<Result<std::string>> answer(tasks);
    peers.call(peer, method, std::move(payload), deadline,
               [answer](Result<std::string> result) { answer.set(std::move(result)); });
    auto result = co_await answer;
    co_return result;
}

}  // namespace understudy::recovery
