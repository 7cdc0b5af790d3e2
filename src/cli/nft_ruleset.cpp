#include "cli/nft_ruleset.h"

#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>

namespace understudy::cli {
namespace {

using Json = nlohmann::json;

constexpr int kMostJumps = 16;  // the kernel's own limit

enum class Tri : std::uint8_t { no, yes, unknown };

Tri negated(Tri value) {
    return value == Tri::unknown ? value : value == Tri::yes ? Tri::no : Tri::yes;
}
Tri tri(bool value) {
    return value ? Tri::yes : Tri::no;
}

using ChainName = std::tuple<std::string, std::string, std::string>;  // family, table, chain

struct Chain {
    ChainName name;
    std::string hook;  // empty: only jumped to
    std::int64_t priority = 0;
    bool drops_the_rest = false;
    std::vector<Json> rules;
};

std::string string_of(const Json& object, const char* key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::string text_of(const Chain& chain) {
    const auto& [family, table, name] = chain.name;
    return fmt::format("chain {} in table {} {}", name, family, table);
}

/// Whether one of the keys is anywhere in `json`.
bool mentions(const Json& json, std::initializer_list<const char*> keys) {
    if (json.is_object())
        for (const auto* key : keys)
            if (json.contains(key)) return true;
    if (!json.is_structured()) return false;
    return std::any_of(json.begin(), json.end(), [&](const Json& part) { return mentions(part, keys); });
}

void collect_targets(const Json& json, std::set<std::string>& targets) {
    if (json.is_object())
        for (const auto* key : {"jump", "goto"})
            if (const auto at = json.find(key); at != json.end() && at->is_object())
                targets.insert(string_of(*at, "target"));
    if (json.is_structured())
        for (const auto& part : json)
            collect_targets(part, targets);
}

bool within(const config::Address& address, const config::Address& network, int length) {
    if (address.v6 != network.v6) return false;
    for (int i = 0; i < length; ++i) {
        const auto at = static_cast<std::size_t>(i) / 8;
        if (((address.bytes.at(at) ^ network.bytes.at(at)) >> (7 - i % 8) & 1) != 0) return false;
    }
    return true;
}

/// A field of the packet, as far as it is known.
struct Value {
    enum class Kind : std::uint8_t { unknown, absent, number, word, address, interface } kind = Kind::unknown;
    std::uint64_t number = 0;
    std::string word;
    config::Address address{};
};

std::optional<std::uint64_t> protocol_number(const std::string& name) {
    static const std::map<std::string, std::uint64_t> known{
        {"icmp", 1}, {"tcp", 6}, {"udp", 17}, {"icmpv6", 58}, {"ipv6-icmp", 58}, {"sctp", 132}, {"dccp", 33}};
    const auto at = known.find(name);
    return at == known.end() ? std::nullopt : std::optional(at->second);
}

}  // namespace

struct NftRuleset::Impl {
    std::map<ChainName, Chain> chains;
    std::map<ChainName, Json> sets;  // by family, table, name
    std::set<std::tuple<std::string, std::string>> tables;

    struct Walk {
        const Packet* packet = nullptr;
        config::Address source{};
        std::uint32_t mark = 0;
        std::string by;
    };
    enum class End : std::uint8_t { accept, drop, fell_through };

    void take(const Json& entry) {
        if (const auto at = entry.find("table"); at != entry.end())
            tables.insert({string_of(*at, "family"), string_of(*at, "name")});
        if (const auto at = entry.find("chain"); at != entry.end()) {
            Chain& chain = chain_of(*at, "name");
            chain.hook = string_of(*at, "hook");
            if (const auto priority = at->find("prio");
                priority != at->end() && priority->is_number_integer())
                chain.priority = priority->get<std::int64_t>();
            chain.drops_the_rest = string_of(*at, "policy") == "drop";
        }
        for (const auto* kind : {"set", "map"})
            if (const auto at = entry.find(kind); at != entry.end())
                sets[{string_of(*at, "family"), string_of(*at, "table"), string_of(*at, "name")}] =
                    at->value("elem", Json::array());
        if (const auto at = entry.find("rule"); at != entry.end())
            chain_of(*at, "chain").rules.push_back(*at);
    }

