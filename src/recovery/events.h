#pragma once
// Events and who is told of them (manual: alarms, sendevent). Spec: CMD-125 to CMD-133, CLU-005, CLU-082.
//
//   failing check, COMM_DOWN, sendevent, ... ──> Events ──> every executable in
//                                                   events/<class>/<event>/   and   events/allclass/
//
// An application registers by placing an executable; its file name is the application's name. It gets all
// options of the event and -i <id>, and -A when the engine is recovering the resource that the event is
// about. The environment tells the exported event's number and text (LK_EVENT_NUMBER, LK_EVENT_TEXT). What it
// prints goes to events.log; its exit code is logged and changes nothing.
//
// Threading: loop thread only.

#include "config/command.h"
#include "recovery/scripts.h"
#include "runtime/task.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace understudy::recovery {

/// Response commands that run at the same time; further ones wait, and what exceeds the second bound is not
/// run but logged.
inline constexpr std::size_t kMaxRunningHandlers = 32;
inline constexpr std::size_t kMaxWaitingHandlers = 1024;
/// A response command that takes longer is ended.
inline constexpr runtime::Duration kHandlerLimit = std::chrono::hours(1);

/// Spec: CMD-127.
enum class EventSeverity { cleared, informational, warning, minor, major, critical };

struct EventReport {
    std::string group;    // -C, the class
    std::string event;    // -E
    std::string monitor;  // -m, "product:component"
    std::string name;     // -n, the object
    EventSeverity severity = EventSeverity::major;
    std::string id = {};  // of an earlier alarm; empty: a new one
    int number = 0;       // of the exported event (CLU-082), 0: none
    std::string text = {};
};

class Events {
  public:
    /// `lkroot` holds the registration directory `events`, `log_directory` gets events.log. The references
    /// outlive it.
    Events(runtime::World world, Scripts& scripts, NodeName self, std::string lkroot,
           std::string log_directory);
    Events(const Events&) = delete;
    Events& operator=(const Events&) = delete;
    ~Events();

    /// Asked for each sendevent: whether the engine recovers a resource because of it; it starts doing so.
    using Recovery = std::function<bool(const EventReport&)>;
    void on_report(Recovery recovery) { recovery_ = std::move(recovery); }
    /// Makes the directories of the engine's own events; what is there stays. Spec: CMD-133.
    void prepare();
    /// The same for the checks of a resource type.
    void prepare(const TypeName& type);

    /// Tells all who are registered. The result is the alarm's id.
    std::string raise(EventReport report, bool recovering = false);
    /// An exported event of the engine (CLU-082); nothing when the number has none. An alarm that is over
    /// carries the id of its beginning.
    void raise_exported(int number, const std::string& subject, const std::string& text);
    /// The command sendevent. Exit codes of CMD-132.
    runtime::Task<config::Reply> sendevent(config::Command command);

  private:
    struct Batch;
    struct Handler {
        std::string path;
        std::string what;  // for the log
        std::vector<std::string> arguments;
        int number = 0;
        std::string text;
        std::shared_ptr<Batch> batch;
    };
    [[nodiscard]] std::string directory(const std::string& group, const std::string& event) const;
    [[nodiscard]] std::vector<std::string> handlers_in(const std::string& directory) const;
    void make(const std::string& group, const std::string& event, bool active);
    std::shared_ptr<Batch> dispatch(const EventReport& report, bool recovering);
    void start_waiting();
    void start(Handler handler);
    void ended(const Handler& handler, const Result<runtime::ProcessResult>& result);
    std::string new_id();

    runtime::World world_;
    Scripts& scripts_;
    NodeName self_;
    std::string root_;
    std::string log_;
    Recovery recovery_;
    std::deque<Handler> waiting_;
    std::size_t running_ = 0;
    std::uint64_t next_id_ = 1;
    std::map<std::string, std::string> open_;  // ids of recoveries that have begun, by subject
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// What sendevent says of its options; the exit code of CMD-132 with a text, or the report.
struct EventRefusal {
    int exit_code = 0;
    std::string text;
};
tl::expected<EventReport, EventRefusal> parse_event(const config::Command& command);

}  // namespace understudy::recovery
