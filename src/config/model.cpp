#include "config/model.h"

#include "base/text.h"
#include "config/edit.h"

#include <algorithm>
#include <deque>
#include <tuple>
#include <unordered_set>

namespace understudy::config {
namespace {

constexpr std::size_t kMaxTagBytes = 256;  // Spec: CMD-012
constexpr std::string_view kTcpPrefix = "TCP:";

template <class Next>
std::vector<Tag> breadth_first(const Tag& start, Next next) {
    std::vector<Tag> found{start};
    std::unordered_set<Tag> seen{start};
    for (std::size_t i = 0; i < found.size(); ++i) {
        const auto neighbours = next(found[i]);
        for (const auto& tag : neighbours)
            if (seen.insert(tag).second) found.push_back(tag);
    }
    return found;
}

bool index_usable(const NodeConfig& config) {
    return config.index.instances == config.instances.size() &&
           config.index.dependencies == config.dependencies.size() &&
           config.index.equivalencies == config.equivalencies.size();
}

void sort_by_priority(std::vector<Equivalency>& found) {
    std::stable_sort(found.begin(), found.end(), [](const Equivalency& a, const Equivalency& b) {
        return a.other_priority < b.other_priority;
    });
}

}  // namespace

std::string_view to_string(State state) {
    switch (state) {
        case State::isp:
            return "ISP";
        case State::isu:
            return "ISU";
        case State::osu:
            return "OSU";
        case State::osf:
            return "OSF";
        case State::illstate:
            return "ILLSTATE";
    }
    return "ILLSTATE";
}

std::string_view to_string(Init init) {
    switch (init) {
        case Init::autores_isp:
            return "AUTORES_ISP";
        case Init::init_isp:
            return "INIT_ISP";
        case Init::init_osu:
            return "INIT_OSU";
    }
    return "AUTORES_ISP";
}

std::string_view to_string(Switchback switchback) {
    switch (switchback) {
        case Switchback::intelligent:
            return "INTELLIGENT";
        case Switchback::automatic:
            return "AUTOMATIC";
    }
    return "INTELLIGENT";
}

std::string_view to_string(Reservation reservation) {
    switch (reservation) {
        case Reservation::none:
            return "";
        case Reservation::restore:
            return "RESTORE";
        case Reservation::remove:
            return "REMOVE";
        case Reservation::recover:
            return "RECOVER";
    }
    return "";
}

std::optional<State> parse_state(std::string_view text) {
    for (const auto state : {State::isp, State::isu, State::osu, State::osf, State::illstate})
        if (to_string(state) == text) return state;
    return std::nullopt;
}

std::optional<Init> parse_init(std::string_view text) {
    for (const auto init : {Init::autores_isp, Init::init_isp, Init::init_osu})
        if (to_string(init) == text) return init;
    return std::nullopt;
}

std::optional<Switchback> parse_switchback(std::string_view text) {
    for (const auto switchback : {Switchback::intelligent, Switchback::automatic})
        if (to_string(switchback) == text) return switchback;
    return std::nullopt;
}

int Path::port() const {
    if (!device.starts_with(kTcpPrefix)) return 0;
    const auto number = text::to_int(std::string_view(device).substr(kTcpPrefix.size()));
    return number && *number > 0 && *number <= 65535 ? static_cast<int>(*number) : 0;
}

bool path_less(const Path& a, const Path& b) {
    const auto kind = [](const Path& path) {
        return std::string_view(path.device).substr(0, path.device.find(':'));
    };
    // TCP before DISK, as priorities have it.
    const auto rank = [&](const Path& path) { return kind(path) == "TCP" ? 0 : 1; };
    return std::tuple(rank(a), kind(a), a.port(), std::string_view(a.device)) <
           std::tuple(rank(b), kind(b), b.port(), std::string_view(b.device));
}

std::vector<Tag> parents_first(const NodeConfig& config, const std::vector<Tag>& members) {
    std::unordered_map<Tag, std::size_t> waiting_for;
    for (const auto& tag : members)
        waiting_for.emplace(tag, 0);
    for (const auto& [tag, count] : waiting_for)
        for (const auto& child : config.children(tag))
            if (const auto at = waiting_for.find(child); at != waiting_for.end()) ++at->second;

    std::deque<Tag> ready;
    std::unordered_set<Tag> queued;  // a member may be named twice
    for (const auto& tag : members)
        if (waiting_for.at(tag) == 0 && queued.insert(tag).second) ready.push_back(tag);
    std::vector<Tag> result;
    result.reserve(members.size());
    std::unordered_set<Tag> placed;
    while (!ready.empty()) {
        auto tag = std::move(ready.front());
        ready.pop_front();
        for (const auto& child : config.children(tag))
            if (const auto at = waiting_for.find(child); at != waiting_for.end() && --at->second == 0)
                ready.push_back(child);
        placed.insert(tag);
        result.push_back(std::move(tag));
    }
    // What is left over belongs to a cycle, which no command can make but a damaged file could hold. It is
    // appended, because an instance that is never visited is worse than one visited too early.
    for (const auto& tag : members)
        if (placed.insert(tag).second) result.push_back(tag);
    return result;
}

void NodeConfig::reindex() {
    reindex(digest_of(*this));
}

void NodeConfig::reindex(std::uint64_t digest) {
    index = {};
    index.digest = digest;
    index.instances = instances.size();
    index.dependencies = dependencies.size();
    index.equivalencies = equivalencies.size();
    index.by_id.reserve(instances.size());
    index.equivalents.reserve(instances.size());
    index.parents.reserve(dependencies.size());
    for (const auto& [tag, instance] : instances)
        index.by_id.emplace(instance.id, tag);
    for (const auto& dependency : dependencies) {
        index.children[dependency.parent].push_back(dependency.child);
        index.parents[dependency.child].push_back(dependency.parent);
    }
    for (const auto& equivalency : equivalencies)
        index.equivalents[equivalency.tag].push_back(equivalency);
}

const Instance* NodeConfig::find(const Tag& tag) const {
    const auto at = instances.find(tag);
    return at == instances.end() ? nullptr : &at->second;
}

const Instance* NodeConfig::find_id(const ResourceId& id) const {
    if (index_usable(*this)) {
        const auto at = index.by_id.find(id);
        return at == index.by_id.end() ? nullptr : find(at->second);
    }
    for (const auto& [tag, instance] : instances)
        if (instance.id == id) return &instance;
    return nullptr;
}

std::vector<Tag> NodeConfig::children(const Tag& parent) const {
    if (index_usable(*this)) {
        const auto at = index.children.find(parent);
        return at == index.children.end() ? std::vector<Tag>{} : at->second;
    }
    std::vector<Tag> found;
    for (const auto& dependency : dependencies)
        if (dependency.parent == parent) found.push_back(dependency.child);
    return found;
}

std::vector<Tag> NodeConfig::parents(const Tag& child) const {
    if (index_usable(*this)) {
        const auto at = index.parents.find(child);
        return at == index.parents.end() ? std::vector<Tag>{} : at->second;
    }
    std::vector<Tag> found;
    for (const auto& dependency : dependencies)
        if (dependency.child == child) found.push_back(dependency.parent);
    return found;
}

std::vector<Tag> NodeConfig::subtree(const Tag& top) const {
    if (find(top) == nullptr) return {};
    return parents_first(*this, breadth_first(top, [this](const Tag& tag) { return children(tag); }));
}

std::vector<Tag> NodeConfig::ancestry(const Tag& tag) const {
    if (find(tag) == nullptr) return {};
    return parents_first(*this, breadth_first(tag, [this](const Tag& below) { return parents(below); }));
}

std::vector<const Instance*> NodeConfig::in_creation_order() const {
    std::vector<const Instance*> result;
    result.reserve(instances.size());
    for (const auto& [tag, instance] : instances)
        result.push_back(&instance);
    std::stable_sort(result.begin(), result.end(),
                     [](const Instance* a, const Instance* b) { return a->order < b->order; });
    return result;
}

std::vector<Tag> NodeConfig::roots() const {
    std::unordered_set<Tag> needed;
    for (const auto& dependency : dependencies)
        needed.insert(dependency.child);
    std::vector<Tag> result;
    for (const auto* instance : in_creation_order())
        if (!needed.contains(instance->tag)) result.push_back(instance->tag);
    return result;
}

std::vector<Tag> NodeConfig::roots_above(const Tag& tag) const {
    auto above = ancestry(tag);
    std::erase_if(above, [this](const Tag& each) { return !parents(each).empty(); });
    return above;
}

bool NodeConfig::reaches(const Tag& from_parent, const Tag& to_descendant) const {
    if (from_parent == to_descendant) return true;
    const auto below = breadth_first(from_parent, [this](const Tag& tag) { return children(tag); });
    return std::find(below.begin(), below.end(), to_descendant) != below.end();
}

std::vector<Equivalency> NodeConfig::equivalents(const Tag& tag) const {
    std::vector<Equivalency> found;
    if (index_usable(*this)) {
        if (const auto at = index.equivalents.find(tag); at != index.equivalents.end()) found = at->second;
    } else {
        std::copy_if(equivalencies.begin(), equivalencies.end(), std::back_inserter(found),
                     [&](const Equivalency& each) { return each.tag == tag; });
    }
    sort_by_priority(found);
    return found;
}

std::optional<Priority> NodeConfig::priority(const Tag& tag) const {
    const auto found = equivalents(tag);
    if (found.empty()) return std::nullopt;
    return found.front().priority;
}

const Path* NodeConfig::find_path(std::string_view device) const {
    const auto at =
        std::find_if(paths.begin(), paths.end(), [&](const Path& path) { return path.device == device; });
    return at == paths.end() ? nullptr : &*at;
}

std::string tag_problem(const Tag& tag) {
    constexpr std::string_view kForbidden = "+;:!@#$*=";
    const auto& text = tag.str();
    if (text.empty()) return "a tag must not be empty";
    if (text.size() > kMaxTagBytes)
        return fmt::format("a tag has at most {} characters, this one has {}", kMaxTagBytes, text.size());
    if (text.front() == '.' || text.front() == '/')
        return fmt::format("tag \"{}\" must not begin with \"{}\"", text, text.front());
    for (const char c : text) {
        if (c == ' ') return fmt::format("tag \"{}\" must not contain a blank", text);
        if (c < 0x21 || c > 0x7e) return "a tag consists of printable ASCII characters only";
        if (kForbidden.find(c) != std::string_view::npos)
            return fmt::format("tag \"{}\" must not contain \"{}\"", text, c);
    }
    return {};
}

}  // namespace understudy::config
