#include "config/record_change.h"

#include "base/text.h"
#include "config/lcdi.h"
#include "config/lcdi_internal.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::config {
namespace {

using nlohmann::json;

bool in_service(const Instance& instance) {
    return instance.state == State::isp || instance.state == State::isu;
}

Result<bool> truth(std::string_view name, const std::string& value) {
    for (const auto* yes : {"true", "yes", "Y", "y", "1"})
        if (value == yes) return true;
    for (const auto* no : {"false", "no", "N", "n", "0"})
        if (value == no) return false;
    return fail(Code::bad_argument, "{}={} is neither yes nor no", name, value);
}

/// The edit when it changes something.
struct Needed {
    const NodeConfig& own;
    std::vector<Edit>& edits;
    Result<> operator()(const PutInstance& put) const {
        const auto& wanted = put.instance;
        if (const auto* there = own.find(wanted.tag)) {
            if (there->id == wanted.id && there->created_at == wanted.created_at) return {};
            return fail(Code::exists, "a resource with tag \"{}\" exists already", wanted.tag.str());
        }
        if (const auto* other = own.find_id(wanted.id))
            return fail(Code::exists, "id \"{}\" already belongs to resource {}", wanted.id.str(),
                        other->tag.str());
        edits.emplace_back(put);
        return {};
    }
    Result<> operator()(const PutDependency& put) const {
        const auto children = own.children(put.dependency.parent);
        if (std::find(children.begin(), children.end(), put.dependency.child) == children.end())
            edits.emplace_back(put);
        return {};
    }
    Result<> operator()(const DropDependency& drop) const {
        const auto children = own.children(drop.parent);
        if (std::find(children.begin(), children.end(), drop.child) != children.end())
            edits.emplace_back(drop);
        return {};
    }
    Result<> operator()(const PutEquivalency& put) const {
        const auto& wanted = put.equivalency;
        for (const auto& each : own.equivalents(wanted.tag))
            if (each.other_node == wanted.other_node && each.other_tag == wanted.other_tag) return {};
        edits.emplace_back(put);
        return {};
    }
    Result<> operator()(const DropEquivalency& drop) const {
        for (const auto& each : own.equivalents(drop.tag))
            if (each.other_node == drop.other_node && each.other_tag == drop.other_tag)
                edits.emplace_back(drop);
        return {};
    }
    template <class Other>
    Result<> operator()(const Other& other) const {
        edits.emplace_back(other);
        return {};
    }
};

Result<> check_idle(const NodeConfig& own, const RecordChange& change) {
    for (const auto& tag : change.idle)
        if (const auto* each = own.find(tag); each != nullptr && in_service(*each))
            return fail(Code::failure, "{} is in service; take it out of service or move it first",
                        tag.str());
    for (const auto& tags : {change.idle, change.unreserved})
        for (const auto& tag : tags)
            if (const auto* each = own.find(tag); each != nullptr && each->reservation != Reservation::none)
                return fail(Code::failure, "{} is reserved for {} at the moment; try again when it is done",
                            tag.str(), to_string(each->reservation));
    return {};
}

}  // namespace

std::string property(const Instance& instance, std::string_view name) {
    if (name == "initialization") return std::string(to_string(instance.init));
    if (name == "switchback") return std::string(to_string(instance.switchback));
    if (name == "local_recovery") return instance.local_recovery ? "yes" : "no";
    if (name == "quick_check") return std::to_string(instance.quick_interval_s);
    if (name == "deep_check") return std::to_string(instance.deep_interval_s);
    if (name == "info") return instance.info;
    return {};
}

Result<> set_property(Instance& instance, std::string_view name, const std::string& value) {
    if (name == "initialization") {
        const auto init = parse_init(value);
        if (!init)
            return fail(Code::bad_argument, "initialization is AUTORES_ISP, INIT_ISP or INIT_OSU, not \"{}\"",
                        value);
        instance.init = *init;
    } else if (name == "switchback") {
        const auto switchback = parse_switchback(value);
        if (!switchback)
            return fail(Code::bad_argument, "switchback is INTELLIGENT or AUTOMATIC, not \"{}\"", value);
        instance.switchback = *switchback;
    } else if (name == "local_recovery") {
        UNDERSTUDY_TRY(instance.local_recovery, truth(name, value));
    } else if (name == "quick_check") {
        UNDERSTUDY_TRY(instance.quick_interval_s,
                       lcdi::number(value, 0, lcdi::kMaxCheckIntervalS, "quick check interval"));
    } else if (name == "deep_check") {
        UNDERSTUDY_TRY(instance.deep_interval_s,
                       lcdi::number(value, 0, lcdi::kMaxCheckIntervalS, "deep check interval"));
    } else if (name == "info") {
        UNDERSTUDY_CHECK(lcdi::check_text(value, "information text"));
        instance.info = value;
    } else {
        std::vector<std::string> names(std::begin(kProperties), std::end(kProperties));
        return fail(Code::bad_argument, "there is no property \"{}\"; there are {} and info.KEY", name,
                    text::join(names, ", "));
    }
    return {};
}

