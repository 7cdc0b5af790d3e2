// The definition file's form. Libraries of the field read and write YAML; what the words mean is here.

#include "base/text.h"
#include "config/address.h"
#include "config/definition.h"
#include "config/interval.h"
#include "config/yaml_reader.h"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::config {
namespace {

constexpr int kFormat = 1;
constexpr std::string_view kHeader =
    "# A cluster's definition. `understudy config apply FILE --dry-run` shows what it would change.\n";
constexpr std::int64_t kMaxCheckIntervalS = 604800;
constexpr std::size_t kMaxFileBytes = 64 << 20;

// --- writing

void write(YAML::Emitter& out, const DefinedPath& path) {
    const DefinedPath defaults;
    out << YAML::BeginMap;
    out << YAML::Key << "ends" << YAML::Value << YAML::Flow << YAML::BeginMap;
    for (const auto& [node, end] : path.ends)
        out << YAML::Key << node.str() << YAML::Value << end;
    out << YAML::EndMap;
    if (path.transport == "DISK")
        out << YAML::Key << "disk" << YAML::Value << true;
    else
        out << YAML::Key << "port" << YAML::Value << path.port;
    out << YAML::Key << "priority" << YAML::Value << path.priority;
    if (path.interval_ms != defaults.interval_ms)
        out << YAML::Key << "interval" << YAML::Value << interval_text(path.interval_ms);
    if (path.misses != defaults.misses) out << YAML::Key << "misses" << YAML::Value << path.misses;
    out << YAML::EndMap;
}

void write(YAML::Emitter& out, const DefinedResource& resource) {
    const DefinedResource defaults;
    const auto& name = resource.name();
    const auto best = std::find_if(resource.on.begin(), resource.on.end(),
                                   [&](const auto& each) { return each.second.tag == name; });
    const auto& model = best->second;
    out << YAML::BeginMap;
    out << YAML::Key << "tag" << YAML::Value << name.str();
    out << YAML::Key << "type" << YAML::Value << resource.app.str() + "/" + resource.type.str();
    out << YAML::Key << "id" << YAML::Value << YAML::DoubleQuoted << model.id.str();
    if (!model.info.empty()) out << YAML::Key << "info" << YAML::Value << YAML::DoubleQuoted << model.info;
    if (!resource.needs.empty()) {
        out << YAML::Key << "needs" << YAML::Value << YAML::Flow << YAML::BeginSeq;
        for (const auto& need : resource.needs)
            out << need.str();
        out << YAML::EndSeq;
    }
    out << YAML::Key << "on" << YAML::Value << YAML::Flow << YAML::BeginMap;
    for (const auto& [node, instance] : resource.on) {
        out << YAML::Key << node.str() << YAML::Value;
        const bool plain = instance.tag == name && instance.id == model.id && instance.info == model.info;
        if (plain && instance.priority) {
            out << instance.priority->value;
            continue;
        }
        out << YAML::Flow << YAML::BeginMap;
        if (instance.priority) out << YAML::Key << "priority" << YAML::Value << instance.priority->value;
        if (instance.tag != name) out << YAML::Key << "tag" << YAML::Value << instance.tag.str();
        if (instance.id != model.id)
            out << YAML::Key << "id" << YAML::Value << YAML::DoubleQuoted << instance.id.str();
        if (instance.info != model.info)
            out << YAML::Key << "info" << YAML::Value << YAML::DoubleQuoted << instance.info;
        out << YAML::EndMap;
    }
    out << YAML::EndMap;
    if (resource.init != defaults.init)
        out << YAML::Key << "initialization" << YAML::Value << std::string(to_string(resource.init));
    if (resource.switchback != defaults.switchback)
        out << YAML::Key << "switchback" << YAML::Value << std::string(to_string(resource.switchback));
    out << YAML::Key << "local_recovery" << YAML::Value << resource.local_recovery;
    out << YAML::Key << "quick_check" << YAML::Value << resource.quick_interval_s;
    out << YAML::Key << "deep_check" << YAML::Value << resource.deep_interval_s;
    out << YAML::EndMap;
}

// --- reading

class Parser {
  public:
    Result<Definition> parse(std::string_view yaml) {
        if (yaml.size() > kMaxFileBytes)
            return fail(Code::bad_argument, "a definition has at most {} MiB", kMaxFileBytes >> 20);
        return read_yaml<Definition>(yaml, [this](const YAML::Node& root) { return read(root); });
    }

