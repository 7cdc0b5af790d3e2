#pragma once
// Answers emcmd on a node: from its unix socket, and for other nodes.
//
//   emcmd nodeB ...             client -> this mirrord -> nodeB's mirrord
//   emcmd nodeB ... -proxy X    client -> this mirrord -> X's mirrord -> nodeB's mirrord
//
// Between nodes a request is the payload of a service request on the dispatch port (control/peer_call.h), in
// JSON, so that TLS says who asks. Who may change something is decided where the command was typed.
// Threading: the control loop's thread.

#include "config/command.h"
#include "mirror/control/commands.h"
#include "mirror/emcmd/host_facts.h"
#include "mirror/emcmd/request.h"
#include "mirror/emcmd/stores.h"

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>

namespace understudy::mirror::emcmd {

struct ServiceOptions {
    config::Layout layout;
    std::string node;
    std::uint16_t dispatch_port = control::kDispatchPort;
    std::string version = "0.1";
    std::string build = "0";
    std::string build_type = "Release";
};

struct Answer {
    Status status = Status::success;
    std::string out;
    std::string err;
    bool no_status_line = false;  // a query that answers "no" has not failed
};

class Service {
  public:
    /// What is given outlives the service, which outlives no request of the manager's.
    Service(runtime::World world, control::Manager& manager, HostFacts& host, ServiceOptions options);
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;
    ~Service();

    /// Its commands are answered from the socket of `commands`.
    void add_to(control::CommandService& commands);
    /// Takes volumes that must not be open after a boot. Spec: EMC-053, EMC-084.
    void start();
    /// A command as it comes from this host's socket: "emcmd", or "volume", "mirror job" of this program.
    runtime::Task<config::Reply> run(config::Command command);
    runtime::Task<config::Reply> run_volume(config::Command command);
    runtime::Task<config::Reply> run_job(config::Command command);
    /// The indicator's data. Spec: MOP-174 to MOP-178.
    runtime::Task<config::Reply> run_health(config::Command command);
    /// A peer's service request.
    void serve(const std::string& caller, std::string payload, control::PeerServer::Answer answer);
    /// Whether this node may become target of a new mirror of the volume. Spec: EMC-118, EMC-128.
    [[nodiscard]] Result<> may_be_target(const VolumeId& volume) const;

  private:
    using Json = nlohmann::json;
    struct Call {
        const Spec* spec = nullptr;
        std::vector<std::string> arguments;
        std::string system;  // as it was typed, on whatever node
        VolumeId volume;     // when the command has one
        [[nodiscard]] std::string argument(std::size_t index) const {
            return index < arguments.size() ? arguments[index] : std::string();
        }
    };
    using MirrorPtr = std::shared_ptr<control::Mirror>;

    // service.cpp: who answers
    [[nodiscard]] bool is_this(const std::string& system) const;
    runtime::Task<Result<std::string>> address_of(std::string system);
    runtime::Task<Result<Json>> ask(std::string system, Json request, runtime::Duration limit);
    runtime::Task<> serve_task(std::string caller, std::string payload, control::PeerServer::Answer answer);
    runtime::Task<Json> serve_json(Json request);
    runtime::Task<Answer> forward(std::string system, std::vector<std::string> words, std::string typed,
                                  std::string hop);
    runtime::Task<Answer> answer_words(std::vector<std::string> words, std::string typed);
    runtime::Task<Answer> route(Request request, std::string typed);
    runtime::Task<Answer> execute(Call call);
    runtime::Task<Answer> change(Call call);
    runtime::Task<Answer> query(Call call);

    // service_queries.cpp
    runtime::Task<VolumeFacts> facts_of(VolumeId volume);
    runtime::Task<std::vector<VolumeFacts>> all_facts();
    runtime::Task<Json> describe(VolumeId volume);
    runtime::Task<DeviceLook> look_at(std::string device);
    [[nodiscard]] std::vector<VolumeId> known_volumes() const;
    [[nodiscard]] std::string device_of(const VolumeId& volume) const;
    Answer service_info() const;

    // service_changes.cpp
    runtime::Task<Answer> pause(Call call, MirrorPtr mirror);
    runtime::Task<Answer> resume(Call call, MirrorPtr mirror);
    runtime::Task<Answer> resync(Call call, MirrorPtr mirror);
    runtime::Task<Answer> remove(Call call, MirrorPtr mirror);
    runtime::Task<Answer> remove_local(Call call, MirrorPtr mirror);
    runtime::Task<Answer> create(Call call);
    runtime::Task<Answer> create_now(control::CreateOptions options, bool wait_for_data);
    runtime::Task<> create_task(control::CreateOptions options);
    runtime::Task<Answer> change_type(Call call);
    runtime::Task<Answer> change_endpoints(Call call);
    runtime::Task<Answer> switch_over(Call call);
    runtime::Task<Answer> switch_over_now(Call call);
    runtime::Task<Answer> lock(Call call);
    runtime::Task<Answer> unlock(Call call);
    runtime::Task<Answer> take_snapshot(Call call);
    Answer set_configuration(const Call& call);
    Answer set_snapshot_location(const Call& call);
    Answer set_snapshot_location(const VolumeId& volume, const std::string& directory);
    Answer read_registry(const Call& call);
    Answer update_settings(const VolumeId& volume, const std::function<void(VolumeSettings&)>& change);
    void remember_device(const VolumeId& volume);
    runtime::Task<Json> peer_facts(MirrorPtr mirror);

    // service_jobs.cpp
    runtime::Task<Answer> create_job(Call call);
    runtime::Task<Answer> update_job(Call call);
    runtime::Task<Answer> delete_job(std::string id);
    runtime::Task<Answer> store_everywhere(Job job);
    Answer job_info(const Call& call) const;
    Answer job_info_for_volume(const Call& call) const;
    std::string new_job_id();
    runtime::Task<Answer> ask_system(Job job, std::string system, Json request);

    void record_changed(const control::MirrorRecord& before, const control::MirrorRecord& now);

    runtime::World world_;
    control::Manager& manager_;
    HostFacts& host_;
    ServiceOptions options_;
    VolumeSettingsStore settings_;
    JobStore jobs_;
    std::int64_t started_ = 0;
    std::int64_t modified_ = 0;
    bool stopped_ = false;  // STOPSERVICE: nothing is answered until the daemon's next start

    struct Times {
        std::int64_t modified = 0, resync_started = 0, resync_last = 0;
    };
    std::map<VolumeId, Times> times_;
    std::map<std::string, std::string> addresses_;  // of systems that were met, by name
    std::map<std::string, DeviceLook> looks_;       // by device; UPDATEVOLUMEINFO and LOCK forget them
    std::map<VolumeId, std::unique_ptr<control::OperationLock>> locks_;
    std::map<VolumeId, std::vector<runtime::OneShot<Answer>>> switchovers_;  // under way, and who waits too
    runtime::TaskScope tasks_;  // last: what runs in it uses the rest
};

}  // namespace understudy::mirror::emcmd
