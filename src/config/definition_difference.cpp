// From a definition to the commands that make the cluster match it.

#include "base/text.h"
#include "config/definition.h"
#include "config/interval.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <utility>

namespace understudy::config {
namespace {

using Configs = std::map<NodeName, const NodeConfig*>;
using Place = std::pair<NodeName, Tag>;

class Differ {
  public:
    Differ(const Configs& nodes, const std::map<NodeName, NodeSettings>& settings, const Definition& wanted,
           const DifferenceOptions& options)
        : nodes_(nodes),
          settings_(settings),
          wanted_(wanted),
          options_(options),
          current_(define(nodes, settings)) {
        for (const auto& resource : current_.resources)
            for (const auto& [node, instance] : resource.on)
                places_.emplace(Place(node, instance.tag), &resource);
        for (const auto& resource : wanted.resources) {
            wanted_names_[resource.name()].push_back(&resource);
            for (const auto& [node, instance] : resource.on)
                wanted_places_.emplace(Place(node, instance.tag), &resource);
        }
    }

    Result<Difference> run() {
        UNDERSTUDY_CHECK(check_members());
        UNDERSTUDY_CHECK(paths());
        UNDERSTUDY_CHECK(match());
        removals();
        for (const auto& resource : wanted_.resources)
            create(resource);
        for (const auto& resource : wanted_.resources)
            pair(resource);
        for (const auto& resource : wanted_.resources)
            depend(resource);
        for (const auto& [node, values] : wanted_.nodes)
            set(node, values);
        return std::move(result_);
    }

  private:
    using Options = std::map<std::string, std::string>;

    void add(std::string text, const NodeName& node, std::string name, Options options,
             std::vector<std::string> arguments = {}) {
        Command command;
        command.name = std::move(name);
        command.options = std::move(options);
        command.arguments = std::move(arguments);
        if (node != options_.self) command.options["d"] = node.str();
        result_.changes.push_back({std::move(text), std::move(command)});
    }

    Result<> check_members() const {
        for (const auto& [node, values] : wanted_.nodes)
            if (!nodes_.contains(node))
                return fail(
                    Code::not_found,
                    "{} is in the file but no member of this cluster that is ALIVE; let it join first "
                    "(`understudy join`), or start it",
                    node.str());
        return {};
    }

    // paths

    static bool same_ends(const DefinedPath& a, const DefinedPath& b) {
        return a.transport == b.transport && a.port == b.port && a.ends == b.ends;
    }
    static std::string show(const DefinedPath& path) {
        const auto& [one, other] = std::pair(*path.ends.begin(), *path.ends.rbegin());
        return fmt::format("path {} {} -- {} {}{}", one.first.str(), one.second, other.first.str(),
                           other.second,
                           path.transport == "DISK" ? std::string() : fmt::format(", port {}", path.port));
    }
    [[nodiscard]] std::string device(const DefinedPath& path, const NodeName& node) const {
        return path.transport == "DISK" ? "DISK:" + path.ends.at(node) : fmt::format("TCP:{}", path.port);
    }
    /// The path's end as `node` has it now, nullptr when it has none.
    [[nodiscard]] const Path* end_of(const DefinedPath& path, const NodeName& node,
                                     const NodeName& other) const {
        const auto* end = nodes_.at(node)->find_path(device(path, node));
        if (end == nullptr || end->remote != other) return nullptr;
        const bool same = path.transport == "DISK" || (end->local_address == path.ends.at(node) &&
                                                       end->remote_address == path.ends.at(other));
        return same ? end : nullptr;
    }
    void create_end(std::string text, const DefinedPath& path, const NodeName& node, const NodeName& other) {
        Options options{{"s", other.str()},
                        {"D", device(path, node)},
                        {"n", path.transport},
                        {"p", std::to_string(path.priority)},
                        {"h", interval_text(path.interval_ms)},
                        {"c", std::to_string(path.misses)}};
        if (path.transport != "DISK") {
            options["l"] = path.ends.at(node);
            options["r"] = path.ends.at(other);
        }
        add(std::move(text), node, "net_create", std::move(options));
    }
    void remove_end(std::string text, const DefinedPath& path, const NodeName& node) {
        // The definition is the consent that the command asks for.
        add(std::move(text), node, "net_remove", {{"D", device(path, node)}, {"last", ""}});
    }