  private:
    Result<Definition> read(const YAML::Node& root) {
        UNDERSTUDY_TRY(const auto file,
                       YamlReader::of(root, "the definition", {"format", "nodes", "paths", "resources"}));
        UNDERSTUDY_TRY(const auto format, file.number("format", 0, 0, 1000000));
        if (format != kFormat)
            return fail(Code::bad_argument, "this is a definition of format {}; this version reads format {}",
                        format, kFormat);
        if (file.has("nodes")) UNDERSTUDY_CHECK(nodes(file.at("nodes")));
        if (file.has("paths")) UNDERSTUDY_CHECK(each(file.at("paths"), "paths", &Parser::path));
        if (file.has("resources"))
            UNDERSTUDY_CHECK(each(file.at("resources"), "resources", &Parser::resource));
        UNDERSTUDY_CHECK(check_needs());
        return std::move(definition_);
    }

    Result<> each(const YAML::Node& list, std::string_view what,
                  Result<> (Parser::*read_one)(const YAML::Node&)) {
        if (!list.IsSequence())
            return fail(Code::bad_argument, "line {}: {} must be a list (lines that begin with -)",
                        YamlReader::line(list), what);
        for (const auto& node : list)
            UNDERSTUDY_CHECK((this->*read_one)(node));
        return {};
    }

    Result<> nodes(const YAML::Node& node) {
        if (!node.IsMap())
            return fail(Code::bad_argument, "line {}: nodes must be a mapping of node names",
                        YamlReader::line(node));
        for (const auto& entry : node) {
            auto& settings = definition_.nodes[NodeName(entry.first.Scalar())];
            if (entry.second.IsNull()) continue;
            UNDERSTUDY_TRY(const auto reader,
                           YamlReader::of(entry.second, "node " + entry.first.Scalar(), {"settings"}));
            if (!reader.has("settings")) continue;
            if (!reader.at("settings").IsMap())
                return fail(Code::bad_argument, "line {}: settings must be a mapping",
                            YamlReader::line(reader.at("settings")));
            for (const auto& setting : reader.at("settings")) {
                if (!setting.second.IsScalar() || setting.second.Scalar().find('\n') != std::string::npos)
                    return fail(Code::bad_argument, "line {}: setting {} must be one line",
                                YamlReader::line(setting.first), setting.first.Scalar());
                settings[setting.first.Scalar()] = setting.second.Scalar();
            }
        }
        return {};
    }

    Result<> check_node(const YAML::Node& where, const NodeName& node) const {
        if (definition_.nodes.contains(node)) return {};
        return fail(Code::not_found, "line {}: node {} is not among \"nodes\"", YamlReader::line(where),
                    node.str());
    }

    Result<> path(const YAML::Node& node) {
        UNDERSTUDY_TRY(
            const auto reader,
            YamlReader::of(node, "a path", {"ends", "port", "disk", "priority", "interval", "misses"}));
        DefinedPath path;
        if (!reader.has("ends") || !reader.at("ends").IsMap() || reader.at("ends").size() != 2)
            return fail(Code::bad_argument,
                        "line {}: a path needs \"ends\" with two nodes: {{left: ADDRESS, right: "
                        "ADDRESS}}",
                        YamlReader::line(node));
        for (const auto& end : reader.at("ends")) {
            const NodeName name(end.first.Scalar());
            UNDERSTUDY_CHECK(check_node(end.first, name));
            path.ends[name] = end.second.Scalar();
        }
        UNDERSTUDY_TRY(const auto disk, reader.flag("disk", false));
        if (disk) {
            path.transport = "DISK";
        } else {
            if (!reader.has("port"))
                return fail(Code::bad_argument, "line {}: a path lacks \"port\"", YamlReader::line(node));
            UNDERSTUDY_TRY(path.port, reader.number("port", 0, 1, 65535));
        }
        UNDERSTUDY_TRY(path.priority, reader.number("priority", path.priority, 1, 99));
        UNDERSTUDY_TRY(path.misses, reader.number("misses", path.misses, 1, 1000));
        if (reader.has("interval")) {
            UNDERSTUDY_TRY(const auto text, reader.word("interval"));
            const auto interval = parse_interval_ms(text);
            if (!interval)
                return fail(Code::bad_argument,
                            "line {}: an interval is seconds or milliseconds (5s, 200ms), not \"{}\"",
                            YamlReader::line(reader.at("interval")), text);
            path.interval_ms = *interval;
        }
        definition_.paths.push_back(std::move(path));
        return {};
    }

