#include "mirror/control/record.h"

#include "base/text.h"

#include <nlohmann/json.hpp>

namespace understudy::mirror::control {

namespace {

constexpr int kFormat = 1;
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
    void bad(const char* key) {
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

std::string encode(const MirrorRecord& record) {
    const Generations& generations = record.generations;
    const Json json = {
        {"format", kFormat},
        {"volume", record.volume.str()},
        {"uuid", text::hex(std::as_bytes(std::span(record.uuid)))},
        {"device", record.device},
        {"size", record.size},
        {"sector_size", record.sector_size},
        {"local_address", record.local_address},
        {"remote_address", record.remote_address},
        {"remote_port", record.remote_port},
        {"remote_node", record.remote_node},
        {"type", std::string(record.type == MirrorType::sync ? "sync" : "async")},
        // What the first release calls a block device, whichever.
        {"export", record.export_kind == ExportKind::nbd ? "nbd" : "fuse"},
        {"export_wanted", std::string(to_string(record.export_kind))},
        {"role", static_cast<int>(record.role)},
        {"role_epoch", record.role_epoch},
        {"generation", fmt::format("{:016x}", generations.current)},
        {"generation_history", ids(generations.history)},
        {"generation_in_sync", fmt::format("{:016x}", generations.sync_base)},
        {"peer_may_hold_generation", generations.peer_may_hold_current},
        {"state", static_cast<int>(record.state)},
        {"cause", static_cast<int>(record.cause)},
        {"user_requested", record.user_requested},
        {"problem", record.problem},
        {"creating", record.creating},
        {"demoted", record.demoted},
        {"consistent", record.consistent},
        {"outdated", record.outdated},
        {"unlocked", record.unlocked},
        {"yielded", record.yielded},
        {"split_brain", record.split_brain},
        {"alone_noted", record.alone_noted},
        {"alone_since", record.alone_since_s},
        {"clean", record.clean},
        {"log_valid", record.log_valid},
        {"log_path", record.log_path},
        {"snapshot_location", record.snapshot_location},
        {"parameters", record.parameters},
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
    record.size = reader.number("size", 1, ~0ULL);
    record.sector_size = static_cast<std::uint32_t>(reader.number("sector_size", 512, 65536));
    record.local_address = reader.text("local_address");
    record.remote_address = reader.text("remote_address");
    record.remote_port = static_cast<std::uint16_t>(reader.number("remote_port", 1, 65535));
    record.remote_node = reader.text("remote_node");
    const std::string type = reader.text("type");
    if (type != "sync" && type != "async") reader.bad("type");
    record.type = type == "async" ? MirrorType::async : MirrorType::sync;
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
    record.generations.current = reader.id("generation");
    record.generations.history = reader.id_list("generation_history");
    record.generations.sync_base = reader.id("generation_in_sync");
    record.generations.peer_may_hold_current = reader.flag("peer_may_hold_generation");
    record.state = reader.state("state");
    record.cause = static_cast<PauseCause>(reader.number("cause", 0, kPauseCauses - 1));
    record.user_requested = reader.flag("user_requested");
    record.problem = reader.text("problem");
    record.creating = reader.flag("creating");
    record.demoted = reader.flag("demoted");
    record.consistent = reader.flag("consistent");
    record.outdated = reader.flag("outdated");
    record.unlocked = reader.flag("unlocked");
    record.yielded = reader.flag("yielded");
    record.split_brain = reader.flag("split_brain");
    // Not in the records of the first release, whose mirrors told the cluster nothing.
    if (json.contains("alone_noted")) record.alone_noted = reader.flag("alone_noted");
    if (json.contains("alone_since"))
        record.alone_since_s = static_cast<std::int64_t>(reader.number("alone_since", 0, INT64_MAX));
    record.clean = reader.flag("clean");
    record.log_valid = reader.flag("log_valid");
    record.log_path = reader.text("log_path");
    if (json.contains("snapshot_location")) record.snapshot_location = reader.text("snapshot_location");
    if (json.contains("parameters")) record.parameters = reader.texts("parameters");
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
    UNDERSTUDY_CHECK(files_.make_directories(directory_, 0700));
    if (auto written = files_.write_atomic(path(record.volume), encode(record), 0600); !written)
        return with_context(written.error(),
                            fmt::format("cannot record the state of mirror {}", record.volume.str()));
    return {};
}

Result<> RecordStore::remove(const VolumeId& volume) {
    return files_.remove(path(volume));
}

bool RecordStore::exists(const VolumeId& volume) const {
    return files_.exists(path(volume));
}

}  // namespace understudy::mirror::control
