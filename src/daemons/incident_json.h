#pragma once
// An incident report for programs.

#include "recovery/incident_report.h"

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace understudy::daemons {

/// Times are microseconds since 1970 by the clock of the node "clock"; what is unknown is null.
nlohmann::json incident_json(const recovery::IncidentReport& report);
/// Bytes that are no UTF-8 (kits' texts need not be) become replacement characters.
std::string dump(const nlohmann::json& value);

}  // namespace understudy::daemons