std::string with_info_word(const std::string& info, const std::string& key, const std::string& value) {
    // Words are KEY=VALUE or KEY="VALUE WITH BLANKS", as kits/sdk reads them.
    std::vector<std::string> words;
    bool placed = false;
    const bool quoted = value.find(' ') != std::string::npos;
    const auto word = quoted ? fmt::format("{}=\"{}\"", key, value) : fmt::format("{}={}", key, value);
    const auto add = [&](std::string each) {
        if (!each.starts_with(key + "=")) {
            words.push_back(std::move(each));
        } else if (!placed && !value.empty()) {
            words.push_back(word);
            placed = true;
        }
    };
    for (std::size_t at = 0; at < info.size();) {
        if (info[at] == ' ') {
            ++at;
            continue;
        }
        const auto blank = std::min(info.find(' ', at), info.size());
        const auto quote = info.find('"', at);
        auto end = blank;
        if (quote < blank)
            if (const auto close = info.find('"', quote + 1); close != std::string::npos) end = close + 1;
        add(info.substr(at, end - at));
        at = end;
    }
    if (!placed && !value.empty()) words.push_back(word);
    return text::join(words, " ");
}

Result<std::vector<Edit>> edits_for(const NodeConfig& own, const RecordChange& change) {
    std::vector<Edit> edits;
    for (const auto& edit : change.edits)
        UNDERSTUDY_CHECK(std::visit(Needed{own, edits}, edit));
    for (const auto& removal : change.removals) {
        const auto* there = own.find(removal.tag);
        if (there == nullptr || there->id != removal.id || there->created_at != removal.created_at) continue;
        const auto gone = removal_edits(own, removal.tag);
        edits.insert(edits.end(), gone.begin(), gone.end());
    }
    std::map<Tag, Instance> changed;
    for (const auto& each : change.properties) {
        const auto* there = own.find(each.tag);
        if (there == nullptr) {
            if (each.only_if) continue;  // there is nothing to put back
            return fail(Code::not_found, "there is no resource with tag \"{}\"", each.tag.str());
        }
        auto& instance = changed.try_emplace(each.tag, *there).first->second;
        if (each.only_if && property(instance, each.name) != *each.only_if) continue;
        UNDERSTUDY_CHECK(set_property(instance, each.name, each.value));
    }
    for (auto& [tag, instance] : changed)
        if (instance != *own.find(tag)) edits.emplace_back(PutInstance{std::move(instance)});
    // What is done already is not refused, whatever has become of it since.
    if (!edits.empty()) UNDERSTUDY_CHECK(check_idle(own, change));
    return edits;
}

std::string encode(const RecordChange& change) {
    // The form of a commit, which wants an owner.
    const auto bytes = encode(Change{NodeName("any"), 0, change.edits});
    json removals = json::array();
    for (const auto& each : change.removals)
        removals.push_back({{"tag", each.tag.str()},
                            {"id", text::hex(std::as_bytes(std::span(each.id.str())))},
                            {"created_at", each.created_at}});
    json properties = json::array();
    for (const auto& each : change.properties) {
        const auto hex = [](const std::string& value) { return text::hex(std::as_bytes(std::span(value))); };
        json object{{"tag", each.tag.str()}, {"name", each.name}, {"value", hex(each.value)}};
        if (each.only_if) object["only_if"] = hex(*each.only_if);
        properties.push_back(std::move(object));
    }
    json idle = json::array();
    for (const auto& tag : change.idle)
        idle.push_back(tag.str());
    json unreserved = json::array();
    for (const auto& tag : change.unreserved)
        unreserved.push_back(tag.str());
    return json{{"edits", text::hex(std::as_bytes(std::span(bytes)))},
                {"removals", std::move(removals)},
                {"properties", std::move(properties)},
                {"idle", std::move(idle)},
                {"unreserved", std::move(unreserved)}}
        .dump();
}

Result<RecordChange> decode_record_change(std::string_view data) {
    const auto bytes = [](const json& value) {
        const auto read = text::from_hex(value.get<std::string>());
        return read ? std::string(reinterpret_cast<const char*>(read->data()), read->size()) : std::string();
    };
    try {
        const auto object = json::parse(data);
        RecordChange change;
        UNDERSTUDY_TRY(auto edits, decode_change(bytes(object.at("edits"))));
        change.edits = std::move(edits.edits);
        for (const auto& each : object.at("removals"))
            change.removals.push_back({Tag(each.at("tag").get<std::string>()),
                                       ResourceId(bytes(each.at("id"))),
                                       each.at("created_at").get<std::int64_t>()});
        for (const auto& each : object.at("properties")) {
            PropertyChange read{Tag(each.at("tag").get<std::string>()), each.at("name").get<std::string>(),
                                bytes(each.at("value"))};
            if (each.contains("only_if")) read.only_if = bytes(each.at("only_if"));
            change.properties.push_back(std::move(read));
        }
        for (const auto& tag : object.at("idle"))
            change.idle.emplace_back(tag.get<std::string>());
        for (const auto& tag : object.at("unreserved"))
            change.unreserved.emplace_back(tag.get<std::string>());
        return change;
    } catch (const json::exception& malformed) {
        return fail(Code::internal, "a change of records is malformed: {}", malformed.what());
    }
}

}  // namespace understudy::config
