#pragma once
// What the volume kit asks of mirrord, here and on other nodes. Blocking, with the commands' own limits.

#include "base/result.h"
#include "kits/sdk/cluster.h"
#include "kits/sdk/kit.h"
#include "kits/volume/fields.h"

#include <optional>
#include <string>
#include <vector>

namespace understudy::kits {

/// What this node, and another one, know of the volume's mirror; nothing when they have none.
Result<std::optional<MirrorView>> mirror_here(const Instance& instance, const std::string& volume);
Result<std::optional<MirrorView>> mirror_on(const Instance& instance, const NodeName& node,
                                            const std::string& volume);

/// Makes the volume's first mirror, of which this node is source: on both nodes, or on none; in a job with
/// the resource's name. Without a target the volume is served alone, until it is extended. `refused`: it was
/// not made; without it, an error leaves that open. Spec: KIT-068, MOP-029
Result<> make_mirror(const Instance& instance, const std::string& volume, const NewMirror& wanted,
                     bool* refused);
/// Makes this node a target of the volume by its source, in the job that the volume is in, or else in the
/// resource's; likewise. Spec: KIT-068, KIT-070, MOP-070.
Result<> join_mirror(const Instance& instance, const NodeName& source, const std::string& volume,
                     const NewMirror& wanted);

/// Ends the volume's mirrors, of which this node is source. A target that is DEAD keeps its half, which is
/// told. Spec: KIT-072, EMC-171.
Result<> end_mirrors(const Instance& instance, const std::string& volume, const MirrorView& here);
/// This node is a target of the volume no more; its source has others. Spec: KIT-072.
Result<> leave_mirror(const Instance& instance, const std::string& volume, const MirrorView& here);

/// Whether the mirror here is the one that the resource is of. A host that shares a disk has no mirror of its
/// own, and what is mirrored from such hosts is theirs: of them it is not asked. Spec: CLU-087
Result<> check_mirror_identity(const Instance& instance);
/// The node that has the volume in service tells the others that can be reached which mirror that is. What
/// goes wrong is told, and the volume is in service all the same. Spec: CLU-087, CLU-161
void tell_mirror_identity(const Instance& instance);

/// Makes this node the source. `peers_are_dead`: nobody need be waited for. Spec: KIT-074
Result<> promote(const Instance& instance, bool peers_are_dead);
/// Whether the cluster knows that all of these nodes are dead; of none: no.
bool are_dead(const Instance& instance, const std::vector<std::string>& nodes);

/// Whether what lies on a device of this node can be protected. Spec: KIT-059.
Result<> check_file_system(const std::string& device, const std::string& wanted);

}  // namespace understudy::kits
