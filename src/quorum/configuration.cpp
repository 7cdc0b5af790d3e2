#include "quorum/configuration.h"

#include "base/text.h"

#include <algorithm>
#include <array>

namespace understudy::quorum {
namespace {

constexpr std::size_t kLeastForMajority = 3;  // Spec: QUO-018
constexpr std::size_t kLeastForStorage = 2;
constexpr std::size_t kMostForStorage = 4;
constexpr std::string_view kObjectPrefix = "QWK_STORAGE_OBJECT_";

Mode mode_of(const std::string& word) {
    if (text::iequals(word, "majority")) return Mode::majority;
    if (text::iequals(word, "storage")) return Mode::storage;
    return Mode::none;
}

WitnessMode witness_of(const std::string& word) {
    if (text::iequals(word, "remote_verify")) return WitnessMode::remote_verify;
    if (text::iequals(word, "storage")) return WitnessMode::storage;
    return WitnessMode::none;
}

/// A mode that is misspelt must not silently switch the guard off.
std::string misspelt(const std::vector<std::string>& problems) {
    for (const auto& problem : problems)
        for (const auto* key : {"QUORUM_MODE=", "WITNESS_MODE="})
            if (problem.find(key) != std::string::npos) return problem;
    return {};
}

// Spec: QUO-016 to QUO-019
std::string objection(Mode mode, WitnessMode witness, std::size_t nodes) {
    const bool storage_quorum = mode == Mode::storage;
    const bool storage_witness = witness == WitnessMode::storage;
    if (storage_quorum != storage_witness)
        return fmt::format(
            "QUORUM_MODE={} and WITNESS_MODE={} do not go together: storage on one side needs "
            "storage on the other",
            to_string(mode), to_string(witness));
    if (storage_quorum && (nodes < kLeastForStorage || nodes > kMostForStorage))
        return fmt::format("storage quorum needs {} to {} nodes, there are {}", kLeastForStorage,
                           kMostForStorage, nodes);
    if ((mode == Mode::majority || witness == WitnessMode::remote_verify) && nodes < kLeastForMajority)
        return fmt::format(
            "QUORUM_MODE={} with WITNESS_MODE={} needs at least {} nodes, there are {}; {} is "
            "recommended",
            to_string(mode), to_string(witness), kLeastForMajority, nodes, recommendation(nodes));
    return {};
}

std::vector<std::string> doubts(Mode mode, WitnessMode witness, std::size_t nodes) {
    std::vector<std::string> found;
    if (mode == Mode::majority && witness == WitnessMode::none)
        found.emplace_back(
            "QUORUM_MODE=majority without WITNESS_MODE=remote_verify: two nodes that only lose "
            "each other take each other for dead (split brain)");
    if (mode == Mode::none && witness == WitnessMode::remote_verify)
        found.emplace_back(
            "WITNESS_MODE=remote_verify without QUORUM_MODE=majority: a node that is cut off "
            "keeps its resources");
    if (mode == Mode::majority && nodes % 2 == 0)
        found.push_back(fmt::format(
            "{} nodes may split into halves of which none has a majority; {}", nodes,
            nodes <= kMostForStorage ? "storage is recommended" : "an odd number is recommended"));
    return found;
}

std::string number_of(std::string_view key, std::string_view value, std::int64_t least, std::int64_t most,
                      int& into) {
    const auto number = text::to_int(std::string(value));
    if (!number || *number < least || *number > most)
        return fmt::format("{}={} is not a number from {} to {}", key, value, least, most);
    into = static_cast<int>(*number);
    return {};
}

Result<std::vector<std::string>> objects_of(const NodeName& node, StorageType type,
                                            const std::string& value) {
    const auto key = object_key(node);
    if (value.empty()) return fail(Code::bad_argument, "{} is missing: every node needs an object", key);
    if (value.size() > kMaxObjectPath)
        return fail(Code::bad_argument, "{} is longer than {} characters", key, kMaxObjectPath);
    const auto list = text::split(value, ',');
    const std::size_t most = type == StorageType::aws_s3 ? 2 : 1;
    if (list.size() > most)
        return fail(Code::bad_argument, "{} names {} objects; {} takes at most {}", key, list.size(),
                    to_string(type), most);
    for (const auto& one : list) {
        if (one.empty() || one.find_first_of(" \t") != std::string::npos)
            return fail(Code::bad_argument, "{}: \"{}\" is empty or has blanks", key, value);
        const bool uri = one.starts_with("s3://");
        if (type == StorageType::file && (uri || !one.starts_with("/") || one.ends_with("/")))
            return fail(Code::bad_argument, "{}: \"{}\" is not the absolute path of a file", key, one);
        if (type == StorageType::file) continue;
        const auto slash = uri ? one.find('/', 5) : std::string::npos;
        if (!uri || slash == 5 || slash == std::string::npos || slash + 1 == one.size())
            return fail(Code::bad_argument, "{}: \"{}\" is not of the form s3://bucket/key", key, one);
    }
    return std::vector<std::string>(list.begin(), list.end());
}

/// The bucket of an S3 URI, the directory of a file.
std::string place_of(const std::string& object, StorageType type) {
    return object.substr(0, type == StorageType::aws_s3 ? object.find('/', std::string_view("s3://").size())
                                                        : object.rfind('/'));
}

/// Objects that do not lie together can be out of reach one by one, which looks like the silence of their
/// nodes. Spec: QUO-083.
Result<> check_together(const StorageConfiguration& storage) {
    std::optional<std::pair<NodeName, std::vector<std::string>>> first;
    for (const auto& [node, objects] : storage.objects) {
        std::vector<std::string> places;
        for (const auto& object : objects)
            places.push_back(place_of(object, storage.type));
        if (!first) {
            first.emplace(node, std::move(places));
        } else if (places != first->second) {
            return fail(
                Code::bad_argument,
                "the object of {} lies in {}, that of {} in {}: the objects of all nodes must lie in the "
                "same {}, in the same order",
                first->first.str(), text::join(first->second, ", "), node.str(), text::join(places, ", "),
                storage.type == StorageType::aws_s3 ? "buckets" : "directory");
        }
    }
    return {};
}

}  // namespace

std::string_view to_string(Mode mode) {
    switch (mode) {
        case Mode::none:
            return "none";
        case Mode::majority:
            return "majority";
        case Mode::storage:
            return "storage";
    }
    return "?";
}

std::string_view to_string(WitnessMode mode) {
    switch (mode) {
        case WitnessMode::none:
            return "none";
        case WitnessMode::remote_verify:
            return "remote_verify";
        case WitnessMode::storage:
            return "storage";
    }
    return "?";
}

std::string_view to_string(StorageType type) {
    return type == StorageType::file ? "file" : "aws_s3";
}

std::string recommendation(std::size_t known_nodes) {
    if (known_nodes % 2 == 0 && known_nodes <= kMostForStorage) return "storage";
    return "majority with remote_verify";
}

std::string object_key(const NodeName& node) {
    std::string key(kObjectPrefix);
    for (const char c : node.str())
        key += c == '-' || c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return key;
}

Configuration configuration_of(const config::Settings& settings, std::size_t known_nodes,
                               const std::vector<std::string>& problems) {
    Configuration result;
    result.mode = mode_of(settings.text("QUORUM_MODE"));
    result.witness = witness_of(settings.text("WITNESS_MODE"));
    result.quarantine = std::chrono::seconds(settings.integer("QUORUM_QUARANTINE_SECS"));
    if (const auto delay = settings.integer("QUORUM_FAILOVER_DELAY_SECS");
        delay != config::Settings::kAutomatic)
        result.failover_delay = std::chrono::seconds(delay);
    result.stop_grace = std::chrono::seconds(settings.integer("QUORUM_STOP_GRACE_SECS"));
    result.reevaluate = settings.boolean("QUORUM_REEVALUATE");
    result.debug = settings.boolean("QUORUM_DEBUG");
    result.error = misspelt(problems);
    if (result.error.empty()) result.error = objection(result.mode, result.witness, known_nodes);
    if (result.error.empty()) result.warnings = doubts(result.mode, result.witness, known_nodes);
    return result;
}

Result<StorageConfiguration> capture(const config::Settings& settings, const NodeName& self,
                                     const std::set<NodeName>& nodes) {
    StorageConfiguration result;
    result.self = self;
    const auto type = settings.text("QWK_STORAGE_TYPE");
    if (type.empty()) return fail(Code::bad_argument, "QWK_STORAGE_TYPE is not set: file or aws_s3");
    result.type = text::iequals(type, "aws_s3") ? StorageType::aws_s3 : StorageType::file;
    result.hbeattime_s = static_cast<int>(settings.integer("QWK_STORAGE_HBEATTIME"));
    result.numhbeats = static_cast<int>(settings.integer("QWK_STORAGE_NUMHBEATS"));
    result.lcm_hbeattime_s = static_cast<int>(settings.integer("LCMHBEATTIME"));
    result.lcm_numhbeats = static_cast<int>(settings.integer("LCMNUMHBEATS"));
    if (result.hbeattime_s < result.lcm_hbeattime_s)
        return fail(Code::bad_argument, "QWK_STORAGE_HBEATTIME={} is less than LCMHBEATTIME={}",
                    result.hbeattime_s, result.lcm_hbeattime_s);
    if (result.numhbeats < result.lcm_numhbeats)
        return fail(Code::bad_argument, "QWK_STORAGE_NUMHBEATS={} is less than LCMNUMHBEATS={}",
                    result.numhbeats, result.lcm_numhbeats);
    if (!nodes.contains(self))
        return fail(
            Error{Code::bad_argument, fmt::format("{} is no node of this cluster", self.str()), 18126});
    std::map<std::string, NodeName> keys;
    for (const auto& node : nodes) {
        const auto key = object_key(node);
        if (const auto [at, added] = keys.emplace(key, node); !added)
            return fail(Code::bad_argument,
                        "the nodes {} and {} have the same key {}: storage quorum cannot tell them apart",
                        at->second.str(), node.str(), key);
        UNDERSTUDY_TRY(result.objects[node], objects_of(node, result.type, settings.text(key)));
    }
    UNDERSTUDY_CHECK(check_together(result));
    result.endpoints = settings.text("QWK_STORAGE_S3_ENDPOINT");
    result.regions = settings.text("QWK_STORAGE_S3_REGION");
    return result;
}

std::vector<std::string> warnings_about(const StorageConfiguration& storage,
                                        runtime::Duration longest_path_limit) {
    if (storage.dead_after() >= longest_path_limit) return {};
    return {
        fmt::format("QWK_STORAGE_HBEATTIME x QWK_STORAGE_NUMHBEATS is {} s, less than the {} s after which "
                    "a path is DEAD",
                    storage.hbeattime_s * storage.numhbeats,
                    std::chrono::duration_cast<std::chrono::seconds>(longest_path_limit).count())};
}

std::string encode(const StorageConfiguration& storage) {
    std::string out = fmt::format(
        "hbeattime={}\nnumhbeats={}\ntimeout_multiplier={}\nlcmhbeattime={}\nlcmnumhbeats={}\n"
        "qwk_object_type={}\nmy_node={}\nnumber_of_node={}\nnumber_of_object={}\n",
        storage.hbeattime_s, storage.numhbeats, kTimeoutMultiplier, storage.lcm_hbeattime_s,
        storage.lcm_numhbeats, to_string(storage.type), storage.self.str(), storage.objects.size(),
        storage.objects.empty() ? 0 : storage.objects.begin()->second.size());
    for (const auto& [node, paths] : storage.objects)
        out += fmt::format("qwk_object_node={}\nqwk_object_path={}\n", node.str(), text::join(paths, ","));
    if (!storage.endpoints.empty()) out += "endpoint=" + storage.endpoints + "\n";
    if (!storage.regions.empty()) out += "region=" + storage.regions + "\n";
    return out;
}

Result<StorageConfiguration> decode_storage(std::string_view text) {
    StorageConfiguration result;
    const auto wrong = [](int number, std::string what) {
        return fail(Error{Code::bad_argument, std::move(what), number});
    };
    struct Number {
        std::string_view key;
        int message;
        std::int64_t least;
        std::int64_t most;
        int* into;
    };
    int multiplier = kTimeoutMultiplier;
    int nodes = 0;
    int per_node = 0;
    const auto numbers = std::to_array<Number>({
        {"hbeattime", 18115, 5, 10, &result.hbeattime_s},
        {"numhbeats", 18116, 3, 9999, &result.numhbeats},
        {"timeout_multiplier", 18117, 1, 100, &multiplier},
        {"lcmhbeattime", 18118, 1, 15, &result.lcm_hbeattime_s},
        {"lcmnumhbeats", 18119, 3, 99, &result.lcm_numhbeats},
        {"number_of_node", 18122, 1, 32, &nodes},
        {"number_of_object", 18123, 1, 2, &per_node},
    });
    NodeName node;
    for (const auto& line : text::split(text, '\n')) {
        if (line.empty()) continue;
        const auto equals = line.find('=');
        const auto key = std::string(line.substr(0, equals));
        const auto value = equals == std::string::npos ? std::string() : std::string(line.substr(equals + 1));
        if (const auto* number =
                std::find_if(numbers.begin(), numbers.end(), [&](const Number& n) { return n.key == key; });
            number != numbers.end()) {
            if (auto why = number_of(key, value, number->least, number->most, *number->into); !why.empty())
                return wrong(number->message, std::move(why));
        } else if (key == "qwk_object_type") {
            if (value != "file" && value != "aws_s3")
                return wrong(18120, fmt::format("object type \"{}\" is neither file nor aws_s3", value));
            result.type = value == "file" ? StorageType::file : StorageType::aws_s3;
        } else if (key == "my_node") {
            if (value.empty()) return wrong(18121, "the own node has no name");
            result.self = NodeName(value);
        } else if (key == "qwk_object_node") {
            if (value.empty()) return wrong(18124, "an object has no node");
            if (!node.empty()) return wrong(18113, fmt::format("no object path of {}", node.str()));
            node = NodeName(value);
        } else if (key == "qwk_object_path") {
            if (node.empty()) return wrong(18124, fmt::format("no node before the path {}", value));
            auto paths = objects_of(node, result.type, value);
            if (!paths) return wrong(18125, paths.error().text);
            result.objects[std::exchange(node, NodeName())] = std::move(*paths);
        } else if (key == "endpoint") {
            result.endpoints = value;
        } else if (key == "region") {
            result.regions = value;
        } else {
            return wrong(18114, fmt::format("unknown key \"{}\"", key));
        }
    }
    if (!node.empty()) return wrong(18113, fmt::format("no object path of {}", node.str()));
    if (result.self.empty()) return wrong(18121, "the own node is missing");
    if (static_cast<int>(result.objects.size()) != nodes)
        return wrong(18122, fmt::format("{} nodes announced, {} found", nodes, result.objects.size()));
    if (!result.objects.contains(result.self))
        return wrong(18126, fmt::format("{} is not among the objects", result.self.str()));
    for (const auto& [name, paths] : result.objects)
        if (static_cast<int>(paths.size()) > per_node && static_cast<int>(paths.size()) > 2)
            return wrong(18123, fmt::format("{} has {} objects", name.str(), paths.size()));
    return result;
}

}  // namespace understudy::quorum
