#include "daemons/locks.h"

#include "base/text.h"
#include "messages/messages.h"

#include <algorithm>
#include <limits>

namespace understudy::daemons {
namespace {

using config::Command;
using config::LockId;
using config::LockRequest;
using config::Reply;

constexpr auto kCallLimit = std::chrono::seconds(3);
/// Peers need this much to agree to a free lock.
constexpr auto kLeastWait = std::chrono::seconds(3);
/// Owners are looked at, and lost notices repeated, this often.
constexpr auto kTick = std::chrono::seconds(1);
/// Peers are told everything again every so many ticks, also when nothing waits: what they wrongly remember
/// goes.
constexpr int kTicksOfRefresh = 5;
constexpr std::size_t kMaxReported = 100;

std::string describe(const LockRequest& request) {
    return fmt::format("{} of process {} on {}", request.identifier, request.id.pid, request.id.node.str());
}

}  // namespace

LockService::LockService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                         std::string held_file, int pid)
    : world_(world),
      database_(database),
      cluster_(cluster),
      held_file_(std::move(held_file)),
      pid_(pid),
      table_(database.self(), world.random.next()) {}

LockService::~LockService() {
    *alive_ = false;
    if (timer_) world_.tasks.cancel(*timer_);
    for (const auto& [id, owner] : owners_)
        if (owner.limit) world_.tasks.cancel(*owner.limit);
}

void LockService::start() {
    restore_held();
    cluster_.serve("locks.tell",
                   [this](const NodeName& peer, std::string_view payload,
                          const comm::Cluster::Answer& answer) { serve(peer, payload, answer); });
    cluster_.on_peer_event([this](const comm::PeerEvent& event) {
        using Kind = comm::PeerEvent::Kind;
        if (event.kind == Kind::comm_up) tell(event.peer);
        if (event.kind != Kind::comm_down) return;
        table_.forget(event.peer);
        show_flags();
        try_grant();
    });
    cluster_.on_absence([this](runtime::Duration) { tell_all(); });
    show_flags();
    timer_ = world_.tasks.after(kTick, [this] { tick(); });
}

bool LockService::run(const Command& command, const Done& done) {
    if (command.name == "getlocks")
        get(command, done);
    else if (command.name == "rlslocks")
        done(drop(command));
    else
        return false;
    return true;
}

void LockService::get(const Command& command, const Done& done) {
    const auto refuse = [&](Code code, std::string text) {
        done(config::failure(Error{code, std::move(text), 0}));
    };
    if (!command.has("i")) return refuse(Code::syntax, "option -i (identifier) is missing");
    if (command.has("a") && !database_.own().systems.contains(NodeName(command.get("a"))))
        return refuse(Code::not_found,
                      fmt::format("no system \"{}\"; sys_list names those that exist", command.get("a")));
    auto owner_pid = static_cast<std::int64_t>(command.pid);
    if (command.has("p")) {
        const auto pid = text::to_int(command.get("p"));
        if (!pid || *pid < 1 || *pid > std::numeric_limits<int>::max())
            return refuse(Code::bad_argument,
                          fmt::format("-p takes a process id, not \"{}\"", command.get("p")));
        owner_pid = *pid;
    }
    runtime::Duration wait = kLockWait;
    if (command.has("w")) {
        const auto seconds = text::to_int(command.get("w"));
        if (!seconds) return refuse(Code::bad_argument, "-w takes a number of seconds");
        if (*seconds < 0 || *seconds > kMaxLockWait.count())
            return refuse(Code::out_of_range, fmt::format("-w takes 0 to {} seconds", kMaxLockWait.count()));
        wait = std::chrono::seconds(*seconds);
    }
    if (command.has("e")) wait = runtime::Duration::zero();
    wait = std::max<runtime::Duration>(wait, kLeastWait);
    const auto name = command.get("l");
    const auto control = [](unsigned char c) { return c < ' ' || c == 0x7f; };
    if (name.size() > config::kMaxLockTextBytes || std::any_of(name.begin(), name.end(), control))
        return refuse(Code::bad_argument,
                      fmt::format("the name of a lock has at most {} characters, none of them "
                                  "a control character",
                                  config::kMaxLockTextBytes));
    for (const auto& [id, owner] : owners_)
        if (!name.empty() && owner.name == name)
            return refuse(Code::exists,
                          fmt::format("the lock \"{}\" is taken or waited for already by process "
                                      "{}; a lock cannot be taken twice",
                                      name, id.pid));
    if (!world_.processes.alive(static_cast<int>(owner_pid)))
        return refuse(Code::not_found,
                      fmt::format("there is no process {} on {}", owner_pid, database_.self().str()));
    Owner owner;
    owner.waiter = command.pid;
    owner.name = name;
    owner.granted = [this, done](const Result<LockId>& granted) {
        if (!granted) return done(config::failure(granted.error()));
        const auto* request = table_.find(*granted);
        done(config::success(request == nullptr ? "" : config::lock_flag(*request).str() + "\n"));
    };
    add(static_cast<int>(owner_pid), command.get("i"), wait, std::move(owner));
}

