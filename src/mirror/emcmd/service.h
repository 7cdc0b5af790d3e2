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
#include "mirror/emcmd/alerts.h"
#include "mirror/emcmd/answer.h"
#include "mirror/emcmd/health.h"
#include "mirror/emcmd/host_facts.h"
#include "mirror/emcmd/request.h"
#include "mirror/emcmd/stores.h"
#include "mirror/shared/shared_volumes.h"

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>

namespace understudy::mirror::emcmd {

/// Commands that change a volume wait for each other so long. Spec: EMC-020.
inline constexpr runtime::Duration kVolumeWait = std::chrono::seconds(60);
/// Of a request between services: see Service::readdress_as_owner(). What says that a request is not known.
inline constexpr const char* kEndpoints = "endpoints";
inline constexpr const char* kUnknownRequest = "an unknown request";
inline constexpr const char* kNewerJob = "newer";  // of the answer to a job that is older than the copy there

struct ServiceOptions {
    config::Layout layout;
    std::string node;
    std::uint16_t dispatch_port = control::kDispatchPort;
    std::string version = "0.1";
    std::string build = "0";
    std::string build_type = "Release";
};

class Service {
  public:
    /// What is given outlives the service, which outlives no request of the manager's.
    Service(runtime::World world, control::Manager& manager, HostFacts& host, ServiceOptions options);
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;
    ~Service();

    /// What owns the shared volumes of this host; before start(). Without it none can be unlocked.
    void set_shared(shared::SharedVolumes& volumes);
    /// Its commands are answered from the socket of `commands`.
    void add_to(control::CommandService& commands);
    /// Takes volumes that must not be open after a boot. Spec: EMC-053, EMC-084.
    void start();
    /// A command as it comes from this host's socket: "emcmd", or "volume", "mirror job" of this program.
    runtime::Task<config::Reply> run(config::Command command);
    runtime::Task<config::Reply> run_volume(config::Command command);
    runtime::Task<config::Reply> run_job(config::Command command);
    runtime::Task<config::Reply> run_create(config::Command command);
    runtime::Task<config::Reply> run_add(config::Command command);
    runtime::Task<config::Reply> run_delete(config::Command command);
    runtime::Task<config::Reply> run_promote(config::Command command);
    /// "mirror pause", "continue", "break" and "resync", with the target's lock.
    runtime::Task<config::Reply> run_on_both_ends(std::string word, config::Command command);
    runtime::Task<config::Reply> run_type(config::Command command);
    runtime::Task<config::Reply> run_set(config::Command command);
    runtime::Task<config::Reply> run_endpoints(config::Command command);
    /// "volume share" and "volume owner".
    runtime::Task<config::Reply> run_share(config::Command command);
    /// The indicator's data. Spec: MOP-174 to MOP-178.
    runtime::Task<config::Reply> run_health(config::Command command);
    /// A peer's service request.
    void serve(const std::string& caller, std::string payload, control::PeerServer::Answer answer);
    /// Whether this node may become target of a new mirror of the volume. Spec: EMC-118, EMC-128.
    [[nodiscard]] Result<> may_be_target(const VolumeId& volume) const;

    /// New addresses of `host`, a host of this end, and of another system for each other.
    struct NewEndpoints {
        VolumeId volume;
        std::string host;
        std::string original;  // the other system: its address so far, or its name
        std::string source, target;
        bool any_number = false;  // of systems of the volume and its job
    };

  private:
    using Json = nlohmann::json;
    struct Call {
        const Spec* spec = nullptr;
        std::vector<std::string> arguments;
        std::string system;        // as it was typed, on whatever node
        VolumeId volume;           // when the command has one
        bool for_cluster = false;  // UNLOCKVOLUME: a volume that the cluster holds, too
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
    runtime::Task<Json> serve_json(Json request, std::string caller);
    runtime::Task<Answer> forward(std::string system, std::vector<std::string> words, std::string typed,
                                  std::string hop);
    runtime::Task<Answer> answer_words(std::vector<std::string> words, std::string typed);
    runtime::Task<Answer> route(Request request, std::string typed);
    runtime::Task<Answer> execute(Call call);
    runtime::Task<Answer> change(Call call);
    runtime::Task<Answer> query(Call call);

    // service_queries.cpp
    /// How deep a query looks: lists of all volumes do not wait for every data path's thread.
    enum class Depth { records, data_path };
    runtime::Task<VolumeFacts> facts_of(VolumeId volume, Depth depth);
    runtime::Task<std::vector<VolumeFacts>> all_facts(Depth depth);
    [[nodiscard]] Remote remote_of(const control::MirrorView& view, const control::PeerView& peer) const;
    runtime::Task<Json> describe(VolumeId volume);
    runtime::Task<DeviceLook> look_at(std::string device);
    [[nodiscard]] std::vector<VolumeId> known_volumes() const;
    [[nodiscard]] std::string device_of(const VolumeId& volume) const;
    Answer service_info() const;

