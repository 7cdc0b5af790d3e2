#include "mirror/control/record.h"

#include "base/text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::control {

namespace {

constexpr int kFormat = 2;  // 1: one peer, its fields among those of the volume
constexpr std::string_view kSuffix = ".json";
constexpr std::size_t kMaxVolumeName = 32;

using Json = nlohmann::json;

Json ids(const std::vector<GenerationId>& list) {
    Json out = Json::array();
    for (const GenerationId id : list)
        out.push_back(fmt::format("{:016x}", id));
    return out;
}

/// Reads fields and remembers the first that is missing or of the wrong kind.
class Reader {
  public:
    explicit Reader(const Json& json) : json_(json) {}

    std::string text(const char* key) {
        const Json* at = find(key);
        if (at && at->is_string()) return at->get<std::string>();
        return miss<std::string>(key);
    }
    std::map<std::string, std::string> texts(const char* key) {
        const Json* at = find(key);
        if (!at || !at->is_object()) return miss<std::map<std::string, std::string>>(key);
        std::map<std::string, std::string> out;
        for (const auto& [name, value] : at->items()) {
            if (!value.is_string()) return miss<std::map<std::string, std::string>>(key);
            out[name] = value.get<std::string>();
        }
        return out;
    }
    bool flag(const char* key) {
        const Json* at = find(key);
        if (at && at->is_boolean()) return at->get<bool>();
        return miss<bool>(key);
    }
    std::uint64_t number(const char* key, std::uint64_t least, std::uint64_t most) {
        const Json* at = find(key);
        if (at && at->is_number_unsigned()) {
            const auto value = at->get<std::uint64_t>();
            if (value >= least && value <= most) return value;
        }
        return miss<std::uint64_t>(key);
    }
    MirrorState state(const char* key) {
        const Json* at = find(key);
        if (at && at->is_number_integer()) {
            const auto value = at->get<std::int64_t>();
            if (value >= static_cast<int>(MirrorState::invalid) &&
                value <= static_cast<int>(MirrorState::pending))
                return static_cast<MirrorState>(value);
        }
        return miss<MirrorState>(key);
    }
    GenerationId id(const char* key) { return id_of(find(key), key); }
    std::vector<GenerationId> id_list(const char* key) {
        const Json* at = find(key);
        if (!at || !at->is_array() || at->size() > kMaxGenerationHistory)
            return miss<std::vector<GenerationId>>(key);
        std::vector<GenerationId> out;
        for (const Json& entry : *at)
            out.push_back(id_of(&entry, key));
        return out;
    }
    MirrorUuid uuid(const char* key) {
        const auto raw = text::from_hex(this->text(key));
        MirrorUuid out{};
        if (!raw || raw->size() != out.size()) return miss<MirrorUuid>(key);
        for (std::size_t i = 0; i < out.size(); ++i)
            out[i] = static_cast<std::uint8_t>((*raw)[i]);
        return out;
    }
    void bad(const std::string& key) {
        if (problem_.empty()) problem_ = key;
    }
    [[nodiscard]] const std::string& problem() const { return problem_; }

  private:
    const Json* find(const char* key) const {
        const auto at = json_.find(key);
        return at == json_.end() ? nullptr : &*at;
    }
    GenerationId id_of(const Json* at, const char* key) {
        if (!at || !at->is_string()) return miss<GenerationId>(key);
        const auto raw = text::from_hex(at->get<std::string>());
        if (!raw || raw->size() != sizeof(GenerationId)) return miss<GenerationId>(key);
        GenerationId value = 0;
        for (const std::byte part : *raw)
            value = value << 8 | static_cast<std::uint8_t>(part);
        return value;
    }
    template <class T>
    T miss(const char* key) {
        bad(key);
        return T{};
    }

    const Json& json_;
    std::string problem_;
};

}  // namespace

std::string_view to_string(ExportKind kind) {
    switch (kind) {
        case ExportKind::automatic:
            return "auto";
        case ExportKind::nbd:
            return "nbd";
        case ExportKind::fuse:
            return "fuse";
        case ExportKind::ublk:
            return "ublk";
    }
    return "?";
}

std::optional<ExportKind> parse_export(std::string_view word) {
    for (const auto kind : {ExportKind::automatic, ExportKind::nbd, ExportKind::fuse, ExportKind::ublk})
        if (word == to_string(kind)) return kind;
    return std::nullopt;
}