Reply LockService::drop(const Command& command) {
    // By the name it was taken with, by its owner, or as the flag that shows it.
    const auto owner_pid = text::to_int(command.get("p", std::to_string(command.pid)));
    std::optional<LockId> found;
    for (const auto& [id, owner] : owners_) {
        if (owner.operation) continue;
        const auto* request = table_.find(id);
        const bool named = command.has("l") ? owner.name == command.get("l") ||
                                                  (request != nullptr &&
                                                   config::lock_flag(*request).str() == command.get("l"))
                                            : owner_pid && id.pid == *owner_pid;
        if (named) found = id;
    }
    if (!found)
        return config::failure({Code::not_found,
                                command.has("l")
                                    ? fmt::format("there is no lock \"{}\"; flg_list shows those "
                                                  "that exist",
                                                  command.get("l"))
                                    : "the caller holds no lock; name it with -l",
                                0});
    release(*found);
    return config::success();
}

void LockService::acquire(const std::string& identifier, runtime::Duration wait, Granted granted) {
    Owner owner;
    owner.operation = true;
    owner.granted = std::move(granted);
    add(pid_, identifier, wait, std::move(owner));
}

void LockService::add(int pid, const std::string& identifier, runtime::Duration wait, Owner owner) {
    const auto now_s =
        std::chrono::floor<std::chrono::seconds>(world_.clock.wall()).time_since_epoch().count();
    const auto id = table_.request(pid, identifier, now_s);
    if (!id) {
        world_.tasks.post([granted = std::move(owner.granted), error = id.error()] { granted(fail(error)); });
        return;
    }
    owner.limit = world_.tasks.after(wait, [this, id = *id, wait] {
        owners_.at(id).limit.reset();
        std::string before;
        for (const auto& request : table_.all()) {
            if (request.id == id) break;
            before += fmt::format("{}{}", before.empty() ? "" : ", ", describe(request));
        }
        end(id, {Code::failure,
                 fmt::format("the cluster's lock was not free within {} s{}{}",
                             std::chrono::floor<std::chrono::seconds>(wait).count(),
                             before.empty() ? "" : "; in front of it: ", before),
                 0});
    });
    owners_[*id] = std::move(owner);
    show_flags();
    tell_all();
    // With nobody to ask it can be granted at once, but not on the caller's stack.
    world_.tasks.post([this, alive = alive_] {
        if (*alive) try_grant();
    });
}

bool LockService::holds(const LockId& id) const {
    const auto* request = table_.find(id);
    return request != nullptr && request->held;
}

void LockService::release(const LockId& id) {
    const auto at = owners_.find(id);
    if (at == owners_.end()) return;
    if (at->second.granted)
        return end(id, {Code::failure, "the wait for the cluster's lock was ended by rlslocks", 0});
    owners_.erase(at);
    table_.release(id);
    if (auto written = write_held(std::nullopt); !written) messages::warning("{}", written.error().text);
    show_flags();
    tell_all();
    try_grant();
}

/// A request that is not answered yet ends without the lock.
void LockService::end(const LockId& id, const Error& why) {
    auto owner = std::move(owners_.at(id));
    owners_.erase(id);
    if (owner.limit) world_.tasks.cancel(*owner.limit);
    table_.release(id);
    show_flags();
    tell_all();
    if (owner.granted) owner.granted(fail(why));
}

void LockService::serve(const NodeName& peer, std::string_view payload, const comm::Cluster::Answer& answer) {
    auto notice = config::decode_lock_notice(payload);
    if (!notice) return answer(fail(notice.error()));
    const auto before = requests_of(peer);
    const auto heard = table_.hear(peer, *notice);
    const auto after = requests_of(peer);
    if (heard.conflict)
        for (const auto& theirs : notice->requests) {
            if (!theirs.held || reported_.size() >= kMaxReported) continue;
            const auto text = fmt::format(
                "two cluster-wide locks are held, because the nodes did not hear each other: {} and {}; "
                "check what "
                "both have changed",
                describe(*heard.conflict), describe(theirs));
            if (!reported_.insert(text).second) continue;
            messages::warning("{}", text);
            database_.journal(0, "engine", peer.str(), text);
        }
    answer(config::encode(heard));
    show_flags();
    // What was in front of ours may have gone: only its node can agree.
    const bool gone = !std::includes(after.begin(), after.end(), before.begin(), before.end());
    const auto waits = [](const auto& each) { return static_cast<bool>(each.second.granted); };
    if (gone && std::any_of(owners_.begin(), owners_.end(), waits)) tell(peer);
    try_grant();
}

