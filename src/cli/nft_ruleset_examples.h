#pragma once
// What `nft -j list ruleset` (1.0.6) printed in a network namespace, an entry a line: somebody's firewall,
// and the same after `understudy firewall apply --peers 10.0.0.2,10.0.0.3,fd00::2`.

namespace understudy::cli::examples {

// clang-format off
inline constexpr const char* kSomebodys = R"json({"nftables": [
{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "filter", "handle": 1}},
{"set": {"family": "inet", "name": "admins", "table": "filter", "type": "ipv4_addr", "handle": 3, "flags": ["interval"], "elem": [{"prefix": {"addr": "10.9.0.0", "len": 16}}]}},
{"chain": {"family": "inet", "table": "filter", "name": "checks", "handle": 1}},
{"chain": {"family": "inet", "table": "filter", "name": "input", "handle": 2, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
{"rule": {"family": "inet", "table": "filter", "chain": "checks", "handle": 4, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 23}}, {"drop": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 6, "expr": [{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["invalid", {"drop": null}], ["established", {"accept": null}], ["related", {"accept": null}]]}}}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 7, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 8, "expr": [{"jump": {"target": "checks"}}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 9, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@admins"}}, {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 10, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"range": [8000, 8010]}}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 11, "expr": [{"limit": {"rate": 5, "burst": 5, "per": "second"}}, {"match": {"op": "==", "left": {"payload": {"protocol": "icmp", "field": "type"}}, "right": "echo-request"}}, {"accept": null}]}},
{"table": {"family": "ip", "name": "raw", "handle": 2}},
{"chain": {"family": "ip", "table": "raw", "name": "pre", "handle": 1, "type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"}},
{"rule": {"family": "ip", "table": "raw", "chain": "pre", "handle": 2, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.66.6.6"}}, {"drop": null}]}}
]})json";

inline constexpr const char* kWithOurs = R"json({"nftables": [
{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "filter", "handle": 1}},
{"set": {"family": "inet", "name": "admins", "table": "filter", "type": "ipv4_addr", "handle": 3, "flags": ["interval"], "elem": [{"prefix": {"addr": "10.9.0.0", "len": 16}}]}},
{"chain": {"family": "inet", "table": "filter", "name": "checks", "handle": 1}},
{"chain": {"family": "inet", "table": "filter", "name": "input", "handle": 2, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
{"rule": {"family": "inet", "table": "filter", "chain": "checks", "handle": 4, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 23}}, {"drop": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 12, "comment": "understudy", "expr": [{"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 8192]}, "right": 8192}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 6, "expr": [{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["invalid", {"drop": null}], ["established", {"accept": null}], ["related", {"accept": null}]]}}}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 7, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 8, "expr": [{"jump": {"target": "checks"}}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 9, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@admins"}}, {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 10, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"range": [8000, 8010]}}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 11, "expr": [{"limit": {"rate": 5, "burst": 5, "per": "second"}}, {"match": {"op": "==", "left": {"payload": {"protocol": "icmp", "field": "type"}}, "right": "echo-request"}}, {"accept": null}]}},
{"table": {"family": "ip", "name": "raw", "handle": 2}},
{"chain": {"family": "ip", "table": "raw", "name": "pre", "handle": 1, "type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"}},
{"rule": {"family": "ip", "table": "raw", "chain": "pre", "handle": 2, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.66.6.6"}}, {"drop": null}]}},
{"table": {"family": "inet", "name": "understudy", "handle": 3}},
{"set": {"family": "inet", "name": "peers4", "table": "understudy", "type": "ipv4_addr", "handle": 4, "elem": ["10.0.0.2", "10.0.0.3"]}},
{"set": {"family": "inet", "name": "peers6", "table": "understudy", "type": "ipv6_addr", "handle": 5, "elem": ["fd00::2"]}},
{"chain": {"family": "inet", "table": "understudy", "name": "admit", "handle": 1}},
{"chain": {"family": "inet", "table": "understudy", "name": "peers", "handle": 2}},
{"chain": {"family": "inet", "table": "understudy", "name": "input", "handle": 3, "type": "filter", "hook": "input", "prio": -300, "policy": "accept"}},
{"rule": {"family": "inet", "table": "understudy", "chain": "admit", "handle": 6, "expr": [{"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"|": [{"meta": {"key": "mark"}}, 8192]}}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "understudy", "chain": "peers", "handle": 7, "expr": [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"jump": {"target": "admit"}}]}},
{"rule": {"family": "inet", "table": "understudy", "chain": "peers", "handle": 8, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "icmp", "field": "type"}}, "right": "echo-request"}}, {"jump": {"target": "admit"}}]}},
{"rule": {"family": "inet", "table": "understudy", "chain": "peers", "handle": 9, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "icmpv6", "field": "type"}}, "right": "echo-request"}}, {"jump": {"target": "admit"}}]}},
{"rule": {"family": "inet", "table": "understudy", "chain": "peers", "handle": 11, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [82, 1500, 1510, {"range": [3278, 3279]}, {"range": [9999, 10026]}]}}}, {"jump": {"target": "admit"}}]}},
{"rule": {"family": "inet", "table": "understudy", "chain": "input", "handle": 12, "comment": "understudy 63cd2697", "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@peers4"}}, {"jump": {"target": "peers"}}]}},
{"rule": {"family": "inet", "table": "understudy", "chain": "input", "handle": 13, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field": "saddr"}}, "right": "@peers6"}}, {"jump": {"target": "peers"}}]}},
{"rule": {"family": "inet", "table": "understudy", "chain": "input", "handle": 14, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 81}}, {"jump": {"target": "admit"}}]}},
{"rule": {"family": "inet", "table": "understudy", "chain": "input", "handle": 16, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "icmpv6", "field": "type"}}, "right": {"set": ["nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert"]}}}, {"jump": {"target": "admit"}}]}}
]})json";
// clang-format on

}  // namespace understudy::cli::examples
