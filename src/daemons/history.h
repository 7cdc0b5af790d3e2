#pragma once
// `understudy history`: the changes of configuration and states of every reachable node, as one list; and who
// is named for changes that an action of some length makes.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <set>

namespace understudy::daemons {

class HistoryService {
  public:
    using Done = std::function<void(config::Reply)>;
    HistoryService(runtime::World world, config::Database& database, comm::Cluster& cluster);
    HistoryService(const HistoryService&) = delete;
    HistoryService& operator=(const HistoryService&) = delete;
    ~HistoryService();
    void start();
    /// False when the command is not this one.
    bool run(const config::Command& command, const Done& done);

    /// Names the command for what it commits on its stack while the result lives, and, until `done` is
    /// called, for changes of the hierarchies it is about. `done` must be called once; the copy that is
    /// returned does both.
    struct Watch {
        config::Database::Attribution now;
        Done done;
    };
    [[nodiscard]] Watch watch(const config::Command& command, const NodeName& from, Done done);

  private:
    struct Operation {
        config::Origin origin;
        std::optional<std::set<Tag>> tags;  // nullopt: everything
    };
    [[nodiscard]] config::Origin find_origin(const std::vector<config::Edit>& edits) const;
    [[nodiscard]] std::optional<std::set<Tag>> tags_of(const config::Command& command) const;
    [[nodiscard]] Result<config::HistoryQuery> query_of(const config::Command& command) const;
    void read_here(const std::string& query, const std::function<void(Result<std::string>)>& answer);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    std::list<Operation> operations_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// A moment as a person writes it: "2026-11-22", "2026-11-22 14:05[:06]" (local time), "90s", "15m", "2h",
/// "3d" (ago), in microseconds since 1970. Code::bad_argument otherwise.
Result<std::int64_t> parse_moment(std::string_view text, std::int64_t now_us);

}  // namespace understudy::daemons