    Result<> paths() {
        for (const auto& path : wanted_.paths)
            UNDERSTUDY_CHECK(want_path(path));
        for (const auto& path : current_.paths) {
            const bool wanted = std::any_of(wanted_.paths.begin(), wanted_.paths.end(),
                                            [&](const DefinedPath& other) { return same_ends(path, other); });
            if (wanted) continue;
            if (!options_.prune) {
                result_.kept.push_back(show(path));
                continue;
            }
            UNDERSTUDY_CHECK(check_not_the_last(path));
            for (const auto& [node, end] : path.ends)
                if (nodes_.at(node)->find_path(device(path, node)) != nullptr)
                    remove_end(fmt::format("- {} (its end on {})", show(path), node.str()), path, node);
        }
        return {};
    }

    Result<> want_path(const DefinedPath& path) {
        const auto& one = path.ends.begin()->first;
        const auto& other = path.ends.rbegin()->first;
        for (const auto& [node, peer] : {std::pair(one, other), std::pair(other, one)}) {
            const auto* end = end_of(path, node, peer);
            if (end == nullptr) {
                create_end(fmt::format("+ {} (its end on {})", show(path), node.str()), path, node, peer);
            } else if (end->priority != path.priority || end->interval_ms != path.interval_ms ||
                       end->misses != path.misses) {
                UNDERSTUDY_CHECK(check_not_the_last(path));
                const auto text =
                    fmt::format("~ {} (its end on {}): priority {}, heartbeat {} ms x {}", show(path),
                                node.str(), path.priority, path.interval_ms, path.misses);
                remove_end(text + ", removed to be made anew", path, node);
                create_end(text, path, node, peer);
            }
        }
        return {};
    }

    /// Removing an end must leave another path over which the rest can be done.
    Result<> check_not_the_last(const DefinedPath& path) const {
        const auto nodes = [](const DefinedPath& each) {
            return std::pair(each.ends.begin()->first, each.ends.rbegin()->first);
        };
        for (const auto& other : current_.paths) {
            const bool stays =
                std::any_of(wanted_.paths.begin(), wanted_.paths.end(), [&](const DefinedPath& each) {
                    return same_ends(each, other) && each.priority == other.priority &&
                           each.interval_ms == other.interval_ms && each.misses == other.misses;
                });
            if (stays && other.transport == "TLI" && nodes(other) == nodes(path)) return {};
        }
        return fail(
            Code::bad_argument,
            "{} would have to be removed, and no other path between its nodes stays as it is: add one "
            "first, apply, then change this one",
            show(path));
    }

    // resources

    /// Finds which existing resource each wanted one is.
    Result<> match() {
        std::map<const DefinedResource*, const DefinedResource*> taken;
        for (const auto& wanted : wanted_.resources)
            for (const auto& [node, instance] : wanted.on) {
                const auto* existing = nodes_.at(node)->find(instance.tag);
                if (existing == nullptr) {
                    if (const auto* other = nodes_.at(node)->find_id(instance.id))
                        return fail(Code::exists, "id \"{}\" of {} already belongs to {} on {}",
                                    instance.id.str(), instance.tag.str(), other->tag.str(), node.str());
                    continue;
                }
                if (existing->app != wanted.app || existing->type != wanted.type ||
                    existing->id != instance.id)
                    return fail(Code::exists,
                                "{} on {} is {}/{} with id \"{}\", not {}/{} with id \"{}\"; remove it first "
                                "(ins_remove), or give it another tag in the file",
                                instance.tag.str(), node.str(), existing->app.str(), existing->type.str(),
                                existing->id.str(), wanted.app.str(), wanted.type.str(), instance.id.str());
                const auto* resource = places_.at({node, instance.tag});
                const auto [at, fresh] = taken.emplace(resource, &wanted);
                if (!fresh && at->second != &wanted)
                    return fail(Code::bad_argument, "{} and {} in the file are one resource in this cluster",
                                at->second->name().str(), wanted.name().str());
                matched_[&wanted].insert(resource);
            }
        for (const auto& [wanted, existing] : matched_)
            if (existing.size() > 1)
                return fail(
                    Code::bad_argument,
                    "{} in the file is several resources in this cluster: {}; pair them with eqv_create",
                    wanted->name().str(), existing_names(existing));
        return {};
    }
    static std::string existing_names(const std::set<const DefinedResource*>& resources) {
        std::vector<std::string> names;
        for (const auto* resource : resources)
            names.push_back(resource->name().str());
        return text::join(names, ", ");
    }