std::set<LockId> LockService::requests_of(const NodeName& node) const {
    std::set<LockId> ids;
    for (const auto& request : table_.all())
        if (request.id.node == node) ids.insert(request.id);
    return ids;
}

void LockService::tell(const NodeName& peer) {
    cluster_.call(peer, "locks.tell", config::encode(table_.notice()), kCallLimit,
                  [this, peer, alive = alive_](const Result<std::string>& answer) {
                      if (!*alive || !answer) return;  // told again with the next tick
                      if (auto agreed = config::decode_lock_answer(*answer)) table_.answered(peer, *agreed);
                      try_grant();
                  });
}

void LockService::tell_all() {
    for (const auto& peer : cluster_.alive_peers())
        tell(peer);
}

void LockService::try_grant() {
    // Right after the start nobody seems to live.
    if (owners_.empty() || !cluster_.settled()) return;
    const auto id = table_.grantable(cluster_.alive_peers());
    if (!id) return;
    if (auto written = write_held(*id); !written) {
        end(*id, written.error());
        return try_grant();
    }
    table_.grant(*id);
    auto& owner = owners_.at(*id);
    if (owner.limit) world_.tasks.cancel(*std::exchange(owner.limit, std::nullopt));
    const auto granted = std::exchange(owner.granted, {});
    show_flags();
    tell_all();
    granted(*id);
}

/// Every request of the cluster is a flag here, and no other flag of this form stays. Spec: CLU-213, CLU-214.
void LockService::show_flags() {
    std::set<FlagName> wanted;
    for (const auto& request : table_.all())
        wanted.insert(config::lock_flag(request));
    std::vector<config::Edit> edits;
    for (const auto& flag : database_.own().flags)
        if (config::is_lock_flag(flag) && !wanted.contains(flag)) edits.emplace_back(config::DropFlag{flag});
    for (const auto& flag : wanted)
        if (!database_.has_flag(flag)) edits.emplace_back(config::PutFlag{flag});
    database_.commit(std::move(edits));
}

void LockService::tick() {
    timer_ = world_.tasks.after(kTick, [this] { tick(); });
    end_dead_owners();
    for (const auto& peer : cluster_.peers())
        if (cluster_.peer_state(peer) != comm::PeerState::alive) table_.forget(peer);
    show_flags();
    if (!owners_.empty() || ++ticks_ % kTicksOfRefresh == 0) tell_all();
    try_grant();
}

void LockService::end_dead_owners() {
    std::vector<LockId> dead;
    for (const auto& [id, owner] : owners_) {
        if (owner.operation) continue;
        const bool waits_for_nobody =
            owner.granted && owner.waiter > 0 && !world_.processes.alive(owner.waiter);
        if (waits_for_nobody || !world_.processes.alive(id.pid)) dead.push_back(id);
    }
    for (const auto& id : dead) {
        const auto* request = table_.find(id);
        messages::warning("the lock {} is removed: its process has ended",
                          request == nullptr ? std::string() : describe(*request));
        if (owners_.at(id).granted)
            end(id, {Code::failure, "the process that wanted the lock has ended", 0});
        else
            release(id);
    }
}

/// One line for each held lock of a process: timestamp, pid, identifier, name.
Result<> LockService::write_held(const std::optional<LockId>& next) const {
    std::string content;
    for (const auto& request : table_.own()) {
        const auto at = owners_.find(request.id);
        if (at == owners_.end() || at->second.operation || (!request.held && request.id != next)) continue;
        content += fmt::format("{} {} {} {}\n", request.id.timestamp, request.id.pid, request.identifier,
                               at->second.name);
    }
    if (content.empty() && !world_.files.exists(held_file_)) return {};
    if (auto written = world_.files.write_atomic(held_file_, content, 0600); !written)
        return with_context(written.error(), "cannot note which locks are held");
    return {};
}

void LockService::restore_held() {
    const auto content = world_.files.read(held_file_);
    if (!content) return;  // nothing was held
    for (const auto& line : text::split(*content, '\n')) {
        const auto words = text::split(line, ' ');
        if (words.size() < 3) continue;
        const auto timestamp = text::to_int(words[0]);
        const auto pid = text::to_int(words[1]);
        if (!timestamp || !pid || !world_.processes.alive(static_cast<int>(*pid))) continue;
        const LockRequest request{
            {*timestamp, database_.self(), static_cast<int>(*pid)}, std::string(words[2]), true};
        table_.restore(request);
        Owner owner;
        owner.name = line.size() > words[0].size() + words[1].size() + words[2].size() + 3
                         ? std::string(line).substr(words[0].size() + words[1].size() + words[2].size() + 3)
                         : std::string();
        owners_[request.id] = std::move(owner);
    }
}

}  // namespace understudy::daemons
