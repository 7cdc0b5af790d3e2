#pragma once
// What a person should know of the interface on which a new communication path begins: warnings, no refusals,
// for the network may be right by the time it matters. Pure. Spec: CLU-035, CLU-036.

#include "config/model.h"

#include <string>
#include <string_view>
#include <vector>

namespace understudy::daemons {

/// `addresses`: what `ip -json address show` prints; nothing is said when it is anything else.
std::vector<std::string> path_advice(std::string_view addresses, const config::NodeConfig& own,
                                     const config::Path& path);

}  // namespace understudy::daemons