namespace {

Json json_of(const PeerRecord& peer, const PeerBase& base) {
    Json pairs = Json::array();
    for (const EndpointPair& pair : peer.pairs) {
        Json one = {{"here", pair.here},
                    {"there", pair.there},
                    {"local_address", pair.local_address},
                    {"address", pair.address},
                    {"port", pair.port}};
        if (pair.serial != 0) one["serial"] = pair.serial;
        pairs.push_back(std::move(one));
    }
    return {
        {"node", peer.node},
        {"host", peer.host},
        {"pairs", pairs},
        {"local_address", peer.local_address},
        {"address", peer.address},
        {"port", peer.port},
        {"type", std::string(peer.type == MirrorType::sync ? "sync" : "async")},
        {"state", static_cast<int>(peer.state)},
        {"cause", static_cast<int>(peer.cause)},
        {"user_requested", peer.user_requested},
        {"split_brain", peer.split_brain},
        {"problem", peer.problem},
        {"log_path", peer.log_path},
        {"log_valid", peer.log_valid},
        {"log_complete", peer.log_complete},
        {"full_cause", peer.full_cause},
        {"clean", peer.clean},
        {"alone_since", peer.alone_since_s},
        {"parameters", peer.parameters},
        {"generation_in_sync", fmt::format("{:016x}", base.sync_base)},
        {"generation_offered", fmt::format("{:016x}", base.offered)},
        {"may_hold_generation", base.may_hold_current},
    };
}

MirrorType type_of(Reader& reader) {
    const std::string type = reader.text("type");
    if (type != "sync" && type != "async") reader.bad("type");
    return type == "async" ? MirrorType::async : MirrorType::sync;
}

PauseCause cause_of(Reader& reader) {
    return static_cast<PauseCause>(reader.number("cause", 0, kPauseCauses - 1));
}

/// What both formats have under the same names.
void read_common(Reader& reader, PeerRecord& peer) {
    peer.local_address = reader.text("local_address");
    peer.type = type_of(reader);
    peer.state = reader.state("state");
    peer.cause = cause_of(reader);
    peer.user_requested = reader.flag("user_requested");
    peer.split_brain = reader.flag("split_brain");
    peer.problem = reader.text("problem");
    peer.log_path = reader.text("log_path");
    peer.log_valid = reader.flag("log_valid");
    peer.clean = reader.flag("clean");
}

void read_old_peer(Reader& reader, const Json& json, MirrorRecord& record) {
    PeerRecord peer;
    read_common(reader, peer);
    peer.node = reader.text("remote_node");
    peer.address = reader.text("remote_address");
    peer.port = static_cast<std::uint16_t>(reader.number("remote_port", 1, 65535));
    if (json.contains("parameters")) peer.parameters = reader.texts("parameters");
    PeerBase& base = record.lineage.peers[peer.node];
    base.sync_base = reader.id("generation_in_sync");
    base.may_hold_current = reader.flag("peer_may_hold_generation");
    // It may have finished its last resync unseen.
    base.offered = base.may_hold_current            ? record.lineage.current
                   : record.lineage.history.empty() ? base.sync_base
                                                    : record.lineage.history.front();
    if (record.role == Role::target) record.origin = peer.node;
    record.peers.push_back(std::move(peer));
}

/// Empty, or the field that is wrong.
std::string read_pairs(const Json& json, PeerRecord& peer) {
    const auto list = json.find("pairs");
    if (list == json.end()) return {};  // of a build from before shared volumes
    if (!list->is_array() || list->size() > kMostEndpointPairs) return "pairs";
    for (const Json& one : *list) {
        if (!one.is_object()) return "pairs";
        Reader reader(one);
        EndpointPair pair;
        pair.here = reader.text("here");
        pair.there = reader.text("there");
        pair.local_address = reader.text("local_address");
        pair.address = reader.text("address");
        pair.port = static_cast<std::uint16_t>(reader.number("port", 1, 65535));
        if (one.contains("serial"))  // younger than the format
            pair.serial = static_cast<std::uint32_t>(reader.number("serial", 0, UINT32_MAX));
        if (!reader.problem().empty()) return "pairs";
        peer.pairs.push_back(std::move(pair));
    }
    return {};
}

/// Empty, or the field that is wrong.
std::string read_peers(const Json& json, MirrorRecord& record) {
    const auto list = json.find("peers");
    if (list == json.end() || !list->is_array() || list->size() > kMaxTargets) return "peers";
    if (list->empty() && (record.role != Role::source || record.shared)) return "peers";
    for (const Json& one : *list) {
        if (!one.is_object()) return "peers";
        Reader reader(one);
        PeerRecord peer;
        read_common(reader, peer);
        peer.node = reader.text("node");
        peer.address = reader.text("address");
        peer.port = static_cast<std::uint16_t>(reader.number("port", 1, 65535));
        peer.log_complete = reader.flag("log_complete");
        if (one.contains("full_cause"))
            peer.full_cause = reader.text("full_cause");  // younger than the format
        if (one.contains("alone_since"))                  // the same
            peer.alone_since_s = static_cast<std::int64_t>(reader.number("alone_since", 0, INT64_MAX));
        peer.parameters = reader.texts("parameters");
        PeerBase base;
        base.sync_base = reader.id("generation_in_sync");
        base.offered = reader.id("generation_offered");
        base.may_hold_current = reader.flag("may_hold_generation");
        if (one.contains("host")) peer.host = reader.text("host");
        if (!reader.problem().empty()) return reader.problem();
        if (std::string problem = read_pairs(one, peer); !problem.empty()) return problem;
        if (peer.node.empty() || record.peer(peer.node) != nullptr) return "peers";
        record.lineage.peers[peer.node] = base;
        record.peers.push_back(std::move(peer));
    }
    return {};
}

}  // namespace

