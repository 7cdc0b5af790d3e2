// Making mirrors, and what a pair of systems is made of: addresses and type.

#include "base/text.h"
#include "config/address.h"
#include "messages/messages.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using control::MirrorRecord;
using control::PeerRecord;
using control::TargetOptions;
using runtime::Task;

namespace {

constexpr runtime::Duration kFactsLimit = std::chrono::seconds(5);
/// A mirror that is made has its data connections within this, or they are blocked. Spec: EMC-303.
constexpr runtime::Duration kDataPortLimit = std::chrono::seconds(12);

/// CREATEMIRROR's options. Spec: EMC-055.
enum CreateOption : unsigned { no_resync = 1, do_not_wait = 2, boot_rule = 4 };
constexpr unsigned kAllCreateOptions = no_resync | do_not_wait | boot_rule;
/// Why a volume is never mirrored; empty when it may be. Without a file system it may. Spec: MOP-054
std::string_view ineligible(const Eligibility& found) {
    if (found.system_drive) return "the system runs from it";
    if (found.swap) return "it is used as swap";
    if (found.bitmaps) return "it holds the intent logs";
    if (found.not_fixed) return "it is a removable disk";
    return {};
}

}  // namespace

/// What the system that is to become a target says about itself; its "status" is what refuses it. Spec:
/// EMC-148, EMC-151.
Task<Result<Service::Json>> Service::future_target(VolumeId volume, std::string address, Status* refusal) {
    const std::string name = volume_letter(volume);
    Json request{{"do", "facts"}, {"volume", volume.str()}};
    auto asked = co_await ask(address, std::move(request), kFactsLimit);
    if (!asked) {
        const bool no_service = asked.error().text.find("refused") != std::string::npos;
        *refusal = no_service ? Status::file_not_found : status_of(asked.error());
        co_return fail(asked.error());
    }
    const Json& facts = *asked;
    const std::string node = facts.value("node", "");
    *refusal = Status::invalid_function;
    if (facts.value("role", 0) == static_cast<int>(Role::source))
        co_return fail(Code::failure, "{} is source of volume {} already", node, name);
    if (facts.value("role", 0) != 0)
        co_return fail(Code::failure, "{} is target of volume {} already", node, name);
    if (facts.value("block_target", false))
        co_return fail(Code::failure, "{} is ineligible to become a target of volume {} (SETBLOCKTARGET)",
                       node, name);
    if (facts.value("switchover", false)) {
        *refusal = Status::connection_refused;
        co_return fail(Code::failure, "the switchover flag of volume {} is set on {} (CLEARSWITCHOVER)", name,
                       node);
    }
    if (facts.value("device", "").empty()) {
        *refusal = Status::invalid_drive;
        co_return fail(
            Code::failure,
            "{} knows no device of volume {}: run \"understudy volume set {} --device PATH\" there", node,
            name, volume.str());
    }
    co_return asked;
}

/// The first target of a volume, or one target more of a volume that has some. Spec: EMC-143 to EMC-156.
Task<Answer> Service::create(Call call) {
    const VolumeId volume = call.volume;
    const std::string name = volume_letter(volume);
    const std::string target = call.argument(1);
    const auto type = type_of(call.argument(2));
    const auto bits = text::to_int(call.argument(3).empty() ? "0" : call.argument(3));
    if (!type) co_return refused(Status::invalid_parameter, "the type is A or S");
    if (!bits || *bits < 0 || *bits > kAllCreateOptions)
        co_return refused(Status::invalid_parameter, "the options are a sum of 1, 2 and 4");

    if (!config::is_numeric_address(target))
        co_return refused(Status::invalid_parameter,
                          fmt::format("\"{}\" is no numeric IPv4 or IPv6 address", target));
    std::string source = call.system;
    // An address that brought the request here is this host's, whatever its interfaces say.
    if (source.find_first_not_of("0123456789.") != std::string::npos && !config::is_v6(source)) source = ".";
    if (source == ".") {  // "." or a name: one address must be meant. Spec: EMC-147
        const auto beside = host_.addresses_beside(target);
        if (beside.size() != 1)
            co_return refused(Status::invalid_parameter,
                              fmt::format("{} has {} addresses in the network of {}: give the one to use as "
                                          "<system>",
                                          options_.node, beside.size(), target));
        source = beside.front();
    }
    if (config::is_v6(source) != config::is_v6(target))  // Spec: EMC-146
        co_return refused(Status::invalid_parameter,
                          fmt::format("{} and {} are of different address families", source, target));
    if (host_.is_local(target))  // Spec: EMC-156
        co_return refused(Status::invalid_parameter, "source and target are the same system");
    const MirrorPtr mirror = manager_.find(volume);
    if (mirror && mirror->record().role != Role::source)
        co_return refused(Status::invalid_function,
                          fmt::format("{} is target of volume {}: mirror it from its source {}",
                                      options_.node, name, mirror->record().main().node));
    if (mirror && peer_with(mirror->record(), target) != nullptr)
        co_return refused(Status::invalid_function,
                          fmt::format("volume {} is mirrored to {} already", name, target));
    if (!mirror && is_shared(volume) && !shared_->is_open(volume))
        co_return refused(
            Status::invalid_function,
            fmt::format("volume {} is shared, and {} does not own it: unlock it first", name, options_.node));
    const std::string device = device_of(volume);
    if (device.empty())
        co_return refused(
            Status::invalid_drive,
            fmt::format("{} knows no device of volume {}: understudy volume set {} --device PATH",
                        options_.node, name, name));
    Status refusal{};
    const auto facts = co_await future_target(volume, target, &refusal);
    if (!facts) co_return refused(refusal, facts.error().text);
    looks_.erase(device);  // as it is now
    const DeviceLook look = co_await look_at(device);
    if (const std::string_view why = ineligible(look.eligibility); !mirror && !why.empty())
        co_return refused(Status::invalid_function, fmt::format("{} cannot be mirrored: {}", device, why));

    NewMirror made;
    made.volume = volume;
    made.device = device;
    made.target.node = facts->value("node", "");
    made.target.device = facts->value("device", "");
    made.target.source_address = source;
    made.target.address = target;
    made.target.type = *type;
    made.equal = (static_cast<unsigned>(*bits) & no_resync) != 0;
    const auto there = facts->value("hosts", std::vector<std::string>());
    auto pairs = shared_pairs(volume, made.target, there);
    if (!pairs) co_return refused(Status::invalid_parameter, pairs.error().text);
    made.target.pairs = std::move(*pairs);
    if (!mirror) host_.release(volume);
    if ((static_cast<unsigned>(*bits) & do_not_wait) != 0) {
        tasks_.spawn(create_task(std::move(made)));
        co_return Answer{};
    }
    made.wait_for_data = true;
    co_return co_await create_now(std::move(made));
}

