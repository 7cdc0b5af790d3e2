#pragma once
// The rules that open this host's ports, in the words of each firewall, and what is wrong with the rules that
// are there. Only objects of our own are made or taken away. Pure. Spec: CLU-031, CLU-033, DEP-102, DEP-103.
//
//   nftables   table inet understudy marks what it admits; one rule, inserted in front of every other chain
//   that
//              may drop incoming packets, accepts what is marked
//   firewalld  files below /etc/firewalld: services, sets of addresses, and one policy for all zones
//   ufw        application profiles, and a rule each for them and a source

#include "cli/nft_ruleset.h"
#include "config/ports.h"

#include <string>
#include <vector>

namespace understudy::cli {

struct FirewallPlan {
    std::vector<config::Opening> openings;
    std::vector<std::string> peers;  // numeric addresses, sorted; empty: not known, so anywhere
};

/// The table as nft reads it. Its first rule's comment has a version, which is another one for another plan.
std::string nft_table(const FirewallPlan& plan);
std::string nft_version(const FirewallPlan& plan);
/// One transaction for `nft -f`: our table anew, and our rule first in every chain that needs it.
std::string nft_script(const FirewallPlan& plan, const NftRuleset& now);
/// One transaction that takes away what is ours; empty when nothing is.
std::string nft_removal(const NftRuleset& now);
/// What of the plan is not open, and why; one text each. With `blocked_only` not the rules that are missing
/// where nothing is dropped. Empty: all is well.
std::vector<std::string> nft_problems(const FirewallPlan& plan, const NftRuleset& now, bool blocked_only);

struct GeneratedFile {
    std::string path;  // from the root of the host
    std::string content;
};
/// Every file that ours may be. Those that the plan does not need are empty: they are to be removed.
std::vector<GeneratedFile> firewalld_files(const FirewallPlan& plan);

inline constexpr std::string_view kUfwProfiles = "/etc/ufw/applications.d/understudy";
std::string ufw_profiles(const FirewallPlan& plan);
/// Rules as ufw's command line takes them behind "ufw" or "ufw delete".
std::vector<std::string> ufw_rules(const FirewallPlan& plan);
/// From what `ufw show added` prints.
std::vector<std::string> ufw_problems(const FirewallPlan& plan, std::string_view added);

/// "tcp", "udp", "icmp"
std::string_view protocol_word(config::Transport transport);

/// From what `ss -Hltnp` prints: the sockets of our programs that others may reach and that the plan does not
/// admit, one text each. Spec: DEP-101.
std::vector<std::string> strange_listeners(const FirewallPlan& plan, std::string_view sockets);

/// One line a rule, for hand installation and for the rule sets of clouds.
std::string plain_rules(const FirewallPlan& plan);

}  // namespace understudy::cli
