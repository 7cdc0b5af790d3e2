#include "recovery/scenario.h"

#include "base/text.h"

#include <yaml-cpp/yaml.h>

#include <fstream>
#include <sstream>

namespace understudy::recovery::testing {
namespace {

using config::State;

template <class Value>
Value one_of(const std::map<std::string, Value>& words, const std::string& word) {
    const auto at = words.find(word);
    if (at == words.end()) throw YAML::Exception(YAML::Mark::null_mark(), "unknown word \"" + word + "\"");
    return at->second;
}

State state_of(const std::string& word) {
    return one_of<State>({{"ISP", State::isp},
                          {"ISU", State::isu},
                          {"OSU", State::osu},
                          {"OSF", State::osf},
                          {"ILLSTATE", State::illstate}},
                         word);
}

config::Init init_of(const std::string& word) {
    return one_of<config::Init>({{"AUTORES_ISP", config::Init::autores_isp},
                                 {"INIT_ISP", config::Init::init_isp},
                                 {"INIT_OSU", config::Init::init_osu}},
                                word);
}

config::Reservation reservation_of(const std::string& word) {
    return one_of<config::Reservation>({{"RESTORE", config::Reservation::restore},
                                        {"REMOVE", config::Reservation::remove},
                                        {"RECOVER", config::Reservation::recover}},
                                       word);
}

/// map[key], or an undefined node when there is no map either.
YAML::Node at(const YAML::Node& map, const std::string& key) {
    if (!map || !map.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
    return map[key];
}

bool contains(const YAML::Node& list, const std::string& word) {
    return std::any_of(list.begin(), list.end(),
                       [&](const auto& entry) { return entry.template as<std::string>() == word; });
}

/// The part of `map` for `node` and `tag`, "" when it does not say.
std::string cell(const YAML::Node& map, const std::string& node, const std::string& tag) {
    const auto row = at(map, node);
    if (!row) return {};
    if (row.IsScalar()) return row.as<std::string>();
    const auto word = at(row, tag);
    return word ? word.as<std::string>() : std::string();
}

class Loader {
  public:
    explicit Loader(const YAML::Node& file) : file_(file) {
        for (const auto& entry : file["hierarchy"])
            for (const auto& line : entry) {
                const auto parent = line.first.as<std::string>();
                mention(parent);
                for (const auto& child : line.second) {
                    mention(child.as<std::string>());
                    dependencies_.emplace_back(parent, child.as<std::string>());
                }
            }
        for (const auto& node : file["nodes"])
            nodes_.push_back(node.first.as<std::string>());
    }

    ClusterView view() const {
        ClusterView result;
        result.self = NodeName(file_["self"].as<std::string>());
        for (const auto& name : nodes_)
            result.nodes[NodeName(name)] = node(name);
        return result;
    }

  private:
    void mention(const std::string& tag) {
        if (std::find(tags_.begin(), tags_.end(), tag) == tags_.end()) tags_.push_back(tag);
    }

    bool is_on(const std::string& tag, const std::string& node) const {
        const auto only = at(file_["only_on"], tag);
        return !only || contains(only, node);
    }

    Tag name_on(const std::string& tag, const std::string& node) const {
        const auto other = cell(file_["names"], node, tag);
        return Tag(other.empty() ? tag : other);
    }

    Priority priority(const std::string& node, const std::string& tag) const {
        if (const auto own = at(at(file_["priorities"], tag), node)) return {own.as<int>()};
        return {file_["nodes"][node]["priority"] ? file_["nodes"][node]["priority"].as<int>() : 1};
    }

    NodeView node(const std::string& name) const {
        const auto entry = file_["nodes"][name];
        const auto is = entry["is"] ? entry["is"].as<std::string>() : "alive";
        NodeView view;
        view.alive = one_of<bool>({{"alive", true}, {"mute", true}, {"dead", false}, {"unknown", false}}, is);
        view.known_dead = is == "dead";
        if (is == "mute") return view;
        auto& config = view.config;
        config.generation = 1;
        std::uint64_t order = 0;
        for (const auto& tag : tags_) {
            if (!is_on(tag, name)) continue;
            config::Instance instance;
            instance.tag = name_on(tag, name);
            instance.order = ++order;
            if (const auto word = cell(file_["states"], name, tag); !word.empty())
                instance.state = state_of(word);
            if (const auto word = at(file_["init"], tag)) instance.init = init_of(word.as<std::string>());
            if (const auto word = at(file_["switchback"], tag))
                instance.switchback =
                    one_of<config::Switchback>({{"AUTOMATIC", config::Switchback::automatic},
                                                {"INTELLIGENT", config::Switchback::intelligent}},
                                               word.as<std::string>());
            if (contains(file_["mirrored"], tag)) {
                instance.app = AppName("filesys");
                instance.type = TypeName("volume");
            }
            instance.reason = cell(file_["reasons"], name, tag);
            if (const auto word = cell(file_["reserved"], name, tag); !word.empty())
                instance.reservation = reservation_of(word);
            for (const auto& other : nodes_)
                if (other != name && is_on(tag, other))
                    config.equivalencies.push_back({instance.tag, NodeName(other), name_on(tag, other),
                                                    priority(name, tag), priority(other, tag), ++order});
            config.instances[instance.tag] = instance;
        }
        for (const auto& [parent, child] : dependencies_)
            if (is_on(parent, name) && is_on(child, name))
                config.dependencies.push_back({name_on(parent, name), name_on(child, name), ++order});
        for (const auto& other : nodes_)
            config.systems.insert(NodeName(other));
        for (const auto& flag : entry["flags"])
            config.flags.insert(FlagName(flag.as<std::string>()));
        return view;
    }

    const YAML::Node& file_;
    std::vector<std::string> nodes_;
    std::vector<std::string> tags_;
    std::vector<std::pair<std::string, std::string>> dependencies_;
};

Request parse_request(const std::string& line) {
    auto words = text::words(line);
    const auto verb = words.empty() ? std::string() : words.front();
    if (verb == "initialise") {  // "initialise had TAG ..."
        InitialiseRequest request;
        for (std::size_t i = 2; i < words.size(); ++i)
            request.had.insert(Tag(words[i]));
        return request;
    }
    if (verb == "initialise-left-out") return InitialiseRequest{.only = {}, .left_out = true, .had = {}};
    if (verb == "stop") return StopRequest{{}};
    if (verb == "switchback")
        return SwitchbackRequest{words.size() > 1 ? NodeName(words[1]) : NodeName(), {}};
    if (verb == "shutdown") {
        ShutdownRequest request;
        for (std::size_t i = 2; i < words.size(); ++i)
            request.tried.insert(NodeName(words[i]));
        return request;
    }
    if (verb == "rejoin") return RejoinRequest{};
    if (verb == "interrupted") {  // "interrupted never-heard NODE ..."
        InterruptedRequest request;
        for (std::size_t i = 2; i < words.size(); ++i)
            request.never_heard.insert(NodeName(words[i]));
        return request;
    }
    if (verb == "quorum-lost") return StopRequest{{}, true};
    if (words.size() < 2)
        throw YAML::Exception(YAML::Mark::null_mark(), "request \"" + line + "\" is incomplete");
    if (verb == "failover") {
        FailoverRequest request{NodeName(words[1]), {}, {}};
        for (std::size_t i = 2; i < words.size(); ++i) {
            if (words[i] == "only" && i + 1 < words.size())
                request.only = Tag(words[++i]);
            else if (words[i] != "tried")
                request.tried.insert(NodeName(words[i]));
        }
        return request;
    }
    if (verb == "recover") {
        ResourceFailoverRequest request{NodeName(), Tag(words[1])};
        std::string clause;
        for (std::size_t i = 2; i < words.size(); ++i) {
            if (words[i] == "from" || words[i] == "tried" || words[i] == "wanted")
                clause = words[i];
            else if (clause == "from")
                request.failed_on = NodeName(words[i]);
            else if (clause == "tried")
                request.tried.insert(NodeName(words[i]));
            else if (clause == "wanted")
                request.wanted.emplace_back(words[i]);
        }
        return request;
    }
    Scope scope = Scope::related;
    if (words[1] == "-b") scope = Scope::below;
    if (words[1] == "-s") scope = Scope::single;
    if (verb == "switchover") return RestoreRequest{Tag(words.back()), Scope::moving};
    if (verb == "restore") return RestoreRequest{Tag(words.back()), scope};
    if (verb == "remove") return RemoveRequest{Tag(words.back()), scope};
    throw YAML::Exception(YAML::Mark::null_mark(), "unknown request \"" + line + "\"");
}

}  // namespace

Result<Scenario> load_scenario(const std::string& path) {
    try {
        const auto file = YAML::LoadFile(path);
        Scenario scenario;
        scenario.about = file["about"].as<std::string>();
        scenario.view = Loader(file).view();
        scenario.request = parse_request(file["request"].as<std::string>());
        if (file["plan"]) scenario.expected = file["plan"].as<std::string>();
        return scenario;
    } catch (const YAML::Exception& problem) {
        return fail(Code::bad_argument, "{}: {}", path, problem.what());
    }
}

std::string outcome(const Scenario& scenario) {
    const auto made = plan(scenario.view, scenario.request);
    if (!made) return fmt::format("error {}: {}\n", static_cast<int>(made.error().code), made.error().text);
    return describe(*made);
}

Result<> rewrite_expectation(const std::string& path, const std::string& text) {
    std::ifstream in(path);
    std::string kept;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("plan:")) break;
        kept += line + "\n";
    }
    if (in.bad()) return fail(Code::failure, "{} cannot be read", path);
    in.close();
    kept += "plan: |\n";
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
        kept += "  " + line + "\n";
    std::ofstream out(path, std::ios::trunc);
    out << kept;
    out.flush();
    if (!out) return fail(Code::failure, "{} cannot be written", path);
    return {};
}

}  // namespace understudy::recovery::testing