    // service_targets.cpp: one of a volume's mirrors, or all
    static const control::PeerRecord* peer_with(const control::MirrorRecord& record,
                                                const std::string& address);
    [[nodiscard]] Result<std::vector<std::string>> meant(const Call& call,
                                                         const control::MirrorRecord& record) const;
    [[nodiscard]] Answer on_source_only(const control::MirrorRecord& record, std::string_view verb) const;
    runtime::Task<Answer> on_targets(Call call, MirrorPtr mirror);
    runtime::Task<Answer> pause(MirrorPtr mirror, std::string peer);
    runtime::Task<Answer> resume(MirrorPtr mirror, std::string peer);
    runtime::Task<Answer> break_one(MirrorPtr mirror, std::string peer);
    runtime::Task<Answer> resync(MirrorPtr mirror, std::string peer);
    runtime::Task<Answer> remove(Call call, MirrorPtr mirror);
    runtime::Task<Result<>> remove_mirrors(VolumeId volume, std::string only, bool force);
    runtime::Task<Answer> remove_local(Call call, MirrorPtr mirror);
    runtime::Task<Json> peer_facts(MirrorPtr mirror, std::string peer);

    // service_create.cpp
    struct NewMirror {
        VolumeId volume;
        std::string device;
        control::TargetOptions target;
        bool equal = false;
        bool wait_for_data = false;
    };
    runtime::Task<Answer> create(Call call);
    runtime::Task<Result<Json>> future_target(VolumeId volume, std::string address, Status* refusal);
    runtime::Task<Answer> create_now(NewMirror made);
    runtime::Task<> create_task(NewMirror made);
    /// Of this host's settings, besides its mirrors. Spec: REP-072.
    [[nodiscard]] std::vector<std::string> host_problems() const;
    [[nodiscard]] std::string logs_setting() const;
    // service_ports.cpp
    runtime::Task<> probe_ports(MirrorPtr mirror, std::string peer, bool data,
                                runtime::OneShot<std::string> wrong);
    runtime::Task<std::vector<std::string>> closed_ports();
    Json expect_probe(const VolumeId& volume, std::string_view session_hex, std::string_view key_hex,
                      const std::string& caller);
    runtime::Task<Json> reach_back(VolumeId volume, std::string caller);
    runtime::Task<Answer> change_type(Call call);
    // service_endpoints.cpp
    [[nodiscard]] Result<std::optional<Job>> job_with_endpoints(const NewEndpoints& wanted) const;
    runtime::Task<Answer> change_endpoints(Call call);
    runtime::Task<Answer> readdress(NewEndpoints wanted);
    runtime::Task<Answer> readdress_at_owner(NewEndpoints wanted);
    runtime::Task<Answer> readdress_as_owner(NewEndpoints wanted);
    runtime::Task<Answer> readdress_here(NewEndpoints wanted);
    [[nodiscard]] bool has_sharers(const VolumeId& volume) const;
    runtime::Task<config::Reply> readdress_sharers(config::Command command);

    // service_bitmaps.cpp
    runtime::Task<Answer> get_bitmap(Call call, MirrorPtr mirror);
    runtime::Task<Answer> restart_pipe(MirrorPtr mirror);
    runtime::Task<Answer> register_volume(VolumeId volume);

    // service_actions.cpp
    runtime::Task<Answer> command_at(std::string system, std::vector<std::string> words);
    runtime::Task<bool> is_unlocked(std::string address, VolumeId volume);
    runtime::Task<Answer> lock_targets(VolumeId volume, std::vector<std::string> addresses);
    runtime::Task<Answer> unlock_targets(VolumeId volume, std::vector<std::string> addresses);
    runtime::Task<config::Reply> act_on_job(std::string word, Job job, bool unlock);
    runtime::Task<config::Reply> switch_job_here(Job job);

    // service_health.cpp
    runtime::Task<HealthInput> look_at_health(bool ports_too);