    [[nodiscard]] const DefinedResource* wanted_at(const NodeName& node, const Tag& tag) const {
        const auto at = wanted_places_.find({node, tag});
        return at == wanted_places_.end() ? nullptr : at->second;
    }

    /// Pairs, then dependencies, then instances; dependents before what they need.
    void removals() {
        std::vector<std::pair<NodeName, const DefinedInstance*>> unwanted;
        for (auto resource = current_.resources.rbegin(); resource != current_.resources.rend(); ++resource)
            for (const auto& [node, instance] : resource->on) {
                if (!wanted_.nodes.contains(node) || wanted_at(node, instance.tag) != nullptr) continue;
                if (options_.prune)
                    unwanted.emplace_back(node, &instance);
                else
                    result_.kept.push_back(fmt::format("{} on {}", instance.tag.str(), node.str()));
            }
        std::set<std::pair<Place, Place>> unpaired;
        for (const auto& [node, instance] : unwanted)
            for (const auto& pair : nodes_.at(node)->equivalents(instance->tag)) {
                const Place here(node, instance->tag);
                const Place there(pair.other_node, pair.other_tag);
                if (!unpaired.emplace(std::min(here, there), std::max(here, there)).second) continue;
                add(fmt::format("- {} on {} and {} on {} are no longer the same", here.second.str(),
                                here.first.str(), there.second.str(), there.first.str()),
                    options_.self, "eqv_remove",
                    {{"s", node.str()},
                     {"t", instance->tag.str()},
                     {"S", there.first.str()},
                     {"o", there.second.str()},
                     {"e", "SHARED"}});
            }
        remove_dependencies();
        for (const auto& [node, instance] : unwanted)
            add(fmt::format("- {} on {}", instance->tag.str(), node.str()), node, "ins_remove",
                {{"t", instance->tag.str()}, {"I", ""}});
    }

    void remove_dependencies() {
        for (const auto& resource : current_.resources)
            for (const auto& [node, instance] : resource.on) {
                if (!wanted_.nodes.contains(node)) continue;
                for (const auto& child : nodes_.at(node)->children(instance.tag)) {
                    if (wants_dependency(node, instance.tag, child)) continue;
                    const auto text =
                        fmt::format("{} needs {} on {}", instance.tag.str(), child.str(), node.str());
                    if (options_.prune)
                        add("- " + text, node, "dep_remove", {{"p", instance.tag.str()}, {"c", child.str()}});
                    else if (wanted_at(node, instance.tag) != nullptr)
                        result_.kept.push_back(text);
                }
            }
    }
    [[nodiscard]] bool wants_dependency(const NodeName& node, const Tag& parent, const Tag& child) const {
        const auto* above = wanted_at(node, parent);
        const auto* below = wanted_at(node, child);
        return above != nullptr && below != nullptr &&
               std::find(above->needs.begin(), above->needs.end(), below->name()) != above->needs.end();
    }