    Result<> resource(const YAML::Node& node) {
        UNDERSTUDY_TRY(const auto reader,
                       YamlReader::of(node, "a resource",
                                      {"tag", "type", "id", "info", "needs", "on", "initialization",
                                       "switchback", "local_recovery", "quick_check", "deep_check"}));
        DefinedResource resource;
        DefinedInstance model;
        UNDERSTUDY_TRY(const auto tag, reader.word("tag"));
        UNDERSTUDY_TRY(const auto id, reader.word("id"));
        UNDERSTUDY_TRY(const auto type, reader.word("type"));
        model.tag = Tag(tag);
        model.id = ResourceId(id);
        if (reader.has("info")) {
            UNDERSTUDY_TRY(model.info, reader.word("info"));
        }
        const auto slash = type.find('/');
        if (slash == std::string::npos)
            return fail(Code::bad_argument, "line {}: type of {} is application/type, not \"{}\"",
                        YamlReader::line(node), tag, type);
        resource.app = AppName(type.substr(0, slash));
        resource.type = TypeName(type.substr(slash + 1));
        if (reader.has("initialization")) {
            UNDERSTUDY_TRY(const auto text, reader.word("initialization"));
            const auto init = parse_init(text);
            if (!init)
                return fail(Code::bad_argument,
                            "line {}: initialization is AUTORES_ISP, INIT_ISP or INIT_OSU",
                            YamlReader::line(reader.at("initialization")));
            resource.init = *init;
        }
        if (reader.has("switchback")) {
            UNDERSTUDY_TRY(const auto text, reader.word("switchback"));
            const auto switchback = parse_switchback(text);
            if (!switchback)
                return fail(Code::bad_argument, "line {}: switchback is INTELLIGENT or AUTOMATIC",
                            YamlReader::line(reader.at("switchback")));
            resource.switchback = *switchback;
        }
        UNDERSTUDY_TRY(resource.local_recovery, reader.flag("local_recovery", true));
        UNDERSTUDY_TRY(resource.quick_interval_s, reader.number("quick_check", 180, 0, kMaxCheckIntervalS));
        UNDERSTUDY_TRY(resource.deep_interval_s, reader.number("deep_check", 300, 0, kMaxCheckIntervalS));
        if (reader.has("needs")) {
            if (!reader.at("needs").IsSequence())
                return fail(Code::bad_argument, "line {}: needs of {} must be a list: [A, B]",
                            YamlReader::line(reader.at("needs")), tag);
            for (const auto& need : reader.at("needs"))
                resource.needs.emplace_back(need.Scalar());
        }
        if (!reader.has("on") || !reader.at("on").IsMap() || reader.at("on").size() == 0)
            return fail(Code::bad_argument, "line {}: {} needs \"on\" with its nodes: {{left: 1, right: 10}}",
                        YamlReader::line(node), tag);
        for (const auto& entry : reader.at("on"))
            UNDERSTUDY_CHECK(place(resource, model, entry.first, entry.second));
        UNDERSTUDY_CHECK(check_priorities(resource, node));
        definition_.resources.push_back(std::move(resource));
        return {};
    }

    Result<> place(DefinedResource& resource, const DefinedInstance& model, const YAML::Node& key,
                   const YAML::Node& value) const {
        const NodeName name(key.Scalar());
        UNDERSTUDY_CHECK(check_node(key, name));
        auto instance = model;
        const auto what = fmt::format("{} on {}", model.tag.str(), name.str());
        if (value.IsScalar()) {
            const auto priority = text::to_int(value.Scalar());
            if (!priority || *priority < Priority::kMin || *priority > Priority::kMaxForPeople)
                return fail(Code::out_of_range, "line {}: priority of {} is {} to {}, not \"{}\"",
                            YamlReader::line(value), what, Priority::kMin, Priority::kMaxForPeople,
                            value.Scalar());
            instance.priority = Priority{static_cast<int>(*priority)};
        } else if (!value.IsNull()) {
            UNDERSTUDY_TRY(const auto reader, YamlReader::of(value, what, {"priority", "tag", "id", "info"}));
            if (reader.has("priority")) {
                Priority priority;
                UNDERSTUDY_TRY(priority.value,
                               reader.number("priority", 0, Priority::kMin, Priority::kMaxForPeople));
                instance.priority = priority;
            }
            if (reader.has("tag")) {
                UNDERSTUDY_TRY(const auto tag, reader.word("tag"));
                instance.tag = Tag(tag);
            }
            if (reader.has("id")) {
                UNDERSTUDY_TRY(const auto id, reader.word("id"));
                instance.id = ResourceId(id);
            }
            if (reader.has("info")) {
                UNDERSTUDY_TRY(instance.info, reader.word("info"));
            }
        }
        if (!resource.on.emplace(name, std::move(instance)).second)
            return fail(Code::bad_argument, "line {}: {} stands twice", YamlReader::line(key), what);
        return {};
    }

