#include "config/codec.h"

#include "base/text.h"
#include "config.pb.h"
#include "config/locks.h"

namespace understudy::config {
namespace {

constexpr std::size_t kMaxEncodedBytes = runtime::kMaxFrameBytes;

template <class Message>
Result<> parse(Message& message, std::string_view data, std::string_view what) {
    if (data.size() > kMaxEncodedBytes)
        return fail(Code::internal, "{} of {} bytes is longer than the allowed {}", what, data.size(),
                    kMaxEncodedBytes);
    if (!message.ParseFromArray(data.data(), static_cast<int>(data.size())))
        return fail(Code::internal, "{} of {} bytes is malformed", what, data.size());
    return {};
}

template <class Enum>
Result<Enum> checked(std::uint32_t value, Enum last, std::string_view what) {
    if (value > static_cast<std::uint32_t>(last))
        return fail(Code::internal, "{} {} is not known", what, value);
    return static_cast<Enum>(value);
}

void to_wire(const ResourceType& from, wire::ResourceType* to) {
    to->set_app(from.app.str());
    to->set_type(from.type.str());
}

ResourceType from_wire(const wire::ResourceType& from) {
    return {AppName(from.app()), TypeName(from.type())};
}

void to_wire(const Instance& from, wire::Instance* to) {
    to->set_app(from.app.str());
    to->set_type(from.type.str());
    to->set_tag(from.tag.str());
    to->set_id(from.id.str());
    to->set_info(from.info);
    to->set_state(static_cast<std::uint32_t>(from.state));
    to->set_reason(from.reason);
    to->set_init(static_cast<std::uint32_t>(from.init));
    to->set_reservation(static_cast<std::uint32_t>(from.reservation));
    to->set_reserving_pid(from.reserving_pid);
    to->set_quick_interval_s(from.quick_interval_s);
    to->set_deep_interval_s(from.deep_interval_s);
    to->set_local_recovery(from.local_recovery);
    to->set_switchback(static_cast<std::uint32_t>(from.switchback));
    to->set_created_at(from.created_at);
    to->set_order(from.order);
}

Result<Instance> from_wire(const wire::Instance& from) {
    Instance to;
    to.app = AppName(from.app());
    to.type = TypeName(from.type());
    to.tag = Tag(from.tag());
    to.id = ResourceId(from.id());
    to.info = from.info();
    UNDERSTUDY_TRY(to.state, checked(from.state(), State::illstate, "state"));
    to.reason = from.reason();
    UNDERSTUDY_TRY(to.init, checked(from.init(), Init::init_osu, "initialisation option"));
    UNDERSTUDY_TRY(to.reservation, checked(from.reservation(), Reservation::recover, "reservation"));
    to.reserving_pid = from.reserving_pid();
    to.quick_interval_s = from.quick_interval_s();
    to.deep_interval_s = from.deep_interval_s();
    to.local_recovery = from.local_recovery();
    UNDERSTUDY_TRY(to.switchback, checked(from.switchback(), Switchback::automatic, "switchback type"));
    to.created_at = from.created_at();
    to.order = from.order();
    if (to.tag.empty()) return fail(Code::internal, "an instance has no tag");
    if (to.quick_interval_s < 0 || to.deep_interval_s < 0)
        return fail(Code::internal, "instance {} has a negative check interval", to.tag.str());
    return to;
}

void to_wire(const Dependency& from, wire::Dependency* to) {
    to->set_parent(from.parent.str());
    to->set_child(from.child.str());
    to->set_order(from.order);
}

Result<Dependency> from_wire(const wire::Dependency& from) {
    if (from.parent() == from.child()) return fail(Code::internal, "a dependency of a resource on itself");
    return Dependency{Tag(from.parent()), Tag(from.child()), from.order()};
}

void to_wire(const Equivalency& from, wire::Equivalency* to) {
    to->set_tag(from.tag.str());
    to->set_other_node(from.other_node.str());
    to->set_other_tag(from.other_tag.str());
    to->set_priority(from.priority.value);
    to->set_other_priority(from.other_priority.value);
    to->set_order(from.order);
}

Result<Equivalency> from_wire(const wire::Equivalency& from) {
    for (const auto priority : {from.priority(), from.other_priority()})
        if (priority < Priority::kMin || priority > Priority::kMax)
            return fail(Code::internal, "priority {} of an equivalency is not within {} to {}", priority,
                        Priority::kMin, Priority::kMax);
    return Equivalency{Tag(from.tag()),           NodeName(from.other_node()),     Tag(from.other_tag()),
                       Priority{from.priority()}, Priority{from.other_priority()}, from.order()};
}

void to_wire(const Path& from, wire::Path* to) {
    to->set_remote(from.remote.str());
    to->set_device(from.device);
    to->set_transport(from.transport);
    to->set_priority(from.priority);
    to->set_interval_ms(from.interval_ms);
    to->set_misses(from.misses);
    to->set_remote_address(from.remote_address);
    to->set_local_address(from.local_address);
}

Result<Path> from_wire(const wire::Path& from) {
    if (from.interval_ms() <= 0 || from.misses() <= 0)
        return fail(Code::internal, "path {} has no heartbeat interval or limit", from.device());
    return Path{NodeName(from.remote()), from.device(), from.transport(),      from.priority(),
                from.interval_ms(),      from.misses(), from.remote_address(), from.local_address()};
}

struct EditWriter {
    wire::Edit* out;
    void operator()(const PutApp& edit) const { out->set_put_app(edit.app.str()); }
    void operator()(const DropApp& edit) const { out->set_drop_app(edit.app.str()); }
    void operator()(const PutType& edit) const { to_wire(edit.type, out->mutable_put_type()); }
    void operator()(const DropType& edit) const { to_wire(edit.type, out->mutable_drop_type()); }
    void operator()(const PutInstance& edit) const { to_wire(edit.instance, out->mutable_put_instance()); }
    void operator()(const DropInstance& edit) const { out->set_drop_instance(edit.tag.str()); }
    void operator()(const PutDependency& edit) const {
        to_wire(edit.dependency, out->mutable_put_dependency());
    }
    void operator()(const DropDependency& edit) const {
        auto* to = out->mutable_drop_dependency();
        to->set_parent(edit.parent.str());
        to->set_child(edit.child.str());
    }
    void operator()(const PutEquivalency& edit) const {
        to_wire(edit.equivalency, out->mutable_put_equivalency());
    }
    void operator()(const DropEquivalency& edit) const {
        auto* to = out->mutable_drop_equivalency();
        to->set_tag(edit.tag.str());
        to->set_other_node(edit.other_node.str());
        to->set_other_tag(edit.other_tag.str());
    }
    void operator()(const PutSystem& edit) const { out->set_put_system(edit.system.str()); }
    void operator()(const DropSystem& edit) const { out->set_drop_system(edit.system.str()); }
    void operator()(const PutFlag& edit) const { out->set_put_flag(edit.flag.str()); }
    void operator()(const DropFlag& edit) const { out->set_drop_flag(edit.flag.str()); }
    void operator()(const PutPath& edit) const { to_wire(edit.path, out->mutable_put_path()); }
    void operator()(const DropPath& edit) const { out->set_drop_path(edit.device); }
};

Result<Edit> from_wire(const wire::Edit& from) {
    switch (from.edit_case()) {
        case wire::Edit::kPutApp:
            return PutApp{AppName(from.put_app())};
        case wire::Edit::kDropApp:
            return DropApp{AppName(from.drop_app())};
        case wire::Edit::kPutType:
            return PutType{from_wire(from.put_type())};
        case wire::Edit::kDropType:
            return DropType{from_wire(from.drop_type())};
        case wire::Edit::kPutInstance: {
            UNDERSTUDY_TRY(auto instance, from_wire(from.put_instance()));
            return PutInstance{std::move(instance)};
        }
        case wire::Edit::kDropInstance:
            return DropInstance{Tag(from.drop_instance())};
        case wire::Edit::kPutDependency: {
            UNDERSTUDY_TRY(auto dependency, from_wire(from.put_dependency()));
            return PutDependency{std::move(dependency)};
        }
        case wire::Edit::kDropDependency:
            return DropDependency{Tag(from.drop_dependency().parent()), Tag(from.drop_dependency().child())};
        case wire::Edit::kPutEquivalency: {
            UNDERSTUDY_TRY(auto equivalency, from_wire(from.put_equivalency()));
            return PutEquivalency{std::move(equivalency)};
        }
        case wire::Edit::kDropEquivalency: {
            const auto& drop = from.drop_equivalency();
            return DropEquivalency{Tag(drop.tag()), NodeName(drop.other_node()), Tag(drop.other_tag())};
        }
        case wire::Edit::kPutSystem:
            return PutSystem{NodeName(from.put_system())};
        case wire::Edit::kDropSystem:
            return DropSystem{NodeName(from.drop_system())};
        case wire::Edit::kPutFlag:
            return PutFlag{FlagName(from.put_flag())};
        case wire::Edit::kDropFlag:
            return DropFlag{FlagName(from.drop_flag())};
        case wire::Edit::kPutPath: {
            UNDERSTUDY_TRY(auto path, from_wire(from.put_path()));
            return PutPath{std::move(path)};
        }
        case wire::Edit::kDropPath:
            return DropPath{from.drop_path()};
        case wire::Edit::EDIT_NOT_SET:
            break;
    }
    return fail(Code::internal, "an edit of a kind that this version does not know");
}

void to_wire(const HistoryEntry& from, wire::HistoryEntry* to) {
    to->set_id(from.id);
    to->set_wall_us(from.wall_us);
    to->set_node(from.node.str());
    to->set_generation(from.generation);
    to->mutable_origin()->set_user(from.origin.user);
    to->mutable_origin()->set_node(from.origin.node.str());
    to->mutable_origin()->set_command(from.origin.command);
    for (const auto& item : from.items) {
        auto* out = to->add_items();
        out->set_kind(item.kind);
        out->set_subject(item.subject);
        out->set_before(item.before);
        out->set_after(item.after);
    }
    to->set_omitted(from.omitted);
}

HistoryEntry from_wire(const wire::HistoryEntry& from) {
    HistoryEntry to{from.id(), from.wall_us(), NodeName(from.node()), from.generation(), {},
                    {},        from.omitted()};
    to.origin = {from.origin().user(), NodeName(from.origin().node()), from.origin().command()};
    for (const auto& item : from.items())
        to.items.push_back({item.kind(), item.subject(), item.before(), item.after()});
    return to;
}

void to_wire(const LockId& from, wire::LockId* to) {
    to->set_timestamp(from.timestamp);
    to->set_node(from.node.str());
    to->set_pid(from.pid);
}

LockId from_wire(const wire::LockId& from) {
    return {from.timestamp(), NodeName(from.node()), from.pid()};
}

void to_wire(const LockRequest& from, wire::LockRequest* to) {
    to_wire(from.id, to->mutable_id());
    to->set_identifier(from.identifier);
    to->set_held(from.held);
}

LockRequest from_wire(const wire::LockRequest& from) {
    return {from_wire(from.id()), from.identifier(), from.held()};
}

}  // namespace

std::string encode(const Edit& edit) {
    wire::Edit out;
    std::visit(EditWriter{&out}, edit);
    return out.SerializeAsString();
}

Result<Edit> decode_edit(std::string_view data) {
    wire::Edit in;
    UNDERSTUDY_CHECK(parse(in, data, "edit"));
    return from_wire(in);
}

std::string encode(const Change& change) {
    wire::Change out;
    out.set_owner(change.owner.str());
    out.set_generation(change.generation);
    for (const auto& edit : change.edits)
        std::visit(EditWriter{out.add_edits()}, edit);
    return out.SerializeAsString();
}

Result<Change> decode_change(std::string_view data) {
    wire::Change in;
    UNDERSTUDY_CHECK(parse(in, data, "configuration change"));
    Change change{NodeName(in.owner()), in.generation(), {}};
    if (change.owner.empty()) return fail(Code::internal, "a configuration change has no owner");
    change.edits.reserve(static_cast<std::size_t>(in.edits_size()));
    for (const auto& each : in.edits()) {
        UNDERSTUDY_TRY(auto edit, from_wire(each));
        change.edits.push_back(std::move(edit));
    }
    return change;
}

std::string encode(const NodeConfig& config) {
    wire::NodeConfig out;
    out.set_generation(config.generation);
    for (const auto& app : config.apps)
        out.add_apps(app.str());
    for (const auto& type : config.types)
        to_wire(type, out.add_types());
    for (const auto& [tag, instance] : config.instances)
        to_wire(instance, out.add_instances());
    for (const auto& dependency : config.dependencies)
        to_wire(dependency, out.add_dependencies());
    for (const auto& equivalency : config.equivalencies)
        to_wire(equivalency, out.add_equivalencies());
    for (const auto& system : config.systems)
        out.add_systems(system.str());
    for (const auto& flag : config.flags)
        out.add_flags(flag.str());
    for (const auto& path : config.paths)
        to_wire(path, out.add_paths());
    return out.SerializeAsString();
}

Result<NodeConfig> decode_config(std::string_view data) {
    wire::NodeConfig in;
    UNDERSTUDY_CHECK(parse(in, data, "configuration"));
    NodeConfig config;
    config.generation = in.generation();
    for (const auto& app : in.apps())
        config.apps.emplace(app);
    for (const auto& type : in.types())
        config.types.insert(from_wire(type));
    for (const auto& each : in.instances()) {
        UNDERSTUDY_TRY(auto instance, from_wire(each));
        const auto tag = instance.tag;
        if (!config.instances.emplace(tag, std::move(instance)).second)
            return fail(Code::internal, "the configuration holds {} twice", tag.str());
    }
    for (const auto& each : in.dependencies()) {
        UNDERSTUDY_TRY(auto dependency, from_wire(each));
        config.dependencies.push_back(std::move(dependency));
    }
    for (const auto& each : in.equivalencies()) {
        UNDERSTUDY_TRY(auto equivalency, from_wire(each));
        config.equivalencies.push_back(std::move(equivalency));
    }
    for (const auto& system : in.systems())
        config.systems.emplace(system);
    for (const auto& flag : in.flags())
        config.flags.emplace(flag);
    for (const auto& each : in.paths()) {
        UNDERSTUDY_TRY(auto path, from_wire(each));
        config.paths.push_back(std::move(path));
    }
    config.reindex();
    return config;
}

std::string encode(const JournalEntry& entry) {
    wire::JournalEntry out;
    out.set_id(entry.id);
    out.set_wall_us(entry.wall_us);
    out.set_node(entry.node.str());
    out.set_event(entry.event);
    out.set_kind(entry.kind);
    out.set_subject(entry.subject);
    out.set_text(entry.text);
    out.set_incident(entry.incident);
    out.set_fact(entry.fact);
    for (const auto& [name, value] : entry.details) {
        auto* detail = out.add_details();
        detail->set_name(name);
        detail->set_value(value);
    }
    return out.SerializeAsString();
}

Result<JournalEntry> decode_journal(std::string_view data) {
    wire::JournalEntry in;
    UNDERSTUDY_CHECK(parse(in, data, "journal entry"));
    JournalEntry entry{in.id(),      in.wall_us(), NodeName(in.node()), in.event(), in.kind(),
                       in.subject(), in.text(),    in.incident(),       in.fact()};
    for (const auto& detail : in.details())
        entry.details.emplace(detail.name(), detail.value());
    return entry;
}

std::string encode(const HistoryEntry& entry) {
    wire::HistoryEntry out;
    to_wire(entry, &out);
    return out.SerializeAsString();
}

Result<HistoryEntry> decode_history(std::string_view data) {
    wire::HistoryEntry in;
    UNDERSTUDY_CHECK(parse(in, data, "history entry"));
    return from_wire(in);
}

std::string encode(const HistoryList& list) {
    wire::HistoryList out;
    for (const auto& entry : list.entries)
        to_wire(entry, out.add_entries());
    out.set_cut(list.cut);
    return out.SerializeAsString();
}

Result<HistoryList> decode_history_list(std::string_view data) {
    wire::HistoryList in;
    UNDERSTUDY_CHECK(parse(in, data, "history"));
    HistoryList list;
    for (const auto& entry : in.entries())
        list.entries.push_back(from_wire(entry));
    list.cut = in.cut();
    return list;
}

std::string encode(const HistoryQuery& query) {
    wire::HistoryQuery out;
    out.set_since_us(query.since_us);
    out.set_until_us(query.until_us);
    out.set_tag(query.tag);
    out.set_text(query.text);
    out.set_limit(query.limit);
    return out.SerializeAsString();
}

Result<HistoryQuery> decode_history_query(std::string_view data) {
    wire::HistoryQuery in;
    UNDERSTUDY_CHECK(parse(in, data, "history query"));
    return HistoryQuery{in.since_us(), in.until_us(), in.tag(), in.text(),
                        std::min<std::size_t>(in.limit(), kMaxHistoryAnswer)};
}

std::string encode(const LockNotice& notice) {
    wire::LockNotice out;
    out.set_incarnation(notice.incarnation);
    out.set_number(notice.number);
    for (const auto& request : notice.requests)
        to_wire(request, out.add_requests());
    return out.SerializeAsString();
}

Result<LockNotice> decode_lock_notice(std::string_view data) {
    wire::LockNotice in;
    UNDERSTUDY_CHECK(parse(in, data, "lock notice"));
    LockNotice notice{in.incarnation(), in.number(), {}};
    for (const auto& request : in.requests())
        notice.requests.push_back(from_wire(request));
    return notice;
}

std::string encode(const LockAnswer& answer) {
    wire::LockAnswer out;
    for (const auto& id : answer.agreed)
        to_wire(id, out.add_agreed());
    if (answer.conflict) to_wire(*answer.conflict, out.mutable_conflict());
    return out.SerializeAsString();
}

Result<LockAnswer> decode_lock_answer(std::string_view data) {
    wire::LockAnswer in;
    UNDERSTUDY_CHECK(parse(in, data, "lock answer"));
    LockAnswer answer;
    for (const auto& id : in.agreed())
        answer.agreed.push_back(from_wire(id));
    if (in.has_conflict()) answer.conflict = from_wire(in.conflict());
    return answer;
}

}  // namespace understudy::config