    void create(const DefinedResource& resource) {
        for (const auto& [node, instance] : resource.on) {
            if (const auto* existing = nodes_.at(node)->find(instance.tag)) {
                change(resource, node, instance, *existing);
                continue;
            }
            const auto& config = *nodes_.at(node);
            if (!config.apps.contains(resource.app) && made_apps_.emplace(node, resource.app).second)
                add(fmt::format("+ application {} on {}", resource.app.str(), node.str()), node, "app_create",
                    {{"a", resource.app.str()}});
            const ResourceType type{resource.app, resource.type};
            if (!config.types.contains(type) && made_types_.emplace(node, type).second)
                add(fmt::format("+ type {}/{} on {}", type.app.str(), type.type.str(), node.str()), node,
                    "typ_create", {{"a", type.app.str()}, {"r", type.type.str()}});
            Options options{{"a", resource.app.str()},
                            {"r", resource.type.str()},
                            {"t", instance.tag.str()},
                            {"i", instance.id.str()},
                            {"I", std::string(to_string(resource.init))},
                            {"s", std::string(to_string(resource.switchback))},
                            {"l", resource.local_recovery ? "Y" : "N"},
                            {"Q", std::to_string(resource.quick_interval_s)},
                            {"D", std::to_string(resource.deep_interval_s)}};
            if (!instance.info.empty()) options["v"] = instance.info;
            add(fmt::format("+ {} on {}: {}/{}, id \"{}\"", instance.tag.str(), node.str(),
                            resource.app.str(), resource.type.str(), instance.id.str()),
                node, "ins_create", std::move(options));
        }
    }

    void change(const DefinedResource& resource, const NodeName& node, const DefinedInstance& instance,
                const Instance& existing) {
        const auto set = [&](std::string_view what, const auto& from, const auto& to, std::string command,
                             Options options) {
            if (from == to) return;
            options["t"] = instance.tag.str();
            add(fmt::format("~ {} on {}: {} {} -> {}", instance.tag.str(), node.str(), what, from, to), node,
                std::move(command), std::move(options));
        };
        const auto quoted = [](const std::string& text) { return "\"" + text + "\""; };
        set("info", quoted(existing.info), quoted(instance.info), "ins_setin", {{"v", instance.info}});
        set("initialization", to_string(existing.init), to_string(resource.init), "ins_setit",
            {{"I", std::string(to_string(resource.init))}});
        set("local recovery", existing.local_recovery ? "on" : "off", resource.local_recovery ? "on" : "off",
            "ins_setlocalrecover", {{"l", resource.local_recovery ? "Y" : "N"}});
        set("quick check every s", existing.quick_interval_s, resource.quick_interval_s, "ins_setchkint",
            {{"c", "q"}, {"v", std::to_string(resource.quick_interval_s)}});
        set("deep check every s", existing.deep_interval_s, resource.deep_interval_s, "ins_setchkint",
            {{"c", "d"}, {"v", std::to_string(resource.deep_interval_s)}});
        // The command sets a root and all below it; what is not a root follows its root. Spec: CMD-070.
        if (nodes_.at(node)->parents(instance.tag).empty())
            set("switchback", to_string(existing.switchback), to_string(resource.switchback), "ins_setas",
                {{"s", std::string(to_string(resource.switchback))}});
    }

    void pair(const DefinedResource& resource) {
        std::map<NodeName, Priority> changed;
        for (auto one = resource.on.begin(); one != resource.on.end(); ++one)
            for (auto other = std::next(one); other != resource.on.end(); ++other) {
                const auto pairs = nodes_.at(one->first)->equivalents(one->second.tag);
                const auto existing = std::find_if(pairs.begin(), pairs.end(), [&](const Equivalency& each) {
                    return each.other_node == other->first && each.other_tag == other->second.tag;
                });
                if (existing == pairs.end()) {
                    add(fmt::format("+ {} on {} and {} on {} are the same, priorities {} and {}",
                                    one->second.tag.str(), one->first.str(), other->second.tag.str(),
                                    other->first.str(), one->second.priority->value,
                                    other->second.priority->value),
                        options_.self, "eqv_create",
                        {{"s", one->first.str()},
                         {"t", one->second.tag.str()},
                         {"p", std::to_string(one->second.priority->value)},
                         {"S", other->first.str()},
                         {"o", other->second.tag.str()},
                         {"r", std::to_string(other->second.priority->value)},
                         {"e", "SHARED"}});
                    continue;
                }
                if (existing->priority != *one->second.priority) changed[one->first] = *one->second.priority;
                if (existing->other_priority != *other->second.priority)
                    changed[other->first] = *other->second.priority;
            }
        if (changed.empty()) return;
        // One transaction for the whole hierarchy: its resources have their priorities in common. Spec:
        // CLU-109.
        std::vector<std::string> arguments{resource.on.begin()->second.tag.str()};
        for (const auto& [node, priority] : changed)
            arguments.push_back(fmt::format("{}={}", node.str(), priority.value));
        const auto before = prioritised_.find({resource.on.begin()->first, resource.on.begin()->second.tag});
        if (before != prioritised_.end() && before->second == changed) return;
        for (const auto& [node, instance] : resource.on)
            for (const auto& tag : hierarchy_of(*nodes_.at(node), instance.tag))
                prioritised_[{node, tag}] = changed;
        std::vector<std::string> values(arguments.begin() + 1, arguments.end());
        add(fmt::format("~ priorities of {} and its hierarchy: {}", resource.name().str(),
                        text::join(values, ", ")),
            resource.on.begin()->first, "understudy priorities", {}, std::move(arguments));
    }

