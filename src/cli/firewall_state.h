#pragma once
// What `understudy firewall` remembers of its last time, and what it learns from the daemons while they run.
// etc/understudy/firewall.json is there exactly while rules of ours are applied. Blocking.

#include "base/result.h"
#include "config/layout.h"
#include "config/ports.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace understudy::cli {

struct FirewallState {
    std::string backend;                // with which rules were applied; empty: none are
    std::set<std::string> extra_peers;  // that a person named
    bool anywhere = false;              // a person wants every source to be let in
    std::set<std::string> peers;        // of the configuration, as it was known last
    config::PortNeeds needs;            // without settings
    std::vector<std::string> ufw_rules;

    friend bool operator==(const FirewallState&, const FirewallState&) = default;
};

std::string encode(const FirewallState& state);
/// Errors: not JSON, of a newer version.
Result<FirewallState> decode_firewall_state(std::string_view text);

/// Without a file: a state without a backend.
Result<FirewallState> load_firewall_state(const config::Layout& layout);
Result<> save_firewall_state(const config::Layout& layout, const FirewallState& state);
Result<> forget_firewall_state(const config::Layout& layout);

/// Paths, resources and mirrors, from the daemons that answer; what the others told before stays.
void ask_daemons(const config::Layout& layout, FirewallState& state);
/// etc/default/LifeKeeper; without what cannot be read there.
std::map<std::string, std::string> settings_of(const config::Layout& layout);

/// Durable when it returns success; never half a file. Makes the directory.
Result<> replace_file(const std::string& path, const std::string& content);

}  // namespace understudy::cli
