#include "daemons/firewall.h"

#include "base/text.h"
#include "config/ports.h"
#include "messages/messages.h"

#include <algorithm>

namespace understudy::daemons {
namespace {

constexpr auto kLimit = std::chrono::seconds(60);      // firewalld takes its time to read its files
constexpr auto kLookLimit = std::chrono::seconds(10);  // net_create waits for it

}  // namespace

FirewallFollower::Needs FirewallFollower::needs() const {
    Needs found;
    for (const auto& path : database_.own().paths)
        if (path.port() != 0) found.insert(fmt::format("path {} {}", path.port(), path.remote_address));
    for (const auto& [tag, instance] : database_.own().instances)
        if (config::answers_load_balancers(instance.type.str(), tag.str()))
            found.insert("probe " + instance.info);
    return found;
}

void FirewallFollower::start() {
    known_ = needs();
    database_.subscribe([this](const config::Change& change) {
        const bool concerns = std::any_of(change.edits.begin(), change.edits.end(), [](const auto& edit) {
            return std::holds_alternative<config::PutPath>(edit) ||
                   std::holds_alternative<config::DropPath>(edit) ||
                   std::holds_alternative<config::PutInstance>(edit) ||
                   std::holds_alternative<config::DropInstance>(edit);
        });
        if (!concerns || change.owner != database_.self() || settings_.now().text("FIREWALL") != "apply")
            return;
        if (auto now = needs(); now != known_) {
            known_ = std::move(now);
            again_ = true;
            if (!following_) tasks_.spawn(follow());
        }
    });
}

runtime::Task<Result<runtime::ProcessResult>> FirewallFollower::run(std::string action, std::string option) {
    const runtime::OneShot<Result<runtime::ProcessResult>> ended(world_.tasks);
    runtime::ProcessSpec firewall;
    firewall.path = options_.layout.lkroot() + "/bin/understudy";
    firewall.arguments = {"firewall", action};
    if (!option.empty()) firewall.arguments.push_back(option);
    firewall.environment = {{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"},
                            {"LC_ALL", "C.UTF-8"},
                            {"UNDERSTUDY_ROOT", options_.layout.root},
                            {"LKROOT", options_.layout.lkroot()}};
    firewall.limit = option.empty() ? runtime::Duration(kLimit) : runtime::Duration(kLookLimit);
    world_.processes.start(firewall, {},
                           [ended](Result<runtime::ProcessResult> result) { ended.set(std::move(result)); });
    auto result = co_await ended;
    co_return result;
}

runtime::Task<> FirewallFollower::follow() {
    following_ = true;
    while (std::exchange(again_, false)) {
        const auto done = co_await run(std::string("apply"), std::string());
        const std::string said(done ? text::trim(done->output) : std::string_view(done.error().text));
        if (done && done->exit_code == 0)
            messages::info("the firewall follows the configuration: {}", said);
        else
            messages::warning("the firewall does not follow the configuration: {}", said);
    }
    following_ = false;
}

runtime::Task<std::string> FirewallFollower::warning() {
    if (settings_.now().text("FIREWALL") != "warn") co_return std::string();
    const auto done = co_await run(std::string("check"), std::string("--blocked"));
    if (!done || done->exit_code != 1 || text::trim(done->output).empty()) co_return std::string();
    co_return fmt::format(
        "the firewall of this system closes what its paths need (understudy firewall apply): {}",
        text::join(text::split(text::trim(done->output), '\n'), "; "));
}

}  // namespace understudy::daemons