    Chain& chain_of(const Json& object, const char* key) {
        const ChainName name{string_of(object, "family"), string_of(object, "table"), string_of(object, key)};
        Chain& chain = chains[name];
        chain.name = name;
        return chain;
    }

    [[nodiscard]] const Chain* find(const ChainName& beside, const std::string& name) const {
        const auto at = chains.find({std::get<0>(beside), std::get<1>(beside), name});
        return at == chains.end() ? nullptr : &at->second;
    }

    static bool is_ours(const Chain& chain) { return std::get<1>(chain.name) == kOurTable; }

    /// The base chains of a hook for packets of a family, in the kernel's order.
    [[nodiscard]] std::vector<const Chain*> hooked(std::string_view hook, bool v6) const {
        std::vector<const Chain*> found;
        for (const auto& [name, chain] : chains) {
            const auto& family = std::get<0>(name);
            if (chain.hook == hook && (family == "inet" || family == (v6 ? "ip6" : "ip")))
                found.push_back(&chain);
        }
        std::stable_sort(found.begin(), found.end(),
                         [](const Chain* a, const Chain* b) { return a->priority < b->priority; });
        return found;
    }

    /// Whether a packet may be dropped in the chain or where it jumps to.
    [[nodiscard]] bool may_drop(const Chain& chain, std::set<ChainName>& seen) const {
        if (!seen.insert(chain.name).second) return false;
        if (chain.drops_the_rest) return true;
        for (const auto& rule : chain.rules) {
            if (mentions(rule, {"drop", "reject"})) return true;
            std::set<std::string> targets;
            collect_targets(rule, targets);
            for (const auto& target : targets)
                if (const auto* next = find(chain.name, target); next != nullptr && may_drop(*next, seen))
                    return true;
            // A map of verdicts that is kept by itself.
            if (mentions(rule, {"vmap"}) && map_may_drop(chain.name, rule)) return true;
        }
        return false;
    }

    [[nodiscard]] bool map_may_drop(const ChainName& beside, const Json& rule) const {
        return std::any_of(sets.begin(), sets.end(), [&](const auto& entry) {
            return std::get<1>(entry.first) == std::get<1>(beside) &&
                   mentions(entry.second, {"drop", "reject"}) &&
                   rule.dump().find("@" + std::get<2>(entry.first)) != std::string::npos;
        });
    }

    [[nodiscard]] Value value_of(const Json& left, const Walk& walk) const {
        using enum config::Transport;
        Value value;
        const auto number = [&value](std::uint64_t of) {
            value.kind = Value::Kind::number;
            value.number = of;
        };
        const auto word = [&value](std::string of) {
            value.kind = Value::Kind::word;
            value.word = std::move(of);
        };
        const auto transport = walk.packet->transport;
        const std::string protocol = transport == tcp   ? "tcp"
                                     : transport == udp ? "udp"
                                     : walk.source.v6   ? "icmpv6"
                                                        : "icmp";
        if (!left.is_object()) return value;
        if (const auto at = left.find("meta"); at != left.end()) {
            const auto key = string_of(*at, "key");
            if (key == "nfproto") word(walk.source.v6 ? "ipv6" : "ipv4");
            if (key == "protocol") word(walk.source.v6 ? "ip6" : "ip");
            if (key == "l4proto") number(*protocol_number(protocol));
            if (key == "mark") number(walk.mark);
            if (key == "iif" || key == "iifname") value.kind = Value::Kind::interface;
            return value;
        }
        if (const auto at = left.find("ct"); at != left.end()) {
            if (string_of(*at, "key") == "state") word("new");
            return value;
        }
        if (const auto at = left.find("&"); at != left.end() && at->is_array() && at->size() == 2) {
            const auto of = value_of((*at)[0], walk);
            if (of.kind == Value::Kind::number && (*at)[1].is_number_unsigned())
                number(of.number & (*at)[1].get<std::uint64_t>());
            return value;
        }
        const auto at = left.find("payload");
        if (at == left.end()) return value;
        const auto of = string_of(*at, "protocol");
        const auto field = string_of(*at, "field");
        if (of == "ip" || of == "ip6") {
            if ((of == "ip6") != walk.source.v6)
                value.kind = Value::Kind::absent;
            else if (field == "saddr") {
                value.kind = Value::Kind::address;
                value.address = walk.source;
            } else if (field == "protocol" || field == "nexthdr") {
                number(*protocol_number(protocol));
            }
            return value;
        }
        if (of == "th" ? transport == icmp : of != protocol) {
            value.kind = Value::Kind::absent;
        } else if (field == "dport") {
            number(walk.packet->port);
        } else if (field == "type" && transport == icmp) {
            word("echo-request");
        }
        return value;
    }

