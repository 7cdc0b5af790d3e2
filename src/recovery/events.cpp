#include "recovery/events.h"

#include "base/text.h"
#include "messages/messages.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <array>

namespace understudy::recovery {
namespace {

constexpr std::string_view kMonitor = "LK:recovery";
constexpr std::string_view kAllClasses = "allclass";
constexpr std::string_view kActive = "ACTIVE";
constexpr std::size_t kMaxName = 64;
constexpr std::size_t kMaxProduct = 8;
constexpr std::size_t kMaxComponent = 16;
constexpr std::size_t kMaxLogBytes = 4UL << 20;
constexpr std::size_t kMaxHandlerOutput = 64UL << 10;
constexpr std::size_t kMaxOpenAlarms = 4096;

// Exit codes of sendevent. Spec: CMD-132.
constexpr int kSyntax = 1;
constexpr int kNoClass = 2;
constexpr int kNoEvent = 3;
constexpr int kReservedOption = 4;
constexpr int kIdMissing = 5;

struct Exported {
    int number;
    std::string_view event;
    EventSeverity severity;
};
// Spec: CMD-133, CLU-082
constexpr std::array<Exported, 12> kExported{{
    {100, "startup_complete", EventSeverity::informational},
    {101, "shutdown_initiated", EventSeverity::informational},
    {102, "shutdown_complete", EventSeverity::informational},
    {110, "switchover_initiated", EventSeverity::informational},
    {111, "switchover_recovered", EventSeverity::informational},
    {112, "switchover_failed", EventSeverity::major},
    {120, "node_failure", EventSeverity::critical},
    {121, "node_recovered", EventSeverity::warning},
    {122, "node_recovery_failed", EventSeverity::critical},
    {130, "resource_recovery_initiated", EventSeverity::major},
    {131, "resource_recovery_failed", EventSeverity::critical},
    {132, "resource_recovered", EventSeverity::cleared},
}};
constexpr int kRecoveryInitiated = 130;
constexpr int kRecovered = 132;

constexpr std::array<std::string_view, 3> kMembership{"lcm_avail", "comm_up", "comm_down"};
constexpr std::array<std::string_view, 3> kOfChecks{"quickchk_failed", "deepchk_failed", "check_timeout"};

bool is_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

/// "product:component", both within their lengths. Spec: CMD-126.
bool is_monitor(std::string_view monitor) {
    const auto colon = monitor.find(':');
    if (colon == std::string_view::npos) return false;
    const auto product = monitor.substr(0, colon);
    const auto component = monitor.substr(colon + 1);
    return is_ascii(monitor) && !product.empty() && product.size() <= kMaxProduct && !component.empty() &&
           component.size() <= kMaxComponent;
}

/// Files that package managers and editors leave beside a response command.
bool is_leftover(std::string_view name) {
    if (name.starts_with('.') || name.ends_with('~') || name == kActive) return true;
    constexpr std::array<std::string_view, 8> kEndings{".bak",    ".orig",     ".swp",      ".rpmsave",
                                                       ".rpmnew", ".dpkg-old", ".dpkg-new", ".dpkg-dist"};
    return std::any_of(kEndings.begin(), kEndings.end(), [&](auto ending) { return name.ends_with(ending); });
}

config::Reply refusal(int code, std::string text) {
    config::Reply reply;
    reply.exit_code = code;
    reply.err = std::move(text);
    return reply;
}

}  // namespace

/// The response commands of one event.
struct Events::Batch {
    explicit Batch(runtime::Tasks& tasks) : done(tasks) {}
    std::size_t left = 0;
    runtime::OneShot<runtime::Done> done;
};

tl::expected<EventReport, EventRefusal> parse_event(const config::Command& command) {
    const auto refuse = [](int code, std::string text) {
        return tl::unexpected<EventRefusal>(EventRefusal{code, std::move(text)});
    };
    for (const auto* option : {"C", "E", "m", "n"})
        if (command.get(option).empty()) return refuse(kSyntax, fmt::format("option -{} is missing", option));
    if (!command.arguments.empty())
        return refuse(kSyntax, fmt::format("unexpected word \"{}\"", command.arguments.front()));
    EventReport report{command.get("C"), command.get("E"), command.get("m"), command.get("n")};
    if (!is_monitor(report.monitor))
        return refuse(kSyntax,
                      fmt::format("\"{}\" is not PRODUCT:COMPONENT of at most {} and {} ASCII characters",
                                  report.monitor, kMaxProduct, kMaxComponent));
    if (report.name.size() > kMaxName || !is_ascii(report.name))
        return refuse(kSyntax,
                      fmt::format("the object's name is longer than {} characters, or not ASCII", kMaxName));
    if (command.has("s")) {
        const auto number = text::to_int(command.get("s"));
        if (!number || *number < 0 || *number > static_cast<int>(EventSeverity::critical))
            return refuse(kSyntax,
                          fmt::format("severity \"{}\" is not a number from 0 to 5", command.get("s")));
        report.severity = static_cast<EventSeverity>(*number);
    }
    report.id = command.get("i");
    if (!is_ascii(report.id)) return refuse(kSyntax, "the alarm's id is not ASCII");
    if (command.has("A")) return refuse(kReservedOption, "option -A is the engine's own");
    if (report.severity == EventSeverity::cleared && report.id.empty())
        return refuse(kIdMissing, "severity 0 needs -i with the id of the alarm that is over");
    return report;
}

Events::Events(runtime::World world, Scripts& scripts, NodeName self, std::string lkroot,
               std::string log_directory)
    : world_(world),
      scripts_(scripts),
      self_(std::move(self)),
      root_(std::move(lkroot) + "/events"),
      log_(std::move(log_directory) + "/events.log") {}

Events::~Events() {
    *alive_ = false;
}

void Events::make(const std::string& group, const std::string& event, bool active) {
    const auto path = fmt::format("{}/{}/{}", root_, group, event);
    auto made = world_.files.exists(path) ? Result<>{} : world_.files.make_directories(path);
    const auto marker = fmt::format("{}/{}", path, kActive);
    if (made && active && !world_.files.exists(marker)) made = world_.files.write_atomic(marker, "");
    if (!made)
        messages::warning("nobody can register for the event {} of {}: {}", event, group, made.error().text);
}

void Events::prepare() {
    for (const auto& exported : kExported)
        make("lifekeeper", std::string(exported.event), true);
    for (const auto event : kMembership)
        make("lifekeeper", std::string(event), true);
    for (const auto* event :
         {"mirror_state", "split_brain", "net_broken", "net_resync_done", "net_failover", "net_failure"})
        make("volume", event, false);
    for (const auto* event : {"diskfull", "badmount"})
        make("filesys", event, false);
    for (const auto* group : {"allclass", "genclass"})
        if (const auto path = fmt::format("{}/{}", root_, group); !world_.files.exists(path))
            if (const auto made = world_.files.make_directories(path); !made)
                messages::warning("{}", made.error().text);
}

void Events::prepare(const TypeName& type) {
    if (!is_action_name(type.str())) return;
    for (const auto event : kOfChecks)
        make(type.str(), std::string(event), true);
}

std::string Events::directory(const std::string& group, const std::string& event) const {
    return scripts_.descend(scripts_.descend(root_, group), event);
}

std::vector<std::string> Events::handlers_in(const std::string& directory) const {
    std::vector<std::string> paths;
    for (const auto& name : world_.files.list(directory))
        if (const auto path = directory + "/" + name; !is_leftover(name) && world_.files.executable(path))
            paths.push_back(path);
    return paths;
}

std::string Events::new_id() {
    const auto epoch =
        std::chrono::floor<std::chrono::seconds>(world_.clock.wall()).time_since_epoch().count();
    return fmt::format("{}-{}-{}", self_.str(), epoch, next_id_++);
}

std::string Events::raise(EventReport report, bool recovering) {
    if (report.id.empty()) report.id = new_id();
    report.name.resize(std::min(report.name.size(), kMaxName));
    (void)dispatch(report, recovering);
    return report.id;
}

void Events::raise_exported(int number, const std::string& subject, const std::string& text) {
    const auto at = std::find_if(kExported.begin(), kExported.end(),
                                 [number](const Exported& event) { return event.number == number; });
    if (at == kExported.end()) return;
    EventReport report{"lifekeeper", std::string(at->event), std::string(kMonitor), subject, at->severity};
    report.number = number;
    report.text = text;
    if (number == kRecovered) {
        const auto begun = open_.find(subject);
        if (begun != open_.end()) report.id = begun->second;
        open_.erase(subject);
    }
    auto id = raise(std::move(report));
    if (number != kRecoveryInitiated) return;
    if (open_.size() >= kMaxOpenAlarms) open_.clear();  // their ends get ids of their own
    open_[subject] = std::move(id);
}

std::shared_ptr<Events::Batch> Events::dispatch(const EventReport& report, bool recovering) {
    std::vector<std::string> arguments{"-C", report.group,
                                       "-E", report.event,
                                       "-m", report.monitor,
                                       "-n", report.name,
                                       "-s", std::to_string(static_cast<int>(report.severity)),
                                       "-i", report.id};
    if (recovering) arguments.emplace_back("-A");
    auto batch = std::make_shared<Batch>(world_.tasks);
    auto paths = handlers_in(directory(report.group, report.event));
    const auto for_all = handlers_in(root_ + "/" + std::string(kAllClasses));
    paths.insert(paths.end(), for_all.begin(), for_all.end());
    for (const auto& path : paths) {
        const auto what = fmt::format("{}/{} for {} by {}", report.group, report.event, report.name,
                                      path.substr(root_.size() + 1));
        if (waiting_.size() >= kMaxWaitingHandlers) {
            messages::error("too many response commands are waiting; not run: {}", what);
            continue;
        }
        ++batch->left;
        waiting_.push_back({path, what, arguments, report.number, report.text, batch});
    }
    if (batch->left == 0) batch->done.set({});
    start_waiting();
    return batch;
}

void Events::start_waiting() {
    while (running_ < kMaxRunningHandlers && !waiting_.empty()) {
        Handler next = std::move(waiting_.front());
        waiting_.pop_front();
        ++running_;
        start(std::move(next));
    }
}

void Events::start(Handler handler) {
    runtime::ProcessSpec spec;
    spec.path = handler.path;
    spec.arguments = handler.arguments;
    spec.environment = scripts_.environment();
    if (handler.number != 0) spec.environment["LK_EVENT_NUMBER"] = std::to_string(handler.number);
    if (!handler.text.empty()) spec.environment["LK_EVENT_TEXT"] = handler.text;
    spec.limit = kHandlerLimit;
    spec.max_output = kMaxHandlerOutput;
    world_.processes.start(
        spec, {},
        [this, alive = alive_, handler = std::move(handler)](const Result<runtime::ProcessResult>& result) {
            if (*alive) ended(handler, result);
        });
}

void Events::ended(const Handler& handler, const Result<runtime::ProcessResult>& result) {
    --running_;
    std::string outcome;
    if (!result)
        outcome = "could not be run: " + result.error().text;
    else if (result->timed_out)
        outcome = "was ended because it took too long";
    else
        outcome = fmt::format("ended with {}", result->exit_code);
    const bool well = result && result->exit_code == 0;
    if (well)
        messages::info("event {} {}", handler.what, outcome);
    else
        messages::warning("event {} {}", handler.what, outcome);
    const auto time = std::chrono::floor<std::chrono::seconds>(world_.clock.wall());
    auto entry = fmt::format("{:%Y-%m-%d %H:%M:%S} {} {}\n",
                             fmt::gmtime(std::chrono::system_clock::to_time_t(time)), handler.what, outcome);
    if (result && !result->output.empty())
        entry += result->output + (result->output.ends_with('\n') ? "" : "\n");
    if (const auto logged = world_.files.append(log_, entry, kMaxLogBytes); !logged)
        messages::warning("{}", logged.error().text);
    if (--handler.batch->left == 0) handler.batch->done.set({});
    start_waiting();
}

runtime::Task<config::Reply> Events::sendevent(config::Command command) {
    auto parsed = parse_event(command);
    if (!parsed) co_return refusal(parsed.error().exit_code, "sendevent: " + parsed.error().text);
    auto& report = *parsed;
    // Names of directories: nothing of a path.
    if (!is_action_name(report.group) || text::iequals(report.group, kAllClasses) ||
        !world_.files.exists(scripts_.descend(root_, report.group)))
        co_return refusal(kNoClass, fmt::format("there is no class \"{}\" in {}", report.group, root_));
    if (!is_action_name(report.event) || !world_.files.exists(directory(report.group, report.event)))
        co_return refusal(
            kNoEvent, fmt::format("there is no event \"{}\" in {}/{}", report.event, root_, report.group));
    if (report.id.empty()) report.id = new_id();
    const bool recovering = recovery_ && recovery_(report);
    messages::info("event {}/{} for {} from {}, severity {}, id {}{}", report.group, report.event,
                   report.name, report.monitor, static_cast<int>(report.severity), report.id,
                   recovering ? "; its resource is being recovered" : "");
    const auto batch = dispatch(report, recovering);
    if (command.has("w")) co_await batch->done;
    co_return config::success(report.id + "\n");
}

}  // namespace understudy::recovery