Task<Answer> Service::create_now(NewMirror made) {
    const VolumeId volume = made.volume;
    const std::string node = made.target.node;
    const bool first = manager_.find(volume) == nullptr;
    Result<> done;
    if (first && is_shared(volume)) {
        done = co_await mirror_shared(made);
    } else if (first) {
        control::CreateOptions options;
        options.volume = volume;
        options.device = made.device;
        options.targets.push_back(made.target);
        options.resync = !made.equal;
        const auto path = co_await manager_.create(std::move(options));
        if (!path) done = fail(path.error());
    } else {
        done = co_await manager_.add_target(volume, made.target, made.equal);
    }
    if (!done) co_return answer_of(done);
    remember_device(volume);
    if (!made.wait_for_data) co_return Answer{};
    const auto deadline = world_.clock.now() + kDataPortLimit;
    std::string problem;
    while (world_.clock.now() < deadline) {
        const MirrorPtr mirror = manager_.find(volume);
        if (!mirror) break;
        const control::MirrorView view = co_await mirror->view();
        for (const control::PeerView& peer : view.peers) {
            if (peer.record.node != node) continue;
            if (peer.linked) co_return Answer{};
            problem = peer.problem;
        }
        co_await runtime::sleep_for(world_.tasks, control::kStatePoll);
    }
    // Spec: EMC-148, EMC-303. All or nothing.
    if (first)
        done = co_await manager_.remove(volume, true);
    else
        done = co_await manager_.remove_target(volume, node, true);
    if (!done) messages::error("volume {}: {}", volume.str(), done.error().text);
    co_return refused(Status::operation_aborted,
                      fmt::format("the data connections of volume {} to {} cannot be made: {}",
                                  volume_letter(volume), made.target.address, problem));
}

Task<> Service::create_task(NewMirror made) {
    const VolumeId volume = made.volume;
    const Answer done = co_await create_now(std::move(made));
    if (done.status != Status::success) messages::error("volume {}: {}", volume.str(), done.err);
}

// --- type

/// Of a mirror that runs, or of a pair that could: between two targets, or in a job alone. Spec: EMC-110,
/// EMC-111, MOP-072.
Task<Answer> Service::change_type(Call call) {
    const auto type = type_of(call.argument(2));
    if (!type) co_return refused(Status::invalid_parameter, "the type is A or S");
    const VolumeId volume = call.volume;
    const std::string other = call.argument(1);
    bool found = false;
    if (const MirrorPtr mirror = manager_.find(volume)) {
        if (const PeerRecord* peer = peer_with(mirror->record(), other)) {
            const std::string node = peer->node;
            const Result<> done =
                co_await mirror->set_type(node, *type);  // refuses in a split brain. Spec: EMC-113
            if (!done) co_return answer_of(done);
            found = true;
        }
    }
    for (Job& job : jobs_.all()) {
        const JobPair* pair = find_pair(job, options_.node, other, volume);
        if (pair == nullptr || pair->type == 'D') continue;
        JobPair changed = *pair;
        changed.type = *type == MirrorType::async ? 'A' : 'S';
        put_pair(job, changed);
        Answer stored = co_await store_everywhere(std::move(job));
        if (stored.status != Status::success) co_return stored;
        found = true;
    }
    if (!found)
        co_return refused(Status::file_not_found,
                          fmt::format("no mirror and no job of {} joins volume {} with {}", options_.node,
                                      volume_letter(volume), other));
    co_return Answer{};
}

}  // namespace understudy::mirror::emcmd