    [[nodiscard]] Tri equal(const Value& value, const Json& right, const ChainName& beside) const {
        if (value.kind == Value::Kind::absent) return Tri::no;
        if (right.is_array()) return any_of(value, right, beside);
        if (right.is_object()) {
            if (const auto at = right.find("set"); at != right.end())
                return at->is_array() ? any_of(value, *at, beside) : equal(value, *at, beside);
            if (const auto at = right.find("elem"); at != right.end() && at->is_object())
                return equal(value, at->value("val", Json()), beside);
            if (const auto at = right.find("prefix"); at != right.end()) {
                const auto network = config::parse_address(string_of(*at, "addr"));
                if (value.kind != Value::Kind::address || !network) return Tri::unknown;
                return tri(within(value.address, *network, at->value("len", 0)));
            }
            if (const auto at = right.find("range"); at != right.end() && at->size() == 2)
                return in_range(value, (*at)[0], (*at)[1]);
            return Tri::unknown;
        }
        if (right.is_number_unsigned())
            return value.kind == Value::Kind::number ? tri(value.number == right.get<std::uint64_t>())
                                                     : Tri::unknown;
        if (!right.is_string()) return Tri::unknown;
        const auto text = right.get<std::string>();
        if (text.starts_with("@")) {
            const auto set = sets.find({std::get<0>(beside), std::get<1>(beside), text.substr(1)});
            return set == sets.end() ? Tri::unknown : any_of(value, set->second, beside);
        }
        switch (value.kind) {
            case Value::Kind::number: {
                if (const auto number = text::to_int(text))
                    return tri(value.number == static_cast<std::uint64_t>(*number));
                const auto number = protocol_number(text);
                return number ? tri(value.number == *number) : Tri::unknown;
            }
            case Value::Kind::word:
                return tri(value.word == text);
            case Value::Kind::address: {
                const auto address = config::parse_address(text);
                return address ? tri(*address == value.address) : Tri::unknown;
            }
            case Value::Kind::interface:  // never the loopback one; which other is not known
                return text == "lo" ? Tri::no : Tri::unknown;
            case Value::Kind::absent:
            case Value::Kind::unknown:
                return Tri::unknown;
        }
        return Tri::unknown;
    }

    static Tri in_range(const Value& value, const Json& first, const Json& last) {
        if (value.kind == Value::Kind::number && first.is_number_unsigned() && last.is_number_unsigned())
            return tri(value.number >= first.get<std::uint64_t>() &&
                       value.number <= last.get<std::uint64_t>());
        if (value.kind == Value::Kind::address && first.is_string() && last.is_string()) {
            const auto from = config::parse_address(first.get<std::string>());
            const auto to = config::parse_address(last.get<std::string>());
            if (from && to && from->v6 == value.address.v6)
                return tri(value.address.bytes >= from->bytes && value.address.bytes <= to->bytes);
        }
        return Tri::unknown;
    }