std::vector<std::string> PeerRecord::hosts() const {
    std::vector<std::string> out{host_name()};
    for (const EndpointPair& pair : pairs)
        if (std::find(out.begin(), out.end(), pair.there) == out.end()) out.push_back(pair.there);
    return out;
}

void PeerRecord::distrust_log(std::string why) {
    log_valid = false;
    if (full_cause.empty()) full_cause = std::move(why);
}

bool PeerRecord::use(const std::string& here, const std::string& there) {
    for (const EndpointPair& pair : pairs) {
        if (pair.here != here || pair.there != there) continue;
        host = there == node ? std::string() : there;
        local_address = pair.local_address;
        address = pair.address;
        port = pair.port;
        return true;
    }
    return false;
}

const PeerRecord* MirrorRecord::peer_of_host(const std::string& host) const {
    if (const PeerRecord* named = peer(host)) return named;
    for (const PeerRecord& one : peers)
        for (const EndpointPair& pair : one.pairs)
            if (pair.there == host) return &one;
    return nullptr;
}

PeerRecord* MirrorRecord::peer(const std::string& node) {
    for (PeerRecord& one : peers)
        if (one.node == node) return &one;
    return nullptr;
}

const PeerRecord* MirrorRecord::peer(const std::string& node) const {
    for (const PeerRecord& one : peers)
        if (one.node == node) return &one;
    return nullptr;
}

const PeerRecord& MirrorRecord::main() const {
    const PeerRecord* source = role == Role::target ? peer(origin) : nullptr;
    static const PeerRecord kNobody;
    if (source != nullptr) return *source;
    return peers.empty() ? kNobody : peers.front();
}

std::string MirrorRecord::peer_names() const {
    std::string out;
    for (const PeerRecord& one : peers)
        out += (out.empty() ? "" : ", ") + one.node;
    return out;
}