    /// Everything that dependencies connect with the tag, in the cluster as it is.
    static std::set<Tag> hierarchy_of(const NodeConfig& config, const Tag& start) {
        std::set<Tag> seen{start};
        std::deque<Tag> open{start};
        while (!open.empty()) {
            const auto tag = std::move(open.front());
            open.pop_front();
            for (const auto& near : {config.children(tag), config.parents(tag)})
                for (const auto& next : near)
                    if (seen.insert(next).second) open.push_back(next);
        }
        return seen;
    }

    void depend(const DefinedResource& resource) {
        for (const auto& need : resource.needs)
            for (const auto* child : wanted_names_.at(need))
                for (const auto& [node, instance] : resource.on) {
                    const auto there = child->on.find(node);
                    if (there == child->on.end()) continue;
                    const auto& needed = there->second.tag;
                    const auto children = nodes_.at(node)->children(instance.tag);
                    if (std::find(children.begin(), children.end(), needed) != children.end()) continue;
                    add(fmt::format("+ {} needs {} on {}", instance.tag.str(), needed.str(), node.str()),
                        node, "dep_create", {{"p", instance.tag.str()}, {"c", needed.str()}});
                }
    }

    void set(const NodeName& node, const NodeSettings& wanted) {
        const auto at = settings_.find(node);
        const NodeSettings none;
        const auto& current = at == settings_.end() ? none : at->second;
        std::vector<std::string> arguments;
        std::vector<std::string> texts;
        for (const auto& [key, value] : wanted) {
            const auto before = current.find(key);
            if (before != current.end() && before->second == value) continue;
            arguments.push_back(key + "=" + value);
            texts.push_back(
                fmt::format("{} {} -> {}", key, before == current.end() ? "unset" : before->second, value));
        }
        if (!arguments.empty())
            add(fmt::format("~ settings of {}: {}", node.str(), text::join(texts, ", ")), node,
                std::string(kSetSettings), {}, std::move(arguments));
    }

    const Configs& nodes_;
    const std::map<NodeName, NodeSettings>& settings_;
    const Definition& wanted_;
    const DifferenceOptions& options_;
    const Definition current_;
    std::map<Place, const DefinedResource*> places_;         // of current_
    std::map<Place, const DefinedResource*> wanted_places_;  // of wanted_
    std::map<Tag, std::vector<const DefinedResource*>> wanted_names_;
    std::map<const DefinedResource*, std::set<const DefinedResource*>> matched_;
    std::set<std::pair<NodeName, AppName>> made_apps_;
    std::set<std::pair<NodeName, ResourceType>> made_types_;
    std::map<Place, std::map<NodeName, Priority>> prioritised_;  // what a change before gives to each place
    Difference result_;
};

}  // namespace

Result<Difference> difference(const std::map<NodeName, const NodeConfig*>& nodes,
                              const std::map<NodeName, NodeSettings>& settings, const Definition& wanted,
                              const DifferenceOptions& options) {
    return Differ(nodes, settings, wanted, options).run();
}

}  // namespace understudy::config