    [[nodiscard]] Tri any_of(const Value& value, const Json& list, const ChainName& beside) const {
        Tri result = Tri::no;
        for (const auto& each : list) {
            const auto one = equal(value, each, beside);
            if (one == Tri::yes) return one;
            if (one == Tri::unknown) result = one;
        }
        return result;
    }

    [[nodiscard]] Tri holds(const Json& match, const Walk& walk, const ChainName& beside) const {
        const auto value = value_of(match.value("left", Json()), walk);
        const auto right = match.value("right", Json());
        const auto op = string_of(match, "op");
        if (value.kind == Value::Kind::absent) return Tri::no;
        if (op == "==" || op == "in") return equal(value, right, beside);
        if (op == "!=") return negated(equal(value, right, beside));
        if (value.kind != Value::Kind::number || !right.is_number_unsigned()) return Tri::unknown;
        const auto number = right.get<std::uint64_t>();
        if (op == "<") return tri(value.number < number);
        if (op == ">") return tri(value.number > number);
        if (op == "<=") return tri(value.number <= number);
        if (op == ">=") return tri(value.number >= number);
        return Tri::unknown;
    }

    /// The verdict that a map has for the packet; null when none is certain.
    [[nodiscard]] Json mapped(const Json& vmap, const Walk& walk, const ChainName& beside) const {
        const auto value = value_of(vmap.value("key", Json()), walk);
        Json data = vmap.value("data", Json());
        if (data.is_object()) data = data.value("set", Json());
        if (data.is_string()) {
            const auto at =
                sets.find({std::get<0>(beside), std::get<1>(beside), data.get<std::string>().substr(1)});
            data = at == sets.end() ? Json() : at->second;
        }
        if (!data.is_array()) return {};
        for (const auto& entry : data)
            if (entry.is_array() && entry.size() == 2 && equal(value, entry[0], beside) == Tri::yes)
                return entry[1];
        return {};
    }

    /// meta mark set NUMBER, or the mark with bits of a number added.
    static void set_mark(const Json& mangle, Walk& walk) {
        const auto key = mangle.value("key", Json());
        if (!key.is_object() || !key.contains("meta") || string_of(key["meta"], "key") != "mark") return;
        const auto value = mangle.value("value", Json());
        if (value.is_number_unsigned()) walk.mark = value.get<std::uint32_t>();
        if (const auto at = value.is_object() ? value.find("|") : value.end();
            value.is_object() && at != value.end() && at->is_array() && at->size() == 2 &&
            (*at)[1].is_number_unsigned())
            walk.mark |= (*at)[1].get<std::uint32_t>();
    }

    /// Nothing: the rule does not end the chain.
    std::optional<End> apply(const Json& rule, const Chain& chain, Walk& walk, int depth) const {
        for (const auto& part : rule.value("expr", Json::array())) {
            if (!part.is_object() || part.empty()) return std::nullopt;
            const auto& key = part.begin().key();
            const auto& content = part.begin().value();
            Json verdict = part;
            if (key == "match") {
                if (!content.is_object() || holds(content, walk, chain.name) != Tri::yes) return std::nullopt;
                continue;
            }
            if (key == "mangle") {
                if (content.is_object()) set_mark(content, walk);
                continue;
            }
            if (key == "counter" || key == "log" || key == "comment") continue;
            if (key == "vmap") {
                if (!content.is_object()) return std::nullopt;
                verdict = mapped(content, walk, chain.name);
                if (verdict.is_null()) continue;
            }
            return follow(verdict, chain, walk, depth);
        }
        return std::nullopt;
    }

    std::optional<End> follow(const Json& verdict, const Chain& chain, Walk& walk, int depth) const {
        if (!verdict.is_object()) return std::nullopt;
        if (verdict.contains("accept")) return End::accept;
        if (verdict.contains("drop") || verdict.contains("reject")) {
            walk.by = fmt::format("a rule of {}", text_of(chain));
            return End::drop;
        }
        if (verdict.contains("return")) return End::fell_through;
        const bool goes = verdict.contains("goto");
        if (!goes && !verdict.contains("jump")) return std::nullopt;
        const auto* next = find(chain.name, string_of(verdict[goes ? "goto" : "jump"], "target"));
        if (next == nullptr || depth >= kMostJumps) return std::nullopt;
        const auto end = through(*next, walk, depth + 1);
        if (end == End::fell_through && !goes) return std::nullopt;
        return end;
    }

