#pragma once
// What a server's cell of a replicated volume says: where the volume is not in service, the state of the copy
// there. Pure. Spec: REP-357, GUI-082, GUI-084.

#include <nlohmann/json_fwd.hpp>

namespace understudy::daemons {

/// `resources` and `mirrors` as `understudy status --json` has them: rows with a cell for each server, and
/// the list of each server's mirrors. The "shown" of a volume's cell that is StandBy becomes Mirroring,
/// Resync, Resync Pending, Paused or Broken, as the source says, or, when no source can be asked, as the
/// server itself remembers; Offline where the volume is neither in service nor a copy of another server's.
/// Such a cell has "mirror" with "state", and while something is left to copy "percent" (done, 0 to 99) and
/// "left_bytes".
void show_mirrors(nlohmann::json& resources, const nlohmann::json& mirrors);

}  // namespace understudy::daemons