    // service_changes.cpp
    runtime::Task<Answer> update_volume(VolumeId volume);
    runtime::Task<Answer> switch_over(Call call);
    runtime::Task<Answer> switch_over_now(Call call);
    runtime::Task<Answer> lock(Call call);
    runtime::Task<Answer> unlock(Call call);
    // service_shared.cpp
    [[nodiscard]] bool is_shared(const VolumeId& volume) const;
    runtime::Task<Answer> lock_shared(VolumeId volume);
    runtime::Task<Answer> unlock_shared(VolumeId volume);
    void hold_again(const VolumeId& volume);
    runtime::Task<> hold_when_free(VolumeId volume);
    [[nodiscard]] Result<> may_be_target_disk(const VolumeId& volume) const;
    [[nodiscard]] Result<std::vector<control::EndpointPair>> shared_pairs(
        const VolumeId& volume, const control::TargetOptions& target,
        const std::vector<std::string>& there) const;
    runtime::Task<Result<>> mirror_shared(NewMirror made);
    // service_standby.cpp
    runtime::Task<> watch_shared();
    runtime::Task<> look_at_owner(shared::SharedPlace place);
    // service_sharers.cpp
    using PairsOf = control::Mirror::PairsOf;
    runtime::Task<config::Reply> add_sharer(VolumeId volume, std::string host, std::string address);
    runtime::Task<config::Reply> drop_sharer(VolumeId volume, std::string host, bool confirmed);
    runtime::Task<Result<PairsOf>> pairs_with(control::MirrorRecord record, std::string host,
                                              std::string address);
    runtime::Task<Answer> store_sharer(VolumeId volume, std::string host, control::MirrorRecord record,
                                       PairsOf added);
    runtime::Task<Answer> forget_sharer(VolumeId volume, std::string host);
    [[nodiscard]] Json beside(const Json& remotes) const;
    runtime::Task<Answer> switch_over_shared(VolumeId volume);
    runtime::Task<Answer> take_snapshot(Call call);
    Answer set_configuration(const Call& call);
    Answer set_snapshot_location(const Call& call);
    Answer set_snapshot_location(const VolumeId& volume, const std::string& directory);
    Answer read_registry(const Call& call);
    Answer update_settings(const VolumeId& volume, const std::function<void(VolumeSettings&)>& change);
    void remember_device(const VolumeId& volume);

    // service_jobs.cpp
    runtime::Task<Answer> create_job(Call call);
    runtime::Task<Answer> update_job(Call call);
    runtime::Task<Answer> delete_job(std::string id);
    runtime::Task<Answer> store_everywhere(Job job);
    runtime::Task<> tell_later();
    void remember_untold(const std::string& job, const std::string& system);
    runtime::Task<Answer> store_or_remove(Job before, Job job, std::string lost);
    Answer job_info(const Call& call) const;
    Answer job_info_for_volume(const Call& call) const;
    std::string new_job_id();
    runtime::Task<Answer> tell_job(Job job, std::string system);
    runtime::Task<Answer> ask_system(Job job, std::string system, Json request);

    // service_summary.cpp
    static std::string parameter_of(const control::Mirror& mirror, const std::string& peer,
                                    const std::string& key);
    [[nodiscard]] Json targets_of(const control::Mirror& mirror, const control::MirrorView& view) const;
    runtime::Task<Json> summary_of(Job job);
    runtime::Task<config::Reply> job_summary(Job job, bool json);

    // service_job_mirrors.cpp
    struct JobChoice {
        Job job;
        bool known = false;  // it is there already
    };
    [[nodiscard]] std::vector<JobPair> pairs_of_hosts(const control::MirrorRecord& record) const;
    Result<JobChoice> job_for(const std::string& name, const std::string& description);
    runtime::Task<Result<>> put_into_job(JobChoice choice, VolumeId volume, bool some_away);
    [[nodiscard]] Result<std::vector<Job>> jobs_with(
        const VolumeId& volume, const std::string& node,
        const std::function<void(JobEnd& here, JobEnd& there, char& type)>& change) const;
    runtime::Task<std::string> store_all(std::vector<Job> jobs);
    runtime::Task<config::Reply> import_jobs();
    [[nodiscard]] std::string protection(const VolumeId& volume) const;
    runtime::Task<std::string> protection_of(Job job);
    runtime::Task<Answer> delete_mirrors_of(Job job);

    void record_changed(const control::MirrorRecord& before, const control::MirrorRecord& now);

    runtime::World world_;
    control::Manager& manager_;
    control::CommandService* commands_ = nullptr;
    HostFacts& host_;
    shared::SharedVolumes* shared_ = nullptr;
    ServiceOptions options_;
    VolumeSettingsStore settings_;
    JobStore jobs_;
    AlertSender alerts_;
    std::int64_t started_ = 0;
    std::int64_t modified_ = 0;
    bool stopped_ = false;  // STOPSERVICE: nothing is answered until the daemon's next start

    struct ResyncTimes {
        std::int64_t started = 0, last = 0;
    };
    std::set<std::pair<std::string, std::string>> untold_;  // job and system: it lacks the newest version
    bool telling_ = false;
    std::map<VolumeId, std::int64_t> changed_;
    std::map<std::pair<VolumeId, std::string>, ResyncTimes> resyncs_;  // by the peer too
    std::map<std::string, std::string> addresses_;                     // of systems that were met, by name
    std::map<std::string, DeviceLook> looks_;  // by device; UPDATEVOLUMEINFO and LOCK forget them
    /// What the owner of a shared volume's disk has written last, and when that was seen first.
    struct Standby {
        std::uint64_t generation = 0, beat = 0;
        runtime::TimePoint since{};
        runtime::TimePoint not_before{};  // of the next look
    };
    std::map<VolumeId, Standby> standby_;
    std::map<VolumeId, std::unique_ptr<control::OperationLock>> locks_;
    std::map<VolumeId, std::vector<runtime::OneShot<Answer>>> switchovers_;  // under way, and who waits too
    runtime::TaskScope tasks_;  // last: what runs in it uses the rest
};

}  // namespace understudy::mirror::emcmd