    End through(const Chain& chain, Walk& walk, int depth) const {
        for (const auto& rule : chain.rules)
            if (const auto end = apply(rule, chain, walk, depth)) return *end;
        return End::fell_through;
    }

    static bool our_rule(const Json& rule) { return string_of(rule, "comment").starts_with(kOurComment); }
};

NftRuleset::NftRuleset(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NftRuleset::NftRuleset(NftRuleset&&) noexcept = default;
NftRuleset& NftRuleset::operator=(NftRuleset&&) noexcept = default;
NftRuleset::~NftRuleset() = default;

Result<NftRuleset> NftRuleset::parse(std::string_view json) {
    const auto answer = Json::parse(json, nullptr, false);
    if (!answer.is_object() || !answer.contains("nftables") || !answer["nftables"].is_array())
        return fail(Code::bad_argument, "nft printed no list of rules");
    auto impl = std::make_unique<Impl>();
    for (const auto& entry : answer["nftables"])
        if (entry.is_object()) impl->take(entry);
    return NftRuleset(std::move(impl));
}

Verdict NftRuleset::incoming(const Packet& packet) const {
    Verdict verdict;
    const auto source = config::parse_address(packet.source);
    if (!source) return verdict;
    Impl::Walk walk;
    walk.packet = &packet;
    walk.source = *source;
    for (const auto* hook : {"prerouting", "input"})
        for (const auto* chain : impl_->hooked(hook, source->v6)) {
            const auto end = impl_->through(*chain, walk, 0);
            if (end == Impl::End::accept || (end == Impl::End::fell_through && !chain->drops_the_rest))
                continue;
            verdict.accepted = false;
            verdict.ours = (walk.mark & kAdmittedMark) != 0;
            verdict.by = end == Impl::End::drop ? walk.by : fmt::format("the policy of {}", text_of(*chain));
            return verdict;
        }
    verdict.ours = (walk.mark & kAdmittedMark) != 0;
    return verdict;
}

std::vector<DroppingChain> NftRuleset::dropping_chains() const {
    std::vector<DroppingChain> found;
    for (const auto& [name, chain] : impl_->chains) {
        const auto& family = std::get<0>(name);
        std::set<ChainName> seen;
        const bool incoming =
            chain.hook == "input" && (family == "inet" || family == "ip" || family == "ip6");
        if (!incoming || Impl::is_ours(chain)) continue;
        DroppingChain dropping{family, std::get<1>(name), std::get<2>(name), {}, false};
        for (const auto& rule : chain.rules)
            if (Impl::our_rule(rule)) dropping.ours.push_back(rule.value("handle", std::uint64_t{0}));
        dropping.ours_first = !chain.rules.empty() && Impl::our_rule(chain.rules.front());
        // One that cannot drop any more is told when something of ours is in it, to be taken out.
        if (impl_->may_drop(chain, seen) || !dropping.ours.empty()) found.push_back(std::move(dropping));
    }
    return found;
}

std::string NftRuleset::our_version() const {
    for (const auto& [name, chain] : impl_->chains) {
        if (!Impl::is_ours(chain) || chain.hook.empty() || chain.rules.empty()) continue;
        const auto comment = string_of(chain.rules.front(), "comment");
        if (comment.starts_with(kOurComment))
            return std::string(text::trim(std::string_view(comment).substr(kOurComment.size())));
    }
    return {};
}

bool NftRuleset::has_our_table() const {
    return impl_->tables.contains({"inet", std::string(kOurTable)});
}

bool NftRuleset::has_firewalld() const {
    return impl_->tables.contains({"inet", "firewalld"});
}

}  // namespace understudy::cli