std::string encode(const MirrorRecord& record) {
    Json peers = Json::array();
    for (const PeerRecord& peer : record.peers) {
        const auto base = record.lineage.peers.find(peer.node);
        peers.push_back(json_of(peer, base == record.lineage.peers.end() ? PeerBase() : base->second));
    }
    const Json json = {
        {"format", kFormat},
        {"volume", record.volume.str()},
        {"uuid", text::hex(std::as_bytes(std::span(record.uuid)))},
        {"device", record.device},
        {"media", record.media},
        {"replaced", record.replaced},
        {"size", record.size},
        {"device_size", record.device_size},
        {"sector_size", record.sector_size},
        // What the first release calls a block device, whichever.
        {"export", record.export_kind == ExportKind::nbd ? "nbd" : "fuse"},
        {"export_wanted", std::string(to_string(record.export_kind))},
        {"role", static_cast<int>(record.role)},
        {"role_epoch", record.role_epoch},
        {"generation", fmt::format("{:016x}", record.lineage.current)},
        {"generation_history", ids(record.lineage.history)},
        {"origin", record.origin},
        {"shared", record.shared},
        {"creating", record.creating},
        {"demoted", record.demoted},
        {"consistent", record.consistent},
        {"outdated", record.outdated},
        {"unlocked", record.unlocked},
        {"yielded", record.yielded},
        {"alone_noted", record.alone_noted},
        {"alone_since", record.alone_since_s},
        {"snapshot_location", record.snapshot_location},
        {"free_left_out", record.free_left_out},
        {"peers", peers},
    };
    // Text that is not UTF-8 (a device path may be anything) must not stop a transition.
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<MirrorRecord> decode_record(std::string_view input) {
    const Json json = Json::parse(input, nullptr, false);
    if (!json.is_object()) return fail(Code::internal, "the mirror record is damaged: not a JSON object");
    Reader reader(json);
    const auto format = reader.number("format", 1, ~0ULL);
    if (format > static_cast<std::uint64_t>(kFormat))
        return fail(Code::internal,
                    "the mirror record has format {}, this program reads up to {}: upgrade it", format,
                    kFormat);
    MirrorRecord record;
    record.volume = VolumeId(reader.text("volume"));
    record.uuid = reader.uuid("uuid");
    record.device = reader.text("device");
    // Younger than the format.
    if (json.contains("media")) record.media = reader.text("media");
    if (json.contains("replaced")) record.replaced = reader.flag("replaced");
    record.size = reader.number("size", 1, ~0ULL);
    if (json.contains("device_size")) record.device_size = reader.number("device_size", 0, ~0ULL);
    record.sector_size = static_cast<std::uint32_t>(reader.number("sector_size", 512, 65536));
    const std::string kind = reader.text("export");
    if (kind != "fuse" && kind != "nbd") reader.bad("export");
    record.export_kind = kind == "nbd" ? ExportKind::nbd : ExportKind::automatic;
    if (json.contains("export_wanted")) {
        const auto wanted = parse_export(reader.text("export_wanted"));
        if (!wanted) reader.bad("export_wanted");
        record.export_kind = wanted.value_or(ExportKind::automatic);
    }
    record.role = static_cast<Role>(reader.number("role", 0, static_cast<std::uint64_t>(Role::target)));
    record.role_epoch = reader.number("role_epoch", 0, ~0ULL);
    record.lineage.current = reader.id("generation");
    record.lineage.history = reader.id_list("generation_history");
    record.creating = reader.flag("creating");
    record.demoted = reader.flag("demoted");
    record.consistent = reader.flag("consistent");
    record.outdated = reader.flag("outdated");
    record.unlocked = reader.flag("unlocked");
    record.yielded = reader.flag("yielded");
    // Not in the records of the first release, whose mirrors told the cluster nothing.
    if (json.contains("alone_noted")) record.alone_noted = reader.flag("alone_noted");
    if (json.contains("alone_since"))
        record.alone_since_s = static_cast<std::int64_t>(reader.number("alone_since", 0, INT64_MAX));
    if (json.contains("shared")) record.shared = reader.flag("shared");
    if (json.contains("free_left_out")) record.free_left_out = reader.flag("free_left_out");
    if (json.contains("snapshot_location")) record.snapshot_location = reader.text("snapshot_location");
    if (format == 1) {
        read_old_peer(reader, json, record);
    } else {
        record.origin = reader.text("origin");
        if (const std::string problem = read_peers(json, record); !problem.empty()) reader.bad(problem);
    }
    if (reader.problem().empty() && !volume_id_problem(record.volume).empty()) reader.bad("volume");
    if (!reader.problem().empty())
        return fail(Code::internal, "the mirror record is damaged: field \"{}\" is missing or not legal",
                    reader.problem());
    return record;
}

std::string volume_id_problem(const VolumeId& volume) {
    const std::string& name = volume.str();
    if (name.empty() || name.size() > kMaxVolumeName)
        return fmt::format("a volume's name has 1 to {} characters", kMaxVolumeName);
    for (const char c : name)
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '-'))
            return "a volume's name consists of A-Z, a-z, 0-9, _ and -";
    if (name.front() == '-') return "a volume's name does not start with -";
    return {};
}

RecordStore::RecordStore(runtime::Files& files, std::string directory)
    : files_(files), directory_(std::move(directory)) {}

std::string RecordStore::path(const VolumeId& volume) const {
    return fmt::format("{}/{}{}", directory_, volume.str(), kSuffix);
}

std::vector<RecordStore::Loaded> RecordStore::load_all() const {
    std::vector<Loaded> out;
    for (const std::string& name : files_.list(directory_)) {
        if (!name.ends_with(kSuffix)) continue;
        auto text = files_.read(directory_ + "/" + name);
        if (!text) {
            out.push_back({name, fail(text.error())});
            continue;
        }
        auto record = decode_record(*text);
        if (record && record->volume.str() + std::string(kSuffix) != name)
            record = fail(Code::internal, "the mirror record is damaged: it is of volume {}",
                          record->volume.str());
        out.push_back({name, std::move(record)});
    }
    return out;
}

Result<> RecordStore::save(const MirrorRecord& record) {
    if (record.shared) {
        if (shared_ == nullptr)
            return fail(Code::internal, "volume {} is shared, and nothing keeps its record",
                        record.volume.str());
        if (auto written = shared_->save(record.volume, encode(record)); !written)
            return with_context(written.error(),
                                fmt::format("cannot record the state of mirror {}", record.volume.str()));
        return {};
    }
    UNDERSTUDY_CHECK(files_.make_directories(directory_, 0700));
    if (auto written = files_.write_atomic(path(record.volume), encode(record), 0600); !written)
        return with_context(written.error(),
                            fmt::format("cannot record the state of mirror {}", record.volume.str()));
    return {};
}

Result<> RecordStore::remove(const MirrorRecord& record) {
    if (record.shared && shared_ != nullptr) return shared_->remove(record.volume);
    return files_.remove(path(record.volume));
}

bool RecordStore::exists(const VolumeId& volume) const {
    return files_.exists(path(volume));
}

}  // namespace understudy::mirror::control
