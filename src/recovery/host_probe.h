#pragma once
// Does a host answer, in ways that need nothing of ours to run there? For the safety check. Spec: CLU-072.

#include "recovery/safety_check.h"

namespace understudy::recovery {

/// One address, asked by whatever the host has programs for; any answer counts:
/// - an ICMP echo (ping);
/// - on a network of this host its neighbour's answer (ARP, neighbour discovery), which a firewall that drops
/// pings does
///   not keep back. What the kernel remembers of it is forgotten before (ip), unless an administrator set it;
/// - a NetBIOS node status, IPv4 (nmblookup, when it is installed).
/// Takes about 3 s when nothing answers. Virtual networks may answer for hosts that are down: `neighbours`
/// false leaves that way out.
SafetyCheck::Probe host_probe(runtime::World world, bool neighbours);

/// The addresses that this host's resolver has for a node's name; empty when it has none within 2 s.
SafetyCheck::Resolver name_resolver(runtime::World world);

/// The device of the line of "ip -o route get" when the address is on one of this host's own networks; else
/// empty.
[[nodiscard]] std::string device_on_link(std::string_view route);
/// Whether lines of "ip neigh show" tell of an answer.
[[nodiscard]] bool neighbour_answered(std::string_view lines);
/// Whether an administrator has set an entry that these lines show.
[[nodiscard]] bool neighbour_is_set(std::string_view lines);

}  // namespace understudy::recovery