    Result<> check_priorities(DefinedResource& resource, const YAML::Node& node) {
        if (resource.on.size() == 1) {
            resource.on.begin()->second.priority.reset();
        } else {
            std::set<Priority> seen;
            for (const auto& [name, instance] : resource.on) {
                if (!instance.priority)
                    return fail(Code::bad_argument, "line {}: {} has no priority on {}",
                                YamlReader::line(node), instance.tag.str(), name.str());
                if (!seen.insert(*instance.priority).second)
                    return fail(Code::bad_argument, "line {}: two nodes have priority {} for {}",
                                YamlReader::line(node), instance.priority->value, instance.tag.str());
            }
        }
        for (const auto& [name, instance] : resource.on)
            if (!places_.emplace(name, instance.tag).second)
                return fail(Code::bad_argument, "line {}: {} on {} is defined twice", YamlReader::line(node),
                            instance.tag.str(), name.str());
        return {};
    }

    /// Each need is defined where it is needed, and nothing needs itself.
    Result<> check_needs() const {
        std::map<Tag, std::vector<const DefinedResource*>> by_name;
        for (const auto& resource : definition_.resources)
            by_name[resource.name()].push_back(&resource);
        for (const auto& resource : definition_.resources)
            for (const auto& need : resource.needs) {
                const auto named = by_name.find(need);
                const auto shares_a_node = [&](const DefinedResource* each) {
                    return std::any_of(each->on.begin(), each->on.end(),
                                       [&](const auto& at) { return resource.on.contains(at.first); });
                };
                if (named == by_name.end() ||
                    std::none_of(named->second.begin(), named->second.end(), shares_a_node))
                    return fail(Code::not_found, "{} needs {}, which is not defined on any of its nodes",
                                resource.name().str(), need.str());
            }
        return check_no_circle();
    }

    Result<> check_no_circle() const {
        std::map<Tag, std::set<Tag>> needs;
        for (const auto& resource : definition_.resources)
            needs[resource.name()].insert(resource.needs.begin(), resource.needs.end());
        // What needs nothing (any more) is taken away until nothing is left; what then is left needs itself.
        while (!needs.empty()) {
            std::set<Tag> free;
            for (const auto& [name, below] : needs)
                if (std::none_of(below.begin(), below.end(),
                                 [&](const Tag& each) { return needs.contains(each); }))
                    free.insert(name);
            if (free.empty())
                return fail(Code::bad_argument, "{} needs itself, directly or through others",
                            needs.begin()->first.str());
            for (const auto& name : free)
                needs.erase(name);
        }
        return {};
    }

    Definition definition_;
    std::set<std::pair<NodeName, Tag>> places_;
};

}  // namespace

std::string to_yaml(const Definition& definition) {
    YAML::Emitter out;
    out << YAML::BeginMap;
    out << YAML::Key << "format" << YAML::Value << kFormat;
    out << YAML::Key << "nodes" << YAML::Value << YAML::BeginMap;
    for (const auto& [node, settings] : definition.nodes) {
        out << YAML::Key << node.str() << YAML::Value;
        if (settings.empty()) {
            out << YAML::Flow << YAML::BeginMap << YAML::EndMap;
            continue;
        }
        out << YAML::BeginMap << YAML::Key << "settings" << YAML::Value << YAML::BeginMap;
        for (const auto& [key, value] : settings)
            out << YAML::Key << key << YAML::Value << YAML::DoubleQuoted << value;
        out << YAML::EndMap << YAML::EndMap;
    }
    out << YAML::EndMap;
    out << YAML::Key << "paths" << YAML::Value << YAML::BeginSeq;
    for (const auto& path : definition.paths)
        write(out, path);
    out << YAML::EndSeq;
    out << YAML::Key << "resources" << YAML::Value << YAML::BeginSeq;
    for (const auto& resource : definition.resources)
        write(out, resource);
    out << YAML::EndSeq << YAML::EndMap;
    return std::string(kHeader) + out.c_str() + "\n";
}

Result<Definition> parse_definition(std::string_view yaml) {
    return Parser().parse(yaml);
}

}  // namespace understudy::config
