#pragma once
// The notes of a run as a table for people: a line an event, a column a node. Pure.

#include <string>
#include <string_view>
#include <vector>

namespace understudy::sim {

/// `trace`: Simulation::trace(), "<seconds> <who> <what>" a line. What concerns no node (cuts, faults, broken
/// rules) goes across the table; frames, processes and files are left out.
std::string timeline(std::string_view trace, const std::vector<std::string>& nodes);

}  // namespace understudy::sim
